//! Root mean square normalization: `y = x / √(mean(x²) + eps) * weight`. (Zhang and Sennrich, 2019)

use crate::{Array, Result};

/// RMSNorm over the last axis, `[.., D] -> [.., D]`.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// `[D]`
    pub weight: Array,
    /// Added to the mean square, against division by zero.
    pub eps: f32,
}

impl RmsNorm {
    /// Normalizes the last axis.
    ///
    /// # Errors
    /// When the last axis of `x` is not as long as the weight.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        x.rms_norm(Some(&self.weight), self.eps)
    }
}
