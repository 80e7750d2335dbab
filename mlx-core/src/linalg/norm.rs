//! Norms of vectors and matrices.

use crate::linalg::guard::{Limit, matrices};
use crate::{Array, Axes, DType, Error, Result, ffi};

/// Which norm [`norm`] computes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Norm {
    /// `√Σ|x|²` over any axes: the length of a vector, the Frobenius norm of a matrix.
    #[default]
    #[doc(alias = "frobenius")]
    #[doc(alias = "fro")]
    L2,
    /// Over one axis `(Σ|x|^p)^(1/p)`; the largest element for `∞`, the smallest for `-∞`, the number of those that are not
    /// zero for 0.
    ///
    /// Over two axes, rows and columns, the operator norm: the largest sum of a column for 1, of a row for `∞`, the
    /// largest singular value for 2; the smallest for the negative of each. No other order is defined there.
    Order(f64),
    /// The sum of the singular values, over two axes.
    Nuclear,
}

/// The norm of vectors (one axis) or matrices (two, rows first). Integers and booleans are measured in float32.
///
/// ```
/// use mlx_core::{Array, linalg::{norm, Norm}};
///
/// let a = Array::from_slice(&[3.0f32, -4.0], &[2])?;
/// assert_eq!(norm(&a, Norm::L2, .., false)?.item::<f32>()?, 5.0);
/// assert_eq!(norm(&a, Norm::Order(1.0), 0, false)?.item::<f32>()?, 7.0);
/// # Ok::<(), mlx_core::Error>(())
/// ```
///
/// # Errors
/// When there is no such axis, one is named twice, the norm is not defined over so many axes, or it is a largest or
/// smallest of nothing. Norms that need singular values are as [`svdvals`](super::svdvals).
#[doc(alias = "mlx_linalg_norm")]
#[doc(alias = "mlx_linalg_norm_matrix")]
#[doc(alias = "mlx_linalg_norm_l2")]
pub fn norm(a: &Array, kind: Norm, axes: impl Axes, keepdims: bool) -> Result<Array> {
    const OP: &str = "linalg::norm";
    let refuse = |message: String| Error::Shape { op: OP, message };
    let axes = axes.list(a.ndim());
    let mut places = Vec::with_capacity(axes.len());
    for axis in axes.iter() {
        a.axis_length(OP, *axis)?;
        let place = if *axis < 0 { *axis + a.ndim() as i32 } else { *axis };
        if places.contains(&place) {
            return Err(refuse(format!("axis {axis} of {} is named twice", a.describe())));
        }
        places.push(place);
    }
    let by_singular_values = match kind {
        Norm::Nuclear => true,
        Norm::Order(order) => places.len() == 2 && order.abs() == 2.0,
        Norm::L2 => false,
    };
    let complex = a.dtype() == DType::Complex64;
    let a = match a.dtype() {
        dtype if dtype.is_float() => a.clone(),
        DType::Complex64 if by_singular_values => a.clone(),
        DType::Complex64 => a.abs()?,
        // Squares of small integers overflow.
        _ => a.as_type(DType::F32)?,
    };
    if by_singular_values {
        matrices(OP, &a, Limit::Elements)?;
    }
    let out = match kind {
        Norm::L2 if places.len() == a.ndim() => ffi::ops::norm_l2(OP, &a, None, keepdims),
        Norm::L2 if places.len() <= 2 => ffi::ops::norm_l2(OP, &a, Some(&places), keepdims),
        // MLX takes at most two axes, though the definition does not care.
        Norm::L2 => a.square()?.sum(&places, keepdims)?.sqrt(),
        Norm::Order(_) if !matches!(places.len(), 1 | 2) => {
            Err(refuse(format!("{kind:?} is defined over one or two axes, not {}", places.len())))
        }
        Norm::Order(order) => ffi::ops::norm(OP, &a, order, &places, keepdims),
        Norm::Nuclear => ffi::ops::norm_matrix(OP, &a, c"nuc", &places, keepdims),
    }?;
    // Singular values are real, which MLX forgets.
    if complex && out.dtype() == DType::Complex64 { out.as_type(DType::F32) } else { Ok(out) }
}
