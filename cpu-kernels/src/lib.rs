//! cpu-kernels

pub mod blocks;
