//! What models are made of: parts that several architectures share.

mod attention;
mod checkpointed;
mod experts;
mod head;
mod heads;
mod mlp;
mod names;

pub(super) use attention::{Attention, AttentionShape};
pub(super) use checkpointed::layer;
pub(crate) use checkpointed::with_checkpoints;
pub(super) use experts::{Experts, ExpertsShape};
pub(super) use head::{OutputHead, Tying};
pub(super) use mlp::Mlp;
pub(super) use names::from_llama_cpp;
