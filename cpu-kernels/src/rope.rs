//! Rotary position embedding: pairs of features turned by an angle that grows with the position.
//!
//! ```text
//! angle(p, i) = p * inv_freq[i]
//! y1 = x1 cos(angle) - x2 sin(angle)
//! y2 = x1 sin(angle) + x2 cos(angle)
//! ```
//!
//! Pair `i` is the features `(i, i + dims / 2)`, or the neighbours `(2 i, 2 i + 1)`, and features from `dims` on stay as
//! they are. As in MLX, the angle is a float32 product; sine and cosine are those of that product.

use crate::float::Float;
use crate::heads::Heads;
use crate::isa::{Fma, Isa, compiled_for_each};
use crate::math::rows_per_piece;
use crate::threads;

/// Which features are turned together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RopePairs {
    /// `(i, i + dims / 2)`, as most models have them.
    Halves,
    /// `(2 i, 2 i + 1)`: what MLX calls traditional.
    Neighbours,
}

/// The cosines and sines of some positions: made once, and used for all heads of the queries and the keys.
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// Pairs that are turned.
    half: usize,
    /// `[L, half]`.
    cos: Vec<f32>,
    /// `[L, half]`.
    sin: Vec<f32>,
}

impl RopeTable {
    /// The table for `inv_freq`, a number for each pair, at `positions`, which are already scaled if the model
    /// scales them.
    pub fn new(isa: Isa, inv_freq: &[f32], positions: impl IntoIterator<Item = f32>) -> Self {
        let mut cos: Vec<f32> = Vec::new();
        for position in positions {
            cos.extend(inv_freq.iter().map(|freq| position * freq));
        }
        let mut sin = vec![0.0; cos.len()];
        sin_cos_all(isa, &mut cos, &mut sin);
        RopeTable { half: inv_freq.len(), cos, sin }
    }

    /// The table that turns back. Since a turn's transpose is its inverse, this one gives the vector-Jacobian product.
    pub fn inverse(mut self) -> Self {
        self.sin.iter_mut().for_each(|sin| *sin = -*sin);
        self
    }
}

/// Turns row `l` of every batch and head of `x`, `[B, H, L, Dh]`, by the table's position `l`, into `out`, which is
/// contiguous in this order.
///
/// # Panics
/// If the table has fewer than `L` positions or turns more features than `Dh`, or `out` has another size than `x`.
pub fn rope<T: Float>(isa: Isa, x: Heads<'_, T>, table: &RopeTable, pairs: RopePairs, out: &mut [T]) {
    let [batch, heads, length, width] = x.shape();
    assert_eq!(out.len(), batch * heads * length * width, "an output of another size");
    assert!(2 * table.half <= width, "{} features to turn in rows of {width}", 2 * table.half);
    assert!(table.cos.len() >= length * table.half, "fewer positions than {length}");
    if out.is_empty() {
        return;
    }
    let rows = rows_per_piece(width);
    let pieces = out.chunks_mut(rows * width).zip((0..).step_by(rows)).collect();
    threads::for_each(pieces, |(out, start)| rope_rows(isa, x, start, table, pairs, out));
}

