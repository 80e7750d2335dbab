//! Qwen 3's mixtures of experts: <https://arxiv.org/abs/2505.09388>.
//!
//! What makes it itself: Qwen 3's attention, and in the place of the feed-forward layer many small ones, a few of which a
//! router picks for each token. Single layers may stay dense.

use super::decoder::{self, AttentionBias, Family, Sliding};
use super::{LanguageModel, Source};
use crate::Result;

const QWEN3_MOE: Family = Family {
    model_type: "qwen3_moe",
    class: "Qwen3MoeForCausalLM",
    gguf: "qwen3moe",
    qk_norm: true,
    bias: AttentionBias::Configured,
    head_dim: None,
    experts: true,
    sliding: Sliding::All,
    context: 32_768,
    pairs_neighbours: false,
};

pub(super) fn load(source: &Source<'_>) -> Result<Box<dyn LanguageModel>> {
    decoder::load(&QWEN3_MOE, source)
}
