//! Products along the other axis, `x W`: what gradients with respect to activations are.

use super::format::CHUNK;
use super::many::{HEIGHT, Unpack, WIDTH, multiply, panels, with_scratch};
use super::{Matrix, Rows};
use crate::isa::compiled_for_each;
use crate::simd::{LANES, Simd, each};
use crate::threads;
use crate::{Float, Isa};

/// Rows of weights that are unpacked at a time.
const BLOCK: usize = CHUNK;

/// Panels of rows for which a thread unpacks the weights once.
const SHARE: usize = 8;

/// `x W`: `[rows, N] x [N, K] -> [rows, K]`.
///
/// # Panics
/// When `x` or `out` has another length than the shapes say.
pub fn product_transposed<T: Float>(isa: Isa, x: &[T], rows: Rows, weights: Matrix<'_>, out: &mut [T]) {
    let (m, n, k) = (rows.count(), weights.rows(), weights.columns());
    assert_eq!(x.len(), m * n, "x is not [rows, N]");
    assert_eq!(out.len(), m * k, "the output is not [rows, K]");
    if out.is_empty() {
        return;
    }
    if n == 0 {
        return out.fill(T::from_f32(0.0));
    }
    let x: Vec<f32> = x.iter().map(|x| x.to_f32()).collect();
    let panels = panels(&x, m);
    // Each thread gets something to do, as long as there are panels.
    let share = SHARE.min(m.div_ceil(WIDTH).div_ceil(threads::threads()));
    let parts = panels.chunks(share * n * WIDTH).zip(out.chunks_mut(share * WIDTH * k));
    threads::for_each(parts.collect(), |(panels, out)| {
        let padded = k.next_multiple_of(HEIGHT);
        // Sums of each panel, `[K, WIDTH]`.
        let mut sums = vec![[0.0; WIDTH]; panels.len() / (n * WIDTH) * padded];
        with_scratch(BLOCK * k + HEIGHT, |block| {
            for first in (0..n).step_by(BLOCK) {
                let count = BLOCK.min(n - first);
                Unpack { isa, first, columns: k, block: &mut block[..count * k] }.run(weights);
                for (panel, sums) in panels.chunks_exact(n * WIDTH).zip(sums.chunks_exact_mut(padded)) {
                    let panel = &panel[first * WIDTH..][..count * WIDTH];
                    for (start, sums) in (0..k).step_by(HEIGHT).zip(sums.as_chunks_mut::<HEIGHT>().0) {
                        tile(isa, &block[start..], k, panel, sums);
                    }
                }
            }
        });
        for (sums, out) in sums.chunks_exact(padded).zip(out.chunks_mut(WIDTH * k)) {
            for (row, out) in out.chunks_exact_mut(k).enumerate() {
                for (to, sums) in out.iter_mut().zip(sums) {
                    *to = T::from_f32(sums[row]);
                }
            }
        }
    });
}

compiled_for_each! {
    fn tile(weights: &[f32], stride: usize, panel: &[f32], sums: &mut [[f32; WIDTH]; HEIGHT]) = tile_body
}

/// Adds the products of [`HEIGHT`] columns of weights, whose rows lie `stride` apart, with a panel. What lies past the last
/// column is multiplied too, and never read.
#[inline(always)]
fn tile_body<S: Simd>(
    simd: S,
    weights: &[f32],
    stride: usize,
    panel: &[f32],
    sums: &mut [[f32; WIDTH]; HEIGHT],
) {
    let mut totals: [[S::F; WIDTH / LANES]; HEIGHT] =
        each!(i => each!(j => simd.load(&sums[i].as_chunks().0[j])));
    for (row, column) in panel.as_chunks().0.iter().enumerate() {
        let weights = &weights[row * stride..][..HEIGHT];
        multiply(simd, each!(i => weights[i]), column, &mut totals);
    }
    for (sums, totals) in sums.iter_mut().zip(totals) {
        for (sums, totals) in sums.as_chunks_mut().0.iter_mut().zip(totals) {
            simd.store(totals, sums);
        }
    }
}
