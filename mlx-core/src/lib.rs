//! Arrays and operations on Apple's MLX, safe from Rust.
//!
//! ```
//! use mlx_core::{Array, Result};
//!
//! fn main() -> Result<()> {
//!     let a = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
//!     let b = a.transpose(&[1, 0])?; // a view: nothing is copied
//!     let product = a.matmul(&b)?; // nothing is computed yet
//!     assert_eq!(product.to_vec::<f32>()?, [14.0, 32.0, 32.0, 77.0]);
//!     Ok(())
//! }
//! ```
//!
//! # How it behaves
//!
//! - **Lazy.** An operation builds a node of a graph. [`Array::eval`], [`eval`] and every read compute it.
//! - **Fallible.** Every operation returns [`Result`]; MLX's message arrives in the [`Error`] with the operation's name
//!   and the operands' shapes and dtypes. Nothing is printed, nothing aborts.
//! - **One thread.** MLX's streams belong to the thread that made them, so an [`Array`] is neither `Send` nor `Sync`.
//!   Read the elements out to hand them to another thread.
//! - **Deterministic.** Dropping the last handle to an array frees its memory to MLX's cache at once
//!   ([`memory::clear_cache`] gives that back to the system).
//! - **Row-major reads.** Views (transposed, sliced, broadcast) are made contiguous before their elements are read.
//!
//! Operations run on the thread's current device: the GPU where MLX has one, else the CPU; see [`Device::scope`].
//! Searching these pages for a C name such as `mlx_matmul` finds the method.

mod array;
mod device;
mod dtype;
mod element;
mod error;
mod ffi;
pub mod fft;
pub mod io;
pub mod linalg;
pub mod loss;
pub mod memory;
pub mod nn;
mod ops;
pub mod optim;
pub mod primitive;
pub mod random;
mod stream;
pub mod transforms;

pub use array::Array;
pub use device::{Device, clear_streams, version};
pub use dtype::DType;
pub use element::Element;
pub use error::{Error, Result};
pub use num_complex::Complex32;
pub use ops::{
    AttentionMask, Axes, BlockMasks, ConvOptions, ConvTransposeOptions, Frequencies, Join, Padding,
    Quantization, Quantized, async_eval, attention_with_sinks, broadcast_arrays, concatenate, depends,
    einsum, eval, meshgrid, scaled_dot_product_attention, select, stack,
};
