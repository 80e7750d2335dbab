//! mlx-models

mod chat_template;
mod error;
pub mod tokenizer;

pub use chat_template::ChatTemplate;
pub use error::{Error, Result};
pub use tokenizer::{Detokenizer, Tokenizer, Vocabulary, VocabularyKind};
