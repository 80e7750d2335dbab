//! Qwen 2 and 2.5: <https://arxiv.org/abs/2412.15115>.
//!
//! What makes it itself: queries, keys and values have a bias, and some models let their upper layers slide.

use mlx_core::DType;

use super::LanguageModel;
use super::decoder::{self, AttentionBias, Family};
use crate::{Checkpoint, Result};

const QWEN2: Family = Family {
    model_type: "qwen2",
    gguf: "qwen2",
    qk_norm: false,
    bias: AttentionBias::QueriesKeysValues,
    head_dim: None,
    experts: false,
    pairs_neighbours: false,
};

pub(super) fn load(checkpoint: &Checkpoint, dtype: Option<DType>) -> Result<Box<dyn LanguageModel>> {
    decoder::load(&QWEN2, checkpoint, dtype)
}
