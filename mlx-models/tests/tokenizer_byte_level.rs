//! The tokenizers of Qwen 3, Llama 3 and SmolLM2, against ids that Hugging Face's tokenizers gave
//! (`data/make_byte_level_ids.py`).
//!
//! SmolLM2's is built from its packaged GGUF file and is always tested. The others' `tokenizer.json` are not ours to
//! commit; where `REFERENCE_TOKENIZERS` names a folder with `qwen3/tokenizer.json` and `llama3_1/tokenizer.json`, as in CI,
//! they are tested as well, each also as the vocabulary that a GGUF file would hold.

mod real;
mod tokenizer_ids;

use std::path::PathBuf;

use mlx_models::{Checkpoint, TextTools, Tokenizer, Vocabulary, VocabularyKind};
use serde_json::Value;

use tokenizer_ids::{Expected, Stream, Text};

struct Model {
    name: &'static str,
    folder: &'static str,
    expected: &'static str,
    /// What GGUF files of the model call its words.
    pre: &'static str,
    bos: Option<u32>,
    eos: u32,
    eos_ids: &'static [u32],
    vocab_size: usize,
}

const QWEN3: Model = Model {
    name: "Qwen 3",
    folder: "qwen3",
    expected: include_str!("data/qwen3_tokenizer_ids.json"),
    pre: "qwen2",
    bos: None,
    eos: 151_645,
    eos_ids: &[151_643, 151_645],
    vocab_size: 151_669,
};
const LLAMA3: Model = Model {
    name: "Llama 3",
    folder: "llama3_1",
    expected: include_str!("data/llama3_tokenizer_ids.json"),
    pre: "llama-bpe",
    bos: Some(128_000),
    eos: 128_009,
    eos_ids: &[128_001, 128_009],
    vocab_size: 128_256,
};

impl Model {
    fn json(&self) -> Option<PathBuf> {
        let folder = std::env::var_os("REFERENCE_TOKENIZERS").map(PathBuf::from)?;
        Some(folder.join(self.folder).join("tokenizer.json"))
    }

    fn expected(&self) -> Expected {
        serde_json::from_str(self.expected).unwrap()
    }

    fn check(&self, tokenizer: &Tokenizer, source: &str) {
        let name = format!("{} from {source}", self.name);
        check(tokenizer, &self.expected(), &name);
        assert_eq!(
            (tokenizer.bos_id(), tokenizer.eos_ids(), tokenizer.vocab_size()),
            (self.bos, self.eos_ids, self.vocab_size),
            "{name}"
        );
        assert!(tokenizer.decode(&[self.vocab_size as u32], false).is_err(), "{name}");
    }
}

fn check(tokenizer: &Tokenizer, Expected { texts, streams }: &Expected, name: &str) {
    assert!(texts.len() > 80 && streams.len() > 40);
    let mut failed = 0;
    let mut same = |what: &str, text: &str, got: &[u32], expected: &[u32]| {
        if got != expected {
            failed += 1;
            let at = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
            let text: String = text.chars().take(60).collect();
            println!("{name}: {what} of {text:?} from {at}: {:?}, not {:?}", got.get(at), expected.get(at));
        }
    };
    for Text { text, ids, ids_plain, .. } in texts {
        same("ids", text, &tokenizer.encode(text, true, true).unwrap(), ids);
        same("plain ids", text, &tokenizer.encode(text, false, false).unwrap(), ids_plain);
    }
    assert_eq!(failed, 0, "{name}: ids differ");
    for Text { ids, decoded, decoded_skip, .. } in texts {
        check_decoding(tokenizer, ids, false, decoded);
        check_decoding(tokenizer, ids, true, decoded_skip);
    }
    for Stream { ids, decoded, decoded_skip } in streams {
        check_decoding(tokenizer, ids, false, decoded);
        check_decoding(tokenizer, ids, true, decoded_skip);
    }
}

fn check_decoding(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool, expected: &str) {
    assert_eq!(tokenizer.decode(ids, skip_special).unwrap(), expected, "{ids:?}");
    let mut stream = tokenizer.detokenizer(skip_special);
    let pieces: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    assert_eq!(pieces + &stream.finish(), expected, "{ids:?}");
}

