//! Operations whose C signatures are their own: one function each, documented where the crate exports them.

use std::ffi::CStr;

use mlx_sys::{mlx_array, mlx_optional_dtype, mlx_optional_float, mlx_optional_int};

use super::array::to_c;
use super::{ArrayVector, door};
use crate::{Array, DType, Error, Result, stream};

const NO_ARRAY: mlx_array = mlx_array { ctx: std::ptr::null_mut() };

fn or_none(array: Option<&Array>) -> mlx_array {
    array.map_or(NO_ARRAY, Array::raw)
}

fn some_int(value: i32) -> mlx_optional_int {
    mlx_optional_int { value, has_value: true }
}

/// The layout of quantized weights, as mlx-c takes it.
#[derive(Clone, Copy)]
pub(crate) struct Affine {
    pub(crate) group_size: i32,
    pub(crate) bits: i32,
}

/// The one quantization mode that has both scales and biases.
const AFFINE: &CStr = c"affine";

pub(crate) fn as_type(a: &Array, dtype: DType) -> Result<Array> {
    door::call("as_type", &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_astype(out, a.raw(), to_c(dtype), s) }
    })
}

pub(crate) fn contiguous(a: &Array) -> Result<Array> {
    door::call("contiguous", &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_contiguous(out, a.raw(), false, s) }
    })
}

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

pub(crate) fn select(condition: &Array, x: &Array, y: &Array) -> Result<Array> {
    door::call("select", &[condition, x, y], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_where(out, condition.raw(), x.raw(), y.raw(), s) }
    })
}

pub(crate) fn softmax(a: &Array, axes: &[i32], precise: bool) -> Result<Array> {
    door::axes_flag("softmax", mlx_sys::mlx_softmax_axes, a, axes, precise)
}

pub(crate) fn concatenate(arrays: &[&Array], axis: i32) -> Result<Array> {
    let vector = ArrayVector::new(arrays);
    door::call("concatenate", arrays, |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_concatenate_axis(out, vector.as_raw(), axis, s) }
    })
}

/// MLX checks the lengths of the lists, and clips ranges that lie outside.
pub(crate) fn slice(a: &Array, start: &[i32], stop: &[i32], step: &[i32]) -> Result<Array> {
    door::call("slice", &[a], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies as many numbers as each length says.
        unsafe {
            mlx_sys::mlx_slice(
                out,
                a.raw(),
                start.as_ptr(),
                start.len(),
                stop.as_ptr(),
                stop.len(),
                step.as_ptr(),
                step.len(),
                s,
            )
        }
    })
}

/// MLX checks the lengths of the lists and the shape of `update`, which it broadcasts.
pub(crate) fn slice_update(a: &Array, update: &Array, start: &[i32], stop: &[i32]) -> Result<Array> {
    let step = vec![1; start.len()];
    door::call("slice_update", &[a, update], |out, s| {
        // SAFETY: the handles are live, and mlx-c copies as many numbers as each length says.
        unsafe {
            mlx_sys::mlx_slice_update(
                out,
                a.raw(),
                update.raw(),
                start.as_ptr(),
                start.len(),
                stop.as_ptr(),
                stop.len(),
                step.as_ptr(),
                step.len(),
                s,
            )
        }
    })
}

/// MLX reads outside the array for positions outside the axis, so they are looked at first, which computes them.
pub(crate) fn take_axis(a: &Array, indices: &Array, axis: i32) -> Result<Array> {
    let length = i64::from(a.axis_length("take", axis)?);
    let positions: Vec<i64> = match indices.dtype() {
        DType::U32 => indices.to_vec::<u32>()?.into_iter().map(i64::from).collect(),
        DType::I32 => indices.to_vec::<i32>()?.into_iter().map(i64::from).collect(),
        DType::U8 | DType::U16 | DType::I8 | DType::I16 | DType::I64 => {
            as_type(indices, DType::I64)?.to_vec()?
        }
        other => {
            let message = format!("positions must be integers of at most 63 bits, not {other}");
            return Err(Error::Shape { op: "take", message });
        }
    };
    if let Some(outside) = positions.iter().find(|position| **position < -length || **position >= length) {
        let message = format!("position {outside} lies outside axis {axis} of {}", a.describe());
        return Err(Error::Shape { op: "take", message });
    }
    door::call("take", &[a, indices], |out, s| {
        // SAFETY: the handles are live for the call, and every position lies inside the axis.
        unsafe { mlx_sys::mlx_take_axis(out, a.raw(), indices.raw(), axis, s) }
    })
}

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
    let mut parts = ArrayVector::empty();
    let status = stream::with_current(|s| {
        // SAFETY: the handles are live for the call and the mode is a NUL-terminated constant.
        unsafe {
            mlx_sys::mlx_quantize(
                parts.as_raw_mut(),
                a.raw(),
                some_int(layout.group_size),
                some_int(layout.bits),
                AFFINE.as_ptr(),
                NO_ARRAY,
                s.as_raw(),
            )
        }
    })?;
    door::check("quantize", &[a], status)?;
    parts.arrays("quantize")
}

pub(crate) fn rms_norm(x: &Array, weight: Option<&Array>, eps: f32) -> Result<Array> {
    let operands: Vec<&Array> = [Some(x), weight].into_iter().flatten().collect();
    door::call("rms_norm", &operands, |out, s| {
        // SAFETY: the handles are live for the call; an empty weight means none.
        unsafe { mlx_sys::mlx_fast_rms_norm(out, x.raw(), or_none(weight), eps, s) }
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

pub(crate) fn eval(arrays: &[&Array]) -> Result<()> {
    let vector = ArrayVector::new(arrays);
    // SAFETY: the vector is live. Evaluation reports failures by its status.
    let outcome = door::check("eval", arrays, unsafe { mlx_sys::mlx_eval(vector.as_raw()) });
    if outcome.is_err() {
        arrays.iter().for_each(|array| array.mark_failed());
    }
    outcome
}

pub(crate) fn async_eval(arrays: &[&Array]) -> Result<()> {
    let vector = ArrayVector::new(arrays);
    // SAFETY: the vector is live; MLX keeps references of its own to what it evaluates later.
    door::check("async_eval", arrays, unsafe { mlx_sys::mlx_async_eval(vector.as_raw()) })
}
