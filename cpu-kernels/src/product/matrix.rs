//! A matrix of weights as it lies in memory.

use std::fmt;

use half::{bf16, f16};

use super::format::{Visit, affine, block, dense};
use crate::blocks::BlockFormat;

/// Numbers of one of the floating-point types.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// float32
    F32(&'a [f32]),
    /// float16
    F16(&'a [f16]),
    /// bfloat16
    Bf16(&'a [bf16]),
}

impl<'a> Values<'a> {
    /// The first `count`, or all if there are fewer.
    pub fn first(self, count: usize) -> Values<'a> {
        match self {
            Values::F32(values) => Values::F32(&values[..count.min(values.len())]),
            Values::F16(values) => Values::F16(&values[..count.min(values.len())]),
            Values::Bf16(values) => Values::Bf16(&values[..count.min(values.len())]),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::F16(values) => values.len(),
            Values::Bf16(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Weights `[N, K]`, row after row.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    rows: usize,
    columns: usize,
    storage: Storage<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Storage<'a> {
    Dense(Dense<'a>),
    Affine(Affine<'a>),
    Blocks { format: BlockFormat, bytes: &'a [u8] },
}

/// Floating-point weights, each where its strides say.
#[derive(Clone, Copy, Debug)]
pub struct Dense<'a> {
    /// The memory.
    pub values: Values<'a>,
    /// Elements from one row to the next.
    pub row_stride: usize,
    /// Elements from one column to the next.
    pub column_stride: usize,
}

/// MLX's affine quantization: `scale * q + bias` for each group along a row. The codes `q` of a row are one little-endian
/// stream of bits.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// `[N, K * bits / 32]`
    pub codes: &'a [u32],
    /// `[N, K / group_size]`
    pub scales: Values<'a>,
    /// `[N, K / group_size]`, of the type of the scales.
    pub biases: Values<'a>,
    /// 32, 64 or 128.
    pub group_size: usize,
    /// 2, 3, 4, 5, 6 or 8.
    pub bits: usize,
}

/// Why memory does not hold the matrix that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit;

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the memory does not hold a matrix of this shape and layout")
    }
}

impl std::error::Error for Misfit {}

impl<'a> Matrix<'a> {
    /// Floating-point weights.
    ///
    /// # Errors
    /// When the memory ends before the last element.
    pub fn dense(shape: [usize; 2], dense: Dense<'a>) -> Result<Self, Misfit> {
        let [rows, columns] = shape;
        let last = |count: usize, stride: usize| count.saturating_sub(1).checked_mul(stride);
        let end = match (rows, columns) {
            (0, _) | (_, 0) => 0,
            _ => last(rows, dense.row_stride)
                .zip(last(columns, dense.column_stride))
                .and_then(|(row, column)| row.checked_add(column)?.checked_add(1))
                .ok_or(Misfit)?,
        };
        if end > dense.values.len() {
            return Err(Misfit);
        }
        Ok(Matrix { rows, columns, storage: Storage::Dense(dense) })
    }

    /// MLX's affine quantization.
    ///
    /// # Errors
    /// When the parts do not have the lengths that go with the shape, or MLX has no such layout.
    pub fn affine(shape: [usize; 2], affine: Affine<'a>) -> Result<Self, Misfit> {
        let [rows, columns] = shape;
        let Affine { codes, scales, biases, group_size, bits } = affine;
        let known = matches!(group_size, 32 | 64 | 128) && matches!(bits, 2 | 3 | 4 | 5 | 6 | 8);
        let same_type = std::mem::discriminant(&scales) == std::mem::discriminant(&biases);
        if !known || !same_type || !columns.is_multiple_of(group_size) {
            return Err(Misfit);
        }
        let groups = rows.checked_mul(columns / group_size).ok_or(Misfit)?;
        let words = rows.checked_mul(columns / 32 * bits).ok_or(Misfit)?;
        if codes.len() != words || scales.len() != groups || biases.len() != groups {
            return Err(Misfit);
        }
        Ok(Matrix { rows, columns, storage: Storage::Affine(affine) })
    }

    /// A tensor of a GGUF file.
    ///
    /// # Errors
    /// When the bytes are not the blocks of that many weights.
    pub fn blocks(shape: [usize; 2], format: BlockFormat, bytes: &'a [u8]) -> Result<Self, Misfit> {
        let [rows, columns] = shape;
        let blocks = columns / format.block_len();
        let expected = rows.checked_mul(blocks).and_then(|blocks| blocks.checked_mul(format.block_bytes()));
        if !columns.is_multiple_of(format.block_len()) || expected != Some(bytes.len()) {
            return Err(Misfit);
        }
        Ok(Matrix { rows, columns, storage: Storage::Blocks { format, bytes } })
    }

    /// `N`
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// `K`
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The matrix as columns that lie side by side, if it is stored so and its rows are not.
    pub(super) fn as_columns(&self) -> Option<Dense<'a>> {
        match self.storage {
            Storage::Dense(dense @ Dense { row_stride: 1, column_stride: 2.., .. }) => Some(dense),
            _ => None,
        }
    }

    /// Calls `visit` with the matrix's layout, so that loops over it are compiled for that layout alone.
    pub(super) fn visit<V: Visit>(&self, visit: V) -> V::Result {
        match self.storage {
            Storage::Dense(Dense { values, row_stride, column_stride: 1 }) => match values {
                Values::F32(values) => visit.visit(dense::Rows { values, row_stride, columns: self.columns }),
                Values::F16(values) => visit.visit(dense::Rows { values, row_stride, columns: self.columns }),
                Values::Bf16(values) => {
                    visit.visit(dense::Rows { values, row_stride, columns: self.columns })
                }
            },
            Storage::Dense(Dense { values, row_stride, column_stride }) => match values {
                Values::F32(values) => {
                    visit.visit(dense::Strided { values, row_stride, column_stride, columns: self.columns })
                }
                Values::F16(values) => {
                    visit.visit(dense::Strided { values, row_stride, column_stride, columns: self.columns })
                }
                Values::Bf16(values) => {
                    visit.visit(dense::Strided { values, row_stride, column_stride, columns: self.columns })
                }
            },
            Storage::Affine(parts) => affine::visit(parts, self.columns, visit),
            Storage::Blocks { format, bytes } => block::visit(format, bytes, self.columns, visit),
        }
    }
}