/// Rows `start` and on, counted over all heads.
#[inline(always)]
fn rope_rows_body<F: Fma, T: Float>(
    _: F,
    x: Heads<'_, T>,
    start: usize,
    table: &RopeTable,
    pairs: RopePairs,
    out: &mut [T],
) {
    let ([_, heads, length, width], half) = (x.shape(), table.half);
    for (out, row) in out.chunks_exact_mut(width).zip(start..) {
        let (head, l) = (row / length, row % length);
        let (x, x_rest) = x.row(head / heads, head % heads, l).split_at(2 * half);
        let (out, out_rest) = out.split_at_mut(2 * half);
        out_rest.copy_from_slice(x_rest);
        let (cos, sin) = (&table.cos[l * half..][..half], &table.sin[l * half..][..half]);
        match pairs {
            RopePairs::Halves => {
                let ((x1, x2), (y1, y2)) = (x.split_at(half), out.split_at_mut(half));
                let outputs = y1.iter_mut().zip(y2).zip(x1.iter().zip(x2));
                for (((y1, y2), (x1, x2)), (cos, sin)) in outputs.zip(cos.iter().zip(sin)) {
                    let (x1, x2) = (x1.to_f32(), x2.to_f32());
                    *y1 = T::from_f32(x1 * cos - x2 * sin);
                    *y2 = T::from_f32(x1 * sin + x2 * cos);
                }
            }
            RopePairs::Neighbours => {
                let outputs = out.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0);
                for (([y1, y2], [x1, x2]), (cos, sin)) in outputs.zip(cos.iter().zip(sin)) {
                    let (x1, x2) = (x1.to_f32(), x2.to_f32());
                    *y1 = T::from_f32(x1 * cos - x2 * sin);
                    *y2 = T::from_f32(x1 * sin + x2 * cos);
                }
            }
        }
    }
}

compiled_for_each! {
    fn rope_rows<T: Float>(
        x: Heads<'_, T>, start: usize, table: &RopeTable, pairs: RopePairs, out: &mut [T],
    ) = rope_rows_body
}

/// Sine and cosine, within 2e-7 for angles up to a hundred million.
///
/// The angle less a multiple of a quarter turn is exact enough in float64. The multiple then says which of the two
/// polynomials is which, and their signs.
#[inline(always)]
fn sin_cos(x: f32) -> (f32, f32) {
    /// Adding it rounds to an integer, which is then in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let shifted = f64::from(x) * std::f64::consts::FRAC_2_PI + ROUND;
    let quarter = shifted.to_bits() as u32;
    let r = (f64::from(x) - (shifted - ROUND) * std::f64::consts::FRAC_PI_2) as f32;
    let square = r * r;
    let sin = ((-1.951_529_6e-4 * square + 8.332_161e-3) * square - 1.666_665_5e-1) * square * r + r;
    let cos = ((2.443_315_7e-5 * square - 1.388_731_6e-3) * square + 4.166_664_6e-2) * square * square
        - 0.5 * square
        + 1.0;
    let swapped = quarter & 1 == 1;
    let (a, b) = if swapped { (cos, sin) } else { (sin, cos) };
    let sign = |value: f32, quarter: u32| f32::from_bits(value.to_bits() ^ (quarter & 2) << 30);
    (sign(a, quarter), sign(b, quarter.wrapping_add(1)))
}

/// Turns angles into their cosines, and writes their sines.
#[inline(always)]
fn sin_cos_all_body<F: Fma>(_: F, angles: &mut [f32], sin: &mut [f32]) {
    for (angle, sin) in angles.iter_mut().zip(sin) {
        (*sin, *angle) = sin_cos(*angle);
    }
}

compiled_for_each! {
    fn sin_cos_all(angles: &mut [f32], sin: &mut [f32]) = sin_cos_all_body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sines_and_cosines_are_as_exact_as_float32() {
        let mut angles: Vec<f32> = (0..400_000).map(|i| i as f32 * 0.37 - 50_000.0).collect();
        angles.extend((0..10_000).map(|i| (i as f32 * 1e-3).exp() * 1e3));
        angles.extend([0.0, -0.0, 1e-30, 1e8, -1e8, f32::MIN_POSITIVE]);
        for isa in Isa::available() {
            let (mut cos, mut sin) = (angles.clone(), vec![0.0; angles.len()]);
            sin_cos_all(isa, &mut cos, &mut sin);
            for ((&x, cos), sin) in angles.iter().zip(cos).zip(sin) {
                let x = f64::from(x);
                let off = (f64::from(sin) - x.sin()).abs().max((f64::from(cos) - x.cos()).abs());
                assert!(off < 2e-7, "{isa}: {sin} {cos} of {x}, off by {off:e}");
            }
        }
    }
}
