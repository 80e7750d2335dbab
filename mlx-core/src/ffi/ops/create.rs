//! Arrays out of nothing.

use super::super::array::to_c;
use super::super::door;
use crate::{Array, DType, Result};

pub(crate) fn zeros(shape: &[i32], dtype: DType) -> Result<Array> {
    door::call("zeros", &[], |out, s| {
        // SAFETY: `out` is live, and mlx-c copies the `shape.len()` numbers.
        unsafe { mlx_sys::mlx_zeros(out, shape.as_ptr(), shape.len(), to_c(dtype), s) }
    })
}

pub(crate) fn full(shape: &[i32], value: &Array, dtype: DType) -> Result<Array> {
    door::call("full", &[value], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `shape.len()` numbers.
        unsafe { mlx_sys::mlx_full(out, shape.as_ptr(), shape.len(), value.raw(), to_c(dtype), s) }
    })
}

pub(crate) fn arange(start: f64, stop: f64, step: f64, dtype: DType) -> Result<Array> {
    door::call("arange", &[], |out, s| {
        // SAFETY: `out` is live.
        unsafe { mlx_sys::mlx_arange(out, start, stop, step, to_c(dtype), s) }
    })
}

pub(crate) fn linspace(start: f64, stop: f64, count: i32, endpoint: bool, dtype: DType) -> Result<Array> {
    door::call("linspace", &[], |out, s| {
        // SAFETY: `out` is live.
        unsafe { mlx_sys::mlx_linspace_endpoint(out, start, stop, count, endpoint, to_c(dtype), s) }
    })
}

pub(crate) fn eye(rows: i32, columns: i32, diagonal: i32, dtype: DType) -> Result<Array> {
    door::call("eye", &[], |out, s| {
        // SAFETY: `out` is live.
        unsafe { mlx_sys::mlx_eye(out, rows, columns, diagonal, to_c(dtype), s) }
    })
}

pub(crate) fn tri(rows: i32, columns: i32, diagonal: i32, dtype: DType) -> Result<Array> {
    door::call("tri", &[], |out, s| {
        // SAFETY: `out` is live.
        unsafe { mlx_sys::mlx_tri(out, rows, columns, diagonal, to_c(dtype), s) }
    })
}
