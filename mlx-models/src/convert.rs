//! Checkpoints from any layout into the one of MLX: a folder of safetensors, dense or quantized, as mlx-lm writes and reads
//! it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mlx_core::io::{save_safetensors, write_atomically};
use mlx_core::{Array, DType, Quantization, Quantized, nn};
use serde_json::{Map, Value, json};

use crate::checkpoint::{Parameter, same_matrix};
use crate::load::inside;
use crate::{Checkpoint, Error, Result, TextTools, Vocabulary, models};

/// Bytes after which the next file begins, as in mlx-lm.
const SHARD: usize = 5 << 30;
/// The embeddings, and the head that may be the same.
const EMBEDDINGS: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
/// What routers of mixtures of experts are quantized to: a choice among experts suffers more than a sum over them.
const ROUTER: Quantization = Quantization::Affine { group_size: 64, bits: 8 };
/// Files of a tokenizer that are copied as they are.
const TEXT_FILES: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "merges.txt",
    "vocab.json",
];

/// What a conversion makes of the weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConvertOptions {
    /// What floats are stored as; by default as they are, or bfloat16 where a GGUF file comes in. What is packed is unpacked,
    /// if this is given.
    pub dtype: Option<DType>,
    /// How matrices are packed whose rows are whole groups; the others stay dense. What is packed is packed anew.
    pub quantization: Option<Quantization>,
}

/// What a conversion has made.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    /// Parameters, counted as they are before quantization.
    pub parameters: usize,
    /// Bytes of all tensors.
    pub nbytes: usize,
    /// Matrices that stayed dense because their rows are not whole groups.
    pub left_dense: Vec<String>,
}

impl Converted {
    /// Bits that a parameter takes on average.
    pub fn bits_per_weight(&self) -> f64 {
        self.nbytes as f64 * 8.0 / self.parameters.max(1) as f64
    }
}

/// Converts the checkpoint at `from` into the new folder `out`, which appears once it is complete.
///
/// One file's worth of tensors is in memory at a time, which is 5 GiB at most or a single tensor, and the embeddings.
///
/// # Errors
/// When `out` is there already, the checkpoint cannot be loaded, or writing fails; then nothing is left behind.
pub fn convert(from: &Path, out: &Path, options: &ConvertOptions) -> Result<Converted> {
    convert_with(from, out, options, &mut |_, parameter| Ok(parameter))?.finish(out)
}

/// A checkpoint that is complete and not yet in its place.
pub(crate) struct Complete {
    folder: Partial,
    summary: Converted,
}

impl Complete {
    /// Puts it in its place, which [`convert_with`] has found free.
    pub(crate) fn finish(self, out: &Path) -> Result<Converted> {
        self.folder.finish(out)?;
        Ok(self.summary)
    }
}

/// [`convert`], where each parameter goes through `edit` on its way, up to the moment when the folder appears.
pub(crate) fn convert_with(
    from: &Path,
    out: &Path,
    options: &ConvertOptions,
    edit: &mut dyn FnMut(&str, Parameter) -> Result<Parameter>,
) -> Result<Complete> {
    let refuse = |message: &str| Error::Checkpoint { path: out.to_owned(), message: message.to_owned() };
    if out.read_dir().map_or_else(|_| out.exists(), |mut entries| entries.next().is_some()) {
        return Err(refuse("is there already; name a new folder"));
    }
    // What appears at once is renamed, and neither `.` nor a link can be.
    if out.file_name().is_none() || out.is_symlink() {
        return Err(refuse("name a new folder, by its own name"));
    }
    let checkpoint = Checkpoint::open(from)?;
    let text = TextTools::of(&checkpoint)?;
    let dtype = match (options.dtype, &checkpoint) {
        (Some(dtype), _) => dtype,
        (None, Checkpoint::Folder(_)) => checkpoint.dtype("embed_tokens")?,
        (None, Checkpoint::Gguf(_)) => DType::BF16,
    };
    // A GGUF file's weights are packed or not for the sake of the device that loads them.
    let is_folder = matches!(checkpoint, Checkpoint::Folder(_));
    let keep_packed = is_folder && options.dtype.is_none() && options.quantization.is_none();
    // Nothing is rounded twice: what comes out of a GGUF file is float32.
    let read_as = if is_folder { dtype } else { DType::F32 };
    let folder = Partial::create(out)?;
    let mut writer = Writer::new(&folder.path, dtype, options.quantization, keep_packed);
    let mut config = models::for_each_parameter(&checkpoint, read_as, |name, parameter| {
        writer.add(name, edit(name, parameter)?)
    })?;
    let (converted, quantization) = writer.finish()?;

    config["torch_dtype"] = json!(dtype.name());
    config["tie_word_embeddings"] = json!(!converted.has_head);
    config["eos_token_id"] = json!(text.eos_ids);
    config["bos_token_id"] = json!(text.tokenizer().ok().and_then(|tokenizer| tokenizer.bos_id()));
    if let Some(quantization) = quantization {
        config["quantization"] = quantization.clone();
        config["quantization_config"] = quantization;
    }
    write_json(&folder.path.join("config.json"), &config)?;
    write_tokenizer(&checkpoint, &folder.path)?;
    Ok(Complete { folder, summary: converted.summary })
}

