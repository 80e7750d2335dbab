//! Language models on MLX: checkpoints, tokenizers, caches, sampling.

mod cache;
mod chat_template;
pub mod checkpoint;
mod error;
mod generate;
pub mod gguf;
mod load;
pub mod models;
pub mod packaged;
pub mod sampling;
pub mod stop;
pub mod tokenizer;

pub use cache::{KvCache, Mask};
pub use chat_template::ChatTemplate;
pub use checkpoint::Checkpoint;
pub use error::{Error, Result};
pub use generate::{Sequence, for_each_logits};
pub use load::{LoadedModel, TextTools, load, locate};
pub use models::{LanguageModel, ModelShape};
pub use tokenizer::{Detokenizer, Tokenizer, Vocabulary, VocabularyKind};
