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
/// What the scales of 8-bit floats are called beside their `weight`: one for each block, or one for all or for each row.
pub(super) const BLOCK_SCALES: &str = "weight_scale_inv";
pub(super) const FP8_SCALES: &str = "weight_scale";

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
        // Scales of other modes than the affine one are bytes; what is beside them tells then.
        let is_float = |name: &&String| self.find(name).is_ok_and(|(_, info)| info.dtype.is_float());
        let beside = || self.tensors.keys().find(|tensor| tensor.ends_with("norm.weight"));
        let scales =
            stored("scales").map(|scales| Some(scales).filter(is_float).or_else(beside).unwrap_or(scales));
        let stored = scales.or_else(|| stored("weight"));
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

    /// What the headers tell of a tensor of floats.
    ///
    /// # Errors
    /// When it has another shape or holds integers.
    pub(super) fn inspect_floats(&self, name: &str, shape: &[usize]) -> Result<()> {
        let (file, info) = self.find_shaped(name, shape)?;
        if info.dtype.is_float() || info.is_fp8 { Ok(()) } else { Err(not_floats(file, info)) }
    }

    /// A tensor of `shape` as floats of `dtype`.
    pub(super) fn floats(&self, name: &str, shape: &[usize], dtype: DType) -> Result<Array> {
        self.inspect_floats(name, shape)?;
        let (file, info) = self.find(name)?;
        let array = read(file, info)?;
        converted(if info.is_fp8 { array.from_fp8(dtype)? } else { array }, dtype)
    }

    /// What the headers tell of matrices `[.., rows, columns]`: how they are stored, with what belongs to them beside them.
    /// The model knows them as `base.weight`.
    ///
    /// # Errors
    /// When a part is missing, has another shape or another dtype, or the configuration says something else.
    pub(super) fn inspect(&self, base: &str, stored: &str, shape: &[usize]) -> Result<Stored> {
        let parts = Parts::of(stored);
        for scales in [&parts.block_scales, &parts.fp8_scales] {
            if self.tensors.contains_key(scales) {
                let block = self.inspect_scaled(stored, scales, shape)?;
                return Ok(Stored::Scaled { scales: scales.clone(), block });
            }
        }
        if !self.tensors.contains_key(&parts.scales) {
            self.inspect_floats(stored, shape)?;
            return Ok(Stored::Floats);
        }
        let quantization = self.quantization(parts.base, base)?;
        let (group_size, bits) = (quantization.group_size() as usize, quantization.bits() as usize);
        let (columns, lead) = shape.split_last().unwrap_or((&0, &[]));
        if !columns.is_multiple_of(group_size) {
            let base = parts.base;
            return Err(self.refuse_config(format!(
                "quantization of {base}: group_size {group_size} does not divide its {columns} columns"
            )));
        }
        let (file, info) = self.find_shaped(stored, &[lead, &[columns * bits / 32]].concat())?;
        if info.dtype != DType::U32 {
            let message = format!("tensor {stored} is quantized but holds {}, not uint32", info.dtype);
            return Err(refuse(file.path(), message));
        }
        let groups = [lead, &[columns / group_size]].concat();
        if let Quantization::Affine { .. } = quantization {
            self.inspect_floats(&parts.scales, &groups)?;
            self.inspect_floats(&parts.biases, &groups)?;
        } else {
            let (file, info) = self.find_shaped(&parts.scales, &groups)?;
            if info.dtype != DType::U8 {
                let (mode, scales) = (quantization.mode(), &parts.scales);
                let message = format!("tensor {scales} holds {}; scales of {mode} are uint8", info.dtype);
                return Err(refuse(file.path(), message));
            }
        }
        Ok(Stored::Quantized(quantization))
    }

    /// The same of a matrix of 8-bit floats that are to be multiplied by `scales`: the sizes of the block that shares one.
    ///
    /// As `weight_scale_inv` they are a grid of blocks, as DeepSeek and Qwen publish them; as `weight_scale` one for all, or
    /// one for each row, as in checkpoints of compressed-tensors, FBGEMM and ModelOpt.
    fn inspect_scaled(&self, stored: &str, scales: &str, shape: &[usize]) -> Result<[usize; 2]> {
        let blocks = if scales.ends_with(BLOCK_SCALES) { Some(self.block_size(stored)?) } else { None };
        let (file, info) = self.find_shaped(stored, shape)?;
        if !info.is_fp8 {
            let message = format!("tensor {stored} holds {}, but {scales} is there", info.dtype);
            return Err(refuse(file.path(), message));
        }
        let &[rows, columns] = shape else {
            let message = format!("tensor {stored} has scales and shape {shape:?}; two axes are supported");
            return Err(unsupported(file.path(), message));
        };
        if let Some([height, width]) = blocks {
            self.inspect_floats(scales, &[rows.div_ceil(height), columns.div_ceil(width)])?;
            return Ok([height, width]);
        }
        self.check_no_transform()?;
        let (file, info) = self.find(scales)?;
        let block = match info.shape[..] {
            [] | [1] | [1, 1] => [rows, columns],
            [n] | [n, 1] if n == rows => [1, columns],
            _ => {
                let found = &info.shape;
                let message =
                    format!("tensor {scales} has shape {found:?}; one scale, or [{rows}, 1], is supported");
                return Err(unsupported(file.path(), message));
            }
        };
        self.inspect_floats(scales, &info.shape)?;
        Ok(block)
    }

    /// Rows and columns of the blocks that share a scale.
    fn block_size(&self, stored: &str) -> Result<[usize; 2]> {
        let Some(block) = self.quantization_entry().and_then(|entry| entry.get("weight_block_size")) else {
            return Ok([128, 128]);
        };
        match <[usize; 2]>::deserialize(block) {
            Ok(sizes) if !sizes.contains(&0) => Ok(sizes),
            _ => {
                Err(self
                    .refuse_config(format!("weight_block_size {block} for {stored}: two sizes are wanted")))
            }
        }
    }

    /// # Errors
    /// When the weights are those of a model whose activations are turned while it computes.
    fn check_no_transform(&self) -> Result<()> {
        let transform = self.quantization_entry().and_then(|entry| entry.get("transform_config"));
        match transform.and_then(|transform| transform.get("config_groups")).and_then(Value::as_object) {
            Some(groups) if !groups.is_empty() => {
                let message = "quantization_config.transform_config is set, and transforms are not supported";
                Err(unsupported(&self.config_path(), message))
            }
            _ => Ok(()),
        }
    }

    /// Matrices `[.., rows, columns]` that were [inspected](Self::inspect), one below the other.
    pub(super) fn matrix(
        &self,
        name: &str,
        shape: &[usize],
        stored: &Stored,
        dtype: DType,
    ) -> Result<nn::Weight> {
        let flat = |array: Array| -> Result<Array> {
            if array.ndim() == 2 {
                return Ok(array);
            }
            Ok(array.reshape(&[-1, *array.shape().last().unwrap_or(&1)])?)
        };
        let parts = Parts::of(name);
        let quantization = match stored {
            Stored::Floats => return Ok(nn::Weight::Dense(flat(self.floats(name, shape, dtype)?)?)),
            Stored::Scaled { scales, block } => return self.scaled(name, scales, shape, *block, dtype),
            Stored::Quantized(quantization) => *quantization,
        };
        let part = |name: &str| {
            let (file, info) = self.find(name)?;
            let affine = matches!(quantization, Quantization::Affine { .. });
            let array = read(file, info)?;
            // The scales of other modes are bytes.
            flat(if affine { converted(array, dtype)? } else { array })
        };
        Ok(nn::Weight::Quantized(Quantized {
            weight: part(name)?,
            scales: part(&parts.scales)?,
            biases: match quantization {
                Quantization::Affine { .. } => Some(part(&parts.biases)?),
                _ => None,
            },
            quantization,
        }))
    }

    /// A matrix of 8-bit floats, each times the scale of its block.
    fn scaled(
        &self,
        name: &str,
        scales: &str,
        shape: &[usize],
        block: [usize; 2],
        dtype: DType,
    ) -> Result<nn::Weight> {
        let too_large = || refuse(&self.path, format!("tensor {name} is too large"));
        let Some(&[rows, columns]) = to_shape(shape).as_deref().and_then(|shape| shape.first_chunk()) else {
            return Err(too_large());
        };
        let weight = self.floats(name, shape, DType::F32)?;
        let grid = [0, 1].map(|axis| shape[axis].div_ceil(block[axis]));
        let (_, info) = self.find(scales)?;
        let scales = self.floats(scales, &info.shape, DType::F32)?;
        // Blocks at the edges may be cut, so none is larger than the matrix.
        let block = [0, 1].map(|axis| block[axis].min(shape[axis]));
        let sizes = to_shape(&[grid[0], block[0], grid[1], block[1]]).ok_or_else(too_large)?;
        let whole = to_shape(&[grid[0] * block[0], grid[1] * block[1]]).ok_or_else(too_large)?;
        let each = scales.reshape(&[sizes[0], 1, sizes[2], 1])?.broadcast_to(&sizes)?.reshape(&whole)?;
        let each = each.slice_axis(0, 0, rows)?.slice_axis(1, 0, columns)?;
        let dense = weight.multiply(&each)?.as_type(dtype)?;
        dense.eval()?;
        Ok(nn::Weight::Dense(dense))
    }

    pub(super) fn quantization_name(&self) -> Option<String> {
        let all = self.quantization_entry()?;
        let number = |field: &str| all.get(field).and_then(Value::as_u64);
        match (number("bits"), number("group_size")) {
            (Some(bits), Some(group)) => Some(format!("{bits} bits, groups of {group}")),
            _ => all.get("quant_method").and_then(Value::as_str).map(str::to_owned),
        }
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
        let number = |key: &str| entry.get(key).unwrap_or(&Value::Null);
        let (group_size, bits) = (number("group_size"), number("bits"));
        let fixed = match entry.get("mode") {
            Some(mode) if mode == "mxfp4" => Quantization::Mxfp4,
            Some(mode) if mode == "mxfp8" => Quantization::Mxfp8,
            Some(mode) if mode == "nvfp4" => Quantization::Nvfp4,
            Some(mode) if mode != "affine" => {
                let message = format!(
                    "quantization of {stored}: mode {mode} is not supported; affine, mxfp4, mxfp8 and nvfp4 are"
                );
                return Err(unsupported(&self.config_path(), message));
            }
            _ => {
                return match (group_size.as_i64(), bits.as_i64()) {
                    (Some(group_size @ (32 | 64 | 128)), Some(bits @ (2 | 3 | 4 | 5 | 6 | 8))) => {
                        Ok(Quantization::affine(group_size as i32, bits as i32))
                    }
                    _ => refuse(format!(
                        "group_size {group_size} with bits {bits}; groups of 32, 64, 128 with 2, 3, 4, 5, 6, 8 bits exist"
                    )),
                };
            }
        };
        // These modes have one layout each, which an entry may repeat and not change.
        let is = |value: &Value, fixed: i32| value.is_null() || value.as_i64() == Some(i64::from(fixed));
        if is(group_size, fixed.group_size()) && is(bits, fixed.bits()) {
            return Ok(fixed);
        }
        refuse(format!(
            "group_size {group_size} with bits {bits}; {} has groups of {} with {} bits",
            fixed.mode(),
            fixed.group_size(),
            fixed.bits()
        ))
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

/// How a matrix is stored.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    Floats,
    /// Packed by MLX.
    Quantized(Quantization),
    /// 8-bit floats, and a factor for each block of `[rows, columns]` in the tensor `scales`.
    Scaled {
        scales: String,
        block: [usize; 2],
    },
}

/// The names of what may belong to a matrix, beside the stored `base.weight`.
struct Parts<'n> {
    base: &'n str,
    scales: String,
    biases: String,
    /// Of 8-bit floats, one for each block.
    block_scales: String,
    /// Of 8-bit floats, one for all or for each row.
    fp8_scales: String,
}

impl<'n> Parts<'n> {
    fn of(stored: &'n str) -> Self {
        let base = stored.strip_suffix(".weight").unwrap_or(stored);
        let part = |name: &str| format!("{base}.{name}");
        Parts {
            base,
            scales: part("scales"),
            biases: part("biases"),
            block_scales: part(BLOCK_SCALES),
            fp8_scales: part(FP8_SCALES),
        }
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
