//! mlx-core

mod dtype;
mod error;
pub mod io;

pub use dtype::DType;
pub use error::{Error, Result};