/// A folder that is made beside its place, and goes again unless it is finished.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn create(out: &Path) -> Result<Self> {
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let path = out.with_file_name(name);
        // Who reads the error knows `out`, and not what is made beside it.
        fs::create_dir(&path).map_err(|source| Error::Io { path: out.to_owned(), source })?;
        Ok(Partial { path })
    }

    fn finish(self, out: &Path) -> Result<()> {
        // An empty folder may be there.
        let _ = fs::remove_dir(out);
        fs::rename(&self.path, out).map_err(|source| Error::Io { path: out.to_owned(), source })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After the renaming there is nothing left to remove.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Puts parameters into files.
struct Writer<'o> {
    folder: &'o Path,
    dtype: DType,
    quantization: Option<Quantization>,
    keep_packed: bool,
    /// Tensors of the file in the making.
    shard: BTreeMap<String, Array>,
    shard_bytes: usize,
    /// The names in each file that is written.
    shards: Vec<Vec<String>>,
    embeddings: Option<nn::Weight>,
    has_head: bool,
    /// How each packed matrix is packed, by its path.
    packed: Vec<(String, Quantization)>,
    summary: Converted,
}

/// What a [`Writer`] has written.
struct Written {
    has_head: bool,
    summary: Converted,
}

impl<'o> Writer<'o> {
    fn new(folder: &'o Path, dtype: DType, quantization: Option<Quantization>, keep_packed: bool) -> Self {
        Writer {
            folder,
            dtype,
            quantization,
            keep_packed,
            shard: BTreeMap::new(),
            shard_bytes: 0,
            shards: Vec::new(),
            embeddings: None,
            has_head: false,
            packed: Vec::new(),
            summary: Converted { parameters: 0, nbytes: 0, left_dense: Vec::new() },
        }
    }

    fn add(&mut self, name: &str, parameter: Parameter) -> Result<()> {
        match parameter {
            Parameter::Vector(vector) => {
                self.summary.parameters += vector.size();
                self.put(name, vector.as_type(self.dtype)?)
            }
            Parameter::Matrix(weight) => {
                if name == EMBEDDINGS {
                    self.embeddings = Some(weight.clone());
                }
                if name == HEAD {
                    if self.embeddings.as_ref().map_or(Ok(false), |other| same_matrix(&weight, other))? {
                        return Ok(());
                    }
                    self.has_head = true;
                }
                self.matrix(name, weight, None)
            }
            Parameter::Stacked(stacked) => self.matrix(name, stacked.weight, Some(stacked.count)),
        }
    }

    /// A matrix, or `count` of them one below the other.
    fn matrix(&mut self, name: &str, weight: nn::Weight, count: Option<usize>) -> Result<()> {
        let [rows, columns] = weight.shape();
        self.summary.parameters += rows * columns;
        let path = name.strip_suffix(".weight").unwrap_or(name).to_owned();
        let weight = match (weight, self.quantization) {
            (nn::Weight::Quantized(packed), _) if self.keep_packed => nn::Weight::Quantized(packed),
            (weight, Some(quantization)) => {
                let dense = weight.dequantized()?.as_type(self.dtype)?;
                let quantization = if path.ends_with("mlp.gate") { ROUTER } else { quantization };
                if columns.is_multiple_of(quantization.group_size() as usize) {
                    nn::Weight::quantize(&dense, quantization)?
                } else {
                    self.summary.left_dense.push(path.clone());
                    nn::Weight::Dense(dense)
                }
            }
            (weight, None) => nn::Weight::Dense(weight.dequantized()?.as_type(self.dtype)?),
        };
        let stacked = |array: &Array| -> Result<Array> {
            Ok(match count {
                Some(count) => array.reshape(&[count as i32, -1, array.dim(-1)?])?,
                None => array.clone(),
            })
        };
        match &weight {
            nn::Weight::Quantized(Quantized { weight, scales, biases, quantization }) => {
                self.packed.push((path.clone(), *quantization));
                self.put(name, stacked(weight)?)?;
                self.put(&format!("{path}.scales"), stacked(scales)?)?;
                match biases {
                    Some(biases) => self.put(&format!("{path}.biases"), stacked(biases)?),
                    None => Ok(()),
                }
            }
            weight => self.put(name, stacked(&weight.dequantized()?)?),
        }
    }

