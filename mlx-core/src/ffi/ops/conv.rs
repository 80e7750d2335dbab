//! Convolutions, and the numbers that signals are weighted with.

use std::ffi::c_int;

use mlx_sys::{mlx_array, mlx_optional_float, mlx_stream};

use super::super::door;
use crate::{Array, Result};

/// What a convolution takes for each axis; the lists are of one length.
#[derive(Default)]
pub(crate) struct ConvAxes {
    pub(crate) stride: Vec<i32>,
    /// At both ends.
    pub(crate) padding: Vec<i32>,
    pub(crate) dilation: Vec<i32>,
    pub(crate) input_dilation: Vec<i32>,
}

/// MLX divides by `groups` without a look, and by the number of channels.
pub(crate) fn conv_general(
    op: &'static str,
    input: &Array,
    weight: &Array,
    axes: &ConvAxes,
    groups: i32,
    flip: bool,
) -> Result<Array> {
    door::call(op, &[input, weight], |out, s| {
        // SAFETY: the handles are live, mlx-c copies as many numbers as each length says, and the caller has seen to
        // it that neither the groups nor an axis of the weights is 0.
        unsafe {
            mlx_sys::mlx_conv_general(
                out,
                input.raw(),
                weight.raw(),
                axes.stride.as_ptr(),
                axes.stride.len(),
                axes.padding.as_ptr(),
                axes.padding.len(),
                axes.padding.as_ptr(),
                axes.padding.len(),
                axes.dilation.as_ptr(),
                axes.dilation.len(),
                axes.input_dilation.as_ptr(),
                axes.input_dilation.len(),
                groups,
                flip,
                s,
            )
        }
    })
}

/// MLX writes outside its memory for lengths that [`crate::Array::hadamard_transform`] refuses.
pub(crate) fn hadamard_transform(op: &'static str, a: &Array, scale: Option<f32>) -> Result<Array> {
    let scale = mlx_optional_float { value: scale.unwrap_or_default(), has_value: scale.is_some() };
    door::call(op, &[a], |out, s| {
        // SAFETY: the handles are live, and the caller has seen to it that there is a Hadamard matrix of this size.
        unsafe { mlx_sys::mlx_hadamard_transform(out, a.raw(), scale, s) }
    })
}

pub(crate) type WindowFn = unsafe extern "C" fn(*mut mlx_array, c_int, mlx_stream) -> c_int;

/// `out = f(n)`
pub(crate) fn window(op: &'static str, f: WindowFn, n: i32) -> Result<Array> {
    door::call(op, &[], |out, s| {
        // SAFETY: `f` has this exact C signature; `out` is live.
        unsafe { f(out, n, s) }
    })
}
