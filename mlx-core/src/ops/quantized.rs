//! Packed weights and products with them.

use std::ffi::CStr;

use super::matmul::{counted, matrices};
use super::positions::{Limit, inside};
use crate::kernels::{self, Layout};
use crate::{Array, DType, Error, Result, ffi};

/// How the weights of a matrix are packed.
///
/// Along the last axis, each group of weights shares a scale, and in affine quantization a bias. The codes of a row form
/// one little-endian stream of bits, stored in uint32 words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// `w = scale * q + bias`, with `q` an unsigned integer.
    Affine {
        /// Weights that share a scale and a bias: 32, 64 or 128.
        group_size: i32,
        /// Bits of a weight: 2, 3, 4, 5, 6 or 8.
        bits: i32,
    },
    /// Floats of 4 bits (2 of exponent, 1 of fraction) in groups of 32, with a power of two as their scale.
    Mxfp4,
    /// Floats of 8 bits (4 of exponent, 3 of fraction) in groups of 32, with a power of two as their scale.
    Mxfp8,
    /// Floats of 4 bits (2 of exponent, 1 of fraction) in groups of 16, with a float of 8 bits as their scale.
    Nvfp4,
}

impl Quantization {
    /// Affine quantization.
    pub const fn affine(group_size: i32, bits: i32) -> Self {
        Quantization::Affine { group_size, bits }
    }

    /// Bits of a weight.
    pub fn bits(self) -> i32 {
        match self {
            Quantization::Affine { bits, .. } => bits,
            Quantization::Mxfp4 | Quantization::Nvfp4 => 4,
            Quantization::Mxfp8 => 8,
        }
    }

    /// Weights that share a scale.
    pub fn group_size(self) -> i32 {
        match self {
            Quantization::Affine { group_size, .. } => group_size,
            Quantization::Mxfp4 | Quantization::Mxfp8 => 32,
            Quantization::Nvfp4 => 16,
        }
    }

    /// The name that MLX and its checkpoints have for the mode.
    pub fn mode(self) -> &'static str {
        // The names below are plain ASCII.
        self.c_mode().to_str().unwrap_or_default()
    }

    pub(crate) fn c_mode(self) -> &'static CStr {
        match self {
            Quantization::Affine { .. } => c"affine",
            Quantization::Mxfp4 => c"mxfp4",
            Quantization::Mxfp8 => c"mxfp8",
            Quantization::Nvfp4 => c"nvfp4",
        }
    }

    /// # Errors
    /// For a layout that MLX has no kernels for; with zeros it would divide by them.
    fn require(self, op: &'static str) -> Result<()> {
        match self {
            Quantization::Affine { group_size: 32 | 64 | 128, bits: 2 | 3 | 4 | 5 | 6 | 8 } => Ok(()),
            Quantization::Mxfp4 | Quantization::Mxfp8 | Quantization::Nvfp4 => Ok(()),
            other @ Quantization::Affine { .. } => Err(Error::Shape {
                op,
                message: format!("{other:?}: groups of 32, 64, 128 with 2, 3, 4, 5, 6, 8 bits exist"),
            }),
        }
    }
}

/// A matrix of packed weights, `[.., N, K]`, or several.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The codes, uint32 `[.., N, K * bits / 32]`.
    pub weight: Array,
    /// `[.., N, K / group_size]`: floating-point numbers, or uint8 where the mode is not affine.
    pub scales: Array,
    /// `[.., N, K / group_size]` in affine quantization, and none otherwise.
    pub biases: Option<Array>,
    /// How the codes are packed.
    pub quantization: Quantization,
}

impl Quantized {
    /// The shape of the weights that are packed, as far as the codes tell.
    pub fn shape(&self) -> Vec<i32> {
        let mut shape = self.weight.shape().to_vec();
        if let Some(words) = shape.last_mut() {
            *words = (i64::from(*words) * 32 / i64::from(self.quantization.bits().max(1))) as i32;
        }
        shape
    }

    /// The weights, `[.., N, K]`: in the dtype of the scales, or bfloat16 where the mode is not affine.
    ///
    /// # Errors
    /// When the parts do not belong together or MLX does not know the layout.
    #[doc(alias = "mlx_dequantize")]
    pub fn dequantize(&self) -> Result<Array> {
        self.require("dequantize")?;
        ffi::ops::dequantize(self)
    }