    fn put(&mut self, name: &str, array: Array) -> Result<()> {
        // The next file begins where this one would grow too large.
        if self.shard_bytes + array.nbytes() > SHARD && !self.shard.is_empty() {
            self.flush()?;
        }
        // What the array is computed from can go.
        array.eval()?;
        self.summary.nbytes += array.nbytes();
        self.shard_bytes += array.nbytes();
        self.shard.insert(name.to_owned(), array);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let format = BTreeMap::from([("format".to_owned(), "mlx".to_owned())]);
        save_safetensors(self.folder.join(format!("{}.part", self.shards.len())), &self.shard, &format)?;
        self.shards.push(std::mem::take(&mut self.shard).into_keys().collect());
        self.shard_bytes = 0;
        Ok(())
    }

    /// Names the files, writes the index, and gives the configuration's entry about quantization.
    fn finish(mut self) -> Result<(Written, Option<Value>)> {
        self.flush()?;
        let count = self.shards.len();
        let mut map = BTreeMap::new();
        for (index, names) in self.shards.iter().enumerate() {
            let file = match count {
                1 => "model.safetensors".to_owned(),
                _ => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
            };
            let (part, path) = (self.folder.join(format!("{index}.part")), self.folder.join(&file));
            fs::rename(&part, &path).map_err(|source| Error::Io { path, source })?;
            map.extend(names.iter().map(|name| (name, json!(file))));
        }
        let totals = json!({"total_size": self.summary.nbytes, "total_parameters": self.summary.parameters});
        let index = json!({"metadata": totals, "weight_map": map});
        write_json(&self.folder.join("model.safetensors.index.json"), &index)?;
        let quantization = self.quantization_entry();
        Ok((Written { has_head: self.has_head, summary: self.summary }, quantization))
    }

    /// The layout of most, and of each matrix that differs.
    fn quantization_entry(&self) -> Option<Value> {
        let entry = |quantization: &Quantization| {
            Map::from_iter([
                ("group_size".to_owned(), json!(quantization.group_size())),
                ("bits".to_owned(), json!(quantization.bits())),
                ("mode".to_owned(), json!(quantization.mode())),
            ])
        };
        let count = |of: &Quantization| self.packed.iter().filter(|(_, other)| other == of).count();
        let usual = self.packed.iter().map(|(_, quantization)| quantization).max_by_key(|q| count(q))?;
        let mut all = entry(usual);
        for (path, quantization) in self.packed.iter().filter(|(_, quantization)| quantization != usual) {
            all.insert(path.clone(), Value::Object(entry(quantization)));
        }
        Some(Value::Object(all))
    }
}

/// Copies the files of a tokenizer, or writes those that say what a GGUF file says.
fn write_tokenizer(checkpoint: &Checkpoint, out: &Path) -> Result<()> {
    let file = match checkpoint {
        Checkpoint::Folder(folder) => {
            for name in TEXT_FILES {
                let path = folder.path().join(name);
                if path.is_file() {
                    fs::copy(&path, out.join(name)).map_err(|source| Error::Io { path, source })?;
                }
            }
            return Ok(());
        }
        Checkpoint::Gguf(file) => file,
    };
    let vocabulary = Vocabulary::of(file)?;
    let tokenizer = vocabulary.to_tokenizer_json().map_err(|error| inside(file, error))?;
    write_json(&out.join("tokenizer.json"), &tokenizer)?;
    let token = |id: Option<u32>| id.and_then(|id| vocabulary.tokens.get(id as usize));
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token(vocabulary.bos_id),
        "eos_token": token(vocabulary.eos_id),
        "unk_token": token(vocabulary.unk_id),
        "pad_token": token(vocabulary.pad_id),
        "clean_up_tokenization_spaces": false,
        "chat_template": file.metadata().optional_str("tokenizer.chat_template")?,
    });
    write_json(&out.join("tokenizer_config.json"), &config)
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    Ok(write_atomically(path, |file| {
        serde_json::to_writer_pretty(file, value).map_err(std::io::Error::from)
    })?)
}
