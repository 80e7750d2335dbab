//! Changes to single logits: bias, then repetition, presence and frequency penalties.
//!
//! Each function changes the logits `[V]` in place and costs time in the number of tokens it looks at, not in V.
//! The formulas and their order are those of mlx-lm; the repetition penalty is that of CTRL (arXiv:1909.05858).

use super::SamplingConfig;
use crate::{Error, Result};

/// Applies the bias and the penalties that `config` switches on.
///
/// `history` holds the tokens so far, oldest first; `scratch` is reused between calls.
///
/// # Errors
/// [`Error::Option`] or [`Error::Sampling`] when a token's id is not below V.
pub(super) fn apply(
    config: &SamplingConfig,
    logits: &mut [f32],
    history: &[u32],
    scratch: &mut Vec<u32>,
) -> Result<()> {
    add_bias(logits, &config.logit_bias)?;
    if config.repetition_penalty != 1.0 {
        let recent = latest(history, config.repetition_context_size);
        repetition(logits, recent, config.repetition_penalty, scratch)?;
    }
    if config.presence_penalty != 0.0 {
        let recent = latest(history, config.presence_context_size);
        presence(logits, recent, config.presence_penalty, scratch)?;
    }
    if config.frequency_penalty != 0.0 {
        let recent = latest(history, config.frequency_context_size);
        frequency(logits, recent, config.frequency_penalty)?;
    }
    Ok(())
}

/// `logit += bias`, once per entry.
fn add_bias(logits: &mut [f32], bias: &[(u32, f32)]) -> Result<()> {
    let vocab_size = logits.len();
    for &(token, bias) in bias {
        let Some(logit) = logits.get_mut(token as usize) else {
            let message = format!("token {token} is outside the vocabulary of {vocab_size}");
            return Err(Error::Option { option: "logit_bias", message });
        };
        *logit += bias;
    }
    Ok(())
}

/// `logit = logit / penalty` where positive, `logit · penalty` where negative, once per distinct token.
fn repetition(logits: &mut [f32], recent: &[u32], penalty: f32, scratch: &mut Vec<u32>) -> Result<()> {
    for &token in distinct(recent, scratch) {
        let logit = at(logits, token)?;
        *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
    }
    Ok(())
}

/// `logit -= penalty`, once per distinct token.
fn presence(logits: &mut [f32], recent: &[u32], penalty: f32, scratch: &mut Vec<u32>) -> Result<()> {
    for &token in distinct(recent, scratch) {
        *at(logits, token)? -= penalty;
    }
    Ok(())
}

/// `logit -= penalty`, once per occurrence.
fn frequency(logits: &mut [f32], recent: &[u32], penalty: f32) -> Result<()> {
    for &token in recent {
        *at(logits, token)? -= penalty;
    }
    Ok(())
}

/// The last `size` tokens, or all of them when `size` is 0.
fn latest(history: &[u32], size: usize) -> &[u32] {
    let skip = if size == 0 { 0 } else { history.len().saturating_sub(size) };
    &history[skip..]
}

/// The tokens without repeats, ascending, in the reused `scratch`.
fn distinct<'a>(tokens: &[u32], scratch: &'a mut Vec<u32>) -> &'a [u32] {
    scratch.clear();
    scratch.extend_from_slice(tokens);
    scratch.sort_unstable();
    scratch.dedup();
    scratch
}

fn at(logits: &mut [f32], token: u32) -> Result<&mut f32> {
    let vocab_size = logits.len();
    logits.get_mut(token as usize).ok_or_else(|| Error::Sampling {
        message: format!("token {token} of the history is outside the vocabulary of {vocab_size}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn penalised(config: SamplingConfig, logits: &[f32], history: &[u32]) -> Vec<f32> {
        let mut row = logits.to_vec();
        apply(&config, &mut row, history, &mut Vec::new()).expect("ids are inside the row");
        row
    }

    #[test]
    fn each_penalty_counts_tokens_in_its_own_way() {
        let off = SamplingConfig::default;
        let (logits, history) = ([4.0, -4.0, 1.0, 0.0], [0, 1, 1, 3]);
        let repetition = SamplingConfig { repetition_penalty: 2.0, ..off() };
        assert_eq!(penalised(repetition, &logits, &history), [2.0, -8.0, 1.0, 0.0]);
        let presence = SamplingConfig { presence_penalty: 0.5, ..off() };
        assert_eq!(penalised(presence, &logits, &history), [3.5, -4.5, 1.0, -0.5]);
        let frequency = SamplingConfig { frequency_penalty: 0.5, ..off() };
        assert_eq!(penalised(frequency, &logits, &history), [3.5, -5.0, 1.0, -0.5]);
        let bias = SamplingConfig { logit_bias: vec![(2, 9.0), (0, f32::NEG_INFINITY)], ..off() };
        assert_eq!(penalised(bias, &logits, &history), [f32::NEG_INFINITY, -4.0, 10.0, 0.0]);
    }

    #[test]
    fn a_window_sees_the_latest_tokens_and_zero_sees_all() {
        let config = |size| SamplingConfig {
            presence_penalty: 1.0,
            presence_context_size: size,
            ..SamplingConfig::default()
        };
        let seen = |size| penalised(config(size), &[0.0; 4], &[0, 1, 2, 3]);
        assert_eq!(seen(1), [0.0, 0.0, 0.0, -1.0]);
        assert_eq!(seen(3), [0.0, -1.0, -1.0, -1.0]);
        assert_eq!(seen(9), [-1.0; 4]);
        assert_eq!(seen(0), [-1.0; 4]);
    }

    #[test]
    fn an_id_outside_the_vocabulary_is_named() {
        let bias = SamplingConfig { logit_bias: vec![(4, 1.0)], ..SamplingConfig::default() };
        let error = apply(&bias, &mut [0.0; 4], &[], &mut Vec::new()).expect_err("4 is outside");
        assert_eq!(error.to_string(), "logit_bias: token 4 is outside the vocabulary of 4");
        let presence = SamplingConfig { presence_penalty: 1.0, ..SamplingConfig::default() };
        let error = apply(&presence, &mut [0.0; 4], &[9], &mut Vec::new()).expect_err("9 is outside");
        assert_eq!(error.to_string(), "sampling: token 9 of the history is outside the vocabulary of 4");
    }
}
