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
//!
//! - **Slots**: up to `parallel_slots` sequences (4) are decoded together, one pass through the weights for a token of each.
//!   They join and leave at any step; between two steps at most one chunk of a new prompt is read, 256 tokens, or 512 of
//!   several short ones. Further requests wait in their order, up to `queue_len` (1024), and after that are refused.
//! - **Company**: on a CPU, with the kernels that are used there by default, a request has the tokens that it has alone, bit
//!   for bit, whatever runs beside it, unless it had to be read again (see memory and failures): then sums that were made
//!   token by token are made in chunks, and rounded otherwise. A GPU may choose another kernel for another number of rows.
//! - **Prefixes**: what a request has read is kept when it ends, up to `prompt_cache_bytes` (an eighth of free memory, at
//!   most 4 GiB), the least recently used goes first. A request that begins with the same tokens reads only what is new. Its
//!   text is that of a cold request, but for rounding: chunks begin elsewhere. Layers with a sliding window can go back to
//!   the end of an earlier prompt or reply, and not to any place in it: there, prompts that only begin alike share nothing
//!   once they are longer than the window.
//! - **Memory**: the KV caches of running requests stay below `kv_cache_bytes` (half of free memory). Where they would grow
//!   beyond, the youngest request gives its room away, and reads its tokens again when there is some.
//! - **Failures**: when a step of several requests fails, by an error of the device or a panic, each of them is read again by
//!   itself, and only one that fails by itself, or three times, ends with the error; where there was no memory for all of
//!   them, half as many run from then on. Eight such ends in a row, and the model is closed, which everybody is told.
//! - **Inspection** of a prompt's attention reads it in one go, and everybody else waits for that.
//! - **Closing** ends what runs and what waits with [`ErrorKind::Closed`](inference_api::ErrorKind::Closed).
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
mod trainable;

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
