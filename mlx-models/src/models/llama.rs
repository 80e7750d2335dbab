//! Llama 2 and 3: <https://arxiv.org/abs/2407.21783>; also SmolLM2 and others that were made like it.
//!
//! What makes it itself: it is the plain form of the [`decoder`]. Llama 3.1 stretches its rotary embedding by a formula of
//! its own.

use super::decoder::{self, AttentionBias, Family, Sliding};
use super::{LanguageModel, Source};
use crate::Result;

const LLAMA: Family = Family {
    model_type: "llama",
    class: "LlamaForCausalLM",
    gguf: "llama",
    qk_norm: false,
    bias: AttentionBias::Configured,
    head_dim: None,
    experts: false,
    sliding: Sliding::None,
    context: 2048,
    pairs_neighbours: true,
};

pub(super) fn load(source: &Source<'_>) -> Result<Box<dyn LanguageModel>> {
    decoder::load(&LLAMA, source)
}
