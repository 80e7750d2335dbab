//! Handing a checkpoint's tensors to a model, each exactly once.

use std::collections::BTreeMap;

use mlx_core::{Array, DType, nn};

use super::{Checkpoint, missing, packed};
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
        let matrix = self.take_matrix(name, shape)?;
        self.count(&matrix);
        Ok(matrix)
    }

    /// The matrix `name`, if there is one and it is not just `other` a second time.
    ///
    /// # Errors
    /// When it has another shape, or cannot be read.
    pub fn matrix_apart_from(
        &mut self,
        other: &nn::Weight,
        name: &str,
        shape: [usize; 2],
    ) -> Result<Option<nn::Weight>> {
        if !self.has(name) {
            return Ok(None);
        }
        let matrix = self.take_matrix(name, shape)?;
        if equal(&matrix, other)? {
            return Ok(None);
        }
        self.count(&matrix);
        Ok(Some(matrix))
    }

    fn take_matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<nn::Weight> {
        let stored = self.take(name)?;
        let matrix = match self.checkpoint {
            Checkpoint::Folder(folder) => folder.matrix(name, &stored, shape, self.dtype)?,
            Checkpoint::Gguf(file) => packed::matrix(file, &stored, shape, self.dtype)?,
        };
        if let nn::Weight::Quantized(_) = &matrix {
            let base = name.strip_suffix(".weight").unwrap_or(name);
            self.left.remove(&format!("{base}.scales"));
            self.left.remove(&format!("{base}.biases"));
        }
        Ok(matrix)
    }

    /// The vector `name` of `length` numbers.
    ///
    /// # Errors
    /// When it is missing, has another shape, or cannot be read.
    pub fn vector(&mut self, name: &str, length: usize) -> Result<Array> {
        let stored = self.take(name)?;
        let vector = match self.checkpoint {
            Checkpoint::Folder(folder) => folder.floats(&stored, &[length], self.dtype)?,
            Checkpoint::Gguf(file) => packed::dense(file, &stored, &[length], self.dtype)?,
        };
        self.parameters += length;
        self.nbytes += vector.nbytes();
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
        self.left.remove(name).ok_or_else(|| missing(self.checkpoint.path(), name))
    }

    fn count(&mut self, matrix: &nn::Weight) {
        self.parameters += matrix.shape().iter().product::<usize>();
        self.nbytes += matrix.arrays().iter().map(|array| array.nbytes()).sum::<usize>();
    }
}

/// Whether two matrices are stored as the same numbers.
fn equal(a: &nn::Weight, b: &nn::Weight) -> Result<bool> {
    let (a, b) = (a.arrays(), b.arrays());
    let same_layout = |(a, b): (&&Array, &&Array)| a.shape() == b.shape() && a.dtype() == b.dtype();
    if a.len() != b.len() || !a.iter().zip(&b).all(same_layout) {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(&b) {
        if !a.equal(b)?.all([0, 1], false)?.item::<bool>()? {
            return Ok(false);
        }
    }
    Ok(true)
}
