//! mlx-models

mod error;
pub mod sampling;

pub use error::{Error, Result};
