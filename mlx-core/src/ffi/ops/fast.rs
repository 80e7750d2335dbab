//! MLX's fused kernels.

use std::ffi::CStr;

use mlx_sys::mlx_optional_float;

use super::super::door;
use super::{NO_ARRAY, or_none};
use crate::{Array, Result};

pub(crate) fn rms_norm(x: &Array, weight: Option<&Array>, eps: f32) -> Result<Array> {
    let operands: Vec<&Array> = [Some(x), weight].into_iter().flatten().collect();
    door::call("rms_norm", &operands, |out, s| {
        // SAFETY: the handles are live for the call; an empty weight means none.
        unsafe { mlx_sys::mlx_fast_rms_norm(out, x.raw(), or_none(weight), eps, s) }
    })
}

pub(crate) fn layer_norm(x: &Array, weight: Option<&Array>, bias: Option<&Array>, eps: f32) -> Result<Array> {
    let operands: Vec<&Array> = [Some(x), weight, bias].into_iter().flatten().collect();
    door::call("layer_norm", &operands, |out, s| {
        // SAFETY: the handles are live for the call; an empty weight or bias means none.
        unsafe { mlx_sys::mlx_fast_layer_norm(out, x.raw(), or_none(weight), or_none(bias), eps, s) }
    })
}

pub(crate) fn rope(
    x: &Array,
    dims: i32,
    traditional: bool,
    base: f32,
    scale: f32,
    offset: i32,
) -> Result<Array> {
    let base = mlx_optional_float { value: base, has_value: true };
    door::call("rope", &[x], |out, s| {
        // SAFETY: the handles are live for the call; empty frequencies mean that they follow from the base.
        unsafe { mlx_sys::mlx_fast_rope(out, x.raw(), dims, traditional, base, scale, offset, NO_ARRAY, s) }
    })
}

pub(crate) fn attention(
    queries: &Array,
    keys: &Array,
    values: &Array,
    scale: f32,
    mode: &CStr,
    mask: Option<&Array>,
) -> Result<Array> {
    let operands: Vec<&Array> =
        [Some(queries), Some(keys), Some(values), mask].into_iter().flatten().collect();
    door::call("scaled_dot_product_attention", &operands, |out, s| {
        // SAFETY: the handles are live for the call; empty mask and sinks mean none; `mode` is NUL-terminated.
        unsafe {
            mlx_sys::mlx_fast_scaled_dot_product_attention(
                out,
                queries.raw(),
                keys.raw(),
                values.raw(),
                scale,
                mode.as_ptr(),
                or_none(mask),
                NO_ARRAY,
                false,
                s,
            )
        }
    })
}
