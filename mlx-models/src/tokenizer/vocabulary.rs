//! The vocabulary in a GGUF file's metadata.

use std::collections::HashMap;

use serde_json::Value;
use tokenizers::AddedToken;
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};

use super::byte_level::pre_tokenization;
use super::decoding::Decoding;
use super::merges::{Piece, merges_from_scores};
use super::model::{BpeParts, Merge};
use super::pipeline::Parts;
use crate::Error;
use crate::gguf::GgufFile;

/// How a GGUF vocabulary cuts text into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum VocabularyKind {
    /// `llama`: SentencePiece's byte-pair encoding, with scores (Gemma, Llama 2).
    #[default]
    SentencePiece,
    /// `gpt2`: byte-level byte-pair encoding, with merges (Qwen, Llama 3, SmolLM2).
    ByteLevel,
}

impl VocabularyKind {
    /// The kind that `tokenizer.ggml.model` names; `None` for one that isn't supported.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "llama" => Some(Self::SentencePiece),
            "gpt2" => Some(Self::ByteLevel),
            _ => None,
        }
    }
}

/// A vocabulary as GGUF stores it: beside each field, its metadata key.
///
/// Plain data, to be filled from a file and given to [`Tokenizer::from_vocabulary`](crate::Tokenizer::from_vocabulary),
/// which checks it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`
    pub kind: VocabularyKind,
    /// `tokenizer.ggml.tokens`: the text of each token, in order of id.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.scores`: one a token; empty for byte-level vocabularies.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.token_type`: one a token (1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte);
    /// empty when all are normal.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges`: two pieces with a space between, best first; empty for SentencePiece-style vocabularies.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.pre`: how byte-level vocabularies cut text into words.
    pub pre: Option<String>,
    /// `tokenizer.ggml.bos_token_id`
    pub bos_id: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`
    pub eos_id: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`: the token that ends a turn.
    pub eot_id: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`
    pub unk_id: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`
    pub pad_id: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`: when absent, yes for SentencePiece-style vocabularies and for Llama 3.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`: when absent, no.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`: when absent, yes for SentencePiece-style vocabularies.
    pub add_space_prefix: Option<bool>,
}

/// `tokenizer.ggml.token_type`, as far as it changes what a token does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// SentencePiece's sign for a space.
const SPACE: &str = "▁";

impl Vocabulary {
    /// Reads the `tokenizer.*` keys of a GGUF file.
    ///
    /// # Errors
    /// When a key that must be there is not, has another type, or names a kind of vocabulary that is not supported.
    pub fn of(file: &GgufFile) -> Result<Self, Error> {
        let metadata = file.metadata();
        let id = |name: &str| metadata.optional_u32(&format!("tokenizer.ggml.{name}_token_id"));
        let flag = |name: &str| metadata.optional_bool(&format!("tokenizer.ggml.{name}"));
        let kind = metadata.str("tokenizer.ggml.model")?;
        let kind = VocabularyKind::from_name(kind).ok_or_else(|| Error::Gguf {
            path: file.path().to_owned(),
            message: format!("tokenizer.ggml.model {kind:?} is not supported; llama and gpt2 are"),
        })?;
        Ok(Self {
            kind,
            tokens: metadata.string_array("tokenizer.ggml.tokens")?.to_vec(),
            scores: metadata.optional_f32_array("tokenizer.ggml.scores")?.unwrap_or_default().to_vec(),
            token_types: metadata
                .optional_i32_array("tokenizer.ggml.token_type")?
                .unwrap_or_default()
                .to_vec(),
            merges: metadata.optional_string_array("tokenizer.ggml.merges")?.unwrap_or_default().to_vec(),
            pre: metadata.optional_str("tokenizer.ggml.pre")?.map(str::to_owned),
            bos_id: id("bos")?,
            eos_id: id("eos")?,
            eot_id: id("eot")?,
            unk_id: id("unknown")?,
            pad_id: id("padding")?,
            add_bos: flag("add_bos_token")?,
            add_eos: flag("add_eos_token")?,
            add_space_prefix: flag("add_space_prefix")?,
        })
    }

    /// The content of the `tokenizer.json` that says the same.
    ///
    /// # Errors
    /// As [`Tokenizer::from_vocabulary`](crate::Tokenizer::from_vocabulary).
    pub fn to_tokenizer_json(&self) -> Result<Value, Error> {
        self.parts()
            .and_then(|parts| parts.to_json())
            .map_err(|message| Error::Tokenizer { origin: "GGUF vocabulary".to_owned(), message })
    }

    pub(super) fn parts(&self) -> Result<Parts, String> {
        let types = self.types()?;
        let add_eos = self.add_eos.unwrap_or(false);
        let (tokens, mut parts, add_bos) = match self.kind {
            VocabularyKind::SentencePiece => self.sentence_piece(&types)?,
            VocabularyKind::ByteLevel => self.byte_level()?,
        };
        for (id, token) in (0..).zip(&tokens) {
            if let Some(first) = parts.model.vocab.insert(token.clone(), id) {
                return Err(format!("the tokens {first} and {id} are both {token:?}"));
            }
        }
        parts.added = (0..)
            .zip(tokens)
            .zip(&types)
            .filter(|(_, kind)| {
                matches!(kind, TokenType::Unknown | TokenType::Control | TokenType::UserDefined)
            })
            .map(|((id, token), kind)| {
                (id, AddedToken::from(token, *kind != TokenType::UserDefined).normalized(false))
            })
            .collect();
        if self.add_bos.unwrap_or(add_bos) {
            parts.prefix = vec![self.bos_id.ok_or("texts begin with the BOS token, but there is none")?];
        }
        if add_eos {
            parts.suffix = vec![self.eos_id.ok_or("texts end with the EOS token, but there is none")?];
        }
        parts.bos_id = self.bos_id;
        parts.eos_ids = self.eos_id.into_iter().chain(self.eot_id).collect();
        Ok(parts)
    }

    /// The tokens, everything but the vocabulary and the added tokens, and whether BOS is added by default.
    fn sentence_piece(&self, types: &[TokenType]) -> Result<(Vec<String>, Parts, bool), String> {
        if self.scores.len() != self.tokens.len() {
            return Err(format!("{} tokens have {} scores", self.tokens.len(), self.scores.len()));
        }
        // The converter to GGUF spells user-defined tokens with spaces, for matching them in text before spaces are
        // replaced. Here runs of spaces are merged after that, as in the reference.
        let tokens: Vec<String> = (self.tokens.iter().zip(types))
            .map(|(token, kind)| match kind {
                TokenType::UserDefined => token.replace(' ', SPACE),
                _ => token.clone(),
            })
            .collect();
        // Control and byte tokens take no part, or text could spell them. User-defined tokens come first: SentencePiece
        // never splits them, and gives them the score 0, which the converter to GGUF overwrites.
        let pieces: Vec<_> = (tokens.iter().zip(types).zip(&self.scores))
            .filter_map(|((text, kind), &score)| match kind {
                TokenType::Normal => Some(Piece { text, score }),
                TokenType::UserDefined => Some(Piece { text, score: 0.0 }),
                _ => None,
            })
            .collect();
        let unk = self.unk_id.map(|id| self.token(id)).transpose()?;
        let model = BpeParts {
            unk_token: unk.cloned(),
            fuse_unk: true,
            byte_fallback: true,
            merges: merges_from_scores(&pieces)?,
            ..BpeParts::default()
        };
        let space_prefix = self.add_space_prefix.unwrap_or(true);
        let replace: NormalizerWrapper = Replace::new(" ", SPACE).map_err(|e| e.to_string())?.into();
        let normalizer = if space_prefix {
            Sequence::new(vec![Prepend::new(SPACE.into()).into(), replace]).into()
        } else {
            replace
        };
        let parts = Parts::of(model, Some(normalizer), None, Decoding::sentence_piece(space_prefix));
        Ok((tokens, parts, true))
    }

    fn byte_level(&self) -> Result<(Vec<String>, Parts, bool), String> {
        let pre = pre_tokenization(self.pre.as_deref(), self.add_space_prefix.unwrap_or(false))?;
        let merges = self.merges.iter().map(|merge| {
            Merge::parse(merge)
                .ok_or_else(|| format!("the merge {merge:?} is not two pieces with a space between"))
        });
        let model = BpeParts {
            merges: merges.collect::<Result<_, _>>()?,
            ignore_merges: pre.ignore_merges,
            vocab: HashMap::with_capacity(self.tokens.len()),
            ..BpeParts::default()
        };
        let parts = Parts::of(model, pre.normalizer, Some(pre.pre_tokenizer), Decoding::ByteLevel);
        Ok((self.tokens.clone(), parts, pre.add_bos))
    }

    fn types(&self) -> Result<Vec<TokenType>, String> {
        if self.token_types.is_empty() {
            return Ok(vec![TokenType::Normal; self.tokens.len()]);
        }
        if self.token_types.len() != self.tokens.len() {
            return Err(format!("{} tokens have {} types", self.tokens.len(), self.token_types.len()));
        }
        let read = |(id, number): (usize, &i32)| match number {
            1 => Ok(TokenType::Normal),
            2 => Ok(TokenType::Unknown),
            3 => Ok(TokenType::Control),
            4 => Ok(TokenType::UserDefined),
            5 => Ok(TokenType::Unused),
            6 => Ok(TokenType::Byte),
            _ => Err(format!("token {id} has the unknown type {number}")),
        };
        self.token_types.iter().enumerate().map(read).collect()
    }

    fn token(&self, id: u32) -> Result<&String, String> {
        let token = self.tokens.get(id as usize);
        token.ok_or_else(|| format!("the unknown token has the id {id}, of {} tokens", self.tokens.len()))
    }
}
