//! Qwen 3: <https://arxiv.org/abs/2505.09388>.
//!
//! What makes it itself: queries and keys go through an RMSNorm over the features of each head, in the place of Qwen 2's
//! biases; heads are 128 wide, whatever the width of the model.

use mlx_core::DType;

use super::LanguageModel;
use super::decoder::{self, AttentionBias, Family};
use crate::{Checkpoint, Result};

const QWEN3: Family = Family {
    model_type: "qwen3",
    gguf: "qwen3",
    qk_norm: true,
    bias: AttentionBias::Configured,
    head_dim: Some(128),
    experts: false,
    pairs_neighbours: false,
};

pub(super) fn load(checkpoint: &Checkpoint, dtype: Option<DType>) -> Result<Box<dyn LanguageModel>> {
    decoder::load(&QWEN3, checkpoint, dtype)
}
