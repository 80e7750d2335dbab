//! Operations on arrays, one file a family. Each is a method of [`Array`](crate::Array), unless it takes a list.
//!
//! Simple operations are one line of a table: what it does, Rust name, C name, and the C name once more as the literal that
//! rustdoc wants for its search. The others are a function each.

mod attention;
mod axes;
mod blocks;
mod conv;
mod create;
mod division;
mod elementwise;
mod index;
mod matmul;
mod packed_attention;
pub(crate) mod positions;
mod quantized;
mod reduce;
mod scan;
mod shape;
mod signal;
mod slice;
mod sort;

pub use attention::{AttentionMask, Frequencies, attention_with_sinks, scaled_dot_product_attention};
pub use axes::Axes;
pub use blocks::{BlockFormat, Blocks};
pub use conv::{ConvOptions, ConvTransposeOptions};
pub use elementwise::{depends, select};
pub use index::Join;
pub use matmul::{BlockMasks, einsum};
pub use packed_attention::quantized_attention;
pub(crate) use packed_attention::quantized_attention_in_steps;
pub use quantized::{Quantization, Quantized};
pub use shape::{Padding, broadcast_arrays, concatenate, meshgrid, stack};

use crate::{Array, Result, ffi};

/// Computes several arrays now, in one pass over their common graph. Blocks until they are there.
///
/// # Errors
/// Whatever the operations behind them fail with, memory included.
#[doc(alias = "mlx_eval")]
pub fn eval(arrays: &[&Array]) -> Result<()> {
    ffi::ops::eval(arrays)
}

/// Starts computing several arrays and returns at once; a later read waits for them.
///
/// # Errors
/// Whatever can be told before the work is done; the rest comes with the read.
#[doc(alias = "mlx_async_eval")]
pub fn async_eval(arrays: &[&Array]) -> Result<()> {
    ffi::ops::async_eval(arrays)
}
