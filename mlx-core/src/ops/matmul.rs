//! Matrix products, dense and quantized: the one door through which every product of the models goes.

use crate::ffi::ops::Affine;
use crate::ffi::{self, c, door};
use crate::{Array, DType, Error, Result};

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
    /// # Errors
    /// For a layout that MLX has no kernels for; with zeros it would divide by them.
    fn layout(self, op: &'static str) -> Result<Affine> {
        match self {
            Quantization { group_size: 32 | 64 | 128, bits: 2 | 3 | 4 | 5 | 6 | 8 } => {
                Ok(Affine { group_size: self.group_size, bits: self.bits })
            }
            other => Err(Error::Shape {
                op,
                message: format!("{other:?}: groups of 32, 64, 128 with 2, 3, 4, 5, 6, 8 bits exist"),
            }),
        }
    }
}

/// What MLX's kernels for packed weights read without looking: dtypes, and a scale and a bias for every group. Returns how
/// many columns the weights stand for.
fn check_packed(
    op: &'static str,
    [weight, scales, biases]: [&Array; 3],
    Quantization { group_size, bits }: Quantization,
) -> Result<i32> {
    if weight.dtype() != DType::U32 {
        return Err(Error::DTypeMismatch { op, expected: DType::U32, found: weight.dtype() });
    }
    check_float(op, scales)?;
    check_float(op, biases)?;
    let columns = weight.shape().split_last().and_then(|(words, rows)| {
        let bits_of_row = i64::from(*words) * 32;
        let columns = i32::try_from(bits_of_row / i64::from(bits)).ok()?;
        let groups = columns / group_size;
        let whole = i64::from(columns) * i64::from(bits) == bits_of_row && groups * group_size == columns;
        let fits = |a: &Array| a.shape().split_last() == Some((&groups, rows));
        (whole && fits(scales) && fits(biases)).then_some(columns)
    });
    columns.ok_or_else(|| {
        let message = format!(
            "weights {} in groups of {group_size} of {bits} bits do not go with scales {} and biases {}",
            weight.describe(),
            scales.describe(),
            biases.describe()
        );
        Error::Shape { op, message }
    })
}

/// The kernels for packed weights know these; others fail halfway and leave memory unfilled.
fn check_float(op: &'static str, a: &Array) -> Result<()> {
    match a.dtype() {
        DType::F32 | DType::F16 | DType::BF16 => Ok(()),
        other => Err(Error::DTypeMismatch { op, expected: DType::F32, found: other }),
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
        const OP: &str = "quantized_matmul";
        let layout = quantization.layout(OP)?;
        check_float(OP, self)?;
        let columns = check_packed(OP, [weight, scales, biases], quantization)?;
        let x = self.shape();
        let refuse = || {
            let message =
                format!("{} does not go with packed weights {}", self.describe(), weight.describe());
            Error::Shape { op: OP, message }
        };
        let &[rows, _] = weight.shape() else { return Err(refuse()) };
        let [inner, outer] = if transpose { [columns, rows] } else { [rows, columns] };
        if x.last() != Some(&inner) {
            return Err(refuse());
        }
        if outer == 0 || x.contains(&0) {
            // The kernels divide by these.
            let mut shape = x.to_vec();
            shape.pop();
            shape.push(outer);
            return Array::zeros(&shape, self.dtype());
        }
        ffi::ops::quantized_matmul(self, weight, scales, biases, transpose, layout)
    }

    /// The weights behind a quantized matrix, in the dtype of `scales`: `[N, K * bits / 32] -> [N, K]`.
    ///
    /// # Errors
    /// When the shapes do not belong together or MLX does not know the layout.
    #[doc(alias = "mlx_dequantize")]
    pub fn dequantize(&self, scales: &Array, biases: &Array, quantization: Quantization) -> Result<Array> {
        let layout = quantization.layout("dequantize")?;
        check_packed("dequantize", [self, scales, biases], quantization)?;
        ffi::ops::dequantize(self, scales, biases, layout)
    }

    /// Quantizes a matrix `[N, K]`: returns the packed weights, the scales and the biases.
    ///
    /// # Errors
    /// When `K` is not a multiple of the group size or MLX does not know the layout.
    #[doc(alias = "mlx_quantize")]
    pub fn quantize(&self, quantization: Quantization) -> Result<[Array; 3]> {
        let layout = quantization.layout("quantize")?;
        check_float("quantize", self)?;
        if self.size() == 0 {
            let message = format!("{} has nothing to quantize", self.describe());
            return Err(Error::Shape { op: "quantize", message });
        }
        let parts = ffi::ops::quantize(self, layout)?;
        <[Array; 3]>::try_from(parts).map_err(|parts| Error::Shape {
            op: "quantize",
            message: format!("MLX gave {} arrays instead of weights, scales and biases", parts.len()),
        })
    }
}
