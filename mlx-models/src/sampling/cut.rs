//! The filters top-k, top-p and min-p, each as a [`Cut`] through the tokens in order of likelihood.
//!
//! All three read the same distribution, the softmax of the logits at temperature 1, and each keeps its most likely
//! tokens. So each is one cut through the order "highest logit first, lowest id first among equals", and a chain of
//! them keeps what the strictest one keeps, whatever the order of the chain. That equals mlx-lm's chain of top-p,
//! min-p, top-k, and no filter needs the row sorted.

use std::cmp::Ordering;

use super::numeric::exp;

/// The last token that a filter keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cut {
    logit: f32,
    id: u32,
}

impl Cut {
    /// Keeps every token that is not ruled out already: all logits above negative infinity.
    pub(super) const NONE: Cut = Cut { logit: f32::MIN, id: u32::MAX };

    /// Keeps the tokens whose logit is `logit` or higher.
    fn at_logit(logit: f32) -> Cut {
        Cut { logit, id: u32::MAX }
    }

    /// Says whether a token is on the kept side.
    #[inline(always)]
    pub(super) fn keeps(self, logit: f32, id: u32) -> bool {
        logit > self.logit || (logit == self.logit && id <= self.id)
    }

    /// The cut that keeps fewer tokens.
    pub(super) fn stricter(self, other: Cut) -> Cut {
        if by_likelihood(&(self.logit, self.id), &(other.logit, other.id)).is_le() { self } else { other }
    }
}

/// Highest logit first, lowest id first among equals. The logits are never NaN.
fn by_likelihood(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    descending(&a.0, &b.0).then(a.1.cmp(&b.1))
}

fn descending(a: &f32, b: &f32) -> Ordering {
    b.partial_cmp(a).unwrap_or(Ordering::Equal)
}

/// Keeps tokens with `p ≥ min_p · p_max`, that is `logit ≥ max + ln(min_p)`.
pub(super) fn min_p(max: f32, min_p: f32) -> Cut {
    Cut::at_logit((max + min_p.ln()).max(f32::MIN))
}

/// Keeps the `k` most likely tokens; among equals at the border, the lowest ids.
///
/// One pass with a buffer of 2k candidates: a token enters when it beats the k-th best so far, and a full buffer is
/// cut back to its best k.
pub(super) fn top_k(logits: &[f32], k: usize, best: &mut Vec<(f32, u32)>) -> Cut {
    if k == 0 || k >= logits.len() {
        return Cut::NONE;
    }
    let room = k.saturating_mul(2).clamp(64, logits.len().max(64));
    let mut entry = f32::NEG_INFINITY;
    best.clear();
    for (id, &logit) in (0u32..).zip(logits) {
        // Ids ascend, so a later token that equals the k-th best ranks behind it.
        if logit > entry {
            best.push((logit, id));
            if best.len() == room && room > k {
                entry = keep_best(best, k).logit;
            }
        }
    }
    keep_best(best, k)
}

/// Cuts lists of tokens and their logits back to the `k` most likely, as [`top_k`] does with a row.
pub(super) fn keep_top_k(ids: &mut Vec<u32>, logits: &mut Vec<f32>, k: usize, best: &mut Vec<(f32, u32)>) {
    if k == 0 || k >= ids.len() {
        return;
    }
    best.clear();
    best.extend(logits.iter().copied().zip(ids.iter().copied()));
    keep_best(best, k);
    best.sort_unstable_by_key(|&(_, id)| id);
    ids.clear();
    logits.clear();
    for &(logit, id) in best.iter() {
        ids.push(id);
        logits.push(logit);
    }
}

/// Cuts `best` back to its `k` most likely entries and returns the last of them.
fn keep_best(best: &mut Vec<(f32, u32)>, k: usize) -> Cut {
    if best.len() < k {
        return Cut::NONE;
    }
    let (_, &mut (logit, id), _) = best.select_nth_unstable_by(k - 1, by_likelihood);
    best.truncate(k);
    Cut { logit, id }
}

