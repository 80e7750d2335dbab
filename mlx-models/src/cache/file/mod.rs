//! What a model has read, in a file.
//!
//! One safetensors file holds the caches of all layers, and in its metadata the tokens that were read and what the model
//! was. The layout is that of mlx-lm's `save_prompt_cache`: tensors `layer.0` and `layer.1` for keys and values (`.0`, `.1`
//! and `.2` of those for codes, scales and biases where they are packed), then the cache's numbers as int32 scalars, with
//! the names of mlx-lm's classes in the metadata. So mlx-lm reads these files, but for layers that both slide and are packed,
//! a kind that it does not have. Beside that, the metadata has what makes reading safe, as JSON under [`KEY`]. mlx-lm's own
//! files lack it, do not say which tokens they stand for, and are refused.

mod identity;
mod layout;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mlx_core::io::{SafetensorsFile, save_safetensors};
use serde::{Deserialize, Serialize};

use self::identity::{Identity, Probe};
use self::layout::{Layer, Place};
use super::KvCache;
use crate::{Error, LanguageModel, Result};

/// Where in the metadata our description stands; `0.` is mlx-lm's prefix for what its callers add.
const KEY: &str = "0.rust_mlx_prompt_cache";

const VERSION: u32 = 1;

/// Characters of a parser's message that an error shows; it may quote the file.
const LONGEST_MESSAGE: usize = 200;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    version: u32,
    model: Identity,
    /// The ids that were read.
    tokens: Vec<u32>,
    layers: Vec<Layer>,
}

/// Of a description that may be newer.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Writes the caches of one sequence, which hold `tokens`, to a safetensors file, computing them first if need be. The file
/// appears under its name only once it is complete.
///
/// The file says what the model was: its kind and sizes, and what it makes of a few tokens, so that
/// [`load_prompt`] can refuse another one.
///
/// # Errors
/// When nothing was read, the caches do not hold these tokens, are those of several sequences or of another model, or
/// computing or writing fails.
pub fn save_prompt(
    path: impl AsRef<Path>,
    model: &dyn LanguageModel,
    tokens: &[u32],
    caches: &[KvCache],
) -> Result<()> {
    let path = path.as_ref();
    let refuse = |message| Err(Error::PromptCache { path: path.to_owned(), message });
    let probe = Probe::of(model)?;
    if caches.len() != probe.caches.len() {
        return refuse(format!("{} caches are not those of {} layers", caches.len(), probe.caches.len()));
    }
    let mut arrays = BTreeMap::new();
    let mut metadata = BTreeMap::new();
    let mut layers = Vec::with_capacity(caches.len());
    // mlx-lm's list of the numbers begins with an empty entry.
    metadata.insert("2.0".to_owned(), String::new());
    let mut scalars = 1;
    for (index, (cache, fresh)) in caches.iter().zip(&probe.caches).enumerate() {
        if cache.offset() as usize != tokens.len() || tokens.is_empty() {
            let (read, given) = (cache.offset(), tokens.len());
            return refuse(format!("the cache of layer {index} has read {read} tokens; {given} were given"));
        }
        if !layout::is_alike(cache, fresh) {
            return refuse(format!(
                "the cache of layer {index} is not one sequence's of this {} model",
                model.model_type()
            ));
        }
        let place = Place { index, offset: cache.offset() };
        let layer = Layer::of(cache);
        metadata.insert(format!("1.{index}"), layer.class().to_owned());
        for (name, value) in layer.scalars(place) {
            metadata.insert(format!("2.{scalars}.0"), name.clone());
            metadata.insert(format!("2.{scalars}.1"), "scalar".to_owned());
            scalars += 1;
            arrays.insert(name, mlx_core::Array::scalar(value)?);
        }
        arrays.extend(layer.arrays(place, cache)?);
        layers.push(layer);
    }
    let description = Description {
        version: VERSION,
        model: Identity::of(model, &probe)?,
        tokens: tokens.to_vec(),
        layers,
    };
    let description = serde_json::to_string(&description)
        .map_err(|error| Error::PromptCache { path: path.to_owned(), message: error.to_string() })?;
    metadata.insert(KEY.to_owned(), description);
    Ok(save_safetensors(path, &arrays, &metadata)?)
}

