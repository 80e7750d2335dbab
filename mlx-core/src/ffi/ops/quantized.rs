//! Packed weights.

use std::ffi::CStr;

use mlx_sys::mlx_optional_dtype;

use super::super::array::to_c;
use super::super::door;
use super::{NO_ARRAY, some_int};
use crate::{Array, Result};

/// The layout of quantized weights, as mlx-c takes it.
#[derive(Clone, Copy)]
pub(crate) struct Affine {
    pub(crate) group_size: i32,
    pub(crate) bits: i32,
}

/// The one quantization mode that has both scales and biases.
const AFFINE: &CStr = c"affine";

pub(crate) fn quantized_matmul(
    x: &Array,
    weight: &Array,
    scales: &Array,
    biases: &Array,
    transpose: bool,
    layout: Affine,
) -> Result<Array> {
    door::call("quantized_matmul", &[x, weight, scales, biases], |out, s| {
        // SAFETY: the handles are live for the call and the mode is a NUL-terminated constant.
        unsafe {
            mlx_sys::mlx_quantized_matmul(
                out,
                x.raw(),
                weight.raw(),
                scales.raw(),
                biases.raw(),
                transpose,
                some_int(layout.group_size),
                some_int(layout.bits),
                AFFINE.as_ptr(),
                s,
            )
        }
    })
}

pub(crate) fn dequantize(weight: &Array, scales: &Array, biases: &Array, layout: Affine) -> Result<Array> {
    let same_dtype = mlx_optional_dtype { value: to_c(scales.dtype()), has_value: false };
    door::call("dequantize", &[weight, scales, biases], |out, s| {
        // SAFETY: the handles are live for the call and the mode is a NUL-terminated constant.
        unsafe {
            mlx_sys::mlx_dequantize(
                out,
                weight.raw(),
                scales.raw(),
                biases.raw(),
                some_int(layout.group_size),
                some_int(layout.bits),
                AFFINE.as_ptr(),
                NO_ARRAY,
                same_dtype,
                s,
            )
        }
    })
}

pub(crate) fn quantize(a: &Array, layout: Affine) -> Result<Vec<Array>> {
    door::call_many("quantize", &[a], |parts, s| {
        // SAFETY: the handles are live for the call and the mode is a NUL-terminated constant.
        unsafe {
            mlx_sys::mlx_quantize(
                parts,
                a.raw(),
                some_int(layout.group_size),
                some_int(layout.bits),
                AFFINE.as_ptr(),
                NO_ARRAY,
                s,
            )
        }
    })
}
