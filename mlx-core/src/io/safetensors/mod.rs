//! safetensors: a JSON header, then the tensors' bytes.
//!
//! ```text
//! u64 little-endian      length of the header
//! header                 {"__metadata__": {"key": "value"}, "name": {"dtype", "shape", "data_offsets"}, ...}
//! data                   every tensor's bytes, little-endian, row-major
//! ```
//!
//! The format is that of <https://github.com/huggingface/safetensors>. The reader takes nothing on trust: see
//! [`SafetensorsFile::open`] for what it checks.

mod header;
#[cfg(test)]
mod tests;
mod write;

pub use write::{TensorView, write_safetensors};

use super::Source;
use crate::{DType, Error, Result};
use header::Header;
use std::collections::BTreeMap;
use std::path::Path;

/// A safetensors file whose header has been checked.
///
/// The header is in memory, the tensors are read when asked for. Threads may share one.
#[derive(Debug)]
pub struct SafetensorsFile {
    source: Source,
    header: Header,
}

/// What the header says of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name, unique in its file.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// The elements are 8-bit floats (`F8_E4M3`), which are held in uint8; see [`Array::from_fp8`](crate::Array::from_fp8).
    pub is_fp8: bool,
    /// Shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// First byte, from the start of the data.
    offset: u64,
    /// Length in bytes: the product of the shape and the element's size.
    nbytes: u64,
}

impl TensorInfo {
    /// Length of the tensor's data in bytes.
    pub fn nbytes(&self) -> u64 {
        self.nbytes
    }
}

impl SafetensorsFile {
    /// Opens a file and checks its header.
    ///
    /// The header may take 100 MiB and must fit the file. Names may not repeat; dtypes must be known; each
    /// tensor's length must be what its shape and dtype say; and the tensors together must cover the data
    /// exactly, without overlap or gap. Memory and time are bounded by the length of the header.
    ///
    /// # Errors
    /// When the file cannot be read, when it breaks one of these rules, and when a tensor has a dtype that
    /// MLX arrays do not have, such as `F8_E5M2`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_source(Source::open(path)?)
    }

    /// Reads a file's contents from memory; for tests and fuzzing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::from_source(Source::from_bytes(bytes))
    }

    fn from_source(source: Source) -> Result<Self> {
        Ok(SafetensorsFile { header: Header::read(&source)?, source })
    }

    /// The file, as it was opened.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// The free-form strings under `__metadata__`, if any.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// The tensors, in the order of their data.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.header.tensors.iter()
    }

    /// The tensors' names, in the order of their data.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors().map(|tensor| tensor.name.as_str())
    }

    /// The tensor of that name, if there is one.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.find(name)
    }

    /// A tensor's bytes: little-endian elements in row-major order.
    ///
    /// # Errors
    /// When the file has no such tensor, or cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let tensor = self.require(name)?;
        self.source.read(self.header.data_start + tensor.offset, tensor.nbytes)
    }

    /// Reads a tensor's bytes into `out`, which must be [`nbytes`](TensorInfo::nbytes) long.
    ///
    /// # Errors
    /// When the file has no such tensor, when `out` has another length, or when the file cannot be read.
    pub fn read_into(&self, name: &str, out: &mut [u8]) -> Result<()> {
        let tensor = self.require(name)?;
        if out.len() as u64 != tensor.nbytes {
            let message = format!("tensor {name:?} takes {} bytes, not {}", tensor.nbytes, out.len());
            return Err(self.refuse(message));
        }
        self.source.read_into(self.header.data_start + tensor.offset, out)
    }

    pub(super) fn require(&self, name: &str) -> Result<&TensorInfo> {
        self.info(name).ok_or_else(|| self.refuse(format!("no tensor {name:?}")))
    }

    fn refuse(&self, message: String) -> Error {
        Error::Safetensors { path: self.path().to_owned(), message }
    }
}
