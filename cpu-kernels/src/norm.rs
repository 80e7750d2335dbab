//! RMSNorm: `y = weight * x / sqrt(mean(x²) + eps)` over rows of `dims` elements.
//!
//! Everything is computed in float32, multiplied in the order `weight * (x * (1 / sqrt(..)))`, and rounded once.

use crate::float::Float;
use crate::isa::{Fma, Isa, compiled_for_each};
use crate::math::{dot, rows_per_piece};
use crate::threads;

/// Rows whose share of the weight's gradient is summed by one thread.
const VJP_ROWS: usize = 32;

/// The RMSNorm of each row of `x`, `[rows, dims]`, into `out` of the same size. Without a weight it is 1.
///
/// # Panics
/// If `dims` is 0, `x` is not rows of `dims`, or `weight` or `out` has another size.
pub fn rms_norm<T: Float>(isa: Isa, x: &[T], dims: usize, weight: Option<&[T]>, eps: f32, out: &mut [T]) {
    check(x, dims, weight);
    assert_eq!(out.len(), x.len(), "an output of another size");
    let piece = rows_per_piece(dims) * dims;
    let pieces = x.chunks(piece).zip(out.chunks_mut(piece)).collect();
    threads::for_each(pieces, |(x, out)| norm_rows(isa, x, dims, weight, eps, None, out));
}

/// `residual + rms_norm(x)`, rounded once: what closes a block that normalizes its output.
///
/// # Panics
/// As [`rms_norm`], and if `residual` has another size than `x`.
pub fn add_rms_norm<T: Float>(
    isa: Isa,
    x: &[T],
    dims: usize,
    weight: Option<&[T]>,
    eps: f32,
    residual: &[T],
    out: &mut [T],
) {
    check(x, dims, weight);
    assert_eq!(out.len(), x.len(), "an output of another size");
    assert_eq!(residual.len(), x.len(), "a residual of another size");
    let piece = rows_per_piece(dims) * dims;
    let pieces = x.chunks(piece).zip(residual.chunks(piece)).zip(out.chunks_mut(piece)).collect();
    threads::for_each(pieces, |((x, residual), out)| {
        norm_rows(isa, x, dims, weight, eps, Some(residual), out);
    });
}

/// The gradients of [`rms_norm`] for the cotangent of its result: `dx` of each row, and the sum over all rows as
/// `dweight`, which needs no weight to exist.
///
/// With `n = 1 / sqrt(mean(x²) + eps)` and `g = cotangent * weight`:
///
/// ```text
/// dx      = g n - x n³ mean(g x)
/// dweight = Σ cotangent x n
/// ```
///
/// # Panics
/// As [`rms_norm`], and if `cotangent` or `dx` has another size than `x`, or `dweight` another than `dims`.
#[allow(clippy::too_many_arguments)]
pub fn rms_norm_vjp<T: Float>(
    isa: Isa,
    x: &[T],
    dims: usize,
    weight: Option<&[T]>,
    eps: f32,
    cotangent: &[T],
    dx: &mut [T],
    dweight: Option<&mut [T]>,
) {
    check(x, dims, weight);
    assert_eq!(cotangent.len(), x.len(), "a cotangent of another size");
    assert_eq!(dx.len(), x.len(), "a gradient of another size");
    let piece = VJP_ROWS * dims;
    let inputs = x.chunks(piece).zip(cotangent.chunks(piece)).zip(dx.chunks_mut(piece));
    let Some(dweight) = dweight else {
        let pieces = inputs.collect();
        return threads::for_each(pieces, |((x, cotangent), dx)| {
            vjp_rows(isa, x, dims, weight, eps, cotangent, dx, &mut []);
        });
    };
    assert_eq!(dweight.len(), dims, "a weight's gradient of another size");
    // Each piece sums its own rows and the pieces are added in order, so the sum does not depend on the threads.
    let mut sums = vec![0f32; x.len().div_ceil(piece).max(1) * dims];
    threads::for_each(inputs.zip(sums.chunks_mut(dims)).collect(), |(((x, cotangent), dx), sums)| {
        vjp_rows(isa, x, dims, weight, eps, cotangent, dx, sums);
    });
    let (total, others) = sums.split_at_mut(dims);
    for other in others.chunks_exact(dims) {
        total.iter_mut().zip(other).for_each(|(total, other)| *total += other);
    }
    dweight.iter_mut().zip(total).for_each(|(dweight, &mut total)| *dweight = T::from_f32(total));
}

