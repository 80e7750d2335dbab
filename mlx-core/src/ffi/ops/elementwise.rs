//! Operations on single elements with signatures of their own.

use mlx_sys::mlx_optional_float;

use super::super::array::to_c;
use super::super::{ArrayVector, door};
use super::or_none;
use crate::{Array, DType, Result};

pub(crate) fn as_type(a: &Array, dtype: DType) -> Result<Array> {
    door::call("as_type", &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_astype(out, a.raw(), to_c(dtype), s) }
    })
}

pub(crate) fn view(a: &Array, dtype: DType) -> Result<Array> {
    door::call("view", &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_view(out, a.raw(), to_c(dtype), s) }
    })
}

pub(crate) fn from_fp8(a: &Array, dtype: DType) -> Result<Array> {
    door::call("from_fp8", &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_from_fp8(out, a.raw(), to_c(dtype), s) }
    })
}

pub(crate) fn select(condition: &Array, x: &Array, y: &Array) -> Result<Array> {
    door::call("select", &[condition, x, y], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_where(out, condition.raw(), x.raw(), y.raw(), s) }
    })
}

pub(crate) fn clip(a: &Array, min: Option<&Array>, max: Option<&Array>) -> Result<Array> {
    let operands: Vec<&Array> = [Some(a), min, max].into_iter().flatten().collect();
    door::call("clip", &operands, |out, s| {
        // SAFETY: the handles are live for the call; an empty bound means none.
        unsafe { mlx_sys::mlx_clip(out, a.raw(), or_none(min), or_none(max), s) }
    })
}

pub(crate) fn round(a: &Array, decimals: i32) -> Result<Array> {
    door::call("round", &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_round(out, a.raw(), decimals, s) }
    })
}

pub(crate) fn nan_to_num(a: &Array, nan: f32, posinf: Option<f32>, neginf: Option<f32>) -> Result<Array> {
    let optional = |value: Option<f32>| mlx_optional_float {
        value: value.unwrap_or_default(),
        has_value: value.is_some(),
    };
    door::call("nan_to_num", &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_nan_to_num(out, a.raw(), nan, optional(posinf), optional(neginf), s) }
    })
}

/// How near two elements must be.
#[derive(Clone, Copy)]
pub(crate) struct Nearness {
    pub(crate) relative: f64,
    pub(crate) absolute: f64,
    pub(crate) equal_nan: bool,
}

pub(crate) fn isclose(a: &Array, b: &Array, near: Nearness) -> Result<Array> {
    door::call("isclose", &[a, b], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe {
            mlx_sys::mlx_isclose(out, a.raw(), b.raw(), near.relative, near.absolute, near.equal_nan, s)
        }
    })
}

pub(crate) fn allclose(a: &Array, b: &Array, near: Nearness) -> Result<Array> {
    door::call("allclose", &[a, b], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe {
            mlx_sys::mlx_allclose(out, a.raw(), b.raw(), near.relative, near.absolute, near.equal_nan, s)
        }
    })
}

pub(crate) fn array_equal(a: &Array, b: &Array, equal_nan: bool) -> Result<Array> {
    door::call("array_equal", &[a, b], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_array_equal(out, a.raw(), b.raw(), equal_nan, s) }
    })
}

pub(crate) fn depends(arrays: &[&Array], on: &[&Array]) -> Result<Vec<Array>> {
    let (inputs, dependencies) = (ArrayVector::new(arrays), ArrayVector::new(on));
    door::call_many("depends", arrays, |out, _| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_depends(out, inputs.as_raw(), dependencies.as_raw()) }
    })
}
