//! The output head: from hidden states to logits.

use mlx_core::Array;
use mlx_core::nn::{self, Embedding, Linear};

use crate::Result;
use crate::checkpoint::Weights;

/// What it means that a checkpoint has no head of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::models) enum Tying {
    /// The embeddings are the head.
    Tied,
    /// The head is missing.
    Untied,
}

/// A matrix of its own, or the embeddings once more.
pub(in crate::models) struct OutputHead {
    lm_head: Option<Linear>,
}

nn::module! { OutputHead { lm_head } }

impl OutputHead {
    /// Takes the head of `[V, D]`, if there is one.
    ///
    /// A head that is there is used, whatever the configuration says, as transformers does since version 5; one that equals
    /// the embeddings is not kept twice.
    pub(in crate::models) fn new(
        weights: &mut Weights<'_>,
        embed_tokens: &Embedding,
        shape: [usize; 2],
        tying: Tying,
    ) -> Result<Self> {
        let lm_head = if weights.has("lm_head.weight") || tying == Tying::Untied {
            weights.matrix_apart_from(&embed_tokens.weight, "lm_head.weight", shape)?
        } else {
            None
        };
        Ok(OutputHead { lm_head: lm_head.map(|weight| Linear::new(weight, None)) })
    }

    /// `[B, L, D] -> [B, L, V]`
    pub(in crate::models) fn forward(&self, hidden: &Array, embed_tokens: &Embedding) -> Result<Array> {
        Ok(match &self.lm_head {
            Some(lm_head) => lm_head.forward(hidden)?,
            None => embed_tokens.as_linear(hidden)?,
        })
    }
}
