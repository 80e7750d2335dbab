//! Picking and placing elements by position. MLX does not look at positions: callers have checked them.

use mlx_sys::{mlx_array, mlx_stream, mlx_vector_array};

use std::ffi::c_int;

use super::super::{ArrayVector, door};
use crate::{Array, Result};

pub(crate) fn take(a: &Array, positions: &Array, axis: i32) -> Result<Array> {
    door::call("take", &[a, positions], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_take_axis(out, a.raw(), positions.raw(), axis, s) }
    })
}

pub(crate) fn take_along(a: &Array, positions: &Array, axis: i32) -> Result<Array> {
    door::call("take_along", &[a, positions], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_take_along_axis(out, a.raw(), positions.raw(), axis, s) }
    })
}

/// Functions that place values along an axis.
pub(crate) type AlongFn =
    unsafe extern "C" fn(*mut mlx_array, mlx_array, mlx_array, mlx_array, c_int, mlx_stream) -> c_int;

pub(crate) fn place_along(
    op: &'static str,
    f: AlongFn,
    a: &Array,
    positions: &Array,
    values: &Array,
    axis: i32,
) -> Result<Array> {
    door::call(op, &[a, positions, values], |out, s| {
        // SAFETY: `f` has this exact C signature and the handles are live for the call.
        unsafe { f(out, a.raw(), positions.raw(), values.raw(), axis, s) }
    })
}

pub(crate) fn gather(a: &Array, positions: &[&Array], axes: &[i32], sizes: &[i32]) -> Result<Array> {
    let vector = ArrayVector::new(positions);
    door::call("gather", &[a], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies as many numbers as each length says.
        unsafe {
            mlx_sys::mlx_gather(
                out,
                a.raw(),
                vector.as_raw(),
                axes.as_ptr(),
                axes.len(),
                sizes.as_ptr(),
                sizes.len(),
                s,
            )
        }
    })
}

/// The functions that scatter, one for each way to join old and new elements.
pub(crate) type ScatterFn = unsafe extern "C" fn(
    *mut mlx_array,
    mlx_array,
    mlx_vector_array,
    mlx_array,
    *const c_int,
    usize,
    mlx_stream,
) -> c_int;

pub(crate) fn scatter(
    f: ScatterFn,
    a: &Array,
    positions: &[&Array],
    updates: &Array,
    axes: &[i32],
) -> Result<Array> {
    let vector = ArrayVector::new(positions);
    door::call("scatter", &[a, updates], |out, s| {
        // SAFETY: `f` has this exact C signature; the handles are live, and mlx-c copies the `axes.len()` numbers.
        unsafe { f(out, a.raw(), vector.as_raw(), updates.raw(), axes.as_ptr(), axes.len(), s) }
    })
}

pub(crate) fn masked_scatter(a: &Array, mask: &Array, values: &Array) -> Result<Array> {
    door::call("masked_scatter", &[a, mask, values], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_masked_scatter(out, a.raw(), mask.raw(), values.raw(), s) }
    })
}
