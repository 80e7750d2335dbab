//! Qwen 3: <https://arxiv.org/abs/2505.09388>.
//!
//! What makes it itself: queries and keys go through an RMSNorm over the features of each head, in the place of Qwen 2's
//! biases; heads are 128 wide, whatever the width of the model.

use super::decoder::{self, AttentionBias, Family, Sliding};
use super::{LanguageModel, Source};
use crate::Result;

const QWEN3: Family = Family {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    gguf: "qwen3",
    qk_norm: true,
    bias: AttentionBias::Configured,
    head_dim: Some(128),
    experts: false,
    sliding: Sliding::Upper,
    context: 32_768,
    pairs_neighbours: false,
};

pub(super) fn load(source: &Source<'_>) -> Result<Box<dyn LanguageModel>> {
    decoder::load(&QWEN3, source)
}
