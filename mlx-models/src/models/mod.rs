//! The architectures, one file each, named as checkpoints name them.

mod config;
mod decoder;
mod gemma3_text;
mod llama;
mod parts;
mod qwen2;
mod qwen3;
mod qwen3_moe;
mod rope;

use std::cell::RefCell;

use mlx_core::nn::{Children, ChildrenMut, Module};
use mlx_core::{Array, DType};
use serde_json::Value;

pub(crate) use self::parts::with_checkpoints;
use crate::checkpoint::{Listener, Parameter, Weights, unsupported};
use crate::{Batch, CacheConfig, Checkpoint, Error, KvCache, Result};

/// A decoder-only language model: token ids in, hidden states and logits out.
///
/// The weights never change here, and what was read so far lives in caches that the caller owns; one model serves any
/// number of sequences.
///
/// As a [`Module`], a model names its arrays as Hugging Face's and MLX's checkpoints do, such as
/// `model.layers.0.self_attn.q_proj.weight`; adapters are attached and trained by these names.
pub trait LanguageModel: Module {
    /// The architecture, as configurations call it.
    fn model_type(&self) -> &'static str;

    /// Sizes that callers need to know.
    fn shape(&self) -> &ModelShape;

    /// The configuration as a `config.json` that holds nothing but the model: no quantization, no token ids.
    ///
    /// # Errors
    /// What it is about the model that no `config.json` can say.
    fn config(&self) -> Result<Value, String>;

    /// Whether the arrays named `…norm.weight` are held with the one that the model's norms add to what a checkpoint in
    /// Hugging Face's layout has.
    fn norms_above_one(&self) -> bool {
        false
    }

    /// Empty caches for one sequence, one for each layer.
    fn make_caches(&self) -> Vec<KvCache>;

    /// [`make_caches`](Self::make_caches), to hold what they will hold as `config` says.
    ///
    /// # Errors
    /// When keys and values as wide as this model's cannot be held so; see [`CacheConfig::check`].
    fn make_caches_with(&self, config: CacheConfig) -> Result<Vec<KvCache>> {
        config.check(self.shape().head_dim)?;
        Ok(self.make_caches().into_iter().map(|cache| cache.with_config(config)).collect())
    }

    /// Bytes that plain caches of a sequence of `tokens` tokens take, at most.
    fn cache_bytes(&self, tokens: usize) -> usize {
        let rows: usize = self.make_caches().iter().map(|cache| cache.capacity_for(tokens)).sum();
        rows.saturating_mul(self.shape().key_value_bytes)
    }

    /// Hidden states of the tokens, after the last norm: ids `[B, L] -> [B, L, D]`. The caches grow by `L`.
    ///
    /// # Errors
    /// When an id lies outside the vocabulary, the caches are not this model's, or computing fails. The caches are unusable
    /// afterwards: some layers may have grown and others not.
    fn forward(&self, tokens: &Array, caches: &mut [KvCache]) -> Result<Array> {
        self.forward_batch(tokens, &mut Batch::of_one(caches))
    }

    /// [`forward`](Self::forward) of tokens of several sequences, each with caches of its own. `tokens` are those of one
    /// sequence after another, in any shape `[B, L]`; so are the hidden states.
    ///
    /// # Errors
    /// As there; the caches of all sequences are unusable then.
    fn forward_batch(&self, tokens: &Array, batch: &mut Batch<'_>) -> Result<Array>;

    /// Logits of hidden states: `[B, L, D] -> [B, L, V]`.
    ///
    /// # Errors
    /// When the last axis is not the model's width.
    fn logits(&self, hidden: &Array) -> Result<Array>;
}

/// A model on its own can be trained as any other module.
impl Module for Box<dyn LanguageModel> {
    fn children(&self) -> Children<'_> {
        vec![(String::new(), &**self)]
    }

    fn children_mut(&mut self) -> ChildrenMut<'_> {
        vec![(String::new(), &mut **self)]
    }
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
    /// Width of a key or a value of one head.
    pub head_dim: usize,
    /// Bytes that the key and the value of one token take in one layer, all heads together, in a plain cache.
    pub key_value_bytes: usize,
    /// Positions that the model was made for.
    pub context_len: usize,
    /// Weights, counted as they are before quantization.
    pub parameters: usize,
    /// Bytes that the weights take in memory.
    pub weight_bytes: usize,
    /// What the model computes in.
    pub dtype: DType,
}

/// What a model is made of, and what for.
struct Source<'c> {
    checkpoint: &'c Checkpoint,
    /// What to compute in, if not what the checkpoint suggests.
    dtype: Option<DType>,
    /// Gets the parameters, in place of the model.
    listener: Option<Listener<'c>>,
}

impl<'c> Source<'c> {
    /// What to compute in.
    fn dtype(&self) -> Result<DType> {
        self.dtype.map_or_else(|| self.checkpoint.dtype("embed_tokens"), Ok)
    }

    /// The tensors under the names that `rename` gives them; `None` drops a tensor that the model does not use.
    ///
    /// # Errors
    /// When two tensors get one name.
    fn weights(&self, dtype: DType, rename: impl Fn(&str) -> Option<String>) -> Result<Weights<'c>> {
        Weights::new(self.checkpoint, dtype, self.listener, rename)
    }
}

