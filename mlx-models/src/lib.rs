//! Language models on MLX: checkpoints, tokenizers, caches, sampling.
//!
//! ```no_run
//! use mlx_models::sampling::{Sampler, SamplingConfig};
//! use mlx_models::{Result, Sequence, load, locate};
//!
//! fn main() -> Result<()> {
//!     let loaded = load(&locate("gemma-3-270m", &mut |_| ())?, None)?;
//!     let tokenizer = loaded.text.tokenizer()?;
//!     let mut text = tokenizer.detokenizer(true);
//!
//!     let mut sequence = Sequence::new(&*loaded.model, Sampler::new(SamplingConfig::default(), 0)?);
//!     sequence.prefill(&tokenizer.encode("The sky is", true, false)?, || true)?;
//!     for _ in 0..16 {
//!         let token = sequence.sample()?.token;
//!         print!("{}", text.push(token)?);
//!         sequence.advance(token)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! From the ground up: [`gguf`] and `mlx_core::io` read files, [`Checkpoint`] makes one thing of their two
//! layouts, [`models`] holds the architectures, [`mod@cache`] what a sequence has read, [`tokenizer`] and
//! [`ChatTemplate`] the text side, [`sampling`] and [`stop`] the choice of tokens and the end of a text, [`chat`] and
//! [`reply`] conversations;
//! [`packaged`] and [`hub`] fetch models, [`load()`] puts everything together and [`Sequence`] runs it, and
//! [`mod@bench`] times that. [`Description`] tells what a checkpoint is without its weights, [`discover()`] which
//! ones lie in a folder, and [`convert()`] makes MLX's layout of any. Applications that want threads and streams use
//! `mlx-backend` on
//! top.

pub mod adapter;
mod batch;
pub mod bench;
pub mod cache;
pub mod chat;
mod chat_template;
pub mod checkpoint;
mod convert;
mod describe;
mod discover;
mod error;
mod generate;
pub mod gguf;
pub mod hub;
mod load;
pub mod models;
pub mod packaged;
pub mod reply;
pub mod sampling;
pub mod stop;
pub mod tokenizer;
pub mod training;

pub use batch::Batch;
pub use cache::{CacheConfig, KvCache, Recording};
pub use chat_template::ChatTemplate;
pub use checkpoint::Checkpoint;
pub use convert::{ConvertOptions, Converted, convert};
pub use describe::{Description, Head, StoredAs};
pub use discover::{Discovery, Found, discover};
pub use error::{Error, Result};
pub use generate::{PREFILL_CHUNK, Reading, Sequence, for_each_logits, perplexity, read_together};
pub use load::{LoadedModel, TextTools, load, load_with_adapter, locate};
pub use models::{LanguageModel, ModelShape};
pub use tokenizer::{Detokenizer, Tokenizer, Vocabulary, VocabularyKind};
