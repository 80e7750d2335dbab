//! Arrays, automatic differentiation and training on Apple's MLX, safe from Rust.
//!
//! From arrays through a gradient to a step of an optimizer:
//!
//! ```
//! use mlx_core::nn::{self, Linear};
//! use mlx_core::optim::{AdamW, AdamWConfig, Optimizer};
//! use mlx_core::{Array, Result, loss, random};
//!
//! fn main() -> Result<()> {
//!     // y = 2 a - b, to be found out from four examples.
//!     let x = Array::from_slice(&[0.0f32, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0], &[4, 2])?;
//!     let y = Array::from_slice(&[0.0f32, 2.0, -1.0, 1.0], &[4, 1])?;
//!     let mut model = Linear::init(2, 1, true, &random::key(7)?)?;
//!     let mut optimizer = AdamW::new(AdamWConfig { weight_decay: 0.0, ..Default::default() })?;
//!     let mut last = f32::INFINITY;
//!     for _ in 0..300 {
//!         let (loss, gradients) = nn::value_and_grad(&mut model, |_| true, |model| {
//!             loss::mse(&model.forward(&x)?, &y, loss::Reduction::Mean)
//!         })?;
//!         optimizer.step(&mut model, &gradients, 0.05)?;
//!         optimizer.eval(&model)?; // nothing is computed before
//!         last = loss.item()?;
//!     }
//!     assert!(last < 1e-3);
//!     Ok(())
//! }
//! ```
//!
//! # Where things are
//!
//! | | |
//! |---|---|
//! | [`Array`] | creation, and every operation as a method; those that take lists are functions, such as [`concatenate`] |
//! | [`random`], [`linalg`], [`fft`] | numbers from keys; decompositions, systems, norms; Fourier transforms |
//! | [`transforms`] | gradients, vectorization, compilation, checkpoints, functions with derivatives of their own |
//! | [`primitive`], [`kernel`] | operations of your own: in Rust for the CPU, in Metal or CUDA for the GPU |
//! | [`nn`], [`loss`], [`optim`] | layers with named parameters and LoRA; losses; optimizers, schedules, clipping |
//! | [`io`], [`export`], [`graph`] | safetensors and npy; functions in files; drawings of graphs |
//! | [`Device`], [`Stream`], [`memory`], [`metal`], [`distributed`] | where and when things run, and what they take |
//!
//! # How it behaves
//!
//! - **Lazy.** An operation builds a node of a graph. [`Array::eval`], [`eval`] and every read compute it.
//! - **Fallible.** Every operation returns [`Result`]; MLX's message arrives in the [`Error`] with the operation's name
//!   and the operands' shapes and dtypes. Nothing is printed, nothing aborts. Positions outside an array are an error
//!   too, also those that are the result of a computation; closures may fail or panic.
//! - **One thread.** MLX's streams belong to the thread that made them, so an [`Array`] is neither `Send` nor `Sync`.
//!   Read the elements out to hand them to another thread.
//! - **Deterministic.** Dropping the last handle to an array frees its memory to MLX's cache at once
//!   ([`memory::clear_cache`] gives that back to the system). Random numbers follow from their key.
//! - **Row-major reads.** Views (transposed, sliced, broadcast) are made contiguous before their elements are read.
//!
//! Operations run on the thread's current device: the GPU where MLX has one, else the CPU; see [`Device::scope`].
//! Searching these pages for a C name such as `mlx_matmul` finds the method; `docs/mlx-c-coverage.md` lists them all.

mod array;
mod device;
pub mod distributed;
mod dtype;
mod element;
mod error;
pub mod export;
mod ffi;
pub mod fft;
pub mod graph;
pub mod io;
pub mod kernel;
pub mod kernels;
pub mod linalg;
pub mod loss;
pub mod memory;
pub mod metal;
pub mod nn;
mod ops;
pub mod optim;
pub mod primitive;
pub mod random;
mod stream;
pub mod transforms;

pub use array::Array;
pub use device::{Device, DeviceProperty, clear_streams, version};
pub use dtype::DType;
pub use element::Element;
pub use error::{Error, Result};
pub use num_complex::Complex32;
pub use ops::{
    AttentionMask, Axes, BlockFormat, BlockMasks, Blocks, ConvOptions, ConvTransposeOptions, Frequencies,
    Join, Padding, Quantization, Quantized, async_eval, attention_with_sinks, broadcast_arrays, concatenate,
    depends, einsum, eval, meshgrid, quantized_attention, scaled_dot_product_attention, select, stack,
};
pub use stream::Stream;
