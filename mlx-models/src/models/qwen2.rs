//! Qwen 2 and 2.5: <https://arxiv.org/abs/2412.15115>.
//!
//! What makes it itself: queries, keys and values have a bias, and some models let their upper layers slide.

use super::decoder::{self, AttentionBias, Family, Sliding};
use super::{LanguageModel, Source};
use crate::Result;

const QWEN2: Family = Family {
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    gguf: "qwen2",
    qk_norm: false,
    bias: AttentionBias::QueriesKeysValues,
    head_dim: None,
    experts: false,
    sliding: Sliding::Upper,
    context: 32_768,
    pairs_neighbours: false,
};

pub(super) fn load(source: &Source<'_>) -> Result<Box<dyn LanguageModel>> {
    decoder::load(&QWEN2, source)
}
