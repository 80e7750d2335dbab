//! Losses: what training makes small.

use crate::ops::positions::{Limit, inside};
use crate::{Array, DType, Error, Result, ffi, select};

/// What becomes of the losses of single predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// They stay as they are.
    None,
    /// Their sum.
    Sum,
    /// Their mean, weighted where there are weights. Of no predictions, or only of weight 0, it is 0.
    #[default]
    Mean,
}

/// Options of [`cross_entropy`].
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropy<'a> {
    /// A factor for each prediction, in the shape of the targets: a mask of booleans, or numbers.
    ///
    /// Where it is 0 the prediction does not count at all, even if its loss is infinite. Its target must be a class all the
    /// same: put 0 where others write -100. No weight may be negative.
    pub weights: Option<&'a Array>,
    /// The part of a target's probability that is spread evenly over all classes; at least 0 and below 1.
    pub label_smoothing: f32,
    /// What becomes of the losses.
    pub reduction: Reduction,
}

/// Cross entropy between the softmax of `logits` and the classes `targets`: `ln Σ e^logits - logits[target]`.
///
/// # Shapes
/// `logits` `[.., V]` and `targets` `[..]`, which are integers from 0 to below `V`. The losses are `[..]`, or a scalar
/// where they are reduced; they are computed in float32 whatever the dtype of the logits, and without overflow.
///
/// The mean is `Σ weight * loss / Σ weight`, where Python's MLX divides by the number of predictions. To train on one batch in several parts, use [`Reduction::Sum`] and divide by
/// the weight of the whole batch.
///
/// ```
/// use mlx_core::Array;
/// use mlx_core::loss::{CrossEntropy, cross_entropy};
///
/// let logits = Array::from_slice(&[0.0f32, 0.0, 50.0, 0.0], &[2, 2])?;
/// let (targets, mask) = (Array::from_slice(&[0, 0], &[2])?, Array::from_slice(&[true, false], &[2])?);
/// let options = CrossEntropy { weights: Some(&mask), ..Default::default() };
/// assert_eq!(cross_entropy(&logits, &targets, options)?.item::<f32>()?, 2.0f32.ln());
/// # Ok::<(), mlx_core::Error>(())
/// ```
///
/// # Errors
/// When the shapes or the dtypes are others, or a target is no class: at once if the targets are computed already, else
/// when they are.
#[doc(alias = "mlx_fast_cross_entropy")]
pub fn cross_entropy(logits: &Array, targets: &Array, options: CrossEntropy<'_>) -> Result<Array> {
    const OP: &str = "cross_entropy";
    let CrossEntropy { weights, label_smoothing, reduction } = options;
    require_float(OP, logits)?;
    if !(0.0..1.0).contains(&label_smoothing) {
        return Err(refuse(OP, format!("label smoothing {label_smoothing} is not at least 0 and below 1")));
    }
    let classes = logits.axis_length(OP, -1)?;
    if logits.shape().split_last().is_none_or(|(_, shape)| shape != targets.shape()) {
        let message = format!("targets {} for logits {}", targets.describe(), logits.describe());
        return Err(refuse(OP, message));
    }
    if !targets.dtype().is_integer() {
        return Err(refuse(OP, format!("targets are integers, not {}", targets.dtype())));
    }
    let targets = &inside(OP, targets, &[Limit::classes(classes)])?;
    let losses = match targets.size() {
        // A maximum of nothing does not exist.
        0 => Array::zeros(targets.shape(), DType::F32)?,
        _ => smoothed(logits, targets, label_smoothing)?,
    };
    reduce(OP, &losses, weights, reduction)
}

/// Losses of at least one prediction, in float32.
fn smoothed(logits: &Array, targets: &Array, smoothing: f32) -> Result<Array> {
    // MLX computes in the logits' dtype, and loses the difference between large ones unless the largest is taken off first.
    let logits = logits.as_type(DType::F32)?;
    let logits = logits.subtract(&logits.max(-1, true)?.stop_gradient()?)?;
    let losses = ffi::ops::cross_entropy(&logits, targets)?;
    if smoothing == 0.0 {
        return Ok(losses);
    }
    let spread = logits.logsumexp(-1, false)?.subtract(&logits.mean(-1, false)?)?;
    losses.multiply(&Array::scalar(1.0 - smoothing)?)?.add(&spread.multiply(&Array::scalar(smoothing)?)?)
}

/// Mean squared error, `(predictions - targets)²`, between arrays of one shape.
///
/// 16-bit numbers are computed in float32, and so is the result.
///
/// # Errors
/// When the shapes differ, or an operand is not of a floating dtype.
pub fn mse(predictions: &Array, targets: &Array, reduction: Reduction) -> Result<Array> {
    const OP: &str = "mse";
    // MLX would repeat one of them to make it fit.
    if predictions.shape() != targets.shape() {
        let message = format!("targets {} for predictions {}", targets.describe(), predictions.describe());
        return Err(refuse(OP, message));
    }
    require_float(OP, predictions)?;
    require_float(OP, targets)?;
    reduce(OP, &wide(predictions)?.subtract(&wide(targets)?)?.square()?, None, reduction)
}

fn wide(a: &Array) -> Result<Array> {
    a.as_type(if a.dtype() == DType::F64 { DType::F64 } else { DType::F32 })
}

fn reduce(op: &'static str, losses: &Array, weights: Option<&Array>, reduction: Reduction) -> Result<Array> {
    let Some(weights) = weights else {
        return match reduction {
            Reduction::None => Ok(losses.clone()),
            Reduction::Mean if losses.size() > 0 => losses.mean(.., false),
            Reduction::Sum | Reduction::Mean => losses.sum(.., false),
        };
    };
    if weights.shape() != losses.shape() {
        let message = format!("weights {} for losses {}", weights.describe(), losses.describe());
        return Err(refuse(op, message));
    }
    let weights = weights.as_type(losses.dtype())?;
    let zero = losses.scalar_like(0.0)?;
    // Infinity times 0 is not 0.
    let counted = select(&weights.equal(&zero)?, &zero, losses)?.multiply(&weights)?;
    match reduction {
        Reduction::None => Ok(counted),
        Reduction::Sum => counted.sum(.., false),
        Reduction::Mean => {
            let total = weights.sum(.., false)?;
            let total = select(&total.equal(&zero)?, &losses.scalar_like(1.0)?, &total)?;
            counted.sum(.., false)?.divide(&total)
        }
    }
}

fn require_float(op: &'static str, a: &Array) -> Result<()> {
    if a.dtype().is_float() {
        return Ok(());
    }
    Err(refuse(op, format!("{} does not hold floating-point numbers", a.describe())))
}

fn refuse(op: &'static str, message: String) -> Error {
    Error::Shape { op, message }
}
