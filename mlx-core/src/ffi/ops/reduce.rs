//! Reductions and running sums with signatures of their own.

use std::ffi::c_int;

use mlx_sys::{mlx_array, mlx_optional_dtype, mlx_stream};

use super::super::array::to_c;
use super::super::door;
use crate::{Array, DType, Result};

pub(crate) fn softmax(a: &Array, axes: &[i32], precise: bool) -> Result<Array> {
    door::axes_flag("softmax", mlx_sys::mlx_softmax_axes, a, axes, precise)
}

/// Variance and standard deviation.
pub(crate) type SpreadFn =
    unsafe extern "C" fn(*mut mlx_array, mlx_array, *const c_int, usize, bool, c_int, mlx_stream) -> c_int;

pub(crate) fn spread(
    op: &'static str,
    f: SpreadFn,
    a: &Array,
    axes: &[i32],
    keepdims: bool,
    ddof: i32,
) -> Result<Array> {
    door::call(op, &[a], |out, s| {
        // SAFETY: `f` has this exact C signature; the handles are live, and mlx-c copies the `axes.len()` numbers.
        unsafe { f(out, a.raw(), axes.as_ptr(), axes.len(), keepdims, ddof, s) }
    })
}

/// Running sums and products.
pub(crate) type ScanFn = unsafe extern "C" fn(
    *mut mlx_array,
    mlx_array,
    c_int,
    bool,
    bool,
    mlx_optional_dtype,
    mlx_stream,
) -> c_int;
/// Other running reductions.
pub(crate) type PlainScanFn =
    unsafe extern "C" fn(*mut mlx_array, mlx_array, c_int, bool, bool, mlx_stream) -> c_int;

pub(crate) fn scan(
    op: &'static str,
    f: ScanFn,
    a: &Array,
    axis: i32,
    reverse: bool,
    inclusive: bool,
) -> Result<Array> {
    let same_dtype = mlx_optional_dtype { value: to_c(a.dtype()), has_value: false };
    door::call(op, &[a], |out, s| {
        // SAFETY: `f` has this exact C signature and the handles are live for the call.
        unsafe { f(out, a.raw(), axis, reverse, inclusive, same_dtype, s) }
    })
}

pub(crate) fn plain_scan(
    op: &'static str,
    f: PlainScanFn,
    a: &Array,
    axis: i32,
    reverse: bool,
    inclusive: bool,
) -> Result<Array> {
    door::call(op, &[a], |out, s| {
        // SAFETY: `f` has this exact C signature and the handles are live for the call.
        unsafe { f(out, a.raw(), axis, reverse, inclusive, s) }
    })
}

pub(crate) fn number_of_elements(a: &Array, axes: &[i32], inverted: bool, dtype: DType) -> Result<Array> {
    door::call("number_of_elements", &[a], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `axes.len()` numbers.
        unsafe {
            mlx_sys::mlx_number_of_elements(out, a.raw(), axes.as_ptr(), axes.len(), inverted, to_c(dtype), s)
        }
    })
}
