//! Activation functions, element by element. The results have the dtype of `x`, which must be a floating one.

use crate::kernels::{self, Gate};
use crate::{Array, Error, Result};

/// `max(x, 0)`
///
/// # Errors
/// When `x` is not of a floating dtype.
pub fn relu(x: &Array) -> Result<Array> {
    x.maximum(&scalar("relu", x, 0.0)?)
}

/// `max(x, slope * x)`, for a slope between 0 and 1. (Maas et al., 2013)
///
/// # Errors
/// When `x` is not of a floating dtype.
pub fn leaky_relu(x: &Array, slope: f32) -> Result<Array> {
    x.maximum(&x.multiply(&scalar("leaky_relu", x, slope)?)?)
}

/// `ln(1 + e^x)`, without overflow.
///
/// # Errors
/// When `x` is not of a floating dtype.
pub fn softplus(x: &Array) -> Result<Array> {
    x.logaddexp(&scalar("softplus", x, 0.0)?)
}

/// SiLU, also called swish: `x / (1 + e^-x)`. (Hendrycks and Gimpel, 2016)
///
/// # Errors
/// When `x` is not of a floating dtype.
#[doc(alias = "swish")]
pub fn silu(x: &Array) -> Result<Array> {
    require_float("silu", x)?;
    x.multiply(&x.sigmoid()?)
}

/// `silu(gate) * x`, the gated unit of Llama's and Qwen's layers. (Shazeer, 2020)
///
/// # Errors
/// When the shapes cannot be broadcast together, or `gate` is not of a floating dtype.
pub fn swiglu(gate: &Array, x: &Array) -> Result<Array> {
    kernels::gated(Gate::Silu, gate, x).unwrap_or_else(|| silu(gate)?.multiply(x))
}

/// `gelu_tanh(gate) * x`, the gated unit of Gemma's layers. (Shazeer, 2020)
///
/// # Errors
/// When the shapes cannot be broadcast together, or `gate` is not of a floating dtype.
pub fn geglu_tanh(gate: &Array, x: &Array) -> Result<Array> {
    kernels::gated(Gate::GeluTanh, gate, x).unwrap_or_else(|| gelu_tanh(gate)?.multiply(x))
}

/// GELU: `x Φ(x) = x (1 + erf(x / √2)) / 2`. (Hendrycks and Gimpel, 2016)
///
/// # Errors
/// When `x` is not of a floating dtype.
pub fn gelu(x: &Array) -> Result<Array> {
    let scalar = |value| scalar("gelu", x, value);
    let twice = x.multiply(&scalar(std::f32::consts::FRAC_1_SQRT_2)?)?.erf()?.add(&scalar(1.0)?)?;
    x.multiply(&twice)?.multiply(&scalar(0.5)?)
}

/// GELU in its tanh form: `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`. (Hendrycks and Gimpel, 2016)
///
/// # Errors
/// When `x` is not of a floating dtype.
pub fn gelu_tanh(x: &Array) -> Result<Array> {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let scalar = |value| scalar("gelu_tanh", x, value);
    let cube = x.square()?.multiply(x)?;
    let inner = x.add(&cube.multiply(&scalar(0.044_715)?)?)?.multiply(&scalar(SQRT_2_OVER_PI)?)?;
    let gate = inner.tanh()?.add(&scalar(1.0)?)?;
    x.multiply(&scalar(0.5)?)?.multiply(&gate)
}

/// GELU in its sigmoid form: `x / (1 + e^(-1.702 x))`. (Hendrycks and Gimpel, 2016)
///
/// # Errors
/// When `x` is not of a floating dtype.
pub fn gelu_quick(x: &Array) -> Result<Array> {
    x.multiply(&x.multiply(&scalar("gelu_quick", x, 1.702)?)?.sigmoid()?)
}

/// A factor in the dtype of `x`, which has fractions.
fn scalar(op: &'static str, x: &Array, value: f32) -> Result<Array> {
    require_float(op, x)?;
    x.scalar_like(value)
}

fn require_float(op: &'static str, x: &Array) -> Result<()> {
    if x.dtype().is_float() {
        return Ok(());
    }
    Err(Error::Shape { op, message: format!("{} does not hold floating-point numbers", x.describe()) })
}