    /// The matrices at the positions in `indices` along the first axis, or the rows of a single one.
    ///
    /// # Errors
    /// When a position lies outside.
    pub fn take(&self, indices: &Array) -> Result<Quantized> {
        Ok(Quantized {
            weight: self.weight.take(indices, 0)?,
            scales: self.scales.take(indices, 0)?,
            biases: self.biases.as_ref().map(|biases| biases.take(indices, 0)).transpose()?,
            quantization: self.quantization,
        })
    }

    /// How kernels of our own see the codes, if they can and the parts belong together.
    pub(crate) fn layout(&self) -> Option<Layout> {
        self.require("quantized_matmul").ok()?;
        Layout::of(self.quantization)
    }

    /// The arrays: codes, scales, and biases if there are any.
    pub fn arrays(&self) -> impl Iterator<Item = &Array> {
        [&self.weight, &self.scales].into_iter().chain(&self.biases)
    }

    /// What MLX's kernels read without looking: dtypes, and a scale (and a bias) for every group. Gives the weights of a
    /// row.
    pub(super) fn require(&self, op: &'static str) -> Result<i32> {
        let Quantized { weight, scales, biases, quantization } = self;
        quantization.require(op)?;
        if weight.dtype() != DType::U32 {
            return Err(Error::DTypeMismatch { op, expected: DType::U32, found: weight.dtype() });
        }
        let affine = matches!(quantization, Quantization::Affine { .. });
        match biases {
            Some(biases) if affine => require_float(op, biases)?,
            None if !affine => {}
            _ => {
                let message = format!("{} quantization and biases {biases:?}", quantization.mode());
                return Err(Error::Shape { op, message });
            }
        }
        if affine {
            require_float(op, scales)?;
        } else if scales.dtype() != DType::U8 {
            return Err(Error::DTypeMismatch { op, expected: DType::U8, found: scales.dtype() });
        }
        self.columns().ok_or_else(|| {
            let parts: Vec<String> = self.arrays().map(Array::describe).collect();
            let (group_size, bits) = (quantization.group_size(), quantization.bits());
            let message =
                format!("in groups of {group_size} of {bits} bits, {} do not go together", parts.join(", "));
            Error::Shape { op, message }
        })
    }

    /// How many weights a row has, unless the shapes do not go together.
    fn columns(&self) -> Option<i32> {
        let Quantized { weight, scales, biases, quantization } = self;
        let (words, rows) = weight.shape().split_last()?;
        let bits_of_row = i64::from(*words) * 32;
        let columns = i32::try_from(bits_of_row / i64::from(quantization.bits())).ok()?;
        let groups = columns / quantization.group_size();
        let whole = i64::from(columns) * i64::from(quantization.bits()) == bits_of_row
            && groups * quantization.group_size() == columns;
        let fits = |a: &Array| a.shape().split_last() == Some((&groups, rows));
        (whole && !rows.is_empty() && fits(scales) && biases.iter().all(fits)).then_some(columns)
    }

    /// Refuses an operand whose last axis is not the inner one of the product, and gives the length of the outer one.
    fn outer(&self, op: &'static str, x: &Array, transpose: bool) -> Result<i32> {
        let columns = self.require(op)?;
        require_float(op, x)?;
        let rows = self.weight.axis_length(op, -2)?;
        let [inner, outer] = if transpose { [columns, rows] } else { [rows, columns] };
        if x.shape().last() == Some(&inner) {
            return Ok(outer);
        }
        let message = format!("{} does not go with packed weights {}", x.describe(), self.weight.describe());
        Err(Error::Shape { op, message })
    }
}

/// The kernels for packed weights know these; others fail halfway and leave memory unfilled.
pub(super) fn require_float(op: &'static str, a: &Array) -> Result<()> {
    match a.dtype() {
        DType::F32 | DType::F16 | DType::BF16 => Ok(()),
        other => Err(Error::DTypeMismatch { op, expected: DType::F32, found: other }),
    }
}

