//! Layout and joining.

use std::ffi::c_int;

use mlx_sys::{mlx_array, mlx_stream, mlx_vector_array};

use super::super::array::to_c;
use super::super::{ArrayVector, door};
use crate::{Array, DType, Result};

pub(crate) fn contiguous(a: &Array) -> Result<Array> {
    door::call("contiguous", &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_contiguous(out, a.raw(), false, s) }
    })
}

/// Functions that join arrays along an axis.
pub(crate) type JoinFn = unsafe extern "C" fn(*mut mlx_array, mlx_vector_array, c_int, mlx_stream) -> c_int;

pub(crate) fn join(op: &'static str, f: JoinFn, arrays: &[&Array], axis: i32) -> Result<Array> {
    let vector = ArrayVector::new(arrays);
    door::call(op, arrays, |out, s| {
        // SAFETY: `f` has this exact C signature and the handles are live for the call.
        unsafe { f(out, vector.as_raw(), axis, s) }
    })
}

pub(crate) fn broadcast_arrays(arrays: &[&Array]) -> Result<Vec<Array>> {
    let vector = ArrayVector::new(arrays);
    door::call_many("broadcast_arrays", arrays, |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_broadcast_arrays(out, vector.as_raw(), s) }
    })
}

pub(crate) fn meshgrid(arrays: &[&Array], sparse: bool, columns_first: bool) -> Result<Vec<Array>> {
    let vector = ArrayVector::new(arrays);
    let indexing = if columns_first { c"xy" } else { c"ij" };
    door::call_many("meshgrid", arrays, |out, s| {
        // SAFETY: the handles are live for the call and the word is a NUL-terminated constant.
        unsafe { mlx_sys::mlx_meshgrid(out, vector.as_raw(), sparse, indexing.as_ptr(), s) }
    })
}

/// Callers have checked that the strides reach only elements of `a`.
pub(crate) fn as_strided(a: &Array, shape: &[i32], strides: &[i64], offset: usize) -> Result<Array> {
    door::call("as_strided", &[a], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies as many numbers as each length says.
        unsafe {
            mlx_sys::mlx_as_strided(
                out,
                a.raw(),
                shape.as_ptr(),
                shape.len(),
                strides.as_ptr(),
                strides.len(),
                offset,
                s,
            )
        }
    })
}

pub(crate) fn unflatten(a: &Array, axis: i32, shape: &[i32]) -> Result<Array> {
    door::call("unflatten", &[a], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `shape.len()` numbers.
        unsafe { mlx_sys::mlx_unflatten(out, a.raw(), axis, shape.as_ptr(), shape.len(), s) }
    })
}

pub(crate) fn pad(a: &Array, axes: &[i32], before: &[i32], after: &[i32], value: &Array) -> Result<Array> {
    door::call("pad", &[a, value], |out, s| {
        // SAFETY: the handles are live, the mode is NUL-terminated, and mlx-c copies as many numbers as each length says.
        unsafe {
            mlx_sys::mlx_pad(
                out,
                a.raw(),
                axes.as_ptr(),
                axes.len(),
                before.as_ptr(),
                before.len(),
                after.as_ptr(),
                after.len(),
                value.raw(),
                c"constant".as_ptr(),
                s,
            )
        }
    })
}

pub(crate) fn diagonal(a: &Array, offset: i32, first: i32, second: i32) -> Result<Array> {
    door::call("diagonal", &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_diagonal(out, a.raw(), offset, first, second, s) }
    })
}

pub(crate) fn trace(a: &Array, offset: i32, first: i32, second: i32, dtype: DType) -> Result<Array> {
    door::call("trace", &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_trace_axes(out, a.raw(), offset, first, second, to_c(dtype), s) }
    })
}
