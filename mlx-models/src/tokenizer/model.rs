//! The merge model that two tokenizers share, and its checks.
//!
//! One vocabulary serves two pipelines: one that turns the text of control tokens into their ids, and one that treats
//! such text as ordinary. The `tokenizers` crate keeps that choice inside the pipeline, so the model, which holds nearly
//! all the memory, sits behind an [`Arc`].

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{Model, Token};

/// A byte-pair encoding model, written as the `model` field of a `tokenizer.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BpeParts {
    pub(super) unk_token: Option<String>,
    pub(super) continuing_subword_prefix: Option<String>,
    pub(super) end_of_word_suffix: Option<String>,
    pub(super) fuse_unk: bool,
    pub(super) byte_fallback: bool,
    pub(super) ignore_merges: bool,
    pub(super) vocab: HashMap<String, u32>,
    pub(super) merges: Vec<Merge>,
}

/// Two pieces that join into a third, in order of preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Merge(pub(super) String, pub(super) String);

impl BpeParts {
    /// Builds the model, or says which entry cannot be right.
    ///
    /// Merges that would produce one of `control` are left out: with them, ordinary text could become a control token.
    ///
    /// The checks are ours because `tokenizers` copies a merge into a buffer as long as the longest piece before it
    /// looks the result up, and so panics on a merge that no piece matches.
    pub(super) fn build(self, control: &HashSet<String>) -> Result<SharedModel, String> {
        let mut seen = HashMap::with_capacity(self.vocab.len());
        for (piece, id) in &self.vocab {
            if let Some(other) = seen.insert(*id, piece) {
                return Err(format!("id {id} stands for both {piece:?} and {other:?}"));
            }
        }
        if let Some(unk) = &self.unk_token
            && !self.vocab.contains_key(unk)
        {
            return Err(format!("the unknown token {unk:?} is not in the vocabulary"));
        }
        let prefix = self.continuing_subword_prefix.as_deref().unwrap_or_default();
        let mut merges = Vec::with_capacity(self.merges.len());
        let mut joined = String::new();
        for Merge(left, right) in self.merges {
            let Some(tail) = right.strip_prefix(prefix) else {
                return Err(format!(
                    "merge {left:?} + {right:?}: the second part lacks the prefix {prefix:?}"
                ));
            };
            joined.clear();
            joined.push_str(&left);
            joined.push_str(tail);
            for piece in [&left, &right, &joined] {
                if !self.vocab.contains_key(piece) {
                    return Err(format!("merge {left:?} + {right:?}: {piece:?} is not in the vocabulary"));
                }
            }
            if !control.contains(&joined) {
                merges.push((left, right));
            }
        }
        drop(seen);

        let mut builder = BPE::builder()
            .vocab_and_merges(self.vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges)
            .fuse_unk(self.fuse_unk)
            .byte_fallback(self.byte_fallback)
            .ignore_merges(self.ignore_merges);
        if let Some(unk) = self.unk_token {
            builder = builder.unk_token(unk);
        }
        if let Some(prefix) = self.continuing_subword_prefix {
            builder = builder.continuing_subword_prefix(prefix);
        }
        if let Some(suffix) = self.end_of_word_suffix {
            builder = builder.end_of_word_suffix(suffix);
        }
        builder.build().map(|bpe| SharedModel(Arc::new(bpe))).map_err(|e| e.to_string())
    }
}

impl<'de> Deserialize<'de> for Merge {
    /// Reads `["a", "b"]`, or the older `"a b"`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MergeVisitor;
        impl<'de> Visitor<'de> for MergeVisitor {
            type Value = Merge;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a merge: two pieces in a list, or in one string with a space between")
            }

            fn visit_str<E: serde::de::Error>(self, merge: &str) -> Result<Merge, E> {
                Merge::parse(merge).ok_or_else(|| E::custom(format!("merge {merge:?} is not two pieces")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
                match (seq.next_element()?, seq.next_element()?, seq.next_element::<String>()?) {
                    (Some(left), Some(right), None) => Ok(Merge(left, right)),
                    _ => Err(A::Error::custom("a merge takes exactly two pieces")),
                }
            }
        }
        deserializer.deserialize_any(MergeVisitor)
    }
}

impl Merge {
    /// Splits `"a b"`; `None` unless there is exactly one space and something on both of its sides.
    pub(super) fn parse(merge: &str) -> Option<Self> {
        let (left, right) = merge.split_once(' ')?;
        (!left.is_empty() && !right.is_empty() && !right.contains(' '))
            .then(|| Self(left.into(), right.into()))
    }
}

/// A byte-pair encoding model that several pipelines can hold at once.
#[derive(Clone)]
pub(super) struct SharedModel(Arc<BPE>);

impl Model for SharedModel {
    type Trainer = BpeTrainer;

    fn tokenize(&self, sequence: &str) -> tokenizers::Result<Vec<Token>> {
        self.0.tokenize(sequence)
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.0.token_to_id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.0.id_to_token(id)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        self.0.get_vocab()
    }

    fn get_vocab_size(&self) -> usize {
        self.0.get_vocab_size()
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        self.0.save(folder, prefix)
    }

    fn get_trainer(&self) -> BpeTrainer {
        self.0.get_trainer()
    }
}
