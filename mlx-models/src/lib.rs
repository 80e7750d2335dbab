//! mlx-models

mod error;
pub mod gguf;
pub mod packaged;
pub mod sampling;
pub mod stop;

pub use error::{Error, Result};
