//! Language models on MLX: checkpoints, tokenizers, caches, sampling.

mod cache;
pub mod checkpoint;
mod error;
pub mod gguf;
pub mod models;
pub mod packaged;
pub mod sampling;
pub mod stop;

pub use cache::{KvCache, Mask};
pub use checkpoint::Checkpoint;
pub use error::{Error, Result};
pub use models::{LanguageModel, ModelShape};
