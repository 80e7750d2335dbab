//! Matrix products with signatures of their own.

use std::ffi::CStr;

use super::super::{ArrayVector, door};
use super::or_none;
use crate::{Array, Result};

pub(crate) fn matmul(a: &Array, b: &Array) -> Result<Array> {
    door::binary("matmul", mlx_sys::mlx_matmul, a, b)
}

pub(crate) fn addmm(c: &Array, a: &Array, b: &Array, alpha: f32, beta: f32) -> Result<Array> {
    door::call("addmm", &[c, a, b], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_addmm(out, c.raw(), a.raw(), b.raw(), alpha, beta, s) }
    })
}

pub(crate) fn vecdot(a: &Array, b: &Array, axis: i32) -> Result<Array> {
    door::call("vecdot", &[a, b], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_vecdot(out, a.raw(), b.raw(), axis, s) }
    })
}

pub(crate) fn tensordot(a: &Array, b: &Array, axes: &[i32], other_axes: &[i32]) -> Result<Array> {
    door::call("tensordot", &[a, b], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies as many numbers as each length says.
        unsafe {
            mlx_sys::mlx_tensordot(
                out,
                a.raw(),
                b.raw(),
                axes.as_ptr(),
                axes.len(),
                other_axes.as_ptr(),
                other_axes.len(),
                s,
            )
        }
    })
}

pub(crate) fn einsum(subscripts: &CStr, operands: &[&Array]) -> Result<Array> {
    let vector = ArrayVector::new(operands);
    door::call("einsum", operands, |out, s| {
        // SAFETY: the handles are live for the call and the text is NUL-terminated.
        unsafe { mlx_sys::mlx_einsum(out, subscripts.as_ptr(), vector.as_raw(), s) }
    })
}

/// MLX does not look at the positions: callers have checked them.
pub(crate) fn gather_mm(
    a: &Array,
    b: &Array,
    lhs: Option<&Array>,
    rhs: Option<&Array>,
    sorted: bool,
) -> Result<Array> {
    door::call("gather_mm", &[a, b], |out, s| {
        // SAFETY: the handles are live for the call; an empty list means none.
        unsafe { mlx_sys::mlx_gather_mm(out, a.raw(), b.raw(), or_none(lhs), or_none(rhs), sorted, s) }
    })
}

/// MLX looks neither at the segments nor at the inner axes: callers have checked them.
pub(crate) fn segmented_mm(a: &Array, b: &Array, segments: &Array) -> Result<Array> {
    door::call("segmented_mm", &[a, b, segments], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_segmented_mm(out, a.raw(), b.raw(), segments.raw(), s) }
    })
}

pub(crate) fn block_masked_mm(
    a: &Array,
    b: &Array,
    block_size: i32,
    [out_mask, lhs, rhs]: [Option<&Array>; 3],
) -> Result<Array> {
    door::call("block_masked_mm", &[a, b], |out, s| {
        // SAFETY: the handles are live for the call; an empty mask means none.
        unsafe {
            mlx_sys::mlx_block_masked_mm(
                out,
                a.raw(),
                b.raw(),
                block_size,
                or_none(out_mask),
                or_none(lhs),
                or_none(rhs),
                s,
            )
        }
    })
}
