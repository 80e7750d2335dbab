//! XTC, "exclude top choices": leaves the likeliest tokens out, so that a text takes a less trodden path.

use super::numeric;

/// Leaves out every token more likely than `threshold` but the least likely of these, and those of `special`.
///
/// `logits` belong to `ids`; probabilities are their softmax at temperature 1. Tokens that tie with the least likely one
/// stay too. `max` is at least the highest logit.
pub(super) fn exclude(ids: &mut Vec<u32>, logits: &mut Vec<f32>, max: f32, threshold: f32, special: &[u32]) {
    let enough = f64::from(threshold) * numeric::exp_sum(logits, max);
    let likely = |logit: f32| f64::from(numeric::exp(logit - max)) > enough;
    let least = logits.iter().copied().filter(|&logit| likely(logit)).fold(f32::INFINITY, f32::min);
    let mut left = 0;
    for at in 0..ids.len() {
        if logits[at] <= least || special.contains(&ids[at]) {
            (ids[left], logits[left]) = (ids[at], logits[at]);
            left += 1;
        }
    }
    ids.truncate(left);
    logits.truncate(left);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_likely_of_the_likely_and_special_tokens_stay() {
        // Probabilities 0.4, 0.3, 0.2, 0.1 in this order: 1, 3, 0, 2.
        let logits = [0.2f32, 0.4, 0.1, 0.3].map(f32::ln);
        let cases: [(f32, &[u32], &[u32]); 7] = [
            (0.5, &[], &[0, 1, 2, 3]),
            (0.35, &[], &[0, 1, 2, 3]),
            (0.25, &[], &[0, 2, 3]),
            (0.15, &[], &[0, 2]),
            (0.15, &[1], &[0, 1, 2]),
            (0.05, &[], &[2]),
            (0.0, &[3, 1], &[1, 2, 3]),
        ];
        for (threshold, special, expected) in cases {
            let (mut ids, mut left) = (vec![0, 1, 2, 3], logits.to_vec());
            exclude(&mut ids, &mut left, logits[1], threshold, special);
            assert_eq!(ids, expected, "{threshold}");
            assert_eq!(left, ids.iter().map(|&id| logits[id as usize]).collect::<Vec<_>>(), "{threshold}");
        }
    }
}
