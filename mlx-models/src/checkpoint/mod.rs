//! A model on disk: a folder in Hugging Face layout, or one GGUF file.

mod faults;
mod folder;
mod matrices;
mod packed;
mod weights;

use std::path::{Path, PathBuf};

use mlx_core::DType;

use crate::gguf::GgufFile;
use crate::{Error, Result};

pub use folder::Folder;
pub(crate) use matrices::same_matrix;
pub(crate) use weights::Listener;
pub use weights::{Parameter, Weights};

/// Characters of an error message, half of them before and half behind what is left out: a file's own text.
const MAX_MESSAGE: usize = 1000;

/// A model on disk whose headers have been read and checked; its weights are read when a model is made of it.
#[derive(Debug)]
pub enum Checkpoint {
    /// `config.json` and safetensors files.
    Folder(Folder),
    /// Everything in one file.
    Gguf(Box<GgufFile>),
}

impl Checkpoint {
    /// Opens a folder with a `config.json`, or a `.gguf` file.
    ///
    /// # Errors
    /// When there is neither, or a header is broken.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata =
            std::fs::metadata(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        if metadata.is_dir() {
            return Ok(Checkpoint::Folder(Folder::open(path)?));
        }
        Ok(Checkpoint::Gguf(Box::new(GgufFile::open(path)?)))
    }

    /// The folder or file.
    pub fn path(&self) -> &Path {
        match self {
            Checkpoint::Folder(folder) => folder.path(),
            Checkpoint::Gguf(file) => file.path(),
        }
    }

    /// `model_type` of the configuration, or `general.architecture` of a GGUF file.
    ///
    /// # Errors
    /// When the checkpoint does not say.
    pub fn model_type(&self) -> Result<&str> {
        match self {
            Checkpoint::Folder(folder) => folder.model_type(),
            Checkpoint::Gguf(file) => file.metadata().str("general.architecture"),
        }
    }

    /// The dtype that the checkpoint's weights suggest to compute in.
    ///
    /// That of the tensor whose name ends with `name.weight`, or of its scales where it is quantized; float64 becomes
    /// float32. GGUF files compute in float32: their scales have more digits than 16 bits hold.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn dtype(&self, name: &str) -> Result<DType> {
        match self {
            Checkpoint::Folder(folder) => folder.dtype(name),
            Checkpoint::Gguf(_) => Ok(DType::F32),
        }
    }

    /// Bytes that the tensors take in the files.
    pub fn stored_bytes(&self) -> u64 {
        match self {
            Checkpoint::Folder(folder) => folder.stored_bytes(),
            Checkpoint::Gguf(file) => file.tensors().map(|tensor| tensor.nbytes()).sum(),
        }
    }

    /// How the weights are stored, for people to read; `None` for plain floats.
    pub fn quantization(&self) -> Option<String> {
        match self {
            Checkpoint::Folder(folder) => folder.quantization_name(),
            Checkpoint::Gguf(file) => {
                let mut names: Vec<&str> = file.tensors().map(|tensor| tensor.ty.name()).collect();
                names.sort_unstable();
                names.dedup();
                names.retain(|name| !matches!(*name, "F32" | "F16" | "BF16"));
                if names.is_empty() { None } else { Some(names.join(", ")) }
            }
        }
    }

    /// An error about this checkpoint.
    pub(crate) fn refuse(&self, message: impl Into<String>) -> Error {
        refuse(self.path(), message)
    }
}

/// An error about a file.
pub(crate) fn refuse(path: &Path, message: impl Into<String>) -> Error {
    Error::Checkpoint { path: PathBuf::from(path), message: one_line(&message.into()) }
}

/// An error about a file that holds something which this crate does not know.
pub(crate) fn unsupported(path: &Path, message: impl Into<String>) -> Error {
    Error::Unsupported { path: PathBuf::from(path), message: one_line(&message.into()) }
}

/// A message that is one line whatever the file has in it: names and values come from there.
pub(crate) fn one_line(message: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let printable = |c| if breaks(c) { char::REPLACEMENT_CHARACTER } else { c };
    let chars: Vec<char> = message.chars().map(printable).collect();
    let (half, length) = (MAX_MESSAGE / 2, chars.len());
    if length <= MAX_MESSAGE {
        return chars.into_iter().collect();
    }
    let (head, tail) = (&chars[..half], &chars[length - half..]);
    head.iter().chain(&[' ', '…', ' ']).chain(tail).collect()
}

fn missing(path: &Path, tensor: &str) -> Error {
    refuse(path, format!("tensor {tensor} is missing"))
}

fn misshapen(path: &Path, tensor: &str, wanted: &[usize], found: &[usize]) -> Error {
    refuse(path, format!("tensor {tensor} has shape {found:?}; the configuration makes it {wanted:?}"))
}

fn to_shape(shape: &[usize]) -> Option<Vec<i32>> {
    shape.iter().map(|n| i32::try_from(*n).ok()).collect()
}
