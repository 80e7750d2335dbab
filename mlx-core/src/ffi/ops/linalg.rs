//! Decompositions and norms.

use std::ffi::{CStr, c_int};

use mlx_sys::{mlx_array, mlx_stream};

use super::super::door;
use crate::{Array, Result};

type FlagFn = unsafe extern "C" fn(*mut mlx_array, mlx_array, bool, mlx_stream) -> c_int;
type PairFn = unsafe extern "C" fn(*mut mlx_array, *mut mlx_array, mlx_array, mlx_stream) -> c_int;
type BinaryFlagFn = unsafe extern "C" fn(*mut mlx_array, mlx_array, mlx_array, bool, mlx_stream) -> c_int;

/// `out = f(a, flag)`
pub(crate) fn linalg_flag(op: &'static str, f: FlagFn, a: &Array, flag: bool) -> Result<Array> {
    door::call(op, &[a], |out, s| {
        // SAFETY: `f` has this exact C signature; the handles are live for the call.
        unsafe { f(out, a.raw(), flag, s) }
    })
}

/// `(first, second) = f(a)`
pub(crate) fn linalg_pair(op: &'static str, f: PairFn, a: &Array) -> Result<(Array, Array)> {
    door::call_pair(op, &[a], |first, second, s| {
        // SAFETY: `f` has this exact C signature; the handles are live for the call.
        unsafe { f(first, second, a.raw(), s) }
    })
}

/// `out = f(a, b, flag)`
pub(crate) fn linalg_binary_flag(
    op: &'static str,
    f: BinaryFlagFn,
    a: &Array,
    b: &Array,
    flag: bool,
) -> Result<Array> {
    door::call(op, &[a, b], |out, s| {
        // SAFETY: `f` has this exact C signature; the handles are live for the call.
        unsafe { f(out, a.raw(), b.raw(), flag, s) }
    })
}

pub(crate) fn eigh(op: &'static str, a: &Array, triangle: &CStr) -> Result<(Array, Array)> {
    door::call_pair(op, &[a], |values, vectors, s| {
        // SAFETY: the handles are live for the call and the text is NUL-terminated.
        unsafe { mlx_sys::mlx_linalg_eigh(values, vectors, a.raw(), triangle.as_ptr(), s) }
    })
}

pub(crate) fn eigvalsh(op: &'static str, a: &Array, triangle: &CStr) -> Result<Array> {
    door::call(op, &[a], |out, s| {
        // SAFETY: the handles are live for the call and the text is NUL-terminated.
        unsafe { mlx_sys::mlx_linalg_eigvalsh(out, a.raw(), triangle.as_ptr(), s) }
    })
}

pub(crate) fn lu(op: &'static str, a: &Array) -> Result<Vec<Array>> {
    door::call_many(op, &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_linalg_lu(out, a.raw(), s) }
    })
}

pub(crate) fn svd(op: &'static str, a: &Array, vectors: bool) -> Result<Vec<Array>> {
    door::call_many(op, &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_linalg_svd(out, a.raw(), vectors, s) }
    })
}

/// Over all elements without `axes`.
pub(crate) fn norm_l2(op: &'static str, a: &Array, axes: Option<&[i32]>, keepdims: bool) -> Result<Array> {
    let pointer = axes.map_or(std::ptr::null(), <[i32]>::as_ptr);
    door::call(op, &[a], |out, s| {
        // SAFETY: the handles are live for the call; mlx-c takes a null for no axes and copies the others.
        unsafe {
            mlx_sys::mlx_linalg_norm_l2(out, a.raw(), pointer, axes.map_or(0, <[i32]>::len), keepdims, s)
        }
    })
}

pub(crate) fn norm(op: &'static str, a: &Array, order: f64, axes: &[i32], keepdims: bool) -> Result<Array> {
    door::call(op, &[a], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `axes.len()` numbers.
        unsafe { mlx_sys::mlx_linalg_norm(out, a.raw(), order, axes.as_ptr(), axes.len(), keepdims, s) }
    })
}

pub(crate) fn norm_matrix(
    op: &'static str,
    a: &Array,
    name: &CStr,
    axes: &[i32],
    keepdims: bool,
) -> Result<Array> {
    door::call(op, &[a], |out, s| {
        // SAFETY: the handles are live, the name is NUL-terminated, and mlx-c copies the `axes.len()` numbers.
        unsafe {
            mlx_sys::mlx_linalg_norm_matrix(
                out,
                a.raw(),
                name.as_ptr(),
                axes.as_ptr(),
                axes.len(),
                keepdims,
                s,
            )
        }
    })
}
