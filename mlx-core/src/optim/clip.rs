//! Bounds for gradients.

use std::collections::BTreeMap;

use crate::{Array, DType, Error, Result};

/// Scales gradients down so that the norm of all of them together is at most `max_norm`; gives the norm as it was, too.
///
/// `norm = √Σ g²` over all elements, a float32 scalar; the gradients are multiplied by
/// `min(1, max_norm / (norm + 1e-6))`. If one of them is not finite, neither is the norm, and none of them is of any use:
/// read it before taking the step.
///
/// # Errors
/// When `max_norm` is negative or NaN, or a gradient is not of a floating dtype.
pub fn clip_grad_norm(
    gradients: &BTreeMap<String, Array>,
    max_norm: f32,
) -> Result<(BTreeMap<String, Array>, Array)> {
    let refuse = |message| Error::Shape { op: "clip_grad_norm", message };
    if max_norm.is_nan() || max_norm < 0.0 {
        return Err(refuse(format!("max_norm is {max_norm}; it must not be negative")));
    }
    let mut sum = Array::scalar(0.0f32)?;
    for (name, gradient) in gradients {
        if !gradient.dtype().is_float() {
            return Err(refuse(format!("{name} is {}", gradient.describe())));
        }
        // In float32 also where the gradient is float64: the norm decides a factor, not a direction.
        sum = sum.add(&gradient.as_type(DType::F32)?.square()?.sum(.., false)?)?;
    }
    let norm = sum.sqrt()?;
    let one = Array::scalar(1.0f32)?;
    let factor = Array::scalar(max_norm)?.divide(&norm.add(&Array::scalar(1e-6f32)?)?)?.minimum(&one)?;
    let clip = |(name, gradient): (&String, &Array)| {
        Ok((name.clone(), gradient.multiply(&factor.as_type(gradient.dtype())?)?))
    };
    Ok((gradients.iter().map(clip).collect::<Result<_>>()?, norm))
}
