//! A whole prompt: a block of weights is unpacked once, and multiplied with all rows.
//!
//! The innermost step takes `HEIGHT` rows of weights and `WIDTH` rows of `x`, whose elements at one column lie side by side
//! in a panel, and keeps the `HEIGHT x WIDTH` sums in registers.

use std::cell::RefCell;

use super::format::{CHUNK, Format, VECTORS, Visit};
use super::{Matrix, Output, column_blocks};
use crate::isa::compiled_for_each;
use crate::simd::{LANES, Simd, each};
use crate::threads;
use crate::{Float, Isa};

/// Rows of weights that meet a panel at once.
pub(super) const HEIGHT: usize = 6;

/// Rows of `x` in a panel.
pub(super) const WIDTH: usize = 16;

/// Rows of weights that a thread unpacks at a time.
const BLOCK: usize = 8 * HEIGHT;

/// Rows of `x`, the elements of 16 rows at one column side by side: `[panels, K, WIDTH]`. Rows that are missing from the
/// last panel are 0.
pub(super) fn panels(x: &[f32], rows: usize) -> Vec<f32> {
    let columns = x.len() / rows;
    let mut panels = vec![0.0; rows.div_ceil(WIDTH) * columns * WIDTH];
    let parts = panels.chunks_mut((columns * WIDTH).max(1)).zip(x.chunks((columns * WIDTH).max(1)));
    threads::for_each(parts.collect(), |(panel, x)| {
        for (row, x) in x.chunks_exact(columns).enumerate() {
            for (to, from) in panel.chunks_exact_mut(WIDTH).zip(x) {
                to[row] = *from;
            }
        }
    });
    panels
}

pub(super) fn product<T: Float>(isa: Isa, x: &[f32], rows: usize, outputs: &mut [Output<'_, '_, T>]) {
    let columns = x.len() / rows;
    let panels = panels(x, rows);
    let mut items = Vec::new();
    for Output { weights, out } in outputs {
        let blocks = column_blocks(out, weights.rows(), BLOCK);
        items.extend(blocks.into_iter().enumerate().map(|(block, out)| (*weights, block * BLOCK, out)));
    }
    threads::for_each(items, |(weights, first, mut out)| {
        let count = out.first().map_or(0, |row| row.len());
        with_scratch(count.next_multiple_of(HEIGHT) * columns, |block| {
            Unpack { isa, first, columns, block: &mut block[..count * columns] }.run(weights);
            for (panel, out) in panels.chunks(columns.max(1) * WIDTH).zip(out.chunks_mut(WIDTH)) {
                for start in (0..count).step_by(HEIGHT) {
                    let weights = &block[start * columns..][..HEIGHT * columns];
                    let mut sums = [[0.0; WIDTH]; HEIGHT];
                    tile(isa, weights, panel, &mut sums);
                    let height = HEIGHT.min(count - start);
                    for (column, out) in out.iter_mut().enumerate() {
                        for (to, sums) in out[start..start + height].iter_mut().zip(&sums) {
                            *to = T::from_f32(sums[column]);
                        }
                    }
                }
            }
        });
    });
}

/// Memory of this thread, kept for the next block. What it holds is left from earlier.
pub(super) fn with_scratch(length: usize, work: impl FnOnce(&mut [f32])) {
    thread_local! { static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) } }
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < length {
            scratch.resize(length, 0.0);
        }
        work(&mut scratch[..length]);
    });
}

/// All weights of a matrix, `[N, K]`.
///
/// # Panics
/// When `out` has another length than the shape says.
pub fn unpack<T: Float>(isa: Isa, weights: Matrix<'_>, out: &mut [T]) {
    let columns = weights.columns();
    assert_eq!(out.len(), weights.rows() * columns, "the output is not [N, K]");
    let parts = out.chunks_mut(BLOCK * columns.max(1)).enumerate();
    threads::for_each(parts.collect(), |(block, out)| {
        with_scratch(out.len(), |scratch| {
            Unpack { isa, first: block * BLOCK, columns, block: &mut *scratch }.run(weights);
            for (to, from) in out.iter_mut().zip(scratch) {
                *to = T::from_f32(*from);
            }
        });
    });
}