/// Reads what [`save_prompt`] wrote: the tokens, and the caches that hold them. Going on from there gives the very numbers
/// that going on without the file would have given.
///
/// Costs a step of the model over a few tokens, to compare it with the model that the file is of. That tells other
/// weights, another size or dtype, or a fine-tuned copy that moves the hidden states by some percent; an adapter that hardly changes the
/// model may pass, so whoever switches adapters keeps a file for each.
///
/// # Errors
/// When the file cannot be read, is not such a file or one of a later version, is of another model, or a tensor is missing,
/// surplus, or of another shape or dtype than its layer has. The file is not trusted: an error comes before memory is
/// taken for more than the file has.
pub fn load_prompt(path: impl AsRef<Path>, model: &dyn LanguageModel) -> Result<(Vec<u32>, Vec<KvCache>)> {
    let file = SafetensorsFile::open(path)?;
    let refuse = |message| Err(Error::PromptCache { path: file.path().to_owned(), message });
    let Some(text) = file.metadata().get(KEY) else {
        return refuse(format!("not a prompt cache that this library wrote: the metadata lacks {KEY}"));
    };
    let Description { model: identity, tokens, layers, .. } = match parse(text) {
        Ok(description) => description,
        Err(message) => return refuse(format!("metadata {KEY}: {message}")),
    };
    if let Some(difference) = identity.difference(model) {
        return refuse(format!("made by another model: {difference}"));
    }
    let vocabulary = model.shape().vocab_size;
    if let Some(id) = tokens.iter().find(|id| **id as usize >= vocabulary) {
        return refuse(format!("token {id} lies outside the vocabulary of {vocabulary}"));
    }
    let offset = match i32::try_from(tokens.len()) {
        Ok(offset) if offset > 0 => offset,
        _ => return refuse(format!("{} tokens are no prompt", tokens.len())),
    };
    let probe = Probe::of(model)?;
    if let Some(difference) = identity.difference_of_weights(model, &probe) {
        return refuse(format!("made by another model: {difference}"));
    }
    if layers.len() != probe.caches.len() {
        return refuse(format!("{} layers for a model of {}", layers.len(), probe.caches.len()));
    }
    let mut caches = Vec::with_capacity(layers.len());
    let mut expected = BTreeSet::new();
    for (index, (layer, fresh)) in layers.iter().zip(&probe.caches).enumerate() {
        let place = Place { index, offset };
        if let Err(message) = layer.check(place, fresh) {
            return refuse(format!("layer {index}: {message}"));
        }
        let tensors = layer.tensors(place, fresh);
        let scalars = layer.scalars(place);
        for tensor in &tensors {
            match file.info(&tensor.name) {
                Some(info) if (info.dtype, &info.shape) == (tensor.dtype, &tensor.shape) => {}
                Some(info) => {
                    return refuse(format!(
                        "tensor {} is {}{:?}; layer {index} has {}{:?}",
                        tensor.name, info.dtype, info.shape, tensor.dtype, tensor.shape
                    ));
                }
                None => return refuse(format!("tensor {} is missing", tensor.name)),
            }
        }
        for (name, value) in &scalars {
            match file.info(name) {
                Some(info) if info.dtype == mlx_core::DType::I32 && info.shape.is_empty() => {}
                _ => return refuse(format!("tensor {name} is missing, or no int32 scalar")),
            }
            if file.read(name)? != value.to_le_bytes() {
                return refuse(format!("tensor {name} is not {value}, as the metadata have it"));
            }
        }
        caches.push(layer.cache(place, &tensors, &file)?);
        expected
            .extend(tensors.into_iter().map(|tensor| tensor.name).chain(scalars.into_iter().map(|s| s.0)));
    }
    match file.names().find(|name| !expected.contains(*name)) {
        Some(name) => refuse(format!("tensor {} belongs to no layer", shortened(name))),
        None => Ok((tokens, caches)),
    }
}

fn parse(text: &str) -> Result<Description, String> {
    let message = |error: serde_json::Error| shortened(&error.to_string());
    let Version { version } = serde_json::from_str(text).map_err(message)?;
    if version != VERSION {
        return Err(format!("version {version} of the format; this library reads version {VERSION}"));
    }
    serde_json::from_str(text).map_err(message)
}

/// One line of bounded length.
fn shortened(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(LONGEST_MESSAGE).map(clean).collect()
}
