//! Handing a checkpoint's tensors to a model, each exactly once.

use std::cell::RefCell;
use std::collections::BTreeMap;

use mlx_core::{Array, DType, nn};

use super::faults::Faults;
use super::folder::{BLOCK_SCALES, FP8_SCALES, Stored};
use super::matrices::{below, same_matrix};
use super::{Checkpoint, missing, packed};
use crate::Result;

/// Heads whose rows pair neighbours, by the name of a tensor.
type Neighbours = Box<dyn Fn(&str) -> Option<usize>>;

/// Takes a parameter and its name.
type Tell<'c> = dyn FnMut(&str, Parameter) -> Result<()> + 'c;

/// Who gets parameters in place of a model, by the names under which Hugging Face's and MLX's checkpoints have them.
#[derive(Clone, Copy)]
pub(crate) struct Listener<'c> {
    /// Which are read at all.
    pub(crate) wants: &'c dyn Fn(&str) -> bool,
    pub(crate) tell: &'c RefCell<Tell<'c>>,
}

/// A parameter of a model.
#[derive(Clone, Debug)]
pub enum Parameter {
    /// Of a norm, or a bias.
    Vector(Array),
    /// Of a linear map, or a table.
    Matrix(nn::Weight),
    /// Of the same linear map in several experts.
    Stacked(nn::Stacked),
}

/// The tensors of a checkpoint by the names that the model knows them under.
///
/// A model takes what it needs inside [`assign`](Self::assign), which refuses what is missing, misshapen or left over.
pub struct Weights<'c> {
    checkpoint: &'c Checkpoint,
    dtype: DType,
    neighbours: Option<Neighbours>,
    /// Model name to stored name, of the tensors that were not taken yet.
    left: BTreeMap<String, String>,
    /// What is wrong, while nothing but headers is looked at; afterwards tensors are read.
    survey: Option<Faults>,
    /// Gets the tensors, one by one, in place of the model.
    listener: Option<Listener<'c>>,
    parameters: usize,
    nbytes: usize,
}

