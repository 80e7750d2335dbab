//! The `mlx` binary, run as a user runs it, on a checkpoint of 100,000 random weights.
//!
//! The checkpoint and the values expected of it, by transformers, are those of `mlx-models/tests/data`. It has no
//! tokenizer, so that some tests put one beside it.

mod bench;
mod binary;
mod convert;
mod errors;
mod finetune;
#[cfg(feature = "mlx-backend")]
mod generate;
mod info;
mod logits;
mod models;
mod perplexity;
mod render;
mod support;
mod tokenize;
