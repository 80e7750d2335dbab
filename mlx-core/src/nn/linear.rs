//! Linear maps and token embeddings: `y = x Wᵀ + b`.

use super::Weight;
use crate::{Array, Result};

/// A linear map, `[.., K] -> [.., N]`.
///
/// ```
/// use mlx_core::{Array, nn::{Linear, Weight}};
///
/// let weight = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
/// let linear = Linear { weight: Weight::Dense(weight), bias: None };
/// let y = linear.forward(&Array::from_slice(&[1.0f32, 10.0], &[1, 2])?)?;
/// assert_eq!(y.to_vec::<f32>()?, [21.0, 43.0]);
/// # Ok::<(), mlx_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[N, K]`
    pub weight: Weight,
    /// `[N]`
    pub bias: Option<Array>,
}

impl Linear {
    /// `x Wᵀ + b`
    ///
    /// # Errors
    /// When the last axis of `x` is not `K`.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        let y = self.weight.project(x)?;
        match &self.bias {
            Some(bias) => y.add(bias),
            None => Ok(y),
        }
    }
}

/// A table of `V` vectors, looked up by token id.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[V, D]`
    pub weight: Weight,
}

impl Embedding {
    /// The vectors of `tokens`: `[..] -> [.., D]`
    ///
    /// # Errors
    /// When an id lies outside the table.
    pub fn forward(&self, tokens: &Array) -> Result<Array> {
        self.weight.rows(tokens)
    }

    /// The table as an output head, for models that tie both: `[.., D] -> [.., V]`
    ///
    /// # Errors
    /// When the last axis of `x` is not `D`.
    pub fn as_linear(&self, x: &Array) -> Result<Array> {
        self.weight.project(x)
    }
}
