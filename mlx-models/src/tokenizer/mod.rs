//! Text to token ids and back.
//!
//! A [`Tokenizer`] comes from a `tokenizer.json`, or from the [`Vocabulary`] in a GGUF file's metadata; either gives the
//! ids that Hugging Face's `tokenizers` gives, on whose crate it is built. What this module adds:
//!
//! - *Nothing added twice.* [`encode_prompt`](Tokenizer::encode_prompt) begins a rendered chat template with one
//!   beginning-of-sequence token, whether or not the template wrote it.
//! - *Text stays text.* With `parse_special` off, and in text that went through [`guard`](Tokenizer::guard), the spelling
//!   of a control token never becomes its id.
//! - *Exact streams.* [`Detokenizer`] gives text as tokens come, equal to decoding them all at once.
//! - *Errors, not panics*, for files, ids and vocabularies of any content.
//!
//! # The two sources of Gemma 3
//!
//! | | `tokenizer.json` | GGUF |
//! |---|---|---|
//! | merges | 514,906, listed | none; derived from the scores, the same list in the same order |
//! | `<unused0>` to `<unused6241>`, `<mask>` | plain added tokens: parsed even with `parse_special` off, kept by `decode` | control tokens |
//! | `<start_of_image>`, `<end_of_image>` | special | user-defined: parsed even with `parse_special` off, kept by `decode` |
//! | `<image_soft_token>` | id 262144 | absent |
//! | runs of spaces as tokens | spelled with `▁` | spelled with spaces, read as if with `▁` |
//!
//! With `parse_special` on, the ids agree on all text that doesn't spell `<image_soft_token>`.

mod byte_level;
mod decoding;
mod export;
mod file;
mod guard;
mod merges;
mod model;
mod pipeline;
mod stream;
mod vocabulary;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use self::decoding::{Decoding, TextState};
use self::guard::Segment;
use self::pipeline::{Parts, Pipelines};
pub use self::stream::Detokenizer;
pub use self::vocabulary::{Vocabulary, VocabularyKind};
use crate::{Error, Result};

/// Turns text into token ids and back.
///
/// Clones share the vocabulary, and may be used from several threads at once.
#[derive(Clone)]
pub struct Tokenizer(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    /// Where it came from, for error messages.
    origin: String,
    pipelines: Pipelines,
    decoding: Decoding,
    /// What encoding with `add_special` puts before and after a text.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    bos_id: Option<u32>,
    eos_ids: Vec<u32>,
    /// One more than the largest id.
    vocab_size: usize,
}

/// Spellings of the tokens that end a turn or a text, in the models this crate runs.
const END_TOKENS: [&str; 8] = [
    "<eos>",
    "</s>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|im_end|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
];

/// Spellings of the token that begins a text.
const BEGIN_TOKENS: [&str; 3] = ["<bos>", "<s>", "<|begin_of_text|>"];

