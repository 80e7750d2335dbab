//! Matrix products, dense and quantized: the one door through which every product of the models goes.

use crate::ffi::ops::Affine;
use crate::ffi::{self, c, door};
use crate::{Array, Result};

/// How affine-quantized weights are laid out.
///
/// Along the last axis, each `group_size` weights share a scale and a bias: `w = scale * q + bias`, with `q` an unsigned
/// integer of `bits` bits. The `q` of a row form one little-endian stream of bits, stored in uint32 words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quantization {
    /// Weights that share a scale and a bias: 32, 64 or 128.
    pub group_size: i32,
    /// Bits of a weight: 2, 3, 4, 5, 6 or 8.
    pub bits: i32,
}

impl Quantization {
    fn layout(self) -> Affine {
        Affine { group_size: self.group_size, bits: self.bits }
    }
}

impl Array {
    /// Matrix product over the last two axes; the axes before them are broadcast. `[.., M, K] x [.., K, N] -> [.., M, N]`
    ///
    /// # Errors
    /// When the inner axes differ, an operand is a scalar, or the dtypes are integers.
    #[doc(alias = "mlx_matmul")]
    pub fn matmul(&self, other: &Array) -> Result<Array> {
        door::binary("matmul", c::mlx_matmul, self, other)
    }

    /// Product with a quantized matrix. With `transpose`, `[.., M, K] x [N, K]ᵀ -> [.., M, N]`.
    ///
    /// `weight` is uint32 `[N, K * bits / 32]`, `scales` and `biases` are `[N, K / group_size]`.
    ///
    /// # Errors
    /// When the shapes do not belong together or MLX does not know the layout.
    #[doc(alias = "mlx_quantized_matmul")]
    pub fn quantized_matmul(
        &self,
        weight: &Array,
        scales: &Array,
        biases: &Array,
        transpose: bool,
        quantization: Quantization,
    ) -> Result<Array> {
        ffi::ops::quantized_matmul(self, weight, scales, biases, transpose, quantization.layout())
    }

    /// The weights behind a quantized matrix, in the dtype of `scales`: `[N, K * bits / 32] -> [N, K]`.
    ///
    /// # Errors
    /// When the shapes do not belong together or MLX does not know the layout.
    #[doc(alias = "mlx_dequantize")]
    pub fn dequantize(&self, scales: &Array, biases: &Array, quantization: Quantization) -> Result<Array> {
        ffi::ops::dequantize(self, scales, biases, quantization.layout())
    }

    /// Quantizes a matrix `[N, K]`: returns the packed weights, the scales and the biases.
    ///
    /// # Errors
    /// When `K` is not a multiple of the group size or MLX does not know the layout.
    #[doc(alias = "mlx_quantize")]
    pub fn quantize(&self, quantization: Quantization) -> Result<[Array; 3]> {
        let parts = ffi::ops::quantize(self, quantization.layout())?;
        <[Array; 3]>::try_from(parts).map_err(|parts| crate::Error::Shape {
            op: "quantize",
            message: format!("MLX gave {} arrays instead of weights, scales and biases", parts.len()),
        })
    }
}
