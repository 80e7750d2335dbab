//! What a checkpoint is, from its configuration and its headers: no weights are read, and the architecture need not be
//! one that this crate runs.
//!
//! Sizes come from the tensors' shapes where these say it, since configurations leave out what an architecture has by
//! default, and from the configuration otherwise, by any of the names that are in use.

mod settings;
mod tensors;

use std::collections::BTreeMap;
use std::path::PathBuf;

use mlx_core::DType;

use self::settings::Settings;
use self::tensors::{Side, Tensor};
use crate::{Checkpoint, models};

/// What a checkpoint is. What its files do not say is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The folder or file.
    pub path: PathBuf,
    /// `safetensors` or `gguf`.
    pub format: &'static str,
    /// The architecture as the checkpoint calls it.
    pub model_type: Option<String>,
    /// Why this crate cannot run it; `None` when it can, as far as the architecture goes.
    pub unsupported: Option<String>,
    /// Bytes of the weight files.
    pub file_bytes: u64,
    /// Weights of the language model, counted as they are before quantization. Those for images and sound do not count.
    pub parameters: u64,
    /// How the tensors are stored, most bytes first.
    pub stored_as: Vec<StoredAs>,
    /// The same in a few words; `None` for plain floats.
    pub quantization: Option<String>,
    /// Layers.
    pub layers: Option<u64>,
    /// Width of the hidden states.
    pub hidden_size: Option<u64>,
    /// Heads of queries.
    pub attention_heads: Option<u64>,
    /// Heads of keys and values.
    pub key_value_heads: Option<u64>,
    /// Width of a head.
    pub head_dim: Option<u64>,
    /// Rows of the embeddings.
    pub vocab_size: Option<u64>,
    /// Positions that the model was made for.
    pub context_len: Option<u64>,
    /// Positions that layers with a window see, and how many layers have one.
    pub sliding_window: Option<(u64, u64)>,
    /// Whether the output head is the embeddings.
    pub head: Option<Head>,
    /// What the model computes in unless told otherwise.
    pub dtype: Option<DType>,
    /// About how many bytes the weights take in memory on the current device.
    pub load_bytes: u64,
    /// Bytes that keys and values of one more token take while no window is full.
    pub kv_bytes_per_token: Option<u64>,
    /// The same of all tokens of the context, windows being full.
    pub kv_bytes_at_context: Option<u64>,
}

/// Tensors that are stored alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAs {
    /// A dtype, a ggml type, or as in `4 bits, groups of 64`.
    pub name: String,
    /// How many.
    pub tensors: u64,
    /// Their bytes, with the scales that belong to them.
    pub bytes: u64,
}

/// The output head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// It is the embeddings.
    Tied,
    /// It has weights of its own.
    Own,
}

impl Description {
    /// Describes an open checkpoint.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let settings = Settings::of(checkpoint);
        let tensors = tensors::all(checkpoint);
        let language: Vec<&Tensor<'_>> =
            tensors.iter().filter(|tensor| tensor.side == Side::Language).collect();
        let embeddings = language.iter().find(|tensor| tensor.is_embedding());
        let head = head(&language);
        let dtype = dtype(checkpoint, &settings, &language);

        let (mut parameters, mut load_bytes) = (0u64, 0u64);
        for tensor in &language {
            parameters = tensor.parameters.saturating_add(parameters);
            load_bytes = tensor.load_bytes(dtype).saturating_add(load_bytes);
        }
        let mut stored: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for tensor in &tensors {
            let (count, bytes) = stored.entry(&tensor.stored_as).or_default();
            (*count, *bytes) = (*count + 1, bytes.saturating_add(tensor.stored_bytes));
        }
        let mut stored_as: Vec<StoredAs> = stored
            .into_iter()
            .map(|(name, (tensors, bytes))| StoredAs { name: name.to_owned(), tensors, bytes })
            .collect();
        stored_as.sort_by_key(|stored| std::cmp::Reverse(stored.bytes));