fn check<T>(x: &[T], dims: usize, weight: Option<&[T]>) {
    assert!(dims > 0 && x.len().is_multiple_of(dims), "{} elements are not rows of {dims}", x.len());
    assert!(weight.is_none_or(|weight| weight.len() == dims), "a weight of another size than {dims}");
}

#[inline(always)]
fn inverse_rms<F: Fma, T: Float>(f: F, x: &[T], eps: f32) -> f32 {
    1.0 / (dot(f, x, x) / x.len() as f32 + eps).sqrt()
}

#[inline(always)]
fn norm_rows_body<F: Fma, T: Float>(
    f: F,
    x: &[T],
    dims: usize,
    weight: Option<&[T]>,
    eps: f32,
    residual: Option<&[T]>,
    out: &mut [T],
) {
    for (row, (x, out)) in x.chunks_exact(dims).zip(out.chunks_exact_mut(dims)).enumerate() {
        let n = inverse_rms(f, x, eps);
        let residual = residual.map(|residual| &residual[row * dims..][..dims]);
        let outputs = out.iter_mut().zip(x);
        match (weight, residual) {
            (None, None) => outputs.for_each(|(out, x)| *out = T::from_f32(x.to_f32() * n)),
            (Some(weight), None) => outputs
                .zip(weight)
                .for_each(|((out, x), w)| *out = T::from_f32(w.to_f32() * (x.to_f32() * n))),
            (None, Some(residual)) => outputs
                .zip(residual)
                .for_each(|((out, x), r)| *out = T::from_f32(r.to_f32() + x.to_f32() * n)),
            (Some(weight), Some(residual)) => {
                outputs.zip(weight).zip(residual).for_each(|(((out, x), w), r)| {
                    *out = T::from_f32(r.to_f32() + w.to_f32() * (x.to_f32() * n));
                });
            }
        }
    }
}

compiled_for_each! {
    fn norm_rows<T: Float>(
        x: &[T], dims: usize, weight: Option<&[T]>, eps: f32, residual: Option<&[T]>, out: &mut [T],
    ) = norm_rows_body
}

/// Adds the rows' share to `sums`, which is empty if nobody asks for it.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn vjp_rows_body<F: Fma, T: Float>(
    f: F,
    x: &[T],
    dims: usize,
    weight: Option<&[T]>,
    eps: f32,
    cotangent: &[T],
    dx: &mut [T],
    sums: &mut [f32],
) {
    // g, the cotangent times the weight, of one row.
    let mut g = vec![0f32; dims];
    let rows = x.chunks_exact(dims).zip(cotangent.chunks_exact(dims)).zip(dx.chunks_exact_mut(dims));
    for ((x, cotangent), dx) in rows {
        let n = inverse_rms(f, x, eps);
        match weight {
            None => g.iter_mut().zip(cotangent).for_each(|(g, c)| *g = c.to_f32()),
            Some(weight) => {
                g.iter_mut().zip(cotangent).zip(weight).for_each(|((g, c), w)| *g = c.to_f32() * w.to_f32())
            }
        }
        for ((sum, c), x) in sums.iter_mut().zip(cotangent).zip(x) {
            *sum = f.fma(c.to_f32(), x.to_f32() * n, *sum);
        }
        let projection = dot(f, &g, x) / dims as f32 * (n * n * n);
        for ((dx, &g), x) in dx.iter_mut().zip(&g).zip(x) {
            *dx = T::from_f32(f.fma(g, n, -(x.to_f32() * projection)));
        }
    }
}

compiled_for_each! {
    fn vjp_rows<T: Float>(
        x: &[T], dims: usize, weight: Option<&[T]>, eps: f32, cotangent: &[T], dx: &mut [T], sums: &mut [f32],
    ) = vjp_rows_body
}
