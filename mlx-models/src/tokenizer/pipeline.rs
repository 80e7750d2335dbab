//! What a tokenizer is built from, and the two pipelines it is built into.

use std::collections::HashSet;
use std::sync::Arc;

use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use super::decoding::Decoding;
use super::guard::Guard;
use super::model::{BpeParts, SharedModel};

/// A tokenizer in parts, whichever source they were read from.
pub(super) struct Parts {
    pub(super) model: BpeParts,
    pub(super) added: Vec<(u32, AddedToken)>,
    pub(super) normalizer: Option<NormalizerWrapper>,
    pub(super) pre_tokenizer: Option<PreTokenizerWrapper>,
    pub(super) decoding: Decoding,
    /// What the model expects before and after a text.
    pub(super) prefix: Vec<u32>,
    pub(super) suffix: Vec<u32>,
    pub(super) bos_id: Option<u32>,
    pub(super) eos_ids: Vec<u32>,
}

impl Parts {
    /// A tokenizer without added tokens or ids of special roles.
    pub(super) fn of(
        model: BpeParts,
        normalizer: Option<NormalizerWrapper>,
        pre_tokenizer: Option<PreTokenizerWrapper>,
        decoding: Decoding,
    ) -> Self {
        let (added, prefix, suffix, eos_ids) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { model, added, normalizer, pre_tokenizer, decoding, prefix, suffix, bos_id: None, eos_ids }
    }
}

/// The most white space in a row that a pattern with look-ahead can match.
///
/// `fancy-regex` gives up on a million characters, and `tokenizers` takes that for the end of the matches, which would
/// change ids without a word.
const MAX_WHITE_SPACE: usize = 900_000;

/// From text to ids; post-processing and decoding are ours, so these have neither.
type Pipeline =
    TokenizerImpl<SharedModel, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// One vocabulary read in two ways.
#[derive(Clone)]
pub(super) struct Pipelines {
    /// Recognises every added token.
    parsing: Pipeline,
    /// Recognises those that aren't special, and takes the others for text.
    plain: Pipeline,
    guard: Arc<Guard>,
    largest_id: Option<u32>,
}

impl Pipelines {
    pub(super) fn new(parts: Parts) -> Result<Self, String> {
        let Parts { model, mut added, normalizer, pre_tokenizer, .. } = parts;
        added.retain(|(_, token)| !token.content.is_empty());
        check_stripping(&added)?;
        let special: Vec<_> = added.iter().filter(|(_, token)| token.special).cloned().collect();
        let control: HashSet<String> = special.iter().map(|(_, token)| token.content.clone()).collect();
        let largest_id = model.vocab.values().copied().chain(added.iter().map(|(id, _)| *id)).max();

        let text = |e: tokenizers::Error| e.to_string();
        let mut parsing = Pipeline::new(model.build(&control)?);
        parsing.with_normalizer(normalizer).map_err(text)?;
        parsing.with_pre_tokenizer(pre_tokenizer);
        parsing.add_tokens(added.iter().map(|(_, token)| token.clone())).map_err(text)?;
        for (id, AddedToken { content, .. }) in &added {
            // Tokens that the model doesn't know are numbered in order, so a gap in the ids would shift the rest.
            let assigned = parsing.token_to_id(content);
            if assigned != Some(*id) {
                let assigned = assigned.map_or("none".into(), |id| id.to_string());
                return Err(format!(
                    "the added token {content:?} should have the id {id}, but gets {assigned}"
                ));
            }
        }
        let mut plain = parsing.clone();
        plain.set_encode_special_tokens(true);
        Ok(Self { parsing, plain, guard: Arc::new(Guard::new(special)?), largest_id })
    }

    pub(super) fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>, String> {
        if self.plain.get_pre_tokenizer().is_some() {
            check_white_space(text)?;
        }
        let pipeline = if parse_special { &self.parsing } else { &self.plain };
        pipeline
            .encode_fast(text, false)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|e| e.to_string())
    }

    /// A token's text, as decoding sees it.
    pub(super) fn text_of(&self, id: u32) -> Option<String> {
        self.parsing.get_added_vocabulary().simple_id_to_token(id).or_else(|| self.parsing.id_to_token(id))
    }

    pub(super) fn id_of(&self, token: &str) -> Option<u32> {
        self.parsing.token_to_id(token)
    }

    pub(super) fn is_special(&self, token: &str) -> bool {
        self.parsing.get_added_vocabulary().is_special_token(token)
    }

    pub(super) fn largest_id(&self) -> Option<u32> {
        self.largest_id
    }

    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }
}

/// Refuses tokens that claim space which another token may have taken: `tokenizers` would cut the text backwards there.
fn check_stripping(added: &[(u32, AddedToken)]) -> Result<(), String> {
    let takes_after = added.iter().find(|(_, token)| token.rstrip);
    let takes_before =
        added.iter().find(|(_, token)| token.lstrip && token.content.starts_with(char::is_whitespace));
    match (takes_after, takes_before) {
        (Some((_, a)), Some((_, b))) => Err(format!(
            "the added tokens {:?} (rstrip) and {:?} (lstrip) claim the same space",
            a.content, b.content
        )),
        _ => Ok(()),
    }
}

fn check_white_space(text: &str) -> Result<(), String> {
    if text.len() <= MAX_WHITE_SPACE {
        return Ok(());
    }
    let mut run = 0;
    for c in text.chars() {
        run = if c.is_whitespace() { run + 1 } else { 0 };
        if run > MAX_WHITE_SPACE {
            return Err(format!("the text has more than {MAX_WHITE_SPACE} white-space characters in a row"));
        }
    }
    Ok(())
}