        let layers = settings
            .layers()
            .or_else(|| language.iter().filter_map(|t| t.layer()).max().map(|n| n.saturating_add(1)));
        let hidden_size = settings.hidden_size().or(embeddings.and_then(|tensor| tensor.columns()));
        let attention_heads = settings.attention_heads();
        let head_dim = settings.head_dim().or_else(|| {
            let (width, heads) = (hidden_size?, attention_heads?);
            (heads > 0 && width % heads == 0).then(|| width / heads)
        });
        let key_value_heads = settings.key_value_heads().or(attention_heads);
        let context_len = settings.context_len();
        let windows = settings.windows(layers.unwrap_or(0));
        let widths =
            layers.and_then(|layers| widths(layers, &settings, &language, key_value_heads, head_dim));
        let item = dtype.map(|dtype| dtype.size() as u64);
        let kv = |tokens: u64| -> Option<u64> {
            let item = item?;
            widths.as_ref()?.iter().zip(&windows).try_fold(0u64, |bytes, (width, window)| {
                let held = window.map_or(tokens, |window| tokens.min(window));
                bytes.checked_add(width.checked_mul(item)?.checked_mul(held)?)
            })
        };
        let windowed = windows.iter().flatten().count() as u64;
        Description {
            path: checkpoint.path().to_owned(),
            format: match checkpoint {
                Checkpoint::Folder(_) => "safetensors",
                Checkpoint::Gguf(_) => "gguf",
            },
            model_type: checkpoint.model_type().ok().map(str::to_owned),
            unsupported: models::model_type(checkpoint).err().map(|error| error.to_string()),
            file_bytes: file_bytes(checkpoint),
            parameters,
            stored_as,
            quantization: checkpoint.quantization(),
            layers,
            hidden_size,
            attention_heads,
            key_value_heads,
            head_dim,
            vocab_size: embeddings.and_then(|tensor| tensor.rows()).or(settings.vocab_size()),
            context_len,
            sliding_window: windows.iter().flatten().next().map(|window| (*window, windowed)),
            head,
            dtype,
            load_bytes,
            kv_bytes_per_token: kv(1),
            kv_bytes_at_context: context_len.and_then(kv),
        }
    }
}

fn file_bytes(checkpoint: &Checkpoint) -> u64 {
    let length = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    match checkpoint {
        Checkpoint::Folder(folder) => {
            folder.files().iter().map(|file| length(file.path())).fold(0, u64::saturating_add)
        }
        Checkpoint::Gguf(file) => length(file.path()),
    }
}

/// No head among the tensors means that the embeddings are it. One that is there is used, unless it turns out to be the
/// embeddings once more when it is read.
fn head(tensors: &[&Tensor<'_>]) -> Option<Head> {
    let has_embeddings = tensors.iter().any(|tensor| tensor.is_embedding());
    match tensors.iter().any(|tensor| tensor.is_head()) {
        true => Some(Head::Own),
        false => has_embeddings.then_some(Head::Tied),
    }
}

/// What the model computes in.
fn dtype(checkpoint: &Checkpoint, settings: &Settings<'_>, tensors: &[&Tensor<'_>]) -> Option<DType> {
    let embeddings = || checkpoint.dtype("embed_tokens").ok();
    let most = || {
        let floats = tensors.iter().filter(|tensor| tensor.float.is_some());
        floats.max_by_key(|tensor| tensor.stored_bytes).and_then(|tensor| tensor.float)
    };
    let dtype = embeddings().or_else(|| settings.dtype()).or_else(most)?;
    // Gemma 3 does not compute in float16, which its activations outgrow.
    let is_gemma3 = models::model_type(checkpoint).is_ok_and(|name| name == "gemma3_text");
    Some(if is_gemma3 && dtype == DType::F16 { DType::F32 } else { dtype })
}

/// Numbers that one token adds to the keys and values of each layer: rows of the two projections, else heads by their
/// width.
fn widths(
    layers: u64,
    settings: &Settings<'_>,
    tensors: &[&Tensor<'_>],
    heads: Option<u64>,
    head_dim: Option<u64>,
) -> Option<Vec<u64>> {
    // Latent attention keeps something else than keys and values.
    if settings.has_latent_attention() || layers > settings::MAX_LAYERS {
        return None;
    }
    let mut widths = vec![0u64; usize::try_from(layers).ok()?];
    for tensor in tensors.iter().filter(|tensor| tensor.is_key_or_value()) {
        let layer = usize::try_from(tensor.layer()?).ok()?;
        let width = widths.get_mut(layer)?;
        *width = width.saturating_add(tensor.rows()?);
    }
    if widths.iter().all(|width| *width == 0) {
        let width = heads?.checked_mul(head_dim?)?.checked_mul(2)?;
        widths.fill(width);
    }
    Some(widths)
}

#[cfg(test)]
mod tests;