impl Array {
    /// Product with a quantized matrix `[N, K]`: with `transpose`, `[.., M, K] x [N, K]ᵀ -> [.., M, N]`, else
    /// `[.., M, N] x [N, K] -> [.., M, K]`.
    ///
    /// # Errors
    /// When the shapes do not belong together, the weights are several matrices, or MLX does not know the layout.
    #[doc(alias = "mlx_quantized_matmul")]
    pub fn quantized_matmul(&self, packed: &Quantized, transpose: bool) -> Result<Array> {
        const OP: &str = "quantized_matmul";
        let outer = packed.outer(OP, self, transpose)?;
        if packed.weight.ndim() != 2 {
            let message =
                format!("packed weights {} are not one matrix; see gather_qmm", packed.weight.describe());
            return Err(Error::Shape { op: OP, message });
        }
        if self.size() == 0 || outer == 0 {
            // The kernels divide by these.
            let mut shape = self.shape().to_vec();
            shape.pop();
            shape.push(outer);
            return Array::zeros(&shape, self.dtype());
        }
        let ours = match (Layout::of(packed.quantization), transpose) {
            (Some(layout), true) => kernels::project(self, [(layout, packed.arrays().collect())]),
            _ => None,
        };
        match ours {
            Some(outputs) => outputs.map(|[product]| product),
            None => ffi::ops::quantized_matmul(self, packed, transpose),
        }
    }

    /// Products of matrices with packed ones, chosen by position: `result[i] = x[lhs[i]] x w[rhs[i]]ᵀ` with `transpose`,
    /// with this array as `x`.
    ///
    /// The matrices of `[.., M, K]` and of the packed `[.., N, K]` are counted in row-major order; without a list they are
    /// taken as they come. The lists are broadcast together, and the result is `[lists, M, N]`. `sorted` promises that
    /// the list which is given ascends, which makes this faster; if it does not, the numbers are wrong.
    ///
    /// # Errors
    /// When the shapes do not belong together, MLX does not know the layout, or a position lies outside.
    #[doc(alias = "mlx_gather_qmm")]
    pub fn gather_qmm(
        &self,
        packed: &Quantized,
        lhs: Option<&Array>,
        rhs: Option<&Array>,
        transpose: bool,
        sorted: bool,
    ) -> Result<Array> {
        const OP: &str = "gather_qmm";
        packed.outer(OP, self, transpose)?;
        let list = |list: Option<&Array>, of: &Array| {
            let checked = |list| inside(OP, list, &[Limit::axis(matrices(OP, of)?, 1)]);
            list.map(|list| checked(list).and_then(|list| counted(&list, of))).transpose()
        };
        let (lhs, rhs) = (list(lhs, self)?, list(rhs, &packed.weight)?);
        if lhs.is_none() && rhs.is_none() && packed.weight.ndim() == 2 {
            return self.quantized_matmul(packed, transpose);
        }
        // Without a list MLX would take another way, which broadcasts.
        let all = |of: &Array| {
            let count = matrices(OP, of)?;
            let lead = of.shape().len().saturating_sub(2);
            Array::arange(0.0, f64::from(count), 1.0, DType::U32)?.reshape(&of.shape()[..lead])
        };
        let lhs = lhs.map_or_else(|| all(self), Ok)?;
        let rhs = rhs.map_or_else(|| all(&packed.weight), Ok)?;
        let product = ffi::ops::gather_qmm(self, packed, &lhs, &rhs, transpose, sorted)?;
        // The kernels divide by the lengths of the axes.
        let empty = product.size() == 0 || self.size() == 0;
        if empty { Array::zeros(product.shape(), product.dtype()) } else { Ok(product) }
    }

    /// Quantizes matrices `[.., N, K]`.
    ///
    /// # Errors
    /// When `K` is not a multiple of the group size, there is nothing to quantize, or MLX does not know the layout.
    #[doc(alias = "mlx_quantize")]
    pub fn quantize(&self, quantization: Quantization) -> Result<Quantized> {
        const OP: &str = "quantize";
        quantization.require(OP)?;
        require_float(OP, self)?;
        if self.size() == 0 {
            let message = format!("{} has nothing to quantize", self.describe());
            return Err(Error::Shape { op: OP, message });
        }
        let mut parts = ffi::ops::quantize(self, quantization)?.into_iter();
        let affine = matches!(quantization, Quantization::Affine { .. });
        match (parts.next(), parts.next(), parts.next()) {
            (Some(weight), Some(scales), biases) if biases.is_some() == affine => {
                Ok(Quantized { weight, scales, biases, quantization })
            }
            _ => {
                let message = "MLX gave another number of arrays than weights, scales and biases".to_owned();
                Err(Error::Shape { op: OP, message })
            }
        }
    }
}
