//! `softmax(x)_i = e^(x_i - max x) / Σ_j e^(x_j - max x)` over rows.

use crate::float::Float;
use crate::isa::{Fma, Isa, compiled_for_each};
use crate::math::{exp, max_of, rows_per_piece, sum_of};
use crate::threads;

/// The softmax of each row of `x`, `[rows, dims]`, into `out` of the same size, in float32 and rounded once.
///
/// As in MLX, a row with NaN or +infinity is NaN, and so is one with nothing above -infinity.
///
/// # Panics
/// If `dims` is 0, `x` is not rows of `dims`, or `out` has another size.
pub fn softmax<T: Float>(isa: Isa, x: &[T], dims: usize, out: &mut [T]) {
    assert!(dims > 0 && x.len().is_multiple_of(dims), "{} elements are not rows of {dims}", x.len());
    assert_eq!(out.len(), x.len(), "an output of another size");
    let piece = rows_per_piece(dims) * dims;
    let pieces = x.chunks(piece).zip(out.chunks_mut(piece)).collect();
    threads::for_each(pieces, |(x, out)| softmax_rows(isa, x, dims, out));
}

#[inline(always)]
fn softmax_rows_body<F: Fma, T: Float>(f: F, x: &[T], dims: usize, out: &mut [T]) {
    for (x, out) in x.chunks_exact(dims).zip(out.chunks_exact_mut(dims)) {
        let max = max_of(x);
        // The exponentials are computed twice: that is as fast as keeping them, and rounds them only at the end.
        let scale = 1.0
            / sum_of(
                x,
                f32::NEG_INFINITY,
                #[inline(always)]
                |x| exp(f, x - max),
            );
        for (x, out) in x.iter().zip(out) {
            *out = T::from_f32(exp(f, x.to_f32() - max) * scale);
        }
    }
}

compiled_for_each! {
    fn softmax_rows<T: Float>(x: &[T], dims: usize, out: &mut [T]) = softmax_rows_body
}