impl<'c> Weights<'c> {
    pub(crate) fn new(
        checkpoint: &'c Checkpoint,
        dtype: DType,
        listener: Option<Listener<'c>>,
        rename: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let mut left = BTreeMap::new();
        let mut add = |stored: &str| match rename(stored).filter(|_| !scales_caches(stored)) {
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
        Ok(Weights {
            checkpoint,
            dtype,
            neighbours: None,
            left,
            survey: None,
            listener,
            parameters: 0,
            nbytes: 0,
        })
    }

    /// Puts rows in the order that RoPE wants which pairs halves: those of tensors for which `heads` gives a number of
    /// heads. Their file has them in the order of the original form, which pairs neighbours.
    #[must_use]
    pub fn with_paired_neighbours(self, heads: impl Fn(&str) -> Option<usize> + 'static) -> Self {
        Weights { neighbours: Some(Box::new(heads)), ..self }
    }

    /// Makes a model, which takes all tensors.
    ///
    /// `make` runs twice: the first time nothing is read, and what it makes is thrown away. So an error about tensors
    /// comes before any work, and lists all of them.
    ///
    /// # Errors
    /// When tensors are missing, misshapen or left over, cannot be read, or `make` fails.
    pub fn assign<M>(mut self, make: impl Fn(&mut Self) -> Result<M>) -> Result<M> {
        let all = self.left.clone();
        self.survey = Some(Faults::default());
        let made = make(&mut self);
        let faults = self.survey.take().unwrap_or_default();
        // Too many end the making before it has told all.
        if !faults.are_many() {
            made?;
        }
        faults.report(self.checkpoint, self.left.values())?;
        (self.survey, self.left) = (None, all);
        (self.parameters, self.nbytes) = (0, 0);
        make(&mut self)
    }

    /// What the model computes in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Parameters that were taken so far, counted as they are before quantization.
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Bytes that they take in memory.
    pub fn nbytes(&self) -> usize {
        self.nbytes
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
        if self.is_unwanted(name) {
            return self.placeholder();
        }
        let matrix = self.take_matrix(name, &shape)?;
        self.count(&matrix);
        if self.tell(name, || Parameter::Matrix(matrix.clone()))? { self.placeholder() } else { Ok(matrix) }
    }

    /// The linear map `path.weight` of `[rows, columns]`, with `path.bias` of `[rows]` if it has one.
    ///
    /// # Errors
    /// As [`matrix`](Self::matrix).
    pub fn linear(&mut self, path: &str, shape: [usize; 2], bias: bool) -> Result<nn::Linear> {
        let weight = self.matrix(&format!("{path}.weight"), shape)?;
        let bias = if bias { Some(self.vector(&format!("{path}.bias"), shape[0])?) } else { None };
        Ok(nn::Linear::new(weight, bias))
    }

    /// The matrix `name`, unless it is just `other` a second time.
    ///
    /// # Errors
    /// As [`matrix`](Self::matrix).
    pub fn matrix_apart_from(
        &mut self,
        other: &nn::Weight,
        name: &str,
        shape: [usize; 2],
    ) -> Result<Option<nn::Weight>> {
        if self.is_unwanted(name) {
            return Ok(None);
        }
        let matrix = self.take_matrix(name, &shape)?;
        if self.survey.is_some() || self.tell(name, || Parameter::Matrix(matrix.clone()))? {
            return Ok(None);
        }
        if same_matrix(&matrix, other)? {
            return Ok(None);
        }
        self.count(&matrix);
        Ok(Some(matrix))
    }

    /// The layer `name` of every expert under `path`, `[experts, rows, columns]`.
    ///
    /// Checkpoints have it as `switch_mlp.<name>.weight`, as `experts.<number>.<name>.weight`, or as `experts.<name>`.
    ///
    /// # Errors
    /// As [`matrix`](Self::matrix).
    pub fn stacked(&mut self, path: &str, name: &str, shape: [usize; 3]) -> Result<nn::Stacked> {
        let [count, rows, columns] = shape;
        let told = stacked_name(path, name);
        if self.is_unwanted(&told) {
            return self.stacked_placeholder();
        }
        let one = format!("{path}.experts.{name}");
        let weight = if self.has(&format!("{path}.experts.0.{name}.weight")) {
            let matrices = (0..count).map(|expert| {
                self.take_matrix(&format!("{path}.experts.{expert}.{name}.weight"), &[rows, columns])
            });
            let matrices: Vec<_> = matrices.collect::<Result<_>>()?;
            let refuse =
                || self.checkpoint.refuse(format!("the experts' {path}.{name} are not stored alike"));
            below(&matrices)?.ok_or_else(refuse)?
        } else if self.has(&one) {
            self.take_matrix(&one, &shape)?
        } else {
            self.take_matrix(&told, &shape)?
        };
        self.hand_stacked(&told, weight, count)
    }

    /// The layers `gate_proj` and `up_proj` of every expert under `path`, `[experts, rows, columns]` each.
    ///
    /// They lie as [`stacked`](Self::stacked) has it, or together in `experts.gate_up_proj`, an expert's gate above its other
    /// layer.
    ///
    /// # Errors
    /// As [`matrix`](Self::matrix).
    pub fn stacked_gate_and_up(&mut self, path: &str, shape: [usize; 3]) -> Result<[nn::Stacked; 2]> {
        let both = format!("{path}.experts.gate_up_proj");
        let (gate, up) = (stacked_name(path, "gate_proj"), stacked_name(path, "up_proj"));
        if !self.has(&both) {
            return Ok([self.stacked(path, "gate_proj", shape)?, self.stacked(path, "up_proj", shape)?]);
        }
        if self.is_unwanted(&gate) && self.is_unwanted(&up) {
            return Ok([self.stacked_placeholder()?, self.stacked_placeholder()?]);
        }
        let [count, rows, columns] = shape;
        let matrix = self.take_matrix(&both, &[count, 2 * rows, columns])?;
        let nn::Weight::Dense(matrix) = matrix else {
            return Err(self.checkpoint.refuse(format!("{both} is quantized, which is not supported")));
        };
        let mut half = |told: &str, from: usize| {
            if self.survey.is_some() || self.is_unwanted(told) {
                return self.stacked_placeholder();
            }
            let [count, rows, columns, from] = [count, rows, columns, from].map(|n| n as i32);
            let half = matrix.reshape(&[count, 2 * rows, columns])?.slice_axis(1, from, from + rows)?;
            let half = half.reshape(&[count * rows, columns])?;
            half.eval()?;
            self.hand_stacked(told, nn::Weight::Dense(half), count as usize)
        };
        Ok([half(&gate, 0)?, half(&up, rows)?])
    }

    /// Gives a layer of all experts to the model, or to the listener.
    fn hand_stacked(&mut self, told: &str, weight: nn::Weight, count: usize) -> Result<nn::Stacked> {
        self.count(&weight);
        let stacked = nn::Stacked { weight, count };
        if self.tell(told, || Parameter::Stacked(stacked.clone()))? {
            return self.stacked_placeholder();
        }
        Ok(stacked)
    }

    fn stacked_placeholder(&self) -> Result<nn::Stacked> {
        Ok(nn::Stacked { weight: self.placeholder()?, count: 1 })
    }

    /// Matrices `[.., rows, columns]` one below the other.
    fn take_matrix(&mut self, name: &str, shape: &[usize]) -> Result<nn::Weight> {
        let Some(stored) = self.take(name)? else { return self.placeholder() };
        let base = name.strip_suffix(".weight").unwrap_or(name).to_owned();
        let how = match self.checkpoint {
            Checkpoint::Folder(folder) => folder.inspect(&base, &stored, shape),
            // Packed or not, all of it is in the one tensor.
            Checkpoint::Gguf(file) => packed::find(file, &stored, shape).map(|_| Stored::Floats),
        };
        let how = match (how, &mut self.survey) {
            (Ok(how), _) => how,
            (Err(error), Some(faults)) => {
                faults.note(error)?;
                self.drop_parts(&base);
                return self.placeholder();
            }
            (Err(error), None) => return Err(error),
        };
        if !matches!(how, Stored::Floats) {
            self.drop_parts(&base);
        }
        if self.survey.is_some() {
            return self.placeholder();
        }
        match self.checkpoint {
            Checkpoint::Folder(folder) => folder.matrix(&stored, shape, &how, self.dtype),
            Checkpoint::Gguf(file) => packed::matrix(file, &stored, shape, self.paired(name), self.dtype),
        }
    }

    /// The vector `name` of `length` numbers.
    ///
    /// # Errors
    /// When it is missing, has another shape, or cannot be read.
    pub fn vector(&mut self, name: &str, length: usize) -> Result<Array> {
        let vector = self.take_vector(name, length)?;
        if self.tell(name, || Parameter::Vector(vector.clone()))? {
            return Ok(Array::zeros(&[1], self.dtype)?);
        }
        Ok(vector)
    }

    /// The vector `name` plus one. Hugging Face's layout has it without the one, GGUF files have it with it.
    ///
    /// # Errors
    /// As [`vector`](Self::vector).
    pub fn vector_above_one(&mut self, name: &str, length: usize) -> Result<Array> {
        let stored = self.take_vector(name, length)?;
        let one = stored.scalar_like(1.0)?;
        let has_one = matches!(self.checkpoint, Checkpoint::Gguf(_));
        let without = if has_one { stored.subtract(&one)? } else { stored.clone() };
        if self.tell(name, || Parameter::Vector(without))? {
            return Ok(Array::zeros(&[1], self.dtype)?);
        }
        let above = if has_one { stored } else { stored.add(&one)? };
        above.eval()?;
        Ok(above)
    }

    fn take_vector(&mut self, name: &str, length: usize) -> Result<Array> {
        if self.is_unwanted(name) {
            return Ok(Array::zeros(&[1], self.dtype)?);
        }
        let stored = match (self.take(name)?, &mut self.survey) {
            (Some(stored), None) => stored,
            (stored, _) => {
                let shape = [length];
                let found = stored.map_or(Ok(()), |stored| match self.checkpoint {
                    Checkpoint::Folder(folder) => folder.inspect_floats(&stored, &shape),
                    Checkpoint::Gguf(file) => packed::find(file, &stored, &shape).map(|_| ()),
                });
                if let (Err(error), Some(faults)) = (found, &mut self.survey) {
                    faults.note(error)?;
                }
                return Ok(Array::zeros(&[1], self.dtype)?);
            }
        };
        let vector = match self.checkpoint {
            Checkpoint::Folder(folder) => folder.floats(&stored, &[length], self.dtype)?,
            Checkpoint::Gguf(file) => packed::dense(file, &stored, &[length], self.paired(name), self.dtype)?,
        };
        self.parameters += length;
        self.nbytes += vector.nbytes();
        Ok(vector)
    }

    /// Takes what belongs to a matrix beside its codes. Activations are not rounded here, so what they would be rounded by
    /// has no use.
    fn drop_parts(&mut self, base: &str) {
        for part in ["scales", "biases", BLOCK_SCALES, FP8_SCALES, "input_scale", "input_scale_ub"] {
            self.left.remove(&format!("{base}.{part}"));
        }
    }

    /// Gives a parameter to the listener. Whether there is one, and the model can do without it.
    fn tell(&self, name: &str, parameter: impl FnOnce() -> Parameter) -> Result<bool> {
        match self.listener {
            Some(listener) if self.survey.is_none() => {
                if (listener.wants)(name) {
                    (listener.tell.borrow_mut())(name, parameter())?;
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Whether a parameter need not be read, as nobody is to get it.
    fn is_unwanted(&self, name: &str) -> bool {
        self.survey.is_none() && self.listener.is_some_and(|listener| !(listener.wants)(name))
    }

    fn paired(&self, name: &str) -> Option<usize> {
        self.neighbours.as_ref().and_then(|heads| heads(name))
    }

    /// What stands for a matrix while nothing is read.
    fn placeholder(&self) -> Result<nn::Weight> {
        Ok(nn::Weight::Dense(Array::zeros(&[1, 1], self.dtype)?))
    }

    /// The stored name; none if it is missing and that was noted.
    fn take(&mut self, name: &str) -> Result<Option<String>> {
        match (self.left.remove(name), &mut self.survey) {
            (Some(stored), _) => Ok(Some(stored)),
            (None, Some(faults)) => {
                faults.note_missing(self.checkpoint, name)?;
                Ok(None)
            }
            (None, None) => Err(missing(self.checkpoint.path(), name)),
        }
    }

    fn count(&mut self, matrix: &nn::Weight) {
        self.parameters += matrix.shape().iter().product::<usize>();
        self.nbytes += matrix.arrays().iter().map(|array| array.nbytes()).sum::<usize>();
    }
}

/// Whether a tensor tells what keys and values would be rounded by in caches of 8-bit floats, of which there are none here.
fn scales_caches(stored: &str) -> bool {
    stored.ends_with(".k_scale") || stored.ends_with(".v_scale")
}

/// What MLX's checkpoints call a layer of all experts under `path`.
fn stacked_name(path: &str, layer: &str) -> String {
    format!("{path}.switch_mlp.{layer}.weight")
}

impl std::fmt::Debug for Weights<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weights")
            .field("dtype", &self.dtype)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
