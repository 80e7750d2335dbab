//! Products with matrices of weights: `y = x Wᵀ`, `[.., K] x [N, K]ᵀ -> [.., N]`.
//!
//! A weight is unpacked in registers, multiplied and forgotten: packed matrices are read once, in the layout in which
//! the checkpoint has them ([`Matrix`]). Activations stay in float32 all the way, or are rounded to 16 bits where that is
//! faster and allowed ([`Precision`]).
//!
//! Two ways share the work:
//! - `few`: some rows at a time, weights straight from memory, as for decoding (`columns` for matrices that are stored column
//!   by column, `rounded` for activations as integers);
//! - `many`: a whole prompt, weights unpacked block by block and used for all rows.
//!
//! They add in different orders, so which one runs follows from the length of a sequence alone, and never from what
//! else is in the batch ([`Rows`]). Neither depends on the number of threads.

mod columns;
mod few;
mod format;
mod many;
mod matrix;
mod rounded;
mod transposed;

pub use many::unpack;
pub use matrix::{Affine, Dense, Matrix, Misfit, Values};
pub use transposed::product_transposed;

use crate::{Float, Isa};

/// Sequences of this length or longer go through the kernel for many rows.
pub const MANY: usize = 6;

/// The rows of `x`: `sequences` times `length` of them.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// How many sequences are computed together.
    pub sequences: usize,
    /// Rows of each of them.
    pub length: usize,
}

impl Rows {
    /// Rows that belong together.
    pub fn of_one(length: usize) -> Self {
        Rows { sequences: 1, length }
    }

    /// All rows.
    pub fn count(self) -> usize {
        self.sequences * self.length
    }
}

/// What products may lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Nothing but the rounding of float32 sums.
    Exact,
    /// With packed weights and few rows, activations are rounded to 16 bits, with a scale for each 32 of them. Layouts of
    /// 3, 5 and 6 bits of MLX's are not affected.
    Rounded,
}

/// A matrix of weights and where the product with it goes, `[rows, N]`.
pub struct Output<'w, 'o, T> {
    /// `[N, K]`
    pub weights: Matrix<'w>,
    /// `[rows, N]`
    pub out: &'o mut [T],
}

/// Products of the same rows, `[rows, K]`, with one or more matrices.
///
/// # Panics
/// When `x` or an output has another length than the shapes say.
pub fn product<T: Float>(
    isa: Isa,
    x: &[T],
    rows: Rows,
    outputs: &mut [Output<'_, '_, T>],
    precision: Precision,
) {
    let m = rows.count();
    for output in &*outputs {
        assert_eq!(x.len(), m * output.weights.columns(), "x is not [rows, K]");
        assert_eq!(output.out.len(), m * output.weights.rows(), "an output is not [rows, N]");
    }
    if m == 0 {
        return;
    }
    let x: Vec<f32> = x.iter().map(|x| x.to_f32()).collect();
    if rows.length < MANY {
        few::product(isa, &x, m, outputs, precision)
    } else {
        many::product(isa, &x, m, outputs)
    }
}

/// The parts of a `[rows, n]` matrix that lie in columns `block * width ..`, for every block: a slice of each row.
fn column_blocks<T>(out: &mut [T], n: usize, width: usize) -> Vec<Vec<&mut [T]>> {
    let rows = out.len() / n.max(1);
    let mut blocks: Vec<Vec<&mut [T]>> = (0..n.div_ceil(width)).map(|_| Vec::with_capacity(rows)).collect();
    for row in out.chunks_exact_mut(n.max(1)) {
        for (block, part) in blocks.iter_mut().zip(row.chunks_mut(width)) {
            block.push(part);
        }
    }
    blocks
}
