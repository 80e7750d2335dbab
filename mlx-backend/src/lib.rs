//! MLX behind the contract of `inference-api`: backends `metal`, `cuda` and `cpu`.
//!
//! ```no_run
//! use inference_api::{GenerateOptions, LoadOptions};
//!
//! fn main() -> inference_api::Result<()> {
//!     mlx_backend::register()?;
//!     let model = inference_api::load_model("gemma-3-270m", &LoadOptions::default())?;
//!     for token in model.generate("The sky is".into(), &GenerateOptions::default())? {
//!         print!("{}", token?.text);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # How it works
//!
//! MLX's streams belong to the thread that made them, so each loaded model gets **one engine thread**, which owns every
//! array from load to close. The handle that the application holds only sends messages, and is `Send + Sync`.
//! Generations wait in a queue of the engine and run one after the other.
//!
//! Closing a model frees its memory. Its thread, and the worker that MLX keeps for the thread's stream, wait for the next
//! model that is loaded.

mod backend;
mod chat;
mod engine;
mod error;
mod generation;
mod kind;
mod model;
mod thread;

use std::sync::Arc;

use backend::MlxBackend;
use kind::Kind;

/// Adds the backends `metal`, `cuda` and `cpu` to the registry of `inference-api`.
///
/// Each is available only where it can run. Calling this again changes nothing.
///
/// # Errors
/// When a backend of another crate has one of the names.
pub fn register() -> inference_api::Result<()> {
    // The first outcome is kept, so that a second call neither fails nor hides that the first one did.
    static OUTCOME: std::sync::OnceLock<inference_api::Result<()>> = std::sync::OnceLock::new();
    let add = |kind| inference_api::register(Arc::new(MlxBackend::new(kind)));
    OUTCOME.get_or_init(|| [Kind::Metal, Kind::Cuda, Kind::Cpu].into_iter().try_for_each(add)).clone()
}
