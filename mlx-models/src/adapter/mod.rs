//! Adapters: small matrices beside a model's linear maps, trained, stored and exchanged in place of the model.
//!
//! [`attach`] gives a model fresh ones, [`load`] those of a folder in mlx-lm's or PEFT's format, and [`Adapter::save`]
//! writes mlx-lm's: `adapters.safetensors` and `adapter_config.json`. [`fuse`] makes a checkpoint of model and adapter.
//!
//! ```no_run
//! use mlx_models::adapter::{self, AdapterOptions};
//! use std::path::Path;
//!
//! # fn main() -> mlx_models::Result<()> {
//! let mut loaded = mlx_models::load(Path::new("model"), None)?;
//! let options = AdapterOptions { rank: 4, targets: vec!["q_proj".into(), "v_proj".into()], ..Default::default() };
//! let adapter = adapter::attach(&mut *loaded.model, &options, 7)?;
//! let trained = adapter.parameters(&*loaded.model)?;
//! println!("{} numbers in {} arrays are trained", trained.values().map(|a| a.size()).sum::<usize>(), trained.len());
//! adapter.save(&*loaded.model, Path::new("adapter"), "model")?;
//! # Ok(())
//! # }
//! ```

mod config;
mod file;
mod fuse;
mod peft;
mod targets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlx_core::nn::{self, Linear, lora};
use mlx_core::{Array, DType, random};

pub use fuse::{FuseOptions, Fused, fuse};

use crate::{Error, LanguageModel, Result};

/// What is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdapterKind {
    /// Two small matrices beside each map. (Hu et al., 2021)
    #[default]
    Lora,
    /// LoRA, and the lengths of the weight's rows. (Liu et al., 2024)
    Dora,
    /// The model's own weights, in the layers that are asked for.
    Full,
}

impl AdapterKind {
    /// The name in `adapter_config.json`.
    pub fn name(self) -> &'static str {
        match self {
            AdapterKind::Lora => "lora",
            AdapterKind::Dora => "dora",
            AdapterKind::Full => "full",
        }
    }
}

/// What a new adapter is like, and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterOptions {
    /// What is trained.
    pub kind: AdapterKind,
    /// Columns of A and rows of B.
    pub rank: i32,
    /// Factor on what the adapter adds: alpha / rank.
    pub scale: f32,
    /// The probability with which elements of an adapter's input are dropped in training.
    pub dropout: f32,
    /// Linear maps by the end of their names, such as `q_proj`, `self_attn.q_proj` or `lm_head`; empty for all of the
    /// layers' but the routers of mixtures of experts.
    pub targets: Vec<String>,
    /// Only so many layers, the last ones.
    pub layers: Option<usize>,
    /// What the adapter is held in, float32, bfloat16 or float16. Steps are computed in float32 in any case.
    pub dtype: DType,
}

/// LoRA of rank 8 and alpha 16 on every linear map of every layer, in float32.
impl Default for AdapterOptions {
    fn default() -> Self {
        AdapterOptions {
            kind: AdapterKind::Lora,
            rank: 8,
            scale: 2.0,
            dropout: 0.0,
            targets: Vec::new(),
            layers: None,
            dtype: DType::F32,
        }
    }
}

/// What is known of the adapter that a model has.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// What is trained.
    pub kind: AdapterKind,
    /// Columns of A and rows of B; the largest, where maps differ. 0 where the weights themselves are trained.
    pub rank: i32,
    /// Factor on what the adapter adds.
    pub scale: f32,
    /// The probability with which elements of an adapter's input are dropped in training.
    pub dropout: f32,
    /// The linear maps with an adapter, or the arrays that are trained themselves, in the model's order.
    pub names: Vec<String>,
}

impl Adapter {
    /// Whether an array of the model belongs to the adapter, by its name.
    pub fn holds(&self, name: &str) -> bool {
        match self.kind {
            AdapterKind::Full => self.names.iter().any(|own| own == name),
            _ => lora::is_adapter(name),
        }
    }

    /// The adapter's arrays, by name: what is trained, saved and loaded.
    ///
    /// # Errors
    /// When two arrays of the model have one name.
    pub fn parameters(&self, model: &dyn LanguageModel) -> Result<BTreeMap<String, Array>> {
        Ok(nn::trainable_parameters(model, |name| self.holds(name))?)
    }
}

/// Gives fresh adapters to the maps of a model that `options` name; those that it has already go.
///
/// What is random depends on `seed` and on the order of the maps alone.
///
/// # Errors
/// When no map has such a name, a number is out of its range, or weights that are to be trained themselves are packed. The
/// model is as before then.
pub fn attach(model: &mut dyn LanguageModel, options: &AdapterOptions, seed: u64) -> Result<Adapter> {
    if !options.dtype.is_float() || options.dtype == DType::F64 {
        let message = format!("{} is not float32, bfloat16 or float16", options.dtype);
        return Err(Error::Option { option: "adapter dtype", message });
    }
    let layers = model.shape().num_hidden_layers;
    let first = targets::first_layer(layers, options.layers)?;
    if options.kind == AdapterKind::Full {
        let names = targets::arrays(model, &options.targets, first)?;
        detach(model);
        return Ok(Adapter { kind: AdapterKind::Full, rank: 0, scale: 1.0, dropout: 0.0, names });
    }
    let names = targets::maps(model, &options.targets, first)?;
    let config = lora::Config {
        rank: options.rank,
        scale: options.scale,
        dropout: options.dropout,
        dora: options.kind == AdapterKind::Dora,
    };
    targets::check_rank(model, &names, options.rank)?;
    let before: Vec<_> = nn::find::<Linear>(model).into_iter().map(|(_, map)| map.lora.clone()).collect();
    detach(model);
    let attached =
        lora::apply(model, config, &random::key(seed)?, |name| names.iter().any(|own| own == name)).and_then(
            |names| {
                cast(model, options.dtype)?;
                Ok(names)
            },
        );
    match attached {
        Ok(names) => Ok(Adapter {
            kind: options.kind,
            rank: options.rank,
            scale: options.scale,
            dropout: options.dropout,
            names,
        }),
        Err(error) => {
            for ((_, map), before) in nn::find_mut::<Linear>(model).into_iter().zip(before) {
                map.lora = before;
            }
            Err(error.into())
        }
    }
}

/// Takes the adapters off a model.
pub fn detach(model: &mut dyn LanguageModel) {
    for (_, map) in nn::find_mut::<Linear>(model) {
        map.lora = None;
    }
}

/// Gives a model the adapter of a folder, in the place of any that it has: `adapters.safetensors` as mlx-lm writes it, or
/// PEFT's `adapter_model.safetensors`, and `adapter_config.json`.
///
/// # Errors
/// When a file is missing or broken, the adapter is for another model, or it holds what is not supported; the error names
/// the file and the tensor or the field. The model is as before then.
pub fn load(model: &mut dyn LanguageModel, folder: &Path) -> Result<Adapter> {
    let stored = file::Stored::read(folder)?;
    stored.place(model)
}

/// The adapters' matrices in `dtype`; the lengths of rows stay float32.
fn cast(model: &mut dyn LanguageModel, dtype: DType) -> mlx_core::Result<()> {
    for (_, map) in nn::find_mut::<Linear>(model) {
        if let Some(lora) = &mut map.lora {
            lora.lora_a = lora.lora_a.as_type(dtype)?;
            lora.lora_b = lora.lora_b.as_type(dtype)?;
        }
    }
    Ok(())
}

fn refuse(path: impl Into<PathBuf>, message: impl Into<String>) -> Error {
    Error::Adapter { path: path.into(), message: message.into() }
}
