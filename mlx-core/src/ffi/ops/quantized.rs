//! Packed weights. Callers have checked that the parts belong together.

use mlx_sys::mlx_optional_dtype;

use super::super::array::to_c;
use super::super::door;
use super::{NO_ARRAY, or_none, some_int};
use crate::{Array, Quantization, Quantized, Result};

pub(crate) fn quantized_matmul(x: &Array, packed: &Quantized, transpose: bool) -> Result<Array> {
    let Quantized { weight, scales, biases, quantization } = packed;
    door::call("quantized_matmul", &[x, weight, scales], |out, s| {
        // SAFETY: the handles are live for the call, empty biases mean none, and the mode is a NUL-terminated constant.
        unsafe {
            mlx_sys::mlx_quantized_matmul(
                out,
                x.raw(),
                weight.raw(),
                scales.raw(),
                or_none(biases.as_ref()),
                transpose,
                some_int(quantization.group_size()),
                some_int(quantization.bits()),
                quantization.c_mode().as_ptr(),
                s,
            )
        }
    })
}

/// MLX does not look at the positions: callers have checked them too.
pub(crate) fn gather_qmm(
    x: &Array,
    packed: &Quantized,
    lhs: &Array,
    rhs: &Array,
    transpose: bool,
    sorted: bool,
) -> Result<Array> {
    let Quantized { weight, scales, biases, quantization } = packed;
    door::call("gather_qmm", &[x, weight, scales, lhs, rhs], |out, s| {
        // SAFETY: the handles are live for the call, empty biases mean none, and the mode is a NUL-terminated constant.
        unsafe {
            mlx_sys::mlx_gather_qmm(
                out,
                x.raw(),
                weight.raw(),
                scales.raw(),
                or_none(biases.as_ref()),
                lhs.raw(),
                rhs.raw(),
                transpose,
                some_int(quantization.group_size()),
                some_int(quantization.bits()),
                quantization.c_mode().as_ptr(),
                sorted,
                s,
            )
        }
    })
}

pub(crate) fn dequantize(packed: &Quantized) -> Result<Array> {
    let Quantized { weight, scales, biases, quantization } = packed;
    let the_usual = mlx_optional_dtype { value: to_c(scales.dtype()), has_value: false };
    door::call("dequantize", &[weight, scales], |out, s| {
        // SAFETY: the handles are live for the call, empty biases mean none, and the mode is a NUL-terminated constant.
        unsafe {
            mlx_sys::mlx_dequantize(
                out,
                weight.raw(),
                scales.raw(),
                or_none(biases.as_ref()),
                some_int(quantization.group_size()),
                some_int(quantization.bits()),
                quantization.c_mode().as_ptr(),
                NO_ARRAY,
                the_usual,
                s,
            )
        }
    })
}

pub(crate) fn quantize(a: &Array, quantization: Quantization) -> Result<Vec<Array>> {
    door::call_many("quantize", &[a], |parts, s| {
        // SAFETY: the handles are live for the call and the mode is a NUL-terminated constant.
        unsafe {
            mlx_sys::mlx_quantize(
                parts,
                a.raw(),
                some_int(quantization.group_size()),
                some_int(quantization.bits()),
                quantization.c_mode().as_ptr(),
                NO_ARRAY,
                s,
            )
        }
    })
}
