//! Writing safetensors files.

use super::header::{METADATA, dtype_name, nbytes, quote};
use crate::io::write_atomically;
use crate::{DType, Error, Result};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// The data starts at a multiple of this, so that every tensor is aligned to its elements.
const ALIGNMENT: usize = 8;

/// A tensor to be written.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// The tensor's name, unique in its file.
    pub name: &'a str,
    /// Element type.
    pub dtype: DType,
    /// Shape; empty for a scalar.
    pub shape: &'a [usize],
    /// Little-endian elements in row-major order.
    pub data: &'a [u8],
}

/// Writes a safetensors file that replaces `path` only once it is complete.
///
/// The order of `tensors` does not matter: they are stored by falling element size, then by name, so the same
/// tensors and metadata always make the same bytes.
///
/// # Errors
/// When a name repeats or is `__metadata__`, when a tensor's data does not have the length that its shape and
/// dtype say, or when the file cannot be written.
pub fn write_safetensors(
    path: impl AsRef<Path>,
    tensors: &[TensorView<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let refuse = |message| Error::Safetensors { path: path.to_owned(), message };

    let mut sorted: Vec<_> = tensors.iter().collect();
    // Wide elements first: each tensor then starts at a multiple of its own element size.
    sorted.sort_by_key(|tensor| (Reverse(tensor.dtype.size()), tensor.name));
    check(&sorted).map_err(refuse)?;
    let header = header(&sorted, metadata).map_err(refuse)?;

    write_atomically(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        sorted.iter().try_for_each(|tensor| out.write_all(tensor.data))
    })
}

/// Checks what the format demands of names and lengths.
fn check(tensors: &[&TensorView<'_>]) -> Result<(), String> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("tensor {} is given twice", quote(twice[0])));
    }
    for tensor in tensors {
        let refuse = |message| Err(format!("tensor {}: {message}", quote(tensor.name)));
        if tensor.name == METADATA {
            return refuse("the format keeps this name for itself".into());
        }
        if nbytes(tensor.dtype, tensor.shape) != Some(tensor.data.len() as u64) {
            let (dtype, shape, found) = (tensor.dtype, tensor.shape, tensor.data.len());
            return refuse(format!("{found} bytes are not a {dtype} array of shape {shape:?}"));
        }
    }
    Ok(())
}

/// The header's JSON, padded with spaces to where the data starts.
fn header(tensors: &[&TensorView<'_>], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, String> {
    let mut json = serde_json::to_vec(&Entries { tensors, metadata }).map_err(|e| e.to_string())?;
    json.resize(json.len().next_multiple_of(ALIGNMENT), b' ');
    Ok(json)
}

/// The header's object; its keys keep the order of the tensors.
struct Entries<'a> {
    tensors: &'a [&'a TensorView<'a>],
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Entry<'a> {
    dtype: &'a str,
    shape: &'a [usize],
    data_offsets: (usize, usize),
}

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA, self.metadata)?;
        }
        let mut end = 0;
        for tensor in self.tensors {
            let unnamed = || serde::ser::Error::custom(format_args!("dtype {} has no name", tensor.dtype));
            let dtype = dtype_name(tensor.dtype).ok_or_else(unnamed)?;
            let start = end;
            end += tensor.data.len();
            let entry = Entry { dtype, shape: tensor.shape, data_offsets: (start, end) };
            map.serialize_entry(tensor.name, &entry)?;
        }
        map.end()
    }
}
