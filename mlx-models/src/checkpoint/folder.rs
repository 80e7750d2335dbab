//! A folder in Hugging Face layout: `config.json` and one or more safetensors files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use mlx_core::io::SafetensorsFile;
use mlx_core::{Array, DType, Quantization, nn};
use serde_json::Value;

use super::refuse;
use crate::{Error, Result};

/// Larger than any real configuration, small enough to parse at once.
const MAX_JSON: u64 = 64 << 20;
const INDEX: &str = "model.safetensors.index.json";

/// A checkpoint folder whose configuration and tensor headers have been read.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    config: Value,
    files: Vec<SafetensorsFile>,
    /// Which file holds each tensor.
    tensors: BTreeMap<String, usize>,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let config = read_json(&path.join("config.json"))?;
        let files =
            shards(path)?.iter().map(|file| Ok(SafetensorsFile::open(file)?)).collect::<Result<Vec<_>>>()?;
        let mut tensors = BTreeMap::new();
        for (index, file) in files.iter().enumerate() {
            for name in file.names() {
                if let Some(other) = tensors.insert(name.to_owned(), index) {
                    let other: &SafetensorsFile = &files[other];
                    return Err(refuse(
                        file.path(),
                        format!("tensor {name} is also in {}", other.path().display()),
                    ));
                }
            }
        }
        Ok(Folder { path: path.to_owned(), config, files, tensors })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.json`, as it stands.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Another JSON file of the folder, if it is there.
    ///
    /// # Errors
    /// When it cannot be read or parsed.
    pub fn json(&self, name: &str) -> Result<Option<Value>> {
        let path = self.path.join(name);
        if path.exists() { read_json(&path).map(Some) } else { Ok(None) }
    }

    pub(super) fn model_type(&self) -> Result<&str> {
        let model_type = self.config.get("model_type").and_then(Value::as_str);
        model_type.ok_or_else(|| self.refuse_config("model_type is missing"))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        self.files.iter().flat_map(SafetensorsFile::tensors).map(|tensor| tensor.nbytes()).sum()
    }

    pub(super) fn dtype(&self, name: &str) -> Result<DType> {
        let holds = |suffix: &str| {
            let tensor =
                self.tensors.iter().find(|(tensor, _)| tensor.ends_with(&format!("{name}.{suffix}")));
            tensor.and_then(|(tensor, file)| self.files[*file].info(tensor)).map(|info| info.dtype)
        };
        let dtype = holds("scales").or_else(|| holds("weight"));
        dtype.ok_or_else(|| refuse(&self.path, format!("no tensor {name}.weight")))
    }

    /// One tensor as it is stored.
    pub(super) fn array(&self, name: &str) -> Result<Array> {
        let file = self.tensors.get(name).map(|index| &self.files[*index]);
        let file = file.ok_or_else(|| refuse(&self.path, format!("no tensor {name}")))?;
        let info = file.info(name).ok_or_else(|| refuse(&self.path, format!("no tensor {name}")))?;
        let shape = to_shape(&info.shape)
            .ok_or_else(|| refuse(file.path(), format!("tensor {name} is too large")))?;
        Ok(Array::from_bytes(&file.read(name)?, &shape, info.dtype)?)
    }

    /// The matrix `name.weight`, with `name.scales` and `name.biases` beside it where it is quantized.
    pub(super) fn matrix(&self, name: &str, stored: &str, dtype: DType) -> Result<nn::Weight> {
        let base = stored.strip_suffix(".weight").unwrap_or(stored);
        let scales = format!("{base}.scales");
        if !self.tensors.contains_key(&scales) {
            return Ok(nn::Weight::Dense(super::packed::converted(self.array(stored)?, dtype)?));
        }
        let quantization = self.quantization(base, name.strip_suffix(".weight").unwrap_or(name))?;
        let weight = self.array(stored)?;
        if weight.dtype() != DType::U32 {
            return Err(refuse(
                &self.path,
                format!("tensor {stored} is quantized but holds {}, not uint32", weight.dtype()),
            ));
        }
        let scales = super::packed::converted(self.array(&scales)?, dtype)?;
        let biases = super::packed::converted(self.array(&format!("{base}.biases"))?, dtype)?;
        let matrix =
            nn::Weight::Quantized { weight, scales: scales.clone(), biases: biases.clone(), quantization };
        let [rows, columns] = matrix.shape();
        let groups = [rows as i32, columns as i32 / quantization.group_size];
        if scales.shape() != groups
            || biases.shape() != groups
            || groups[1] * quantization.group_size != columns as i32
        {
            let found = (scales.shape().to_vec(), biases.shape().to_vec());
            return Err(refuse(
                &self.path,
                format!(
                    "tensor {stored}: {quantization:?} wants scales and biases of {groups:?}, found {found:?}"
                ),
            ));
        }
        Ok(matrix)
    }

    /// How a tensor is quantized: its own entry under `quantization`, by stored or by model name, else the global one.
    fn quantization(&self, stored: &str, name: &str) -> Result<Quantization> {
        let all = self.config.get("quantization").or_else(|| self.config.get("quantization_config"));
        let all = all.ok_or_else(|| {
            self.refuse_config(format!("no quantization, but tensor {stored}.scales exists"))
        })?;
        let own = [stored, name].iter().find_map(|key| all.get(*key)).filter(|own| own.is_object());
        let entry = own.unwrap_or(all);
        if let Some(mode) = entry.get("mode").and_then(Value::as_str).filter(|mode| *mode != "affine") {
            let message = format!("quantization mode {mode:?} of {stored} is not supported; affine is");
            return Err(Error::Unsupported { path: self.path.join("config.json"), message });
        }
        let number = |key: &str| entry.get(key).and_then(Value::as_i64);
        match (number("group_size"), number("bits")) {
            (Some(group_size @ (32 | 64 | 128)), Some(bits @ (2 | 3 | 4 | 5 | 6 | 8))) => {
                Ok(Quantization { group_size: group_size as i32, bits: bits as i32 })
            }
            (group_size, bits) => Err(self.refuse_config(format!(
                "quantization of {stored}: group_size {group_size:?} with bits {bits:?}; \
                 groups of 32, 64, 128 with 2, 3, 4, 5, 6, 8 bits exist"
            ))),
        }
    }

    fn refuse_config(&self, message: impl Into<String>) -> Error {
        refuse(&self.path.join("config.json"), message)
    }
}

/// The safetensors files of a folder: those of the index, else `model*.safetensors`, as mlx-lm picks them. Other names
/// belong to adapters, or to second copies in another layout.
fn shards(folder: &Path) -> Result<Vec<PathBuf>> {
    let index = folder.join(INDEX);
    if index.exists() {
        let map = read_json(&index)?;
        let map = map.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| refuse(&index, "weight_map is missing"))?;
        let mut names: Vec<&str> = map.values().filter_map(Value::as_str).collect();
        names.sort_unstable();
        names.dedup();
        // A name from a file must not lead out of the folder.
        if let Some(name) = names.iter().find(|name| !is_plain(name)) {
            return Err(refuse(&index, format!("shard name {name:?} is not a plain file name")));
        }
        return Ok(names.into_iter().map(|name| folder.join(name)).collect());
    }
    let io = |source| Error::Io { path: folder.to_owned(), source };
    let mut files = Vec::new();
    let mut pickled = None;
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") if entry_name(&path).starts_with("model") => files.push(path),
            Some("bin" | "pt" | "pth" | "ckpt") => pickled = Some(path),
            _ => {}
        }
    }
    files.sort();
    match pickled {
        _ if !files.is_empty() => Ok(files),
        Some(path) => {
            let message = "only pickled weights are here, and reading a pickle can run code; convert the model to safetensors";
            Err(Error::Unsupported { path, message: message.to_owned() })
        }
        None => Err(refuse(folder, "no model*.safetensors file is here")),
    }
}

fn entry_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.contains('\0')
}

fn read_json(path: &Path) -> Result<Value> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let mut text = Vec::new();
    file.take(MAX_JSON + 1).read_to_end(&mut text).map_err(io)?;
    if text.len() as u64 > MAX_JSON {
        return Err(refuse(path, format!("longer than {} MiB; this is not a configuration", MAX_JSON >> 20)));
    }
    serde_json::from_slice(&text).map_err(|error| refuse(path, format!("not JSON: {error}")))
}

fn to_shape(shape: &[usize]) -> Option<Vec<i32>> {
    shape.iter().map(|n| i32::try_from(*n).ok()).collect()
}
