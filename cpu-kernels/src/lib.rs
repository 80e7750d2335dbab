//! Kernels of language models for plain CPUs. Plain Rust over slices: no arrays, no MLX, no models.
//!
//! [`blocks`] reads ggml's block formats and repacks those that are MLX's affine quantization under another name.
//! [`attention`], [`rope`], [`norm`], [`gate`], [`softmax`] and [`rows`] are what lies between the matrix products.
//!
//! Every kernel computes in float32 whatever its operands are stored in, and its results do not depend on the number of
//! [`threads`].

pub mod attention;
pub mod blocks;
mod float;
pub mod gate;
mod heads;
mod isa;
mod math;
pub mod norm;
pub mod product;
pub mod rope;
pub mod rows;
mod simd;
pub mod softmax;
pub mod threads;

pub use float::Float;
pub use heads::Heads;
pub use isa::Isa;
