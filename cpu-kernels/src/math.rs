//! What several kernels compute: exponentials, the logistic function, and sums and maxima of many lanes.
//!
//! All are free of branches, so that loops over them become vectors.

use crate::float::Float;
use crate::isa::Fma;

/// Running results that a reduction keeps side by side: enough that no addition waits for the one before it.
pub(crate) const LANES: usize = 32;

/// Elements that are worth a thread's while. Work is cut in pieces of about as many, whatever the number of threads.
pub(crate) const GRAIN: usize = 1 << 14;

/// Rows of `width` elements that make up a [`GRAIN`].
pub(crate) fn rows_per_piece(width: usize) -> usize {
    (GRAIN / width.max(1)).max(1)
}

/// `e^x` within 1.5 units in the last place, down to the subnormal numbers.
///
/// Below -104 it is 0 and from 88.73 on it is infinite, as it is for the infinities; NaN stays NaN.
///
/// `e^x = 2^n e^r`, where `n` is the integer next to `x / ln 2`, so that `|r| <= ln 2 / 2`.
#[inline(always)]
pub(crate) fn exp<F: Fma>(f: F, x: f32) -> f32 {
    /// Adding it rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts. The first has so few bits that its product with `n` is exact.
    const LN_2: (f32, f32) = (355.0 / 512.0, -2.121_944_4e-4);

    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = f.fma(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = f.fma(n, -LN_2.1, f.fma(n, -LN_2.0, x));
    let p = f.fma(1.987_569_1e-4, r, 1.398_199_9e-3);
    let p = f.fma(p, r, 8.333_452e-3);
    let p = f.fma(p, r, 4.166_579_6e-2);
    let p = f.fma(p, r, 1.666_666_5e-1);
    let p = f.fma(p, r, 0.5);
    let p = f.fma(p, r * r, r) + 1.0;
    // 2^n in two factors, each of which is a normal number. NaN makes them arbitrary, and the product NaN.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    p * power(half) * power(n.wrapping_sub(half))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid<F: Fma>(f: F, x: f32) -> f32 {
    1.0 / (1.0 + exp(f, -x))
}

/// The larger, or `a` if `b` is NaN.
#[inline(always)]
pub(crate) fn max(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// All lanes as one, in an order that is the same for every instruction set.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], step: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = step(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The first [`LANES`] elements, filled up if there are fewer. So the end of a row is done as the rest of it is, and the
/// lanes are only ever touched all at once: that keeps them in vectors.
#[inline(always)]
fn filled<T: Copy>(x: &[T], filler: T) -> [T; LANES] {
    let mut all = [filler; LANES];
    all[..x.len()].copy_from_slice(x);
    all
}

/// `step(lane, element)` for all elements of a row, in turn for each lane. The filler must change nothing.
#[inline(always)]
fn reduce<T: Float>(x: &[T], filler: f32, start: f32, step: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut lanes = [start; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = step(lanes[i], chunk[i].to_f32());
        }
    }
    if !rest.is_empty() {
        let rest = filled(rest, T::from_f32(filler));
        for i in 0..LANES {
            lanes[i] = step(lanes[i], rest[i].to_f32());
        }
    }
    lanes
}

/// The sum of `term(element)` over a row, where `term(filler)` is 0.
#[inline(always)]
pub(crate) fn sum_of<T: Float>(x: &[T], filler: f32, term: impl Fn(f32) -> f32) -> f32 {
    let lanes = reduce(
        x,
        filler,
        0.0,
        #[inline(always)]
        |sum, x| sum + term(x),
    );
    fold(
        lanes,
        #[inline(always)]
        |a, b| a + b,
    )
}

/// The largest element of a row that is not NaN, or -infinity.
#[inline(always)]
pub(crate) fn max_of<T: Float>(x: &[T]) -> f32 {
    fold(reduce(x, f32::NEG_INFINITY, f32::NEG_INFINITY, max), max)
}

/// The sum of the products of two rows of the same length.
#[inline(always)]
pub(crate) fn dot<F: Fma, A: Float, B: Float>(f: F, a: &[A], b: &[B]) -> f32 {
    let mut lanes = [0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] = f.fma(a[i].to_f32(), b[i].to_f32(), lanes[i]);
        }
    }
    if !a_rest.is_empty() {
        let (a, b) = (filled(a_rest, A::from_f32(0.0)), filled(b_rest, B::from_f32(0.0)));
        for i in 0..LANES {
            lanes[i] = f.fma(a[i].to_f32(), b[i].to_f32(), lanes[i]);
        }
    }
    fold(
        lanes,
        #[inline(always)]
        |a, b| a + b,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, compiled_for_each};

    #[inline(always)]
    fn exp_body<F: Fma>(f: F, x: &mut [f32]) {
        for x in x {
            *x = exp(f, *x);
        }
    }

    compiled_for_each! {
        fn exp_all(x: &mut [f32]) = exp_body
    }

    /// Every 61st float of those whose exponential is neither 0 nor infinite.
    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let patterns = (0..=0x42b1_7217).step_by(61).chain((0x8000_0000..=0xc2d0_8000u32).step_by(61));
        let x: Vec<f32> = patterns.map(f32::from_bits).collect();
        for isa in Isa::available() {
            let mut found = x.clone();
            exp_all(isa, &mut found);
            let mut worst = (0.0, 0.0);
            for (&x, &found) in x.iter().zip(&found) {
                let expected = f64::from(x).exp();
                let rounded = (expected as f32).max(f32::MIN_POSITIVE);
                let unit = f64::from(f32::from_bits(rounded.to_bits() + 1)) - f64::from(rounded);
                let off = (f64::from(found) - expected).abs() / unit;
                if off.is_nan() || off > worst.0 {
                    worst = (off, x);
                }
            }
            assert!(worst.0 <= 1.5, "{isa}: off by {} at {}", worst.0, worst.1);
        }
    }

    #[test]
    fn exp_of_what_is_extreme() {
        for isa in Isa::available() {
            let mut x =
                [f32::NEG_INFINITY, f32::MIN, -1e4, -104.0, 88.73, 1e4, f32::MAX, f32::INFINITY, 0.0, -0.0];
            exp_all(isa, &mut x);
            let inf = f32::INFINITY;
            assert_eq!(x, [0.0, 0.0, 0.0, 0.0, inf, inf, inf, inf, 1.0, 1.0], "{isa}");
            let mut x = [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)];
            exp_all(isa, &mut x);
            assert!(x.iter().all(|x| x.is_nan()), "{isa}: {x:?}");
        }
    }

    #[test]
    fn sums_and_maxima_see_every_element() {
        for count in [0, 1, 31, 32, 33, 100] {
            let x: Vec<f32> = (1..=count).map(|i| i as f32).collect();
            let total = (count * (count + 1) / 2) as f32;
            assert_eq!(sum_of(&x, 1.0, |x| x - 1.0), total - count as f32);
            assert_eq!(dot(crate::simd::Portable, &x, &vec![0.5f32; count]), total / 2.0);
            for largest in 0..count {
                let mut x = vec![-1.0f32; count];
                x[largest] = -0.5;
                x[(largest + 1) % count] = if count > 1 { f32::NAN } else { -0.5 };
                assert_eq!(max_of(&x), -0.5, "{largest} of {count}");
            }
        }
        assert_eq!(max_of(&[f32::NAN]), f32::NEG_INFINITY);
    }
}
