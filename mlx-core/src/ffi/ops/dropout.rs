//! Numbers drawn from a key, for dropout and the first values of layers.

use super::super::array::to_c;
use super::super::door;
use crate::{Array, DType, Result};

/// `num` keys out of one, `[num, 2]`. MLX checks the key, and `bits` refuses negative numbers.
pub(crate) fn random_split(key: &Array, num: i32) -> Result<Array> {
    door::call("split", &[key], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_random_split_num(out, key.raw(), num, s) }
    })
}

/// True with the probability `p`, a scalar.
pub(crate) fn random_bernoulli(p: &Array, shape: &[i32], key: &Array) -> Result<Array> {
    door::call("bernoulli", &[p, key], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `shape.len()` numbers.
        unsafe { mlx_sys::mlx_random_bernoulli(out, p.raw(), shape.as_ptr(), shape.len(), key.raw(), s) }
    })
}

/// Float32 numbers between two scalars.
pub(crate) fn random_uniform(low: &Array, high: &Array, shape: &[i32], key: &Array) -> Result<Array> {
    crate::array::check_shape("uniform", shape, DType::F32)?;
    door::call("uniform", &[low, high, key], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `shape.len()` numbers.
        unsafe {
            mlx_sys::mlx_random_uniform(
                out,
                low.raw(),
                high.raw(),
                shape.as_ptr(),
                shape.len(),
                to_c(DType::F32),
                key.raw(),
                s,
            )
        }
    })
}

/// Float32 numbers around 0 with the standard deviation `scale`.
pub(crate) fn random_normal(shape: &[i32], scale: f32, key: &Array) -> Result<Array> {
    crate::array::check_shape("normal", shape, DType::F32)?;
    door::call("normal", &[key], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies the `shape.len()` numbers.
        unsafe {
            mlx_sys::mlx_random_normal(
                out,
                shape.as_ptr(),
                shape.len(),
                to_c(DType::F32),
                0.0,
                scale,
                key.raw(),
                s,
            )
        }
    })
}
