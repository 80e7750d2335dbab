//! Plain Rust over slices: no arrays, no MLX, no models.
//!
//! [`blocks`] reads ggml's block formats and repacks those that are MLX's affine quantization under another name.

pub mod blocks;
