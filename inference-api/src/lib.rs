//! The contract between programs that use language models and crates that run them.
//!
//! An application sees traits ([`Backend`], [`TextModel`]), plain data (options, tokens, metrics) and one
//! [`Error`]. It names no backend crate in its code, and this crate depends on nothing at all, so depending
//! on it costs nothing and any backend can be put behind it, a fake one in tests included.
//!
//! - **Depend on this crate** when you use models (an application, a server, a library that labels or writes
//!   text) or when you write a backend.
//! - **Do not** when you build or train models yourself: arrays, layers and tokenizers live in the crates
//!   below the backends.
//!
//! # A whole program
//!
//! The backend here is a toy that repeats the words of the prompt; a real one differs in what stands behind
//! `load_model`.
//!
//! ```
//! use inference_api::{
//!     Backend, DiscoveredModel, Error, ErrorKind, Finish, FinishReason, GenerateMetrics, GenerateOptions,
//!     LoadOptions, ModelInfo, Prompt, Result, Step, TextModel, Token, TokenStream,
//! };
//! use std::path::Path;
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::sync::{Arc, Mutex};
//!
//! struct Parrot;
//!
//! impl Backend for Parrot {
//!     fn name(&self) -> &str {
//!         "parrot"
//!     }
//!     fn is_available(&self) -> bool {
//!         true
//!     }
//!     fn probe(&self, _path: &Path) -> Result<Option<DiscoveredModel>> {
//!         Ok(None) // no file is a parrot
//!     }
//!     fn load_model(&self, model: &str, _options: &LoadOptions) -> Result<Box<dyn TextModel>> {
//!         match model {
//!             "polly" => Ok(Box::new(Polly::default())),
//!             _ => Err(Error::new(ErrorKind::NotFound, format!("no parrot named `{model}`"))),
//!         }
//!     }
//! }
//!
//! #[derive(Default)]
//! struct Polly {
//!     closed: Arc<AtomicBool>,
//!     last: Arc<Mutex<Option<GenerateMetrics>>>,
//! }
//!
//! impl TextModel for Polly {
//!     fn generate(&self, prompt: Prompt, options: &GenerateOptions) -> Result<TokenStream> {
//!         options.validate()?;
//!         if self.closed.load(Ordering::Acquire) {
//!             return Err(Error::new(ErrorKind::Closed, "the model was closed"));
//!         }
//!         let Prompt::Text(text) = prompt else {
//!             return Err(Error::new(ErrorKind::Unsupported, "a parrot takes text"));
//!         };
//!         let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
//!         let (options, closed, last) = (options.clone(), Arc::clone(&self.closed), Arc::clone(&self.last));
//!         let mut said = 0;
//!         Ok(TokenStream::new(move || {
//!             if closed.load(Ordering::Acquire) {
//!                 return Err(Error::new(ErrorKind::Closed, "the model was closed"));
//!             }
//!             let reason = if options.is_cancelled() {
//!                 FinishReason::Cancelled
//!             } else if said == words.len() {
//!                 FinishReason::Stop
//!             } else if said == options.max_tokens {
//!                 FinishReason::Length
//!             } else {
//!                 said += 1;
//!                 return Ok(Step::Token(Token::new(said as u32, words[said - 1].as_str())));
//!             };
//!             let (prompt_tokens, generated_tokens) = (words.len(), said);
//!             let metrics = GenerateMetrics { prompt_tokens, generated_tokens, ..Default::default() };
//!             *last.lock().unwrap() = Some(metrics);
//!             Ok(Step::Finished(Finish { reason, metrics }))
//!         }))
//!     }
//!     fn model_type(&self) -> &str {
//!         "parrot"
//!     }
//!     fn info(&self) -> ModelInfo {
//!         ModelInfo { model_type: "parrot".into(), name: "polly".into(), ..Default::default() }
//!     }
//!     fn metrics(&self) -> Option<GenerateMetrics> {
//!         *self.last.lock().unwrap()
//!     }
//!     fn close(&self) -> Result<()> {
//!         self.closed.store(true, Ordering::Release);
//!         Ok(())
//!     }
//! }
//!
//! impl Drop for Polly {
//!     fn drop(&mut self) {
//!         self.closed.store(true, Ordering::Release); // the streams that still run end here
//!     }
//! }
//!
//! fn main() -> Result<()> {
//!     inference_api::register(Arc::new(Parrot))?;
//!
//!     let model = inference_api::load_model("polly", &LoadOptions::default())?;
//!     let options = GenerateOptions::default().with_max_tokens(4);
//!     let mut stream = model.generate("pieces of eight, pieces of eight".into(), &options)?;
//!     let mut text = String::new();
//!     for token in &mut stream {
//!         text += &token?.text;
//!     }
//!     assert_eq!(text, "pieces of eight, pieces ");
//!     assert_eq!(stream.finish_reason(), Some(FinishReason::Length));
//!     println!("{}", model.metrics().unwrap_or_default()); // prompt 6 tokens · 4 tokens
//!     model.close()
//! }
//! ```
//!
//! # Switching a real backend on
//!
//! The application makes the backend an optional dependency:
//!
//! ```toml
//! [features]
//! mlx = ["dep:mlx-backend"]
//!
//! [dependencies]
//! inference-api = "0.1"
//! mlx-backend = { version = "0.1", optional = true }
//! ```
//!
//! and registers it at the start of `main`, the one place that names it:
//!
//! ```text
//! #[cfg(feature = "mlx")]
//! mlx_backend::register()?;
//! ```
//!
//! The call is explicit because the linker drops a crate that nobody refers to, and with it anything that
//! would run by itself. It also leaves a test free not to make it.
//!
//! # When nothing is registered
//!
//! [`list`] is empty, [`get`] gives `None`, and [`default_backend`] and [`load_model`] return an error of the
//! kind [`ErrorKind::NoBackend`] whose message says what to do. Nothing panics.
//!
//! With several backends registered, the default is the first that can run here, in the order `metal`,
//! `cuda`, `cpu`, then the others as they were registered. [`LoadOptions::backend`] chooses by name.
//!
//! # Threads, and async programs
//!
//! Backends, models and options can be shared between threads, a stream can move to another thread, and
//! nothing needs an async runtime. Loading blocks, and so does reading a [`TokenStream`]: give each a thread
//! that may block. Any thread may stop a generation through a [`CancelToken`], and dropping the stream stops
//! it too.

mod backend;
mod cancel;
mod chat;
mod classify;
mod discover;
mod error;
mod generate_options;
mod inspect;
mod load_options;
mod metrics;
mod model;
mod prompt;
mod registry;
mod stream;
mod token;
mod trainable;

pub use backend::{Backend, DiscoveredModel};
pub use cancel::CancelToken;
pub use chat::{Chat, Message, Role, Tool, ToolCall};
pub use classify::{Classification, ClassifyOptions};
pub use discover::Discovery;
pub use error::{Error, ErrorKind, Result};
pub use generate_options::GenerateOptions;
pub use inspect::{AttentionInspector, AttentionSnapshot, AttentionVectors};
pub use load_options::{LoadOptions, LoadProgress, LoadStage, ProgressFn};
pub use metrics::GenerateMetrics;
pub use model::{ModelInfo, TextModel};
pub use prompt::Prompt;
pub use registry::{Registry, default_backend, discover, get, list, load_model, load_trainable, register};
pub use stream::{Finish, Step, TokenSource, TokenStream};
pub use token::{BatchResult, Completion, FinishReason, Token, TokenLogprob};
pub use trainable::{LoraOptions, LoraSummary, TrainableModel};