/// Unpacks whole rows, from `first` on: `[count, K]`.
pub(super) struct Unpack<'a> {
    pub(super) isa: Isa,
    pub(super) first: usize,
    pub(super) columns: usize,
    pub(super) block: &'a mut [f32],
}

impl Unpack<'_> {
    /// Not generic, so that the loops for all layouts are compiled here, and not again in every crate that calls them.
    pub(super) fn run(self, weights: Matrix<'_>) {
        weights.visit(self);
    }
}

impl Visit for Unpack<'_> {
    type Result = ();

    fn visit<F: Format>(self, format: F) {
        unpack_block(self.isa, format, self.first, self.columns, self.block);
    }
}

compiled_for_each! {
    fn unpack_block<F: Format>(format: F, first: usize, columns: usize, block: &mut [f32]) = unpack_rows
}

#[inline(always)]
fn unpack_rows<S: Simd, F: Format>(simd: S, format: F, first: usize, columns: usize, block: &mut [f32]) {
    for (n, weights) in block.chunks_exact_mut(columns.max(1)).enumerate() {
        let row = format.row(first + n);
        for (g, weights) in weights.chunks_mut(F::CHUNKS * CHUNK).enumerate() {
            let group = format.group(row, g);
            let scales = format.scales(simd, group);
            for (c, to) in weights.chunks_mut(CHUNK).enumerate() {
                let weights = scales.weights::<S, F>(simd, format.floats(simd, group, c), c);
                match <&mut [f32; CHUNK]>::try_from(&mut *to) {
                    Ok(to) => store(simd, weights, to),
                    Err(_) => {
                        let mut padded = [0.0; CHUNK];
                        store(simd, weights, &mut padded);
                        to.copy_from_slice(&padded[..to.len()]);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn store<S: Simd>(simd: S, weights: [S::F; VECTORS], to: &mut [f32; CHUNK]) {
    for (to, weights) in to.as_chunks_mut().0.iter_mut().zip(weights) {
        simd.store(weights, to);
    }
}

compiled_for_each! {
    fn tile(weights: &[f32], panel: &[f32], sums: &mut [[f32; WIDTH]; HEIGHT]) = tile_body
}

/// Products of [`HEIGHT`] rows of weights, `[HEIGHT, K]`, with a panel, `[K, WIDTH]`.
#[inline(always)]
fn tile_body<S: Simd>(simd: S, weights: &[f32], panel: &[f32], sums: &mut [[f32; WIDTH]; HEIGHT]) {
    let columns = weights.len() / HEIGHT;
    let rows: [&[f32]; HEIGHT] = each!(i => &weights[i * columns..][..columns]);
    let panel = &panel.as_chunks::<WIDTH>().0[..columns];
    let mut totals = [[simd.splat(0.0); WIDTH / LANES]; HEIGHT];
    for k in 0..columns {
        multiply(simd, each!(i => rows[i][k]), &panel[k], &mut totals);
    }
    for (sums, totals) in sums.iter_mut().zip(totals) {
        for (sums, totals) in sums.as_chunks_mut().0.iter_mut().zip(totals) {
            simd.store(totals, sums);
        }
    }
}

/// Adds the products of one weight of each row with one column of a panel.
#[inline(always)]
pub(super) fn multiply<S: Simd>(
    simd: S,
    weights: [f32; HEIGHT],
    column: &[f32; WIDTH],
    totals: &mut [[S::F; WIDTH / LANES]; HEIGHT],
) {
    let (column, _) = column.as_chunks();
    let column: [S::F; WIDTH / LANES] = each!(j => simd.load(&column[j]));
    for (weight, totals) in weights.into_iter().zip(totals) {
        let weight = simd.splat(weight);
        for (total, column) in totals.iter_mut().zip(column) {
            *total = simd.mul_add(weight, column, *total);
        }
    }
}
