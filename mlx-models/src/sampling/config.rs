//! The options of a [`Sampler`](super::Sampler), and the ranges they may take.

use crate::{Error, Result};

/// How a token is chosen from a row of logits.
///
/// The default is greedy: every filter, penalty and bias is off. A value that means "off" costs nothing per token.
///
/// ```
/// use mlx_models::sampling::SamplingConfig;
///
/// let config = SamplingConfig { temperature: 0.7, top_p: 0.9, ..SamplingConfig::default() };
/// assert!(config.validate().is_ok());
/// assert!(SamplingConfig { top_p: 1.5, ..config }.validate().is_err());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingConfig {
    /// Divides the logits before the draw; 0 takes the token with the highest logit. Finite, at least 0.
    pub temperature: f32,
    /// Keeps the `top_k` most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the shortest list of most likely tokens whose probabilities reach this sum; 1 keeps all. In (0, 1].
    pub top_p: f32,
    /// Keeps the tokens at least this likely, as a share of the likeliest one's probability; 0 keeps all. In [0, 1].
    pub min_p: f32,
    /// How often the likeliest tokens are left out (XTC, "exclude top choices"): the probability that, of all tokens more
    /// likely than `xtc_threshold`, only the least likely stays. 0 is off. In [0, 1].
    pub xtc_probability: f32,
    /// The probability that a token needs for XTC to leave it out, among the tokens that top-p and min-p kept.
    /// In [0, 0.5].
    pub xtc_threshold: f32,
    /// Tokens that XTC never leaves out; mlx-lm gives those of a line break and those that end a text.
    pub xtc_special_tokens: Vec<u32>,
    /// Divides the positive and multiplies the negative logits of recent tokens; 1 is off. Finite, above 0.
    pub repetition_penalty: f32,
    /// How many of the latest tokens the repetition penalty looks at; 0 looks at all of them.
    pub repetition_context_size: usize,
    /// Is taken once from the logit of each recent token; 0 is off. Finite.
    pub presence_penalty: f32,
    /// How many of the latest tokens the presence penalty looks at; 0 looks at all of them.
    pub presence_context_size: usize,
    /// Is taken from the logit of a recent token once per occurrence; 0 is off. Finite.
    pub frequency_penalty: f32,
    /// How many of the latest tokens the frequency penalty looks at; 0 looks at all of them.
    pub frequency_context_size: usize,
    /// Is added to the logit of each named token; negative infinity bans it. Neither NaN nor positive infinity.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            xtc_special_tokens: Vec::new(),
            repetition_penalty: 1.0,
            repetition_context_size: 20,
            presence_penalty: 0.0,
            presence_context_size: 20,
            frequency_penalty: 0.0,
            frequency_context_size: 20,
            logit_bias: Vec::new(),
        }
    }
}

impl SamplingConfig {
    /// Checks every option against its range.
    ///
    /// # Errors
    /// [`Error::Option`] with the name and the value of the first option out of range.
    pub fn validate(&self) -> Result<()> {
        let finite = f32::is_finite;
        check("temperature", self.temperature, |t| finite(t) && t >= 0.0, "a finite number, 0 or more")?;
        check("top_p", self.top_p, |p| p > 0.0 && p <= 1.0, "above 0 and at most 1 (1 is off)")?;
        check("min_p", self.min_p, |p| (0.0..=1.0).contains(&p), "from 0 (off) to 1")?;
        check("xtc_probability", self.xtc_probability, |p| (0.0..=1.0).contains(&p), "from 0 (off) to 1")?;
        check("xtc_threshold", self.xtc_threshold, |p| (0.0..=0.5).contains(&p), "from 0 to 0.5")?;
        check(
            "repetition_penalty",
            self.repetition_penalty,
            |r| finite(r) && r > 0.0,
            "finite and above 0 (1 is off)",
        )?;
        check("presence_penalty", self.presence_penalty, finite, "a finite number (0 is off)")?;
        check("frequency_penalty", self.frequency_penalty, finite, "a finite number (0 is off)")?;
        for &(token, bias) in &self.logit_bias {
            if bias.is_nan() || bias == f32::INFINITY {
                let message =
                    format!("the bias of token {token} is {bias}; give a number, or -inf to ban the token");
                return Err(Error::Option { option: "logit_bias", message });
            }
        }
        Ok(())
    }
}

fn check(option: &'static str, value: f32, allowed: impl Fn(f32) -> bool, range: &str) -> Result<()> {
    if allowed(value) {
        return Ok(());
    }
    Err(Error::Option { option, message: format!("is {value}, but must be {range}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_is_named_with_its_option() {
        let ok = SamplingConfig::default;
        let cases = [
            (SamplingConfig { temperature: -0.1, ..ok() }, "temperature: is -0.1"),
            (SamplingConfig { temperature: f32::NAN, ..ok() }, "temperature: is NaN"),
            (SamplingConfig { temperature: f32::INFINITY, ..ok() }, "temperature: is inf"),
            (SamplingConfig { top_p: 0.0, ..ok() }, "top_p: is 0"),
            (SamplingConfig { top_p: 1.01, ..ok() }, "top_p: is 1.01"),
            (SamplingConfig { top_p: f32::NAN, ..ok() }, "top_p: is NaN"),
            (SamplingConfig { min_p: -0.5, ..ok() }, "min_p: is -0.5"),
            (SamplingConfig { min_p: 2.0, ..ok() }, "min_p: is 2"),
            (SamplingConfig { xtc_probability: 1.5, ..ok() }, "xtc_probability: is 1.5"),
            (SamplingConfig { xtc_probability: f32::NAN, ..ok() }, "xtc_probability: is NaN"),
            (SamplingConfig { xtc_threshold: 0.6, ..ok() }, "xtc_threshold: is 0.6"),
            (SamplingConfig { xtc_threshold: -0.1, ..ok() }, "xtc_threshold: is -0.1"),
            (SamplingConfig { repetition_penalty: 0.0, ..ok() }, "repetition_penalty: is 0"),
            (SamplingConfig { repetition_penalty: f32::NAN, ..ok() }, "repetition_penalty: is NaN"),
            (SamplingConfig { presence_penalty: f32::INFINITY, ..ok() }, "presence_penalty: is inf"),
            (SamplingConfig { frequency_penalty: f32::NAN, ..ok() }, "frequency_penalty: is NaN"),
            (
                SamplingConfig { logit_bias: vec![(7, f32::NAN)], ..ok() },
                "logit_bias: the bias of token 7 is NaN",
            ),
        ];
        for (config, start) in cases {
            let error = config.validate().err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.starts_with(start), "{config:?} gives {error:?}");
        }
        assert!(ok().validate().is_ok());
        assert!(SamplingConfig { logit_bias: vec![(7, f32::NEG_INFINITY)], ..ok() }.validate().is_ok());
    }
}
