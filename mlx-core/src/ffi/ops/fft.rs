//! Fourier transforms.

use std::ffi::c_int;

use mlx_sys::{mlx_array, mlx_fft_norm, mlx_stream};

use super::super::door;
use crate::{Array, Result};

type TransformFn = unsafe extern "C" fn(
    *mut mlx_array,
    mlx_array,
    *const c_int,
    usize,
    *const c_int,
    usize,
    mlx_fft_norm,
    mlx_stream,
) -> c_int;
pub(crate) type FrequenciesFn = unsafe extern "C" fn(*mut mlx_array, c_int, f64, mlx_stream) -> c_int;

/// `out = f(a, lengths, axes, norm)`
pub(crate) fn transform(
    op: &'static str,
    f: TransformFn,
    a: &Array,
    lengths: &[i32],
    axes: &[i32],
    norm: mlx_fft_norm,
) -> Result<Array> {
    door::call(op, &[a], |out, s| {
        // SAFETY: `f` has this exact C signature; the handles are live, and mlx-c copies as many numbers as each length
        // says.
        unsafe { f(out, a.raw(), lengths.as_ptr(), lengths.len(), axes.as_ptr(), axes.len(), norm, s) }
    })
}

/// `out = f(n, d)`
pub(crate) fn frequencies(op: &'static str, f: FrequenciesFn, n: i32, d: f64) -> Result<Array> {
    door::call(op, &[], |out, s| {
        // SAFETY: `f` has this exact C signature; `out` is live.
        unsafe { f(out, n, d, s) }
    })
}
