//! A look inside: what attention is computed from.

use crate::{Prompt, Result};
use std::fmt;

/// A model that shows the keys and queries of its attention layers.
///
/// Reached by [`TextModel::attention_inspector`](crate::TextModel::attention_inspector).
pub trait AttentionInspector: Send + Sync {
    /// Reads `prompt` and gives the vectors of every layer. Nothing is generated.
    ///
    /// **Blocking**: for a prefill, after what the model does already. Memory grows with the length of the prompt times
    /// all layers and heads.
    ///
    /// # Errors
    /// As [`TextModel::generate`](crate::TextModel::generate).
    fn inspect_attention(&self, prompt: Prompt) -> Result<AttentionSnapshot>;
}

impl fmt::Debug for dyn AttentionInspector + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttentionInspector")
    }
}

/// Keys and queries of a prompt, layer by layer, as the scores are computed from them: after norms and positions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttentionSnapshot {
    /// The tokens that were read.
    pub tokens: Vec<u32>,
    /// The layers, the lowest first.
    pub layers: Vec<AttentionVectors>,
}

/// The vectors of one layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttentionVectors {
    /// Query heads. Each group of `query_heads / key_heads` of them shares a key head.
    pub query_heads: usize,
    /// Key heads.
    pub key_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// How many positions a token sees, its own included, where that is limited.
    pub window: Option<usize>,
    /// Queries, `[query_heads, tokens, head_dim]`, the last axis the fastest.
    pub queries: Vec<f32>,
    /// Keys, `[key_heads, tokens, head_dim]`, the last axis the fastest.
    pub keys: Vec<f32>,
}

impl AttentionVectors {
    /// The key of `head` at `position`, `head_dim` numbers; `None` when there is no such one.
    pub fn key(&self, head: usize, position: usize) -> Option<&[f32]> {
        vector(&self.keys, self.key_heads, self.head_dim, head, position)
    }

    /// The query of `head` at `position`, `head_dim` numbers; `None` when there is no such one.
    pub fn query(&self, head: usize, position: usize) -> Option<&[f32]> {
        vector(&self.queries, self.query_heads, self.head_dim, head, position)
    }
}

fn vector(values: &[f32], heads: usize, width: usize, head: usize, position: usize) -> Option<&[f32]> {
    let positions = values.len().checked_div(heads.checked_mul(width)?)?;
    let row = (head < heads && position < positions).then_some(head * positions + position)?;
    values.get(row * width..(row + 1) * width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_found_by_head_and_position() {
        let layer = AttentionVectors {
            query_heads: 1,
            key_heads: 2,
            head_dim: 2,
            keys: (0..12).map(|n| n as f32).collect(),
            ..AttentionVectors::default()
        };
        assert_eq!(layer.key(1, 2), Some(&[10.0, 11.0][..]));
        assert_eq!((layer.key(2, 0), layer.key(0, 3)), (None, None));
        assert_eq!((layer.query(0, 0), AttentionVectors::default().key(0, 0)), (None, None));
    }
}
