//! MLX's fused kernels.

use std::ffi::CStr;

use mlx_sys::mlx_optional_float;

use super::super::door;
use super::or_none;
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
        // SAFETY: the handles are live for the call; an empty weight and an empty bias mean none.
        unsafe { mlx_sys::mlx_fast_layer_norm(out, x.raw(), or_none(weight), or_none(bias), eps, s) }
    })
}

/// Frequencies that are given take the place of those that follow from the base.
pub(crate) fn rope(
    x: &Array,
    dims: i32,
    traditional: bool,
    base: Option<f32>,
    frequencies: Option<&Array>,
    scale: f32,
    offset: i32,
) -> Result<Array> {
    let base = mlx_optional_float { value: base.unwrap_or_default(), has_value: base.is_some() };
    let operands: Vec<&Array> = [Some(x), frequencies].into_iter().flatten().collect();
    door::call("rope", &operands, |out, s| {
        let frequencies = or_none(frequencies);
        // SAFETY: the handles are live for the call; empty frequencies mean that they follow from the base.
        unsafe {
            mlx_sys::mlx_fast_rope(out, x.raw(), dims, traditional, base, scale, offset, frequencies, s)
        }
    })
}

/// [`rope`] with an offset that is computed.
pub(crate) fn rope_dynamic(
    x: &Array,
    dims: i32,
    traditional: bool,
    base: Option<f32>,
    frequencies: Option<&Array>,
    scale: f32,
    offset: &Array,
) -> Result<Array> {
    let base = mlx_optional_float { value: base.unwrap_or_default(), has_value: base.is_some() };
    let operands: Vec<&Array> = [Some(x), Some(offset), frequencies].into_iter().flatten().collect();
    door::call("rope", &operands, |out, s| {
        // SAFETY: the handles are live for the call; empty frequencies mean that they follow from the base.
        unsafe {
            mlx_sys::mlx_fast_rope_dynamic(
                out,
                x.raw(),
                dims,
                traditional,
                base,
                scale,
                offset.raw(),
                or_none(frequencies),
                s,
            )
        }
    })
}

pub(crate) fn attention(
    [queries, keys, values]: [&Array; 3],
    scale: f32,
    mode: &CStr,
    mask: Option<&Array>,
    sinks: Option<&Array>,
) -> Result<Array> {
    let operands: Vec<&Array> =
        [Some(queries), Some(keys), Some(values), mask, sinks].into_iter().flatten().collect();
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
                or_none(sinks),
                false,
                s,
            )
        }
    })
}

/// MLX checks shapes and dtypes, but does not look whether the targets are classes: the caller has.
pub(crate) fn cross_entropy(logits: &Array, targets: &Array) -> Result<Array> {
    door::call("cross_entropy", &[logits, targets], |out, s| {
        // SAFETY: the handles are live for the call, and every target lies inside the last axis of the logits.
        unsafe { mlx_sys::mlx_fast_cross_entropy(out, logits.raw(), targets.raw(), s) }
    })
}
