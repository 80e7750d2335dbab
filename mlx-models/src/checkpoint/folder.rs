//! A folder in Hugging Face layout: `config.json` and one or more safetensors files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use mlx_core::io::{SafetensorsFile, Source, TensorInfo};
use mlx_core::{Array, DType, Quantization, Quantized, nn};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::packed::converted;
use super::{misshapen, missing, refuse, to_shape, unsupported};
use crate::{Error, Result};

/// Larger than any real configuration, small enough to parse at once.
const MAX_CONFIG: u64 = 8 << 20;
/// The largest models list some hundred thousand tensors.
const MAX_INDEX: u64 = 64 << 20;
const CONFIG: &str = "config.json";
/// How the text begins that stands in for a file which git-lfs has not fetched.
const LFS_POINTER: &[u8] = b"version https://git-lfs";
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

/// The part of an index that is needed.
#[derive(Deserialize)]
#[serde(expecting = "an object with weight_map")]
struct Index {
    /// Which file holds each tensor.
    weight_map: BTreeMap<String, String>,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let config = read_json(&path.join(CONFIG), MAX_CONFIG)?;
        let files = shards(path)?.iter().map(|file| open_shard(file)).collect::<Result<Vec<_>>>()?;
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
        if exists(&path)? { read_json(&path, MAX_CONFIG).map(Some) } else { Ok(None) }
    }

    /// The safetensors files.
    pub(crate) fn files(&self) -> &[SafetensorsFile] {
        &self.files
    }

    pub(super) fn model_type(&self) -> Result<&str> {
        let model_type = self.config.get("model_type").and_then(Value::as_str);
        model_type.ok_or_else(|| self.refuse_config("model_type is missing, or not a text"))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(super) fn stored_bytes(&self) -> u64 {
        self.files.iter().flat_map(SafetensorsFile::tensors).map(|tensor| tensor.nbytes()).sum()
    }

    pub(super) fn dtype(&self, name: &str) -> Result<DType> {
        let stored = |suffix: &str| {
            let ending = format!("{name}.{suffix}");
            self.tensors.keys().find(|tensor| tensor.ends_with(&ending))
        };
        let stored = stored("scales").or_else(|| stored("weight"));
        let stored = stored.ok_or_else(|| missing(&self.path, &format!("{name}.weight")))?;
        let (file, info) = self.find(stored)?;
        if !info.dtype.is_float() {
            return Err(not_floats(file, info));
        }
        // MLX computes in float64 on the CPU only.
        Ok(if info.dtype == DType::F64 { DType::F32 } else { info.dtype })
    }

    /// The file that holds a tensor, and what its header says of it.
    fn find(&self, name: &str) -> Result<(&SafetensorsFile, &TensorInfo)> {
        let file = self.tensors.get(name).map(|index| &self.files[*index]);
        let found = file.and_then(|file| Some((file, file.info(name)?)));
        found.ok_or_else(|| missing(&self.path, name))
    }

    /// The same, of a tensor that must be of `shape`: checked before anything is read.
    fn find_shaped(&self, name: &str, shape: &[usize]) -> Result<(&SafetensorsFile, &TensorInfo)> {
        let (file, info) = self.find(name)?;
        if info.shape != shape {
            return Err(misshapen(file.path(), name, shape, &info.shape));
        }
        Ok((file, info))
    }

    /// A tensor of `shape` as floats of `dtype`.
    pub(super) fn floats(&self, name: &str, shape: &[usize], dtype: DType) -> Result<Array> {
        let (file, info) = self.find_shaped(name, shape)?;
        if !info.dtype.is_float() {
            return Err(not_floats(file, info));
        }
        converted(read(file, info)?, dtype)
    }

    /// The matrix `name.weight` of `[rows, columns]`, with `name.scales` and `name.biases` beside it where it is
    /// quantized.
    pub(super) fn matrix(
        &self,
        name: &str,
        stored: &str,
        [rows, columns]: [usize; 2],
        dtype: DType,
    ) -> Result<nn::Weight> {
        let base = stored.strip_suffix(".weight").unwrap_or(stored);
        let scales = format!("{base}.scales");
        if !self.tensors.contains_key(&scales) {
            return Ok(nn::Weight::Dense(self.floats(stored, &[rows, columns], dtype)?));
        }
        let quantization = self.quantization(base, name.strip_suffix(".weight").unwrap_or(name))?;
        let (group_size, bits) = (quantization.group_size() as usize, quantization.bits() as usize);
        if !columns.is_multiple_of(group_size) {
            return Err(self.refuse_config(format!(
                "quantization of {base}: group_size {group_size} does not divide its {columns} columns"
            )));
        }
        let (file, info) = self.find_shaped(stored, &[rows, columns * bits / 32])?;
        if info.dtype != DType::U32 {
            let message = format!("tensor {stored} is quantized but holds {}, not uint32", info.dtype);
            return Err(refuse(file.path(), message));
        }
        let groups = [rows, columns / group_size];
        Ok(nn::Weight::Quantized(Quantized {
            weight: read(file, info)?,
            scales: self.floats(&scales, &groups, dtype)?,
            biases: Some(self.floats(&format!("{base}.biases"), &groups, dtype)?),
            quantization,
        }))
    }

    pub(super) fn quantization_name(&self) -> Option<String> {
        let all = self.quantization_entry()?;
        let (bits, group) = (all.get("bits")?.as_u64()?, all.get("group_size")?.as_u64()?);
        Some(format!("{bits} bits, groups of {group}"))
    }

    fn quantization_entry(&self) -> Option<&Value> {
        self.config.get("quantization").or_else(|| self.config.get("quantization_config"))
    }

    /// How a tensor is quantized: its own entry under `quantization`, by stored or by model name, else the global one.
    fn quantization(&self, stored: &str, name: &str) -> Result<Quantization> {
        let all = self.quantization_entry().ok_or_else(|| {
            self.refuse_config(format!("no quantization, but tensor {stored}.scales exists"))
        })?;
        let entry = [stored, name].iter().find_map(|key| all.get(*key)).unwrap_or(all);
        let refuse =
            |message: String| Err(self.refuse_config(format!("quantization of {stored}: {message}")));
        if !entry.is_object() {
            return refuse(format!("the entry is {entry}, but tensor {stored}.scales exists"));
        }
        if let Some(mode) = entry.get("mode").filter(|mode| *mode != "affine") {
            let message = format!("quantization of {stored}: mode {mode} is not supported; affine is");
            return Err(unsupported(&self.config_path(), message));
        }
        let number = |key: &str| entry.get(key).unwrap_or(&Value::Null);
        let (group_size, bits) = (number("group_size"), number("bits"));
        match (group_size.as_i64(), bits.as_i64()) {
            (Some(group_size @ (32 | 64 | 128)), Some(bits @ (2 | 3 | 4 | 5 | 6 | 8))) => {
                Ok(Quantization::affine(group_size as i32, bits as i32))
            }
            _ => refuse(format!(
                "group_size {group_size} with bits {bits}; groups of 32, 64, 128 with 2, 3, 4, 5, 6, 8 bits exist"
            )),
        }
    }

    /// Where `config.json` is, for errors about it.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// An error about `config.json`.
    pub(crate) fn refuse_config(&self, message: impl Into<String>) -> Error {
        refuse(&self.config_path(), message)
    }
}