/// The vocabulary that the converter to GGUF makes of a `tokenizer.json`.
fn as_gguf(json: &Value, model: &Model) -> Vocabulary {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    const USER_DEFINED: i32 = 4;
    const UNUSED: i32 = 5;
    let mut tokens: Vec<(String, i32)> =
        (0..model.vocab_size).map(|id| (format!("[PAD{id}]"), UNUSED)).collect();
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        tokens[id.as_u64().unwrap() as usize] = (token.clone(), NORMAL);
    }
    for added in json["added_tokens"].as_array().unwrap() {
        let kind = if added["special"] == true { CONTROL } else { USER_DEFINED };
        tokens[added["id"].as_u64().unwrap() as usize] =
            (added["content"].as_str().unwrap().to_owned(), kind);
    }
    let merge = |merge: &Value| match merge {
        Value::String(merge) => merge.clone(),
        pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
    };
    Vocabulary {
        kind: VocabularyKind::ByteLevel,
        token_types: tokens.iter().map(|token| token.1).collect(),
        tokens: tokens.into_iter().map(|token| token.0).collect(),
        merges: json["model"]["merges"].as_array().unwrap().iter().map(merge).collect(),
        pre: Some(model.pre.to_owned()),
        bos_id: model.bos,
        eos_id: Some(model.eos),
        ..Vocabulary::default()
    }
}

#[test]
fn smollm2_agrees() {
    let checkpoint = Checkpoint::open(&real::fetch("smollm2-135m-instruct")).unwrap();
    let tokenizer = TextTools::of(&checkpoint).unwrap().tokenizer().unwrap().clone();
    let expected = serde_json::from_str(include_str!("data/smollm2_tokenizer_ids.json")).unwrap();
    check(&tokenizer, &expected, "SmolLM2");
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_ids()), (Some(1), &[0, 2][..]));
    any_stream_is_whole(&tokenizer);
}

#[test]
fn qwen3_and_llama3_agree_from_either_source() {
    for model in [QWEN3, LLAMA3] {
        let Some(path) = model.json() else { continue };
        let tokenizer = Tokenizer::from_file(&path).unwrap();
        model.check(&tokenizer, "tokenizer.json");
        any_stream_is_whole(&tokenizer);
        let json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        model.check(&Tokenizer::from_vocabulary(&as_gguf(&json, &model)).unwrap(), "a GGUF vocabulary");
    }
}

/// Streams random ids, and checks that the pieces are those of the whole, and that no piece ends inside a character: what
/// is held back is never a whole character, and the pieces before it are the text of the bytes before it.
fn any_stream_is_whole(tokenizer: &Tokenizer) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % end as u64) as usize
    };
    let all: Vec<u32> =
        (0..tokenizer.vocab_size() as u32).filter(|&id| tokenizer.token_text(id).is_ok()).collect();
    // Tokens that hold a part of a character at their end or their beginning.
    let broken: Vec<u32> = all
        .iter()
        .copied()
        .filter(|&id| tokenizer.decode(&[id], false).unwrap().contains('\u{fffd}'))
        .collect();
    assert!(broken.len() > 100);
    for round in 0..2000 {
        let ids: Vec<u32> = (0..1 + below(24))
            .map(|_| if below(4) < round % 4 { broken[below(broken.len())] } else { all[below(all.len())] })
            .collect();
        let skip_special = round % 2 == 0;
        let whole = tokenizer.decode(&ids, skip_special).unwrap();
        let mut stream = tokenizer.detokenizer(skip_special);
        let mut text = String::new();
        for (at, &id) in ids.iter().enumerate() {
            text += &stream.push(id).unwrap();
            assert!(stream.held_back() < 4, "{ids:?}");
            let so_far = tokenizer.decode(&ids[..=at], skip_special).unwrap();
            let rest = so_far.strip_prefix(text.as_str()).unwrap_or_else(|| panic!("{ids:?}: {text:?}"));
            // One replacement character stands for the start of a character.
            assert_eq!(rest, if stream.held_back() > 0 { "\u{fffd}" } else { "" }, "{ids:?}");
        }
        assert_eq!(text + &stream.finish(), whole, "{ids:?}");
    }
}

#[test]
fn words_that_nobody_has_checked_are_refused_by_name() {
    for pre in ["default", "qwen35", "tekken", "deepseek-llm", "gpt-4o", "falcon3", ""] {
        let vocabulary = Vocabulary {
            kind: VocabularyKind::ByteLevel,
            pre: Some(pre.to_owned()),
            ..Vocabulary::default()
        };
        let error = Tokenizer::from_vocabulary(&vocabulary).unwrap_err().to_string();
        assert!(error.contains(&format!("pre-tokenizer {pre:?}")), "{error}");
    }
}
