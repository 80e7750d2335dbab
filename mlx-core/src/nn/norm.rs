//! Normalization over the last axis.

use crate::{Array, DType, Result, kernels};

/// RMSNorm, `[.., D] -> [.., D]`: `y = x / √(mean(x²) + eps) * weight`. (Zhang and Sennrich, 2019)
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// `[D]`
    pub weight: Array,
    /// Added to the mean square, against division by zero.
    pub eps: f32,
}

impl RmsNorm {
    /// A layer that only normalizes until it is trained: its weight is 1.
    ///
    /// # Errors
    /// When `dims` is negative.
    pub fn init(dims: i32, eps: f32) -> Result<Self> {
        Ok(RmsNorm { weight: Array::full(&[dims], 1.0f32)?, eps })
    }

    /// Normalizes the last axis.
    ///
    /// # Errors
    /// When the last axis of `x` is not as long as the weight.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        x.rms_norm(Some(&self.weight), self.eps)
    }

    /// `residual + forward(x)`: what closes a block that normalizes its output.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and when the shapes cannot be broadcast together.
    pub fn forward_onto(&self, residual: &Array, x: &Array) -> Result<Array> {
        kernels::add_rms_norm(x, &self.weight, self.eps, residual)
            .unwrap_or_else(|| residual.add(&self.forward(x)?))
    }
}

super::module! { RmsNorm { weight; eps } }

/// Layer normalization, `[.., D] -> [.., D]`: `y = (x - mean(x)) / √(var(x) + eps) * weight + bias`. (Ba et al., 2016)
///
/// ```
/// use mlx_core::{Array, nn::LayerNorm};
///
/// let norm = LayerNorm::init(2, 0.0)?;
/// let y = norm.forward(&Array::from_slice(&[1.0f32, 5.0], &[2])?)?;
/// assert_eq!(y.to_vec::<f32>()?, [-1.0, 1.0]);
/// # Ok::<(), mlx_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// `[D]`
    pub weight: Option<Array>,
    /// `[D]`
    pub bias: Option<Array>,
    /// Added to the variance, against division by zero.
    pub eps: f32,
}

impl LayerNorm {
    /// A layer that only normalizes until it is trained: its weight is 1 and its bias 0.
    ///
    /// # Errors
    /// When `dims` is negative.
    pub fn init(dims: i32, eps: f32) -> Result<Self> {
        let (weight, bias) = (Array::full(&[dims], 1.0f32)?, Array::zeros(&[dims], DType::F32)?);
        Ok(LayerNorm { weight: Some(weight), bias: Some(bias), eps })
    }

    /// Normalizes the last axis.
    ///
    /// # Errors
    /// When the last axis of `x` is not as long as the weight and the bias.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        x.layer_norm(self.weight.as_ref(), self.bias.as_ref(), self.eps)
    }
}

super::module! { LayerNorm { weight, bias; eps } }
