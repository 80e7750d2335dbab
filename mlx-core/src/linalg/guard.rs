//! What LAPACK must not be given, and what it fails at without a word.

use num_complex::Complex32;

use crate::primitive::{Primitive, Spec, View, ViewMut, apply};
use crate::{Array, DType, Device, Error, Result, select};

/// An array of floating-point numbers and the condition that it is good under: without it, the evaluation fails.
struct Require {
    op: &'static str,
    message: &'static str,
}

impl Primitive for Require {
    fn name(&self) -> &str {
        self.op
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(inputs[1..].to_vec())
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        if inputs[0].elements::<bool>()?.contains(&false) {
            return Err(Error::Shape { op: self.op, message: self.message.to_owned() });
        }
        let (from, to) = (&inputs[1], &mut outputs[0]);
        match from.dtype() {
            DType::F64 => to.as_mut_slice::<f64>()?.copy_from_slice(&from.elements::<f64>()?),
            DType::Complex64 => {
                to.as_mut_slice::<Complex32>()?.copy_from_slice(&from.elements::<Complex32>()?);
            }
            _ => to.as_mut_slice::<f32>()?.copy_from_slice(&from.elements::<f32>()?),
        }
        Ok(())
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<i32>]) -> Result<(Vec<Array>, Vec<i32>)> {
        let require = Require { op: self.op, message: self.message };
        let [out] = apply(require, &[&inputs[0], &inputs[1]])?;
        // The guarded array comes from a decomposition of the array that the condition is about: both have the axis.
        Ok((vec![out], vec![axes[1].unwrap_or(0)]))
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self.message == other.message
    }
}

/// `a`, whose evaluation fails with `message` unless every element of `condition` is true.
pub(crate) fn require(
    op: &'static str,
    message: &'static str,
    condition: &Array,
    a: &Array,
) -> Result<Array> {
    let [out] = apply(Require { op, message }, &[condition, a])?;
    Ok(out)
}

/// Whether each matrix holds finite numbers only, `[.., 1, 1]`, and the matrices with zeros in place of those that do not.
///
/// LAPACK writes outside its memory for some matrices with infinities.
pub(crate) fn finite(a: &Array) -> Result<(Array, Array)> {
    let condition = a.isfinite()?.all([-2, -1], true)?;
    let safe = select(&condition, a, &Array::zeros(&[], a.dtype())?)?;
    Ok((condition, safe))
}

/// Whether the diagonals of square matrices are positive, `[.., 1, 1]`. NaN is not.
pub(crate) fn positive_diagonal(a: &Array) -> Result<Array> {
    let elsewhere = diagonal(a)?.logical_not()?;
    a.greater(&Array::zeros(&[], a.dtype())?)?.logical_or(&elsewhere)?.all([-2, -1], true)
}

/// Where the diagonal of a square matrix is, `[N, N]`.
pub(crate) fn diagonal(a: &Array) -> Result<Array> {
    let positions = Array::arange(0.0, f64::from(a.axis_length("linalg", -1)?), 1.0, DType::I32)?;
    positions.expand_dims([1])?.equal(&positions)
}

/// How large matrices may be.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// Their elements are counted in 32 bits.
    Elements,
    /// The work space, of up to four times the square of the longer side, is too.
    WorkSpace,
}

/// Refuses what is no list of matrices that LAPACK can count the elements of, and devices without LAPACK.
pub(crate) fn matrices(op: &'static str, a: &Array, limit: Limit) -> Result<()> {
    let refuse = |message: String| Err(Error::Shape { op, message });
    if Device::current() == Device::Gpu {
        return refuse("runs on the CPU only; call it inside Device::Cpu.scope".to_owned());
    }
    let &[.., rows, columns] = a.shape() else {
        return refuse(format!("{} is not a matrix or an array of them", a.describe()));
    };
    let side = i64::from(rows.max(columns));
    let too_large = match limit {
        Limit::Elements => false,
        Limit::WorkSpace => {
            let count = (a.size() as i128) / i128::from((i64::from(rows) * i64::from(columns)).max(1));
            side * side > i64::from(i32::MAX / 4) || count * i128::from(side * side) > i128::from(i32::MAX)
        }
    };
    if too_large || a.size() > i32::MAX as usize {
        return refuse(format!("{} is larger than LAPACK counts", a.describe()));
    }
    Ok(())
}

/// [`matrices`] that have elements: where MLX counts matrices by a division.
pub(crate) fn matrices_with_elements(op: &'static str, a: &Array) -> Result<()> {
    matrices(op, a, Limit::Elements)?;
    match a.shape() {
        [.., 0, _] | [.., 0] => {
            Err(Error::Shape { op, message: format!("{} has no elements to work on", a.describe()) })
        }
        _ => Ok(()),
    }
}