impl Tokenizer {
    /// Reads a `tokenizer.json`, and no other file.
    ///
    /// Truncation and padding that the file asks for don't take place: a prompt is encoded whole.
    ///
    /// # Errors
    /// When the file can't be read, isn't a tokenizer, or holds a model other than byte-pair encoding, the only kind that
    /// the models of this crate use.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let json = file::read(path)?;
        let origin = path.display().to_string();
        file::parse(&json)
            .and_then(|parts| Self::assemble(origin.clone(), parts))
            .map_err(|message| Error::Tokenizer { origin, message })
    }

    /// The same of the content of such a file.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_json(json: &str) -> Result<Self> {
        let origin = "tokenizer.json".to_owned();
        file::parse(json)
            .and_then(|parts| Self::assemble(origin.clone(), parts))
            .map_err(|message| Error::Tokenizer { origin, message })
    }

    /// Builds the tokenizer that a GGUF file's metadata describes.
    ///
    /// # Errors
    /// When the vocabulary contradicts itself, or is of a kind that isn't supported; the message names it.
    pub fn from_vocabulary(vocabulary: &Vocabulary) -> Result<Self> {
        let origin = "GGUF vocabulary".to_owned();
        vocabulary
            .parts()
            .and_then(|parts| Self::assemble(origin.clone(), parts))
            .map_err(|message| Error::Tokenizer { origin, message })
    }

    fn assemble(origin: String, parts: Parts) -> Result<Self, String> {
        let Parts { decoding, prefix, suffix, bos_id, eos_ids, .. } = &parts;
        let (decoding, prefix, suffix) = (decoding.clone(), prefix.clone(), suffix.clone());
        let (bos_id, mut eos_ids) = (*bos_id, eos_ids.clone());
        let pipelines = Pipelines::new(parts)?;
        let control = |name: &&str| pipelines.is_special(name).then(|| pipelines.id_of(name)).flatten();
        eos_ids.extend(END_TOKENS.iter().filter_map(control));
        eos_ids.sort_unstable();
        eos_ids.dedup();
        let bos_id = bos_id.or(prefix.first().copied()).or_else(|| BEGIN_TOKENS.iter().find_map(control));
        let vocab_size = pipelines.largest_id().map_or(0, |id| id as usize + 1);
        if let Some(id) = prefix
            .iter()
            .chain(&suffix)
            .chain(&bos_id)
            .chain(&eos_ids)
            .find(|&&id| pipelines.text_of(id).is_none())
        {
            return Err(format!("id {id} has a special role, but no token"));
        }
        Ok(Self(Arc::new(Inner { origin, pipelines, decoding, prefix, suffix, bos_id, eos_ids, vocab_size })))
    }

    /// Encodes `text`.
    ///
    /// `add_special` puts before and after it what the model expects round a text, usually one beginning-of-sequence
    /// token before it. It does so even if the text spells that token itself, as the reference does;
    /// [`encode_prompt`](Self::encode_prompt) does not.
    ///
    /// `parse_special` turns spellings of control tokens, such as `<end_of_turn>`, into their ids. Without it they are
    /// plain text. Added tokens that the vocabulary doesn't call special, such as Gemma's `<table>`, are recognised
    /// either way.
    ///
    /// # Errors
    /// When the text holds a character that the vocabulary can neither spell nor replace, or, in vocabularies that cut text
    /// into words, 900,000 white-space characters in a row.
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<u32>> {
        let body = self.0.pipelines.encode(text, parse_special).map_err(|e| self.error(e))?;
        if !add_special {
            return Ok(body);
        }
        Ok([self.0.prefix.as_slice(), &body, &self.0.suffix].concat())
    }

    /// Encodes a rendered chat template, control tokens and all.
    ///
    /// The result begins with one beginning-of-sequence token if the model wants one, whether the template wrote it or
    /// not. Nothing is added at the end, where the reply goes on. Text that went through [`guard`](Self::guard) before it
    /// entered the template gives no control ids.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn encode_prompt(&self, prompt: &str) -> Result<Vec<u32>> {
        let mut body = Vec::new();
        if prompt.contains(guard::MARK) {
            for segment in self.0.pipelines.guard().segments(prompt) {
                match segment {
                    Segment::Control(id) => body.push(id),
                    Segment::Text(text) => body.extend(self.encode(&text, false, false)?),
                }
            }
        } else {
            body = self.encode(prompt, false, true)?;
        }
        if body.starts_with(&self.0.prefix) {
            return Ok(body);
        }
        Ok([self.0.prefix.as_slice(), &body].concat())
    }

    /// Prepares what people typed for a chat template, so that no part of it can act as a control token.
    ///
    /// Spellings of control tokens get an invisible mark, which [`encode_prompt`](Self::encode_prompt) removes again: the
    /// model reads the very text, as text. Other text comes back unchanged, so that its ids stay those of the reference.
    pub fn guard<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.0.pipelines.guard().guard(text)
    }

    /// Puts each text in a JSON value through [`guard`](Self::guard), names of fields included: a list of messages, or of
    /// tools.
    pub fn guard_json(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(guarded) = self.guard(text) {
                    *text = guarded;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.guard_json(item)),
            Value::Object(fields) => {
                for (name, mut field) in std::mem::take(fields) {
                    self.guard_json(&mut field);
                    fields.insert(self.guard(&name).into_owned(), field);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Decodes `ids`; `skip_special` leaves control tokens out.
    ///
    /// Bytes that aren't UTF-8 become replacement characters.
    ///
    /// # Errors
    /// When an id has no token.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let mut state = TextState::new();
        let mut text = String::new();
        for &id in ids {
            self.push_text(&mut state, id, skip_special, &mut text)?;
        }
        state.finish(&self.0.decoding, &mut text);
        Ok(text)
    }

    /// Starts decoding a stream of tokens.
    pub fn detokenizer(&self, skip_special: bool) -> Detokenizer {
        Detokenizer::new(self.clone(), skip_special)
    }

    /// The text of a token as the vocabulary spells it, such as `▁the` or `<0x0A>`.
    ///
    /// # Errors
    /// When no token has this id.
    pub fn token_text(&self, id: u32) -> Result<String> {
        self.0.pipelines.text_of(id).ok_or_else(|| {
            self.error(match self.0.vocab_size {
                size if (id as usize) < size => format!("no token has the id {id}"),
                size => {
                    format!("no token has the id {id}; the vocabulary ends at {}", size.saturating_sub(1))
                }
            })
        })
    }

    /// The id of the token that the vocabulary spells so.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.0.pipelines.id_of(token)
    }

    /// Whether the token is a control token, which `parse_special` and `skip_special` speak of.
    pub fn is_special(&self, id: u32) -> bool {
        self.0.pipelines.text_of(id).is_some_and(|text| self.0.pipelines.is_special(&text))
    }

    /// One more than the largest id. A model's head may be wider, padded to a round number.
    pub fn vocab_size(&self) -> usize {
        self.0.vocab_size
    }

    /// The token that begins a text, if there is one; not every model that has one wants it put before a prompt.
    pub fn bos_id(&self) -> Option<u32> {
        self.0.bos_id
    }

    /// The tokens that end a reply, in order of id.
    ///
    /// All that the vocabulary itself shows: those it names, and control tokens of well-known spelling such as
    /// `<end_of_turn>`. The model's configuration may name more; see [`with_eos_ids`](Self::with_eos_ids).
    pub fn eos_ids(&self) -> &[u32] {
        &self.0.eos_ids
    }

    /// Adds ids to [`eos_ids`](Self::eos_ids), such as those of `config.json` and `generation_config.json`.
    ///
    /// # Errors
    /// When an id has no token.
    #[must_use = "the tokenizer with the ids is the one returned"]
    pub fn with_eos_ids(mut self, ids: &[u32]) -> Result<Self> {
        for &id in ids {
            self.token_text(id)?;
        }
        let eos_ids = &mut Arc::make_mut(&mut self.0).eos_ids;
        eos_ids.extend(ids);
        eos_ids.sort_unstable();
        eos_ids.dedup();
        Ok(self)
    }

    fn decoding(&self) -> &Decoding {
        &self.0.decoding
    }

    fn push_text(&self, state: &mut TextState, id: u32, skip_special: bool, out: &mut String) -> Result<()> {
        let token = self.token_text(id)?;
        if !(skip_special && self.0.pipelines.is_special(&token)) {
            state.push(&self.0.decoding, &token, out);
        }
        Ok(())
    }

    fn error(&self, message: String) -> Error {
        Error::Tokenizer { origin: self.0.origin.clone(), message }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("origin", &self.0.origin)
            .field("vocab_size", &self.0.vocab_size)
            .finish()
    }
}
