//! The architectures, one file each, named as checkpoints name them.

mod gemma3_text;

use mlx_core::{Array, DType};

use crate::{Checkpoint, KvCache, Result};

/// A decoder-only language model: token ids in, hidden states and logits out.
///
/// The weights never change here, and what was read so far lives in caches that the caller owns; one model serves any
/// number of sequences.
pub trait LanguageModel {
    /// The architecture, as configurations call it.
    fn model_type(&self) -> &'static str;

    /// Sizes that callers need to know.
    fn shape(&self) -> &ModelShape;

    /// Empty caches for one sequence, one for each layer.
    fn make_caches(&self) -> Vec<KvCache>;

    /// Hidden states of the tokens, after the last norm: ids `[B, L] -> [B, L, D]`. The caches grow by `L`.
    ///
    /// # Errors
    /// When an id lies outside the vocabulary or the caches are not this model's.
    fn forward(&self, tokens: &Array, caches: &mut [KvCache]) -> Result<Array>;

    /// Logits of hidden states: `[B, L, D] -> [B, L, V]`.
    ///
    /// # Errors
    /// When the last axis is not the model's width.
    fn logits(&self, hidden: &Array) -> Result<Array>;
}

/// Sizes of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelShape {
    /// Rows of the head: ids that the model can give.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Positions that the model was made for.
    pub context_len: usize,
    /// Weights, counted as they are before quantization.
    pub parameters: usize,
    /// Bytes that the weights take in memory.
    pub weight_bytes: usize,
    /// What the model computes in.
    pub dtype: DType,
}

/// Makes a model of a checkpoint, to compute in the dtype that is given or in its own.
type Load = fn(&Checkpoint, Option<DType>) -> Result<Box<dyn LanguageModel>>;

/// How one architecture is recognised and loaded.
struct Architecture {
    /// `model_type` in `config.json`.
    model_types: &'static [&'static str],
    /// `general.architecture` in GGUF files.
    gguf: &'static str,
    load: Load,
}

/// To add a model, write its file and add its line.
const ARCHITECTURES: &[Architecture] =
    &[Architecture { model_types: &["gemma3_text", "gemma3"], gguf: "gemma3", load: gemma3_text::load }];

fn find(checkpoint: &Checkpoint) -> Result<&'static Architecture> {
    let name = checkpoint.model_type()?;
    let matches = |a: &&Architecture| match checkpoint {
        Checkpoint::Folder(_) => a.model_types.contains(&name),
        Checkpoint::Gguf(_) => a.gguf == name,
    };
    ARCHITECTURES.iter().find(matches).ok_or_else(|| {
        let refusal = |field: &str, known: Vec<&str>| {
            format!("{field} {name:?} is not supported; supported are {}", known.join(", "))
        };
        match checkpoint {
            Checkpoint::Folder(folder) => {
                let known = ARCHITECTURES.iter().flat_map(|a| a.model_types).copied();
                folder.refuse_config(refusal("model_type", known.collect()))
            }
            Checkpoint::Gguf(_) => {
                let known = ARCHITECTURES.iter().map(|a| a.gguf);
                checkpoint.refuse(refusal("general.architecture", known.collect()))
            }
        }
    })
}

/// Whether this crate knows the checkpoint's architecture; reads no weights.
///
/// # Errors
/// When it does not, or the checkpoint does not name one.
pub fn check_supported(checkpoint: &Checkpoint) -> Result<()> {
    find(checkpoint).map(|_| ())
}

/// Makes the model of a checkpoint. `dtype` is what to compute in; by default what the checkpoint suggests.
///
/// # Errors
/// When the architecture is unknown, the configuration contradicts itself, or a tensor is missing, surplus or of the
/// wrong shape.
pub fn load(checkpoint: &Checkpoint, dtype: Option<DType>) -> Result<Box<dyn LanguageModel>> {
    (find(checkpoint)?.load)(checkpoint, dtype)
}
