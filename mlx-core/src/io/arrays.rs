//! Whole safetensors files to and from arrays.

use std::collections::BTreeMap;
use std::path::Path;

use super::{SafetensorsFile, TensorView, write_safetensors};
use crate::{Array, Error, Result};

/// Reads every tensor of a safetensors file into memory, by name, and the strings under `__metadata__`.
///
/// To read some of them, or to look first, open a [`SafetensorsFile`].
///
/// ```
/// use std::collections::BTreeMap;
/// use mlx_core::{Array, io};
///
/// let path = std::env::temp_dir().join("mlx-core-example.safetensors");
/// let arrays = BTreeMap::from([("w".to_owned(), Array::from_slice(&[1.0f32, 2.0], &[2])?)]);
/// io::save_safetensors(&path, &arrays, &BTreeMap::new())?;
/// let (arrays, metadata) = io::load_safetensors(&path)?;
/// assert_eq!(arrays["w"].to_vec::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), mlx_core::Error>(())
/// ```
///
/// # Errors
/// As [`SafetensorsFile::open`], and when a tensor has an axis above `i32::MAX`, does not fit below the memory limit, or
/// holds a boolean that is neither 0 nor 1.
pub fn load_safetensors(
    path: impl AsRef<Path>,
) -> Result<(BTreeMap<String, Array>, BTreeMap<String, String>)> {
    let file = SafetensorsFile::open(path)?;
    let arrays = file.names().map(|name| Ok((name.to_owned(), file.array(name)?))).collect::<Result<_>>()?;
    Ok((arrays, file.metadata().clone()))
}

/// Writes arrays into a safetensors file that replaces `path` only once it is complete, computing them first if need be.
///
/// The same arrays and metadata always make the same bytes.
///
/// # Errors
/// When computing fails, a name is `__metadata__`, or the file cannot be written.
pub fn save_safetensors(
    path: impl AsRef<Path>,
    arrays: &BTreeMap<String, Array>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut tensors = Vec::with_capacity(arrays.len());
    for (name, array) in arrays {
        let shape: Vec<usize> = array.shape().iter().map(|length| *length as usize).collect();
        tensors.push((name, shape, array.laid_out()?));
    }
    let views = tensors.iter().map(|(name, shape, array)| {
        Ok(TensorView { name, dtype: array.dtype(), shape, data: array.bytes()? })
    });
    write_safetensors(path, &views.collect::<Result<Vec<_>>>()?, metadata)
}

impl SafetensorsFile {
    /// A tensor as an array, read straight into its memory.
    ///
    /// # Errors
    /// When the file has no such tensor or cannot be read, or the tensor has an axis above `i32::MAX`, does not fit below
    /// the memory limit, or holds a boolean that is neither 0 nor 1.
    pub fn array(&self, name: &str) -> Result<Array> {
        let tensor = self.require(name)?;
        let refuse = |problem: String| Error::Safetensors {
            path: self.path().to_owned(),
            message: format!("tensor {name:?}: {problem}"),
        };
        let shape: Option<Vec<i32>> = tensor.shape.iter().map(|length| i32::try_from(*length).ok()).collect();
        let shape = shape.ok_or_else(|| refuse(format!("an axis of {:?} is too long", tensor.shape)))?;
        Array::from_writer(&shape, tensor.dtype, |bytes| self.read_into(name, bytes)).map_err(|error| {
            match error {
                Error::Shape { message, .. } => refuse(message),
                error => error,
            }
        })
    }
}
