//! Layout, joining and slicing.

use super::super::{ArrayVector, door};
use crate::{Array, Result};

pub(crate) fn contiguous(a: &Array) -> Result<Array> {
    door::call("contiguous", &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_contiguous(out, a.raw(), false, s) }
    })
}

pub(crate) fn concatenate(arrays: &[&Array], axis: i32) -> Result<Array> {
    let vector = ArrayVector::new(arrays);
    door::call("concatenate", arrays, |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_concatenate_axis(out, vector.as_raw(), axis, s) }
    })
}

/// MLX checks the lengths of the lists, and clips ranges that lie outside.
pub(crate) fn slice(a: &Array, start: &[i32], stop: &[i32], step: &[i32]) -> Result<Array> {
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

/// MLX checks the lengths of the lists and the shape of `update`, which it broadcasts.
pub(crate) fn slice_update(a: &Array, update: &Array, start: &[i32], stop: &[i32]) -> Result<Array> {
    let step = vec![1; start.len()];
    door::call("slice_update", &[a, update], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies as many numbers as each length says.
        unsafe {
            mlx_sys::mlx_slice_update(
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
