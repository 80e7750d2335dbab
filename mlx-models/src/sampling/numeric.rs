//! Arithmetic over a whole row of logits: one pass to check it, an exponential, and the log of the sum of exponentials.
//!
//! Everything here is plain f32 multiplication and addition in a fixed order, with no call into the platform's math
//! library, so a row gives the same bits on every system. The loops work on blocks of [`LANES`] so that the compiler
//! turns them into vector code.

use crate::{Error, Result};

/// Independent accumulators per loop: one AVX-512 register, or two to four narrower ones.
const LANES: usize = 16;

/// Values added in f32 before the sum moves to f64, which bounds the rounding error of a long row.
const BLOCK: usize = 1024;

/// Finds the highest logit of a row and checks the row on the way.
///
/// # Errors
/// [`Error::Sampling`] when the row is empty, holds NaN or positive infinity, or is negative infinity throughout.
pub(super) fn checked_max(logits: &[f32]) -> Result<f32> {
    let (mut max, mut has_nan) = ([f32::NEG_INFINITY; LANES], [false; LANES]);
    let (blocks, rest) = logits.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            let x = block[lane];
            max[lane] = if x > max[lane] { x } else { max[lane] };
            has_nan[lane] |= x.is_nan();
        }
    }
    let top = max.iter().chain(rest).fold(f32::NEG_INFINITY, |top, &x| if x > top { x } else { top });
    let any_nan = has_nan.contains(&true) || rest.iter().any(|x| x.is_nan());

    let refuse = |message: String| Err(Error::Sampling { message });
    if logits.is_empty() {
        return refuse("the row of logits is empty".into());
    }
    if any_nan || top == f32::INFINITY {
        let (kind, at) = match logits.iter().position(|x| x.is_nan()) {
            Some(at) => ("NaN", at),
            None => ("infinite", first_position(logits, f32::INFINITY)),
        };
        return refuse(format!("the logit of token {at} is {kind}; the model or its weights are damaged"));
    }
    if top == f32::NEG_INFINITY {
        return refuse(format!("all {} logits are -inf, so every token is ruled out", logits.len()));
    }
    Ok(top)
}

/// Finds the first index at which `logits` equals `value`; 0 when it occurs nowhere.
pub(super) fn first_position(logits: &[f32], value: f32) -> usize {
    logits.iter().position(|&x| x == value).unwrap_or(0)
}

/// Sums `exp(logit - max)` over a row, `max` being its highest logit; the result is at least 1.
pub(super) fn exp_sum(logits: &[f32], max: f32) -> f64 {
    let mut total = 0.0;
    for block in logits.chunks(BLOCK) {
        let mut sums = [0.0f32; LANES];
        let (rows, rest) = block.as_chunks::<LANES>();
        for row in rows {
            for lane in 0..LANES {
                sums[lane] += exp(row[lane] - max);
            }
        }
        for (sum, &x) in sums.iter_mut().zip(rest) {
            *sum += exp(x - max);
        }
        total += sums.iter().map(|&s| f64::from(s)).sum::<f64>();
    }
    total
}

/// Replaces each logit by `exp((logit - max) / temperature)`, the weight of its token in a draw.
pub(super) fn to_weights(logits: &mut [f32], max: f32, temperature: f32) {
    for x in logits {
        *x = exp((*x - max) / temperature);
    }
}

/// Picks the index at which the running sum of `weights` passes `share` of their total, `share` being in [0, 1).
///
/// A weight of 0 adds nothing, so its index is never picked. Blocks are summed as wholes and only the block that holds
/// the mark is walked through.
pub(super) fn pick(weights: &[f32], share: f64) -> Option<usize> {
    let mark = share * sum(weights);
    let mut passed = 0.0;
    let mut picked = None;
    for (start, block) in (0..).step_by(BLOCK).zip(weights.chunks(BLOCK)) {
        let through = passed + block_sum(block);
        if through <= mark {
            passed = through;
            continue;
        }
        for (at, &weight) in (start..).zip(block) {
            passed += f64::from(weight);
            if weight > 0.0 {
                picked = Some(at);
            }
            if passed > mark {
                break;
            }
        }
        break;
    }
    picked
}

/// Sums `weights` in f64, block by block.
pub(super) fn sum(weights: &[f32]) -> f64 {
    weights.chunks(BLOCK).fold(0.0, |total, block| total + block_sum(block))
}

fn block_sum(block: &[f32]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let (rows, rest) = block.as_chunks::<LANES>();
    for row in rows {
        for lane in 0..LANES {
            sums[lane] += f64::from(row[lane]);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&w| f64::from(w)).sum::<f64>()
}

/// Computes e^x for x ≤ 0, to about two units in the last place; 0 below -87, where f32 leaves its normal range.
///
/// With n the integer nearest to x / ln 2 and r = x − n ln 2, so |r| ≤ 0.35: e^x = 2^n e^r, and the Taylor series of
/// e^r up to r^7 is exact to 5e-9.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// 1.5 · 2^23: adding it rounds to an integer, which then stands in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two pieces; the first has few enough bits that its product with n is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;

    let clamped = if x > -87.0 { x } else { -87.0 };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN_2_HIGH) - n * LN_2_LOW;
    let series = 1.0 / 5040.0;
    let series = series * r + 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    let power = f32::from_bits(exponent << 23);
    if x > -87.0 { series * power } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_exact_value() {
        for step in 0..870_000 {
            let x = -(step as f32) * 1e-4;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got - want).abs() <= 2.5e-7 * want, "exp({x}) = {got}, not {want}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn exp_sum_of_a_long_flat_row_is_its_length() {
        for len in [1, 15, 16, 17, 1023, 1025, 262_144] {
            assert_eq!(exp_sum(&vec![3.5; len], 3.5), len as f64);
        }
    }

    #[test]
    fn pick_inverts_the_running_sum() {
        assert_eq!(pick(&[0.0, 1.0, 0.0, 3.0, 0.0], 0.0), Some(1));
        assert_eq!(pick(&[0.0, 1.0, 0.0, 3.0, 0.0], 0.249), Some(1));
        assert_eq!(pick(&[0.0, 1.0, 0.0, 3.0, 0.0], 0.25), Some(3));
        assert_eq!(pick(&[0.0, 1.0, 0.0, 3.0, 0.0], 1.0f64.next_down()), Some(3));
        let flat = vec![1.0; 5000];
        for at in [0, 1, 1023, 1024, 1025, 4096, 4999] {
            assert_eq!(pick(&flat, (f64::from(at) + 0.5) / 5000.0), Some(at as usize));
        }
        assert_eq!(pick(&[], 0.5), None);
    }

    #[test]
    fn a_damaged_row_is_refused_wherever_the_damage_is() {
        let refused = |row: &[f32]| checked_max(row).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(refused(&[]), "sampling: the row of logits is empty");
        assert_eq!(
            refused(&[f32::NEG_INFINITY; 40]),
            "sampling: all 40 logits are -inf, so every token is ruled out"
        );
        for at in [0, 5, 31, 32, 39] {
            let mut row = [0.5; 40];
            row[at] = f32::NAN;
            assert!(refused(&row).contains(&format!("the logit of token {at} is NaN")), "{}", refused(&row));
            row[at] = f32::INFINITY;
            assert!(
                refused(&row).contains(&format!("the logit of token {at} is infinite")),
                "{}",
                refused(&row)
            );
            row[at] = 7.0;
            assert_eq!(checked_max(&row).ok(), Some(7.0));
        }
    }
}
