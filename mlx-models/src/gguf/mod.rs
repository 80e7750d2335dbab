//! GGUF: the single-file checkpoints of ggml.
//!
//! ```text
//! "GGUF", u32 version, u64 tensors, u64 pairs
//! pairs                  key, type, value
//! tensors                name, u32 axes, u64 lengths (fastest first), u32 type, u64 offset
//! padding                to general.alignment, 32 unless said otherwise
//! data                   each tensor at its offset from here, a multiple of the alignment
//! ```
//!
//! The format is that of <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3,
//! little-endian. The reader takes nothing on trust: see [`GgufFile::open`] for what it checks.

mod header;
mod metadata;
mod reader;
mod tensors;
#[cfg(test)]
mod tests;

pub use metadata::{Array, Metadata, Value};
pub use tensors::{GgmlType, GgufTensor};

use crate::{Error, Result};
use cpu_kernels::blocks;
use half::f16;
use mlx_core::io::Source;
use std::path::Path;
use tensors::Tensors;

/// A GGUF file whose header has been checked.
///
/// Metadata and the list of tensors are in memory, the tensors' data is read when asked for. Threads may
/// share one.
#[derive(Debug)]
pub struct GgufFile {
    source: Source,
    metadata: Metadata,
    tensors: Tensors,
}

impl GgufFile {
    /// Opens a file, reads its metadata and checks its list of tensors.
    ///
    /// Counts and lengths are compared with what is left of the file before anything is allocated, and the
    /// metadata may take 256 MiB of memory. Keys and names may not repeat; tensors have at most four axes,
    /// whole blocks in each row, an aligned offset, and data that lies inside the file and overlaps no other.
    ///
    /// # Errors
    /// When the file cannot be read, when it breaks one of these rules, when it is of version 1 or
    /// big-endian, and when a tensor has a type that [`GgmlType`] does not list; the message names the tensor
    /// and the type.
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
        let (metadata, tensors) = header::read(&source)?;
        Ok(GgufFile { source, metadata, tensors })
    }

    /// The file, as it was opened.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// The pairs of keys and values, with typed getters.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors, in the order of the file's list.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &GgufTensor> {
        self.tensors.list.iter()
    }

    /// The tensor of that name, if there is one.
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.tensors.find(name)
    }

    /// A tensor's bytes as the file packs them: rows in row-major order, little-endian elements or whole
    /// blocks.
    ///
    /// # Errors
    /// When the file has no such tensor, or cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let tensor = self.require(name)?;
        Ok(self.source.read(tensor.position, tensor.nbytes)?)
    }

    /// Reads a tensor's packed bytes into `out`, which must be [`nbytes`](GgufTensor::nbytes) long.
    ///
    /// # Errors
    /// When the file has no such tensor, when `out` has another length, or when the file cannot be read.
    pub fn read_into(&self, name: &str, out: &mut [u8]) -> Result<()> {
        let tensor = self.require(name)?;
        if out.len() as u64 != tensor.nbytes {
            let message = format!("tensor {name:?} takes {} bytes, not {}", tensor.nbytes, out.len());
            return Err(self.refuse(message));
        }
        Ok(self.source.read_into(tensor.position, out)?)
    }

    /// A tensor's values as f32, in row-major order; the bits equal those of the Python package `gguf`.
    ///
    /// # Errors
    /// When the file has no such tensor or cannot be read, when the tensor holds integers or f64, and when
    /// memory is short.
    pub fn dequantize(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.require(name)?;
        let refuse = |message: &str| self.refuse(format!("tensor {name:?}: {message}"));
        let mut values = Vec::new();
        values.try_reserve_exact(tensor.size()).map_err(|_| refuse("not enough memory for its values"))?;
        let bytes = self.source.read(tensor.position, tensor.nbytes)?;
        match tensor.ty {
            GgmlType::F32 => values.extend(bytes.as_chunks().0.iter().map(|&v| f32::from_le_bytes(v))),
            GgmlType::F16 => {
                values.extend(bytes.as_chunks().0.iter().map(|&v| f16::from_le_bytes(v).to_f32()))
            }
            GgmlType::BF16 => {
                values.extend(bytes.as_chunks().0.iter().map(|&[lo, hi]| f32::from_le_bytes([0, 0, lo, hi])))
            }
            GgmlType::Block(format) => {
                values.resize(tensor.size(), 0.0);
                blocks::dequantize(format, &bytes, &mut values).map_err(|e| refuse(&e.to_string()))?;
            }
            ty => return Err(refuse(&format!("type {ty} has no f32 values"))),
        }
        Ok(values)
    }

    fn require(&self, name: &str) -> Result<&GgufTensor> {
        self.tensor(name).ok_or_else(|| self.refuse(format!("no tensor {name:?}")))
    }

    fn refuse(&self, message: String) -> Error {
        Error::Gguf { path: self.path().to_owned(), message }
    }
}
