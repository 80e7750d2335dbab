//! Where byte-level vocabularies cut text into words, by the name that GGUF gives it (`tokenizer.ggml.pre`).

use tokenizers::normalizers::{NFC, NormalizerWrapper};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

/// What the name of a pre-tokenizer stands for.
pub(super) struct PreTokenization {
    pub(super) normalizer: Option<NormalizerWrapper>,
    pub(super) pre_tokenizer: PreTokenizerWrapper,
    /// Whether a word that is a token is taken whole, even where the merges wouldn't form it.
    pub(super) ignore_merges: bool,
    /// Whether a text begins with the beginning-of-sequence token unless the metadata says otherwise.
    pub(super) add_bos: bool,
}

/// Qwen's and Llama 3's words, which differ in how many digits make one.
fn words(digits: &str) -> String {
    format!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
}

pub(super) fn pre_tokenization(
    name: Option<&str>,
    add_prefix_space: bool,
) -> Result<PreTokenization, String> {
    let split = |pattern: String| {
        Split::new(SplitPattern::Regex(pattern), SplitDelimiterBehavior::Isolated, false)
            .map(PreTokenizerWrapper::from)
            .map_err(|e| e.to_string())
    };
    // The last argument: whether ByteLevel also cuts, by GPT-2's own pattern.
    let bytes = |cut| PreTokenizerWrapper::from(ByteLevel::new(add_prefix_space, false, cut));
    let then = |first, second| Sequence::new(vec![first, second]).into();
    let (normalizer, pre_tokenizer, llama) = match name {
        Some("qwen2") => (Some(NFC.into()), then(split(words(""))?, bytes(false)), false),
        Some("llama-bpe" | "llama3" | "llama-v3") => (None, then(split(words("{1,3}"))?, bytes(false)), true),
        Some("smollm") => (None, then(Digits::new(true).into(), bytes(true)), false),
        Some("gpt-2") => (None, bytes(true), false),
        name => {
            let name = name.unwrap_or_default();
            return Err(format!(
                "the pre-tokenizer {name:?} of this GGUF isn't supported yet; use the tokenizer.json"
            ));
        }
    };
    Ok(PreTokenization { normalizer, pre_tokenizer, ignore_merges: llama, add_bos: llama })
}
