//! A weight matrix, dense or quantized. Layers do not care which.

use smallvec::{SmallVec, smallvec};

use super::{Children, ChildrenMut, Module};
use crate::kernels::{self, Arrays, Layout};
use crate::{Array, Blocks, Error, Quantization, Quantized, Result};

/// A matrix of weights `[N, K]`.
#[derive(Clone, Debug)]
pub enum Weight {
    /// One array of floats, `[N, K]`.
    Dense(Array),
    /// Packed codes with their scales.
    Quantized(Quantized),
    /// The blocks of a GGUF file.
    Blocks(Blocks),
}

impl Weight {
    /// Quantizes a matrix of floats, `[N, K]`.
    ///
    /// # Errors
    /// As [`Array::quantize`].
    pub fn quantize(matrix: &Array, quantization: Quantization) -> Result<Self> {
        matrix.quantize(quantization).map(Weight::Quantized)
    }

    /// Rows and columns of the matrix that the weight stands for, `[N, K]`; axes that are missing count as 1.
    pub fn shape(&self) -> [usize; 2] {
        let shape = match self {
            Weight::Dense(weight) => weight.shape().to_vec(),
            Weight::Quantized(packed) => packed.shape(),
            Weight::Blocks(blocks) => blocks.shape().to_vec(),
        };
        [0, 1].map(|axis| shape.get(axis).map_or(1, |n| *n as usize))
    }

    /// `x Wᵀ`: `[.., K] -> [.., N]`
    ///
    /// # Errors
    /// When the last axis of `x` is not `K`.
    pub fn project(&self, x: &Array) -> Result<Array> {
        Weight::project_together(x, [self]).map(|[product]| product)
    }

    /// The layout and the arrays, if there is a kernel for products of `x` with them.
    pub(super) fn stored(&self, x: &Array) -> Option<(Layout, Arrays<'_>)> {
        let (layout, arrays): (_, Arrays<'_>) = match self {
            Weight::Dense(weight) if weight.dtype() == x.dtype() => (Layout::Dense, smallvec![weight]),
            Weight::Dense(_) => return None,
            Weight::Quantized(packed) => (packed.layout()?, packed.arrays().collect()),
            Weight::Blocks(blocks) => (Layout::Blocks(blocks.format), smallvec![&blocks.bytes]),
        };
        let fits = usize::try_from(*x.shape().last()?) == Ok(self.shape()[1]);
        (fits && arrays[0].ndim() == 2).then_some((layout, arrays))
    }

    /// [`project`](Self::project) with several matrices, which a CPU reads in one go.
    ///
    /// # Errors
    /// As there.
    pub fn project_together<const N: usize>(x: &Array, weights: [&Weight; N]) -> Result<[Array; N]> {
        let stored: Option<SmallVec<[_; N]>> = weights.iter().map(|weight| weight.stored(x)).collect();
        let stored = stored.and_then(|stored| stored.into_inner().ok());
        if let Some(outputs) = stored.and_then(|stored| kernels::project(x, stored)) {
            return outputs;
        }
        let mut outputs = Vec::with_capacity(N);
        for weight in weights {
            outputs.push(match weight {
                Weight::Dense(weight) => x.matmul(&weight.transpose(&[1, 0])?)?,
                Weight::Quantized(packed) => x.quantized_matmul(packed, true)?,
                Weight::Blocks(blocks) => blocks.project(x)?,
            });
        }
        // There is one for each.
        outputs
            .try_into()
            .map_err(|_| Error::Shape { op: "project", message: "outputs are missing".to_owned() })
    }

    /// Rows at the positions in `indices`: `[..] -> [.., K]`
    ///
    /// # Errors
    /// When a position lies outside the matrix.
    pub fn rows(&self, indices: &Array) -> Result<Array> {
        match self {
            Weight::Dense(weight) => weight.take(indices, 0),
            Weight::Quantized(packed) => packed.take(indices)?.dequantize(),
            Weight::Blocks(blocks) => blocks.take(indices),
        }
    }

    /// The whole matrix as floats: the weights themselves, or what the packed ones stand for.
    ///
    /// # Errors
    /// When the parts of a quantized weight do not belong together.
    pub fn dequantized(&self) -> Result<Array> {
        match self {
            Weight::Dense(weight) => Ok(weight.clone()),
            Weight::Quantized(packed) => packed.dequantize(),
            Weight::Blocks(blocks) => blocks.dequantize(),
        }
    }

    /// The arrays that the weight is made of.
    pub fn arrays(&self) -> Vec<&Array> {
        match self {
            Weight::Dense(weight) => vec![weight],
            Weight::Quantized(packed) => packed.arrays().collect(),
            Weight::Blocks(blocks) => vec![&blocks.bytes],
        }
    }
}

const NAMES: [&str; 3] = ["weight", "scales", "biases"];

/// The parts are named as in MLX's checkpoints: `weight`, and of quantized weights also `scales` and `biases`.
impl Module for Weight {
    fn children(&self) -> Children<'_> {
        let arrays = self.arrays().into_iter().map(|array| array as _);
        NAMES.map(str::to_owned).into_iter().zip(arrays).collect()
    }

    fn children_mut(&mut self) -> ChildrenMut<'_> {
        let arrays = match self {
            Weight::Dense(weight) => vec![weight],
            Weight::Quantized(Quantized { weight, scales, biases, .. }) => {
                [weight, scales].into_iter().chain(biases).collect()
            }
            Weight::Blocks(blocks) => vec![&mut blocks.bytes],
        };
        NAMES.map(str::to_owned).into_iter().zip(arrays.into_iter().map(|array| array as _)).collect()
    }
}
