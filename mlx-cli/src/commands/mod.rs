//! The commands, one file each.

pub(crate) mod bench;
pub(crate) mod generate;
pub(crate) mod logits;
pub(crate) mod render;
pub(crate) mod tokenize;