/// Makes a model.
type Load = fn(&Source<'_>) -> Result<Box<dyn LanguageModel>>;

/// How one architecture is recognised and loaded.
struct Architecture {
    /// `model_type` in `config.json`; the first is the model's own name.
    model_types: &'static [&'static str],
    /// `general.architecture` in GGUF files.
    gguf: &'static str,
    load: Load,
}

/// To add a model, write its file and add its line.
const ARCHITECTURES: &[Architecture] = &[
    Architecture { model_types: &["gemma3_text", "gemma3"], gguf: "gemma3", load: gemma3_text::load },
    Architecture { model_types: &["llama"], gguf: "llama", load: llama::load },
    Architecture { model_types: &["qwen2"], gguf: "qwen2", load: qwen2::load },
    Architecture { model_types: &["qwen3"], gguf: "qwen3", load: qwen3::load },
    Architecture { model_types: &["qwen3_moe"], gguf: "qwen3moe", load: qwen3_moe::load },
];

/// Characters of an unknown architecture's name that an error shows, so that what is known still fits.
const LONGEST_NAME: usize = 100;

fn find(checkpoint: &Checkpoint) -> Result<&'static Architecture> {
    let name = checkpoint.model_type()?;
    let matches = |a: &&Architecture| match checkpoint {
        Checkpoint::Folder(_) => a.model_types.contains(&name),
        Checkpoint::Gguf(_) => a.gguf == name,
    };
    ARCHITECTURES.iter().find(matches).ok_or_else(|| {
        let (path, field, known): (_, _, Vec<&str>) = match checkpoint {
            Checkpoint::Folder(folder) => (
                folder.config_path(),
                "model_type",
                ARCHITECTURES.iter().flat_map(|a| a.model_types).copied().collect(),
            ),
            Checkpoint::Gguf(file) => (
                file.path().to_owned(),
                "general.architecture",
                ARCHITECTURES.iter().map(|a| a.gguf).collect(),
            ),
        };
        let name: String = name.chars().take(LONGEST_NAME).collect();
        unsupported(&path, format!("{field} {name:?} is not supported; supported are {}", known.join(", ")))
    })
}

/// What [`LanguageModel::model_type`] of the checkpoint's model would be; reads no weights.
///
/// # Errors
/// When this crate does not know the architecture, or the checkpoint does not name one.
pub fn model_type(checkpoint: &Checkpoint) -> Result<&'static str> {
    Ok(find(checkpoint)?.model_types[0])
}

/// Makes the model of a checkpoint. `dtype` is what to compute in, float16, bfloat16 or float32; by default what the
/// checkpoint suggests.
///
/// # Errors
/// When `dtype` is another one, the architecture is unknown, the configuration contradicts itself, or a tensor is missing, surplus or of the
/// wrong shape.
pub fn load(checkpoint: &Checkpoint, dtype: Option<DType>) -> Result<Box<dyn LanguageModel>> {
    // MLX computes in float64 on the CPU only.
    if let Some(dtype) = dtype.filter(|dtype| !matches!(dtype, DType::F16 | DType::BF16 | DType::F32)) {
        let message = format!("models do not compute in {dtype}; float16, bfloat16 and float32 are possible");
        return Err(Error::Option { option: "dtype", message });
    }
    (find(checkpoint)?.load)(&Source { checkpoint, dtype, listener: None })
}

/// Gives each parameter of a checkpoint's model to `listener`, one by one, under the name that it has in Hugging Face's and
/// MLX's checkpoints; then the model's configuration, as [`LanguageModel::config`].
///
/// Weights are in `dtype`, unless they are packed. A head that is the embeddings a second time is given like any other.
///
/// # Errors
/// As [`load`], and those of `listener`.
pub fn for_each_parameter(
    checkpoint: &Checkpoint,
    dtype: DType,
    listener: impl FnMut(&str, Parameter) -> Result<()>,
) -> Result<Value> {
    listen(checkpoint, dtype, &|_| true, listener)
}

/// The one parameter `name` of a checkpoint's model, by the name that [`for_each_parameter`] gives it.
///
/// # Errors
/// As [`load`], and when there is no such parameter.
pub fn parameter(checkpoint: &Checkpoint, name: &str, dtype: DType) -> Result<Parameter> {
    let mut found = None;
    let wanted = |other: &str| other == name;
    listen(checkpoint, dtype, &wanted, |_, parameter| {
        found = Some(parameter);
        Ok(())
    })?;
    found.ok_or_else(|| {
        let name: String = name.chars().take(LONGEST_NAME).collect();
        checkpoint.refuse(format!(
            "no parameter {name:?}; names are like model.embed_tokens.weight and model.layers.0.self_attn.q_proj.weight, and \
             of all experts model.layers.0.mlp.switch_mlp.up_proj.weight"
        ))
    })
}

fn listen(
    checkpoint: &Checkpoint,
    dtype: DType,
    wants: &dyn Fn(&str) -> bool,
    listener: impl FnMut(&str, Parameter) -> Result<()>,
) -> Result<Value> {
    let tell = RefCell::new(listener);
    let listener = Listener { wants, tell: &tell };
    let source = Source { checkpoint, dtype: Some(dtype), listener: Some(listener) };
    let model = (find(checkpoint)?.load)(&source)?;
    model.config().map_err(|message| checkpoint.refuse(message))
}
