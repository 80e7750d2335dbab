//! Folders of adapters, mlx-lm's and PEFT's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mlx_core::io::{load_safetensors, save_safetensors, write_atomically};
use mlx_core::nn::lora::Magnitude;
use mlx_core::nn::{self, Dropout, Linear, Lora};
use mlx_core::{Array, DType, eval};
use serde_json::Value;

use super::config::Config;
use super::{Adapter, AdapterKind, detach, peft, refuse};
use crate::{Error, LanguageModel, Result};

pub(super) const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapters.safetensors";

/// The largest configuration that is read.
const MAX_CONFIG: u64 = 16 << 20;

/// Matrices for one linear map, as this crate holds them.
pub(super) struct Matrices {
    /// `[K, rank]`
    pub(super) a: Array,
    /// `[rank, N]`
    pub(super) b: Array,
    /// `[N]`
    pub(super) m: Option<Array>,
    pub(super) scale: f32,
}

/// An adapter as a folder has it.
pub(super) struct Stored {
    /// The file of tensors, for errors.
    pub(super) path: PathBuf,
    pub(super) kind: AdapterKind,
    pub(super) scale: f32,
    pub(super) dropout: f32,
    /// By the name of the linear map.
    pub(super) maps: BTreeMap<String, Matrices>,
    /// Arrays that replace the model's, by name.
    pub(super) arrays: BTreeMap<String, Array>,
}

impl Stored {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let config = folder.join(CONFIG);
        if !folder.is_dir() {
            return Err(refuse(
                folder,
                format!("no such folder; an adapter is a folder with {CONFIG} in it"),
            ));
        }
        let io = |source| Error::Io { path: config.clone(), source };
        if fs::metadata(&config).map_err(io)?.len() > MAX_CONFIG {
            return Err(refuse(config, format!("longer than {} MiB", MAX_CONFIG >> 20)));
        }
        let text = fs::read_to_string(&config).map_err(io)?;
        let json: Value = serde_json::from_str(&text).map_err(|error| refuse(&config, error.to_string()))?;
        if json.get("peft_type").is_some() {
            return peft::read(folder, &config, &json);
        }
        Self::of_mlx_lm(folder, &Config::read(&config, &json)?)
    }

    fn of_mlx_lm(folder: &Path, config: &Config) -> Result<Self> {
        let path = folder.join(TENSORS);
        let (mut arrays, _) = load_safetensors(&path)?;
        let Config { kind, scale, dropout } = *config;
        let mut maps = BTreeMap::new();
        if kind != AdapterKind::Full {
            let names: Vec<String> =
                arrays.keys().filter_map(|name| name.strip_suffix(".lora_a")).map(str::to_owned).collect();
            for name in names {
                let mut take = |part: &str| arrays.remove(&format!("{name}.{part}"));
                let (a, b, m) = (take("lora_a"), take("lora_b"), take("m"));
                let (Some(a), Some(b)) = (a, b) else {
                    return Err(refuse(path, format!("{name}.lora_a is there, and {name}.lora_b is not")));
                };
                if m.is_some() != (kind == AdapterKind::Dora) {
                    let problem = if m.is_some() { "has" } else { "lacks" };
                    return Err(refuse(
                        path,
                        format!("{name} {problem} the lengths m, and {CONFIG} says {}", kind.name()),
                    ));
                }
                maps.insert(name, Matrices { a, b, m, scale });
            }
            if let Some(name) = arrays.keys().next() {
                return Err(refuse(
                    path,
                    format!(
                        "tensor {name} is no part of an adapter of a linear map, which has lora_a and lora_b"
                    ),
                ));
            }
            if maps.is_empty() {
                return Err(refuse(path, "there is no tensor in it"));
            }
        }
        Ok(Stored { path, kind, scale, dropout, maps, arrays })
    }

    /// Gives it to a model.
    pub(super) fn place(self, model: &mut dyn LanguageModel) -> Result<Adapter> {
        let Stored { path, kind, scale, dropout, maps, arrays } = self;
        if kind == AdapterKind::Full {
            let names = arrays.keys().cloned().collect();
            replace(model, &path, arrays)?;
            return Ok(Adapter { kind, rank: 0, scale: 1.0, dropout: 0.0, names });
        }
        let rank = maps.values().filter_map(|matrices| matrices.a.shape().get(1)).max().copied().unwrap_or(0);
        let linears: BTreeMap<String, &Linear> = nn::find::<Linear>(model).into_iter().collect();
        let mut adapters = BTreeMap::new();
        for (name, matrices) in maps {
            let Some(linear) = linears.get(&name) else {
                return Err(refuse(path, format!("{name}.lora_a: the model has no linear map of that name")));
            };
            adapters.insert(name.clone(), matrices.fit(&path, &name, linear, dropout)?);
        }
        detach(model);
        let mut names = Vec::new();
        for (name, linear) in nn::find_mut::<Linear>(model) {
            if let Some(adapter) = adapters.remove(&name) {
                linear.lora = Some(adapter);
                names.push(name);
            }
        }
        Ok(Adapter { kind, rank, scale, dropout, names })
    }
}

