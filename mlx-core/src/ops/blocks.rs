//! Weights in the blocks of GGUF files.

pub use cpu_kernels::blocks::BlockFormat;
use smallvec::smallvec;

use crate::kernels::{self, Layout};
use crate::{Array, DType, Error, Result};

const OP: &str = "blocks";

/// A matrix of weights `[N, K]` in one of ggml's block formats, byte for byte as a GGUF file holds it.
///
/// MLX does not know these formats. Kernels of our own compute with them on CPUs; for a GPU, use what
/// [`dequantize`](Self::dequantize) gives.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// uint8 `[N, bytes of a row]`
    pub bytes: Array,
    /// How a block is laid out.
    pub format: BlockFormat,
    /// What unpacked weights are rounded to.
    pub dtype: DType,
}

impl Blocks {
    /// The tensor of a GGUF file.
    ///
    /// # Errors
    /// When the bytes are not rows of whole blocks, or `dtype` is not a floating one of at most 32 bits.
    pub fn new(bytes: Array, format: BlockFormat, dtype: DType) -> Result<Self> {
        let whole = matches!(bytes.shape(), [_, row] if (*row as usize).is_multiple_of(format.block_bytes()));
        if bytes.dtype() != DType::U8 || !whole || !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
            let message = format!("{} are not rows of {format} blocks for {dtype}", bytes.describe());
            return Err(Error::Shape { op: OP, message });
        }
        Ok(Blocks { bytes, format, dtype })
    }

    /// `[N, K]`
    pub fn shape(&self) -> [i32; 2] {
        let row = self.bytes.shape().get(1).copied().unwrap_or(0) as usize / self.format.block_bytes();
        let columns = i32::try_from(row * self.format.block_len()).unwrap_or(i32::MAX);
        [self.bytes.shape().first().copied().unwrap_or(0), columns]
    }

    /// The weights, `[N, K]`.
    ///
    /// # Errors
    /// On a GPU stream.
    pub fn dequantize(&self) -> Result<Array> {
        kernels::unpack(&self.bytes, self.format, self.dtype)
    }

    /// Rows at the positions in `indices`: `[..] -> [.., K]`
    ///
    /// # Errors
    /// When a position lies outside the matrix, and on a GPU stream.
    pub fn take(&self, indices: &Array) -> Result<Array> {
        kernels::unpack(&self.bytes.take(indices, 0)?, self.format, self.dtype)
    }

    /// `x Wᵀ`: `[.., K] -> [.., N]`
    ///
    /// # Errors
    /// When the last axis of `x` is not `K`, and on a GPU stream.
    pub fn project(&self, x: &Array) -> Result<Array> {
        if x.shape().last() != Some(&self.shape()[1]) {
            let message =
                format!("{} does not go with {} blocks of {:?}", x.describe(), self.format, self.shape());
            return Err(Error::Shape { op: OP, message });
        }
        match kernels::project(x, [(Layout::Blocks(self.format), smallvec![&self.bytes])]) {
            Some(outputs) => outputs.map(|[product]| product),
            None => x.matmul(&self.dequantize()?.as_type(x.dtype())?.transpose(&[1, 0])?),
        }
    }
}
