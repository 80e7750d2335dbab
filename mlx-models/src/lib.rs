//! Language models on MLX: checkpoints, tokenizers, caches, sampling.

mod cache;
mod chat_template;
pub mod checkpoint;
mod error;
mod generate;
mod load;
pub mod gguf;
pub mod models;
pub mod packaged;
pub mod sampling;
pub mod stop;
pub mod tokenizer;

pub use cache::{KvCache, Mask};
pub use chat_template::ChatTemplate;
pub use checkpoint::Checkpoint;
pub use error::{Error, Result};
pub use load::{LoadedModel, TextTools, load, locate};
pub use generate::{Sequence, for_each_logits};
pub use models::{LanguageModel, ModelShape};
pub use tokenizer::{Detokenizer, Tokenizer, Vocabulary, VocabularyKind};