/// Keeps the most likely tokens up to the one at which their probabilities reach `top_p`, and its equals.
///
/// A token stays while the mass above it is less than `top_p`. `exp_sum` is the row's sum of `exp(logit - max)`, and
/// only tokens that `cut` keeps are looked at: leaving out the unlikely end of the order cannot move a cut before it.
pub(super) fn top_p(
    logits: &[f32],
    top_p: f32,
    max: f32,
    exp_sum: f64,
    cut: Cut,
    kept: &mut Vec<f32>,
) -> Cut {
    if top_p >= 1.0 {
        return Cut::NONE;
    }
    // Together, tokens each less likely than (1 - top_p) / V hold less than 1 - top_p, so none of them is kept. The
    // margin of 0.01 in the exponent covers rounding.
    let share = (1.0 - f64::from(top_p)) * exp_sum / logits.len() as f64;
    let floor = Cut::at_logit(max + (share.ln() - 0.01) as f32).stricter(cut);
    kept.clear();
    kept.extend((0u32..).zip(logits).filter(|&(id, &x)| floor.keeps(x, id)).map(|(_, &x)| x));
    Cut::at_logit(nucleus_border(kept, max, f64::from(top_p) * exp_sum))
}

/// Finds the logit at which the weights `exp(logit - max)`, largest first, reach `mass`; the lowest when they do not.
///
/// Halves the list around its median and goes on in the half that holds the border: linear time, no full sort.
fn nucleus_border(mut logits: &mut [f32], max: f32, mass: f64) -> f32 {
    let weight = |&x: &f32| f64::from(exp(x - max));
    let mut above = 0.0;
    while logits.len() > 32 {
        let middle = logits.len() / 2;
        logits.select_nth_unstable_by(middle, descending);
        let (upper, lower) = logits.split_at_mut(middle);
        let through = above + upper.iter().map(weight).sum::<f64>();
        (above, logits) = if through >= mass { (above, upper) } else { (through, lower) };
    }
    logits.sort_unstable_by(descending);
    for logit in logits.iter() {
        above += weight(logit);
        if above >= mass {
            return *logit;
        }
    }
    logits.last().copied().unwrap_or(f32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(logits: &[f32], cut: Cut) -> Vec<u32> {
        (0u32..).zip(logits).filter(|&(id, &x)| cut.keeps(x, id)).map(|(id, _)| id).collect()
    }

    #[test]
    fn top_k_takes_the_lowest_ids_among_equals() {
        let row = [1.0, 2.0, 2.0, 0.0, 2.0, -0.0];
        let cases: [(usize, &[u32]); 6] = [
            (1, &[1]),
            (2, &[1, 2]),
            (3, &[1, 2, 4]),
            (4, &[0, 1, 2, 4]),
            (5, &[0, 1, 2, 3, 4]),
            (6, &[0, 1, 2, 3, 4, 5]),
        ];
        for (k, want) in cases {
            assert_eq!(kept(&row, top_k(&row, k, &mut Vec::new())), want, "k = {k}");
        }
    }

    #[test]
    fn top_k_equals_a_full_sort_on_long_rows_with_many_ties() {
        let row: Vec<f32> =
            (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 % 97.0).collect();
        let mut sorted: Vec<(f32, u32)> = row.iter().copied().zip(0..).collect();
        sorted.sort_by(by_likelihood);
        for k in [1, 2, 31, 32, 33, 50, 64, 1000, 4999] {
            let mut want: Vec<u32> = sorted[..k].iter().map(|c| c.1).collect();
            want.sort_unstable();
            assert_eq!(kept(&row, top_k(&row, k, &mut Vec::new())), want, "k = {k}");
        }
    }

    #[test]
    fn tokens_at_negative_infinity_are_never_kept() {
        let row = [f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY, 0.5];
        assert_eq!(kept(&row, Cut::NONE), [1, 3]);
        assert_eq!(kept(&row, top_k(&row, 3, &mut Vec::new())), [1, 3]);
        assert_eq!(kept(&row, min_p(f32::MIN, 0.5)), [1, 3]);
    }

    #[test]
    fn top_p_equals_a_full_sort_on_long_rows() {
        let row: Vec<f32> =
            (0..3000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 12) as f32 / 1e5).collect();
        let max = row.iter().copied().fold(f32::MIN, f32::max);
        let total = super::super::numeric::exp_sum(&row, max);
        let mut sorted = row.clone();
        sorted.sort_by(descending);
        for p in [0.01, 0.3, 0.5, 0.9, 0.99, 0.9999] {
            let (mut above, mut count) = (0.0, 0);
            while above < f64::from(p) * total {
                above += f64::from(exp(sorted[count] - max));
                count += 1;
            }
            let cut = top_p(&row, p, max, total, Cut::NONE, &mut Vec::new());
            assert_eq!(kept(&row, cut).len(), count, "p = {p}");
        }
    }
}
