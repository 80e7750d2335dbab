//! Handing a checkpoint's tensors to a model, each exactly once.

use std::collections::BTreeMap;

use mlx_core::{Array, DType, nn};

use super::{Checkpoint, packed};
use crate::Result;

/// Names that an error lists before it only counts.
const LISTED: usize = 8;

/// The tensors of a checkpoint by the names that the model knows them under.
///
/// A model takes what it needs and calls [`finish`](Self::finish), which refuses what is left over.
#[derive(Debug)]
pub struct Weights<'c> {
    checkpoint: &'c Checkpoint,
    dtype: DType,
    /// Model name to stored name, of the tensors that were not taken yet.
    left: BTreeMap<String, String>,
    parameters: usize,
    nbytes: usize,
}

impl<'c> Weights<'c> {
    pub(super) fn new(
        checkpoint: &'c Checkpoint,
        dtype: DType,
        rename: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let mut left = BTreeMap::new();
        let mut add = |stored: &str| match rename(stored) {
            Some(name) => match left.insert(name.clone(), stored.to_owned()) {
                Some(other) => {
                    Err(checkpoint.refuse(format!("tensors {other} and {stored} are both {name}")))
                }
                None => Ok(()),
            },
            None => Ok(()),
        };
        match checkpoint {
            Checkpoint::Folder(folder) => folder.names().try_for_each(&mut add)?,
            Checkpoint::Gguf(file) => file.tensors().try_for_each(|tensor| add(&tensor.name))?,
        }
        Ok(Weights { checkpoint, dtype, left, parameters: 0, nbytes: 0 })
    }

    /// The checkpoint behind the weights.
    pub fn checkpoint(&self) -> &'c Checkpoint {
        self.checkpoint
    }

    /// Whether a tensor of this name is left.
    pub fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    /// The matrix `name`, dense or quantized, of `[rows, columns]`.
    ///
    /// # Errors
    /// When it is missing, has another shape, or cannot be read.
    pub fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<nn::Weight> {
        let stored = self.take(name)?;
        let matrix = match self.checkpoint {
            Checkpoint::Folder(folder) => folder.matrix(name, &stored, self.dtype)?,
            Checkpoint::Gguf(file) => packed::matrix(file, &stored, self.dtype)?,
        };
        let dense_axes = match &matrix {
            nn::Weight::Dense(array) => array.ndim(),
            nn::Weight::Quantized { weight, .. } => weight.ndim(),
        };
        if dense_axes != 2 || matrix.shape() != shape {
            return Err(self.misshapen(&stored, &shape, &matrix.shape()));
        }
        if let nn::Weight::Quantized { .. } = &matrix {
            let base = name.strip_suffix(".weight").unwrap_or(name);
            self.left.remove(&format!("{base}.scales"));
            self.left.remove(&format!("{base}.biases"));
        }
        self.count(shape[0] * shape[1], matrix.arrays().iter().map(|a| a.nbytes()).sum());
        Ok(matrix)
    }

    /// The vector `name` of `length` numbers.
    ///
    /// # Errors
    /// When it is missing, has another shape, or cannot be read.
    pub fn vector(&mut self, name: &str, length: usize) -> Result<Array> {
        let stored = self.take(name)?;
        let vector = match self.checkpoint {
            Checkpoint::Folder(folder) => packed::converted(folder.array(&stored)?, self.dtype)?,
            Checkpoint::Gguf(file) => packed::dense(file, &stored, self.dtype)?,
        };
        let shape: Vec<usize> = vector.shape().iter().map(|n| *n as usize).collect();
        if shape != [length] {
            return Err(self.misshapen(&stored, &[length], &shape));
        }
        if !vector.dtype().is_float() {
            return Err(self
                .checkpoint
                .refuse(format!("tensor {stored} holds {}, not floats", vector.dtype())));
        }
        self.count(length, vector.nbytes());
        Ok(vector)
    }

    /// Ends the loading: gives the number of parameters and the bytes that they take.
    ///
    /// # Errors
    /// When tensors are left that the model has no place for; it lists them.
    pub fn finish(self) -> Result<(usize, usize)> {
        if self.left.is_empty() {
            return Ok((self.parameters, self.nbytes));
        }
        let shown: Vec<&str> = self.left.values().take(LISTED).map(String::as_str).collect();
        let more = self.left.len().saturating_sub(LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!("the model has no place for tensors {}{more}", shown.join(", "));
        Err(self.checkpoint.refuse(message))
    }

    fn take(&mut self, name: &str) -> Result<String> {
        self.left.remove(name).ok_or_else(|| self.checkpoint.refuse(format!("tensor {name} is missing")))
    }

    fn count(&mut self, parameters: usize, nbytes: usize) {
        self.parameters += parameters;
        self.nbytes += nbytes;
    }

    fn misshapen(&self, stored: &str, wanted: &[usize], found: &[usize]) -> crate::Error {
        let message = format!("tensor {stored} has shape {found:?}; the configuration makes it {wanted:?}");
        self.checkpoint.refuse(message)
    }
}
