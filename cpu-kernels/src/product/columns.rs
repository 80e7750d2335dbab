//! Some rows at a time, with a dense matrix whose columns lie side by side, as in `x B` with `B` `[K, N]` row after row: each
//! element of `x` scales a row of `B`, and memory is read in its order.

use super::format::dense::Element;
use super::matrix::{Dense, Values};
use crate::Isa;
use crate::isa::compiled_for_each;
use crate::simd::{LANES, Simd};

/// Products of rows of `x`, `[rows, K]`, with the rows of weights from `first` on, into `dots`, `[rows, count]`.
pub(super) fn dots(isa: Isa, weights: Dense<'_>, x: &[f32], rows: usize, first: usize, dots: &mut [f32]) {
    let apart = weights.column_stride;
    match weights.values {
        Values::F32(values) => add(isa, values, apart, x, rows, first, dots),
        Values::F16(values) => add(isa, values, apart, x, rows, first, dots),
        Values::Bf16(values) => add(isa, values, apart, x, rows, first, dots),
    }
}

compiled_for_each! {
    fn add<T: Element>(
        values: &[T], apart: usize, x: &[f32], rows: usize, first: usize, dots: &mut [f32],
    ) = add_columns
}

#[inline(always)]
fn add_columns<S: Simd, T: Element>(
    simd: S,
    values: &[T],
    apart: usize,
    x: &[f32],
    rows: usize,
    first: usize,
    dots: &mut [f32],
) {
    let (columns, count) = (x.len() / rows, dots.len() / rows);
    dots.fill(0.0);
    for column in 0..columns {
        let (weights, last) = values[column * apart + first..][..count].as_chunks::<LANES>();
        for (x, dots) in x.chunks_exact(columns).zip(dots.chunks_exact_mut(count.max(1))) {
            let (dots, last_dots) = dots.as_chunks_mut::<LANES>();
            let scale = simd.splat(x[column]);
            for (dots, weights) in dots.iter_mut().zip(weights) {
                simd.store(simd.mul_add(T::vector(simd, weights), scale, simd.load(dots)), dots);
            }
            for (dot, weight) in last_dots.iter_mut().zip(last) {
                *dot = simd.fma(weight.to_f32(), x[column], *dot);
            }
        }
    }
}
