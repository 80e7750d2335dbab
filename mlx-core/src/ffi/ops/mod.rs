//! Operations whose C signatures are their own: one function each, documented where the crate exports them. One file a
//! family, as in [`crate::ops`].

mod conv;
mod create;
mod elementwise;
mod evaluate;
mod fast;
mod fft;
mod index;
mod linalg;
mod matmul;
mod quantized;
mod random;
mod reduce;
mod shape;
mod slice;
mod sort;

use mlx_sys::{mlx_array, mlx_optional_int};

pub(crate) use conv::*;
pub(crate) use create::*;
pub(crate) use elementwise::*;
pub(crate) use evaluate::*;
pub(crate) use fast::*;
pub(crate) use fft::*;
pub(crate) use index::*;
pub(crate) use linalg::*;
pub(crate) use matmul::*;
pub(crate) use quantized::*;
pub(crate) use random::*;
pub(crate) use reduce::*;
pub(crate) use shape::*;
pub(crate) use slice::*;
pub(crate) use sort::*;

use crate::Array;

const NO_ARRAY: mlx_array = mlx_array { ctx: std::ptr::null_mut() };

fn or_none(array: Option<&Array>) -> mlx_array {
    array.map_or(NO_ARRAY, Array::raw)
}

fn some_int(value: i32) -> mlx_optional_int {
    mlx_optional_int { value, has_value: true }
}
