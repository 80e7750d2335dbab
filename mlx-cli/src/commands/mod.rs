//! The commands, one file each.

pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod classify;
pub(crate) mod convert;
pub(crate) mod finetune;
pub(crate) mod fuse;
pub(crate) mod generate;
pub(crate) mod info;
pub(crate) mod logits;
pub(crate) mod models;
pub(crate) mod perplexity;
pub(crate) mod render;
pub(crate) mod tensor;
pub(crate) mod tokenize;