/// The safetensors files of a folder: those of the index, else `model*.safetensors`, as mlx-lm picks them. Other names
/// belong to adapters, or to second copies in another layout.
fn shards(folder: &Path) -> Result<Vec<PathBuf>> {
    let index = folder.join(INDEX);
    if exists(&index)? {
        let Index { weight_map } = read_json(&index, MAX_INDEX)?;
        let mut names: Vec<&str> = weight_map.values().map(String::as_str).collect();
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
        Some(path) => Err(unsupported(
            &path,
            "only pickled weights are here, and reading a pickle can run code; convert the model to safetensors",
        )),
        None => Err(refuse(folder, "no model*.safetensors file is here")),
    }
}

/// Whether something is there. Not being allowed to look is an error, and not an absence.
fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|source| Error::Io { path: path.to_owned(), source })
}

fn entry_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        && !name.contains(char::is_control)
}

/// Opens a safetensors file. A checkout without git-lfs holds a few lines of text in its place.
fn open_shard(path: &Path) -> Result<SafetensorsFile> {
    SafetensorsFile::open(path).map_err(|error| {
        let start = Source::open(path).and_then(|file| file.read(0, LFS_POINTER.len() as u64));
        if start.is_ok_and(|start| start == LFS_POINTER) {
            return refuse(path, "a git-lfs pointer and not the weights; run `git lfs pull` in the folder");
        }
        error.into()
    })
}

fn read_json<T: DeserializeOwned>(path: &Path, longest: u64) -> Result<T> {
    let file = Source::open(path)?;
    if file.len() > longest {
        let message = format!("longer than {} MiB; this is no configuration", longest >> 20);
        return Err(refuse(path, message));
    }
    let text = file.read(0, file.len())?;
    serde_json::from_slice(&text).map_err(|error| match error.classify() {
        Category::Data => refuse(path, error.to_string()),
        _ => refuse(path, format!("not JSON: {error}")),
    })
}

fn read(file: &SafetensorsFile, info: &TensorInfo) -> Result<Array> {
    let name = &info.name;
    let shape = to_shape(&info.shape);
    let shape = shape.ok_or_else(|| refuse(file.path(), format!("tensor {name} is too large")))?;
    Ok(Array::from_bytes(&file.read(name)?, &shape, info.dtype)?)
}

fn not_floats(file: &SafetensorsFile, info: &TensorInfo) -> Error {
    refuse(file.path(), format!("tensor {} holds {}, not floats", info.name, info.dtype))
}