impl Matrices {
    /// An adapter of `linear`.
    pub(super) fn fit(self, path: &Path, name: &str, linear: &Linear, dropout: f32) -> Result<Lora> {
        let [rows, columns] = linear.weight.shape().map(|n| n as i32);
        let (a, b) = (self.a.shape(), self.b.shape());
        let rank = a.get(1).copied().unwrap_or(0);
        let wrong = |part: &str, array: &Array, expected: &[i32]| {
            let message = format!(
                "{name}.{part} is {}{:?}, and the model's map takes {expected:?} of floats",
                array.dtype(),
                array.shape()
            );
            Err(refuse(path, message))
        };
        let float = |array: &Array| matches!(array.dtype(), DType::F32 | DType::BF16 | DType::F16);
        if a != [columns, rank] || rank < 1 || !float(&self.a) {
            return wrong("lora_a", &self.a, &[columns, rank.max(1)]);
        }
        if b != [rank, rows] || !float(&self.b) {
            return wrong("lora_b", &self.b, &[rank, rows]);
        }
        if let Some(m) = self.m.as_ref().filter(|m| m.shape() != [rows] || !float(m)) {
            return wrong("m", m, &[rows]);
        }
        let magnitude = match self.m {
            Some(m) => {
                let mut magnitude = Magnitude::of(&linear.weight)?;
                magnitude.m = m.as_type(DType::F32)?;
                Some(magnitude)
            }
            None => None,
        };
        Ok(Lora {
            lora_a: self.a,
            lora_b: self.b,
            scale: self.scale,
            dropout: Dropout::new(dropout),
            magnitude,
        })
    }
}

/// Puts whole arrays in the place of a model's, in its own dtypes.
fn replace(model: &mut dyn LanguageModel, path: &Path, arrays: BTreeMap<String, Array>) -> Result<()> {
    let own = nn::parameters(model)?;
    let above_one = model.norms_above_one();
    let mut new = BTreeMap::new();
    for (name, array) in arrays {
        let Some(place) = own.get(&name) else {
            return Err(refuse(path, format!("{name}: the model has no such array")));
        };
        if place.shape() != array.shape() || !place.dtype().is_float() || !array.dtype().is_float() {
            let message = format!(
                "{name} is {}{:?}, and the model's {}{:?}; a full fine-tune belongs to the dense model that it was made of",
                array.dtype(),
                array.shape(),
                place.dtype(),
                place.shape()
            );
            return Err(refuse(path, message));
        }
        let array = if above_one && is_norm(&name) { array.add(&array.scalar_like(1.0)?)? } else { array };
        new.insert(name, array.as_type(place.dtype())?);
    }
    eval(&new.values().collect::<Vec<_>>())?;
    Ok(nn::update(model, new)?)
}

fn is_norm(name: &str) -> bool {
    name.ends_with("norm.weight")
}

impl Adapter {
    /// Writes the adapter that `model` has into `folder`, which is made if need be, in mlx-lm's format: first
    /// `adapter_config.json`, with `base` as the model's name, then `adapters.safetensors`, each whole or not at all.
    ///
    /// # Errors
    /// When a file cannot be written; what was there before stays.
    pub fn save(&self, model: &dyn LanguageModel, folder: &Path, base: &str) -> Result<()> {
        fs::create_dir_all(folder).map_err(|source| Error::Io { path: folder.to_owned(), source })?;
        let config = Config::write(self, model.shape().num_hidden_layers, base);
        write_atomically(folder.join(CONFIG), |file| {
            serde_json::to_writer_pretty(file, &config).map_err(std::io::Error::from)
        })?;
        let mut arrays = self.parameters(model)?;
        if self.kind == AdapterKind::Full && model.norms_above_one() {
            for (_, norm) in arrays.iter_mut().filter(|(name, _)| is_norm(name)) {
                *norm = norm.subtract(&norm.scalar_like(1.0)?)?;
            }
        }
        let format = BTreeMap::from([("format".to_owned(), "mlx".to_owned())]);
        Ok(save_safetensors(folder.join(TENSORS), &arrays, &format)?)
    }
}
