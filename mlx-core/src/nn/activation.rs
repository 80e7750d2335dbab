//! Activation functions.

use crate::{Array, Result};

/// GELU in its tanh form: `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`. (Hendrycks and Gimpel, 2016)
///
/// # Errors
/// When `x` is not of a floating dtype.
pub fn gelu_tanh(x: &Array) -> Result<Array> {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let cube = x.square()?.multiply(x)?;
    let inner =
        x.add(&cube.multiply(&x.scalar_like(0.044_715)?)?)?.multiply(&x.scalar_like(SQRT_2_OVER_PI)?)?;
    let gate = inner.tanh()?.add(&x.scalar_like(1.0)?)?;
    x.multiply(&x.scalar_like(0.5)?)?.multiply(&gate)
}
