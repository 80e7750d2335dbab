//! Random numbers. Every call has a key: without one MLX would take a hidden one of its own.

use std::ffi::c_int;

use mlx_sys::{mlx_array, mlx_dtype, mlx_stream};

use super::super::array::to_c;
use super::super::door;
use crate::{Array, DType, Result};

type BoundsFn = unsafe extern "C" fn(
    *mut mlx_array,
    mlx_array,
    mlx_array,
    *const c_int,
    usize,
    mlx_dtype,
    mlx_array,
    mlx_stream,
) -> c_int;

pub(crate) fn random_key(seed: u64) -> Result<Array> {
    door::call("random::key", &[], |out, _| {
        // SAFETY: `out` is live.
        unsafe { mlx_sys::mlx_random_key(out, seed) }
    })
}

pub(crate) fn random_split(op: &'static str, key: &Array, count: i32) -> Result<Array> {
    door::call(op, &[key], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_random_split_num(out, key.raw(), count, s) }
    })
}

pub(crate) fn random_bits(op: &'static str, key: &Array, shape: &[i32], width: i32) -> Result<Array> {
    door::call(op, &[key], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `shape.len()` numbers.
        unsafe { mlx_sys::mlx_random_bits(out, shape.as_ptr(), shape.len(), width, key.raw(), s) }
    })
}

/// `out = f(low, high, shape, dtype, key)`
pub(crate) fn random_between(
    op: &'static str,
    f: BoundsFn,
    key: &Array,
    [low, high]: [&Array; 2],
    shape: &[i32],
    dtype: DType,
) -> Result<Array> {
    door::call(op, &[key, low, high], |out, s| {
        // SAFETY: `f` has this exact C signature; the handles are live, and mlx-c copies the `shape.len()` numbers.
        unsafe { f(out, low.raw(), high.raw(), shape.as_ptr(), shape.len(), to_c(dtype), key.raw(), s) }
    })
}

pub(crate) fn random_normal(
    op: &'static str,
    key: &Array,
    [loc, scale]: [&Array; 2],
    shape: &[i32],
    dtype: DType,
) -> Result<Array> {
    door::call(op, &[key, loc, scale], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `shape.len()` numbers.
        unsafe {
            mlx_sys::mlx_random_normal_broadcast(
                out,
                shape.as_ptr(),
                shape.len(),
                to_c(dtype),
                loc.raw(),
                scale.raw(),
                key.raw(),
                s,
            )
        }
    })
}

pub(crate) fn random_multivariate_normal(
    op: &'static str,
    key: &Array,
    mean: &Array,
    covariance: &Array,
    shape: &[i32],
) -> Result<Array> {
    door::call(op, &[key, mean, covariance], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `shape.len()` numbers.
        unsafe {
            mlx_sys::mlx_random_multivariate_normal(
                out,
                mean.raw(),
                covariance.raw(),
                shape.as_ptr(),
                shape.len(),
                to_c(DType::F32),
                key.raw(),
                s,
            )
        }
    })
}

pub(crate) fn random_laplace(
    op: &'static str,
    key: &Array,
    shape: &[i32],
    dtype: DType,
    loc: f32,
    scale: f32,
) -> Result<Array> {
    door::call(op, &[key], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `shape.len()` numbers.
        unsafe {
            mlx_sys::mlx_random_laplace(
                out,
                shape.as_ptr(),
                shape.len(),
                to_c(dtype),
                loc,
                scale,
                key.raw(),
                s,
            )
        }
    })
}

pub(crate) fn random_gumbel(op: &'static str, key: &Array, shape: &[i32], dtype: DType) -> Result<Array> {
    door::call(op, &[key], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `shape.len()` numbers.
        unsafe { mlx_sys::mlx_random_gumbel(out, shape.as_ptr(), shape.len(), to_c(dtype), key.raw(), s) }
    })
}

pub(crate) fn random_bernoulli(op: &'static str, key: &Array, p: &Array, shape: &[i32]) -> Result<Array> {
    door::call(op, &[key, p], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `shape.len()` numbers.
        unsafe { mlx_sys::mlx_random_bernoulli(out, p.raw(), shape.as_ptr(), shape.len(), key.raw(), s) }
    })
}

pub(crate) fn random_categorical(op: &'static str, key: &Array, logits: &Array, axis: i32) -> Result<Array> {
    door::call(op, &[key, logits], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_random_categorical(out, logits.raw(), axis, key.raw(), s) }
    })
}

pub(crate) fn random_categorical_shape(
    op: &'static str,
    key: &Array,
    logits: &Array,
    axis: i32,
    shape: &[i32],
) -> Result<Array> {
    door::call(op, &[key, logits], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `shape.len()` numbers.
        unsafe {
            mlx_sys::mlx_random_categorical_shape(
                out,
                logits.raw(),
                axis,
                shape.as_ptr(),
                shape.len(),
                key.raw(),
                s,
            )
        }
    })
}

pub(crate) fn random_categorical_count(
    op: &'static str,
    key: &Array,
    logits: &Array,
    axis: i32,
    count: i32,
) -> Result<Array> {
    door::call(op, &[key, logits], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_random_categorical_num_samples(out, logits.raw(), axis, count, key.raw(), s) }
    })
}

/// MLX divides by the length of the axis.
pub(crate) fn random_permutation(op: &'static str, key: &Array, a: &Array, axis: i32) -> Result<Array> {
    door::call(op, &[key, a], |out, s| {
        // SAFETY: the handles are live, and the caller has seen to it that the axis is there and not empty.
        unsafe { mlx_sys::mlx_random_permutation(out, a.raw(), axis, key.raw(), s) }
    })
}

pub(crate) fn random_permutation_arange(op: &'static str, key: &Array, n: i32) -> Result<Array> {
    door::call(op, &[key], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_random_permutation_arange(out, n, key.raw(), s) }
    })
}
