//! Slices, by numbers that are known and by positions that are computed.

use std::ffi::c_int;

use mlx_sys::{mlx_array, mlx_stream};

use super::super::door;
use crate::{Array, Result};

/// Where a slice lies: one number for each axis. Callers have checked that it lies inside, and that no step is 0.
pub(crate) struct Range<'a> {
    pub(crate) start: &'a [i32],
    pub(crate) stop: &'a [i32],
    pub(crate) step: &'a [i32],
}

pub(crate) fn slice(a: &Array, Range { start, stop, step }: Range<'_>) -> Result<Array> {
    door::call("slice", &[a], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies as many numbers as each length says.
        unsafe {
            mlx_sys::mlx_slice(
                out,
                a.raw(),
                start.as_ptr(),
                start.len(),
                stop.as_ptr(),
                stop.len(),
                step.as_ptr(),
                step.len(),
                s,
            )
        }
    })
}

/// The functions that update a slice, one for each way to join old and new elements.
pub(crate) type SliceUpdateFn = unsafe extern "C" fn(
    *mut mlx_array,
    mlx_array,
    mlx_array,
    *const c_int,
    usize,
    *const c_int,
    usize,
    *const c_int,
    usize,
    mlx_stream,
) -> c_int;

pub(crate) fn slice_update(
    f: SliceUpdateFn,
    a: &Array,
    update: &Array,
    Range { start, stop, step }: Range<'_>,
) -> Result<Array> {
    door::call("slice_update", &[a, update], |out, s| {
        // SAFETY: `f` has this exact C signature; the handles are live, and mlx-c copies as many numbers as each length
        // says.
        unsafe {
            f(
                out,
                a.raw(),
                update.raw(),
                start.as_ptr(),
                start.len(),
                stop.as_ptr(),
                stop.len(),
                step.as_ptr(),
                step.len(),
                s,
            )
        }
    })
}

/// MLX does not look at `start`: callers have checked that the slice lies inside.
pub(crate) fn slice_dynamic(a: &Array, start: &Array, axes: &[i32], sizes: &[i32]) -> Result<Array> {
    door::call("slice_dynamic", &[a, start], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies as many numbers as each length says.
        unsafe {
            mlx_sys::mlx_slice_dynamic(
                out,
                a.raw(),
                start.raw(),
                axes.as_ptr(),
                axes.len(),
                sizes.as_ptr(),
                sizes.len(),
                s,
            )
        }
    })
}

/// As [`slice_dynamic`].
pub(crate) fn slice_update_dynamic(a: &Array, update: &Array, start: &Array, axes: &[i32]) -> Result<Array> {
    door::call("slice_update_dynamic", &[a, update, start], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `axes.len()` numbers.
        unsafe {
            mlx_sys::mlx_slice_update_dynamic(
                out,
                a.raw(),
                update.raw(),
                start.raw(),
                axes.as_ptr(),
                axes.len(),
                s,
            )
        }
    })
}
