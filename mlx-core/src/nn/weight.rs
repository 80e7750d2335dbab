//! A weight matrix, dense or quantized. Layers do not care which.

use super::{Children, ChildrenMut, Module};
use crate::{Array, Quantization, Result};

/// A matrix of weights `[N, K]`.
#[derive(Clone, Debug)]
pub enum Weight {
    /// One array of floats, `[N, K]`.
    Dense(Array),
    /// Affine-quantized, see [`Quantization`].
    Quantized {
        /// Packed integers, uint32 `[N, K * bits / 32]`.
        weight: Array,
        /// `[N, K / group_size]`
        scales: Array,
        /// `[N, K / group_size]`
        biases: Array,
        /// How the integers are packed.
        quantization: Quantization,
    },
}

impl Weight {
    /// Quantizes a matrix of floats, `[N, K]`.
    ///
    /// # Errors
    /// As [`Array::quantize`].
    pub fn quantize(matrix: &Array, quantization: Quantization) -> Result<Self> {
        let [weight, scales, biases] = matrix.quantize(quantization)?;
        Ok(Weight::Quantized { weight, scales, biases, quantization })
    }

    /// Rows and columns of the matrix that the weight stands for, `[N, K]`; axes that are missing count as 1.
    pub fn shape(&self) -> [usize; 2] {
        let dims = |a: &Array| [0, 1].map(|axis| a.shape().get(axis).map_or(1, |n| *n as usize));
        match self {
            Weight::Dense(weight) => dims(weight),
            Weight::Quantized { weight, quantization, .. } => {
                let [rows, words] = dims(weight);
                [rows, words * 32 / quantization.bits.max(1) as usize]
            }
        }
    }

    /// `x Wᵀ`: `[.., K] -> [.., N]`
    ///
    /// # Errors
    /// When the last axis of `x` is not `K`.
    pub fn project(&self, x: &Array) -> Result<Array> {
        match self {
            Weight::Dense(weight) => x.matmul(&weight.transpose(&[1, 0])?),
            Weight::Quantized { weight, scales, biases, quantization } => {
                x.quantized_matmul(weight, scales, biases, true, *quantization)
            }
        }
    }

    /// Rows at the positions in `indices`: `[..] -> [.., K]`
    ///
    /// # Errors
    /// When a position lies outside the matrix.
    pub fn rows(&self, indices: &Array) -> Result<Array> {
        match self {
            Weight::Dense(weight) => weight.take(indices, 0),
            Weight::Quantized { weight, scales, biases, quantization } => {
                let (weight, scales, biases) =
                    (weight.take(indices, 0)?, scales.take(indices, 0)?, biases.take(indices, 0)?);
                weight.dequantize(&scales, &biases, *quantization)
            }
        }
    }

    /// The whole matrix as floats: the weights themselves, or what the packed ones stand for.
    ///
    /// # Errors
    /// When the parts of a quantized weight do not belong together.
    pub fn dequantized(&self) -> Result<Array> {
        match self {
            Weight::Dense(weight) => Ok(weight.clone()),
            Weight::Quantized { weight, scales, biases, quantization } => {
                weight.dequantize(scales, biases, *quantization)
            }
        }
    }

    /// The arrays that the weight is made of.
    pub fn arrays(&self) -> Vec<&Array> {
        match self {
            Weight::Dense(weight) => vec![weight],
            Weight::Quantized { weight, scales, biases, .. } => vec![weight, scales, biases],
        }
    }
}

/// The parts are named as in MLX's checkpoints: `weight`, and of quantized weights also `scales` and `biases`.
impl Module for Weight {
    fn children(&self) -> Children<'_> {
        let names = ["weight", "scales", "biases"].map(str::to_owned);
        names.into_iter().zip(self.arrays().into_iter().map(|array| array as _)).collect()
    }

    fn children_mut(&mut self) -> ChildrenMut<'_> {
        let arrays = match self {
            Weight::Dense(weight) => vec![weight],
            Weight::Quantized { weight, scales, biases, .. } => vec![weight, scales, biases],
        };
        let names = ["weight", "scales", "biases"].map(str::to_owned);
        names.into_iter().zip(arrays.into_iter().map(|array| array as _)).collect()
    }
}
