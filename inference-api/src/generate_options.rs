//! Options of one generation.

use crate::{CancelToken, Error, ErrorKind, Result};
use std::fmt;

/// How to generate: length, sampling, penalties, stop strings, cancelling.
///
/// The default is greedy, at most 256 tokens, with every filter and penalty off. The fields are public; the
/// `with_` methods return a changed copy:
///
/// ```
/// use inference_api::GenerateOptions;
///
/// let options = GenerateOptions::default().with_max_tokens(64).with_temperature(0.7).with_seed(1);
/// assert!(options.validate().is_ok());
///
/// let error = options.with_top_p(1.5).validate().unwrap_err();
/// assert_eq!(error.to_string(), "top_p is 1.5; it must be above 0 and at most 1");
/// ```
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// The most tokens to generate, at least 1. The end of the context may come first. Default 256.
    pub max_tokens: usize,
    /// Divides the logits before sampling; finite, 0 or more. 0, the default, is greedy: the most probable
    /// token, always.
    pub temperature: f32,
    /// Samples among this many of the most probable tokens. 0, the default, means all.
    pub top_k: usize,
    /// Samples among the most probable tokens that together reach this probability; above 0, at most 1. 1,
    /// the default, means all.
    pub top_p: f32,
    /// Leaves out tokens less probable than this share of the most probable one; from 0 to 1. 0, the default,
    /// means none.
    pub min_p: f32,
    /// How often XTC ("exclude top choices") leaves out the most probable tokens: with this probability, of all
    /// tokens more probable than [`xtc_threshold`](GenerateOptions::xtc_threshold) only the least probable
    /// stays. Tokens of a line break and those that end a text always stay. From 0 to 1; 0, the default, is off.
    pub xtc_probability: f32,
    /// The probability above which XTC leaves tokens out, among those that `top_p` and `min_p` kept; from 0 to
    /// 0.5. Default 0.1.
    pub xtc_threshold: f32,
    /// Makes recent tokens less likely: divides their positive logits and multiplies their negative ones;
    /// finite, above 0. 1, the default, changes nothing.
    pub repetition_penalty: f32,
    /// How many of the last tokens, prompt included, the three penalties look at. Default 20; 0 switches all
    /// three off.
    pub repetition_context_size: usize,
    /// Taken once from the logit of each token that is among the recent ones; finite. Default 0.
    pub presence_penalty: f32,
    /// Taken from the logit of a token once per occurrence among the recent ones; finite. Default 0.
    pub frequency_penalty: f32,
    /// Makes sampling repeatable: equal seed, prompt, options, model and device give equal tokens, whatever
    /// else the model runs at the time, as far as the backend computes alike whatever it computes beside it and had in its
    /// prompt cache. `None`, the default, takes a new seed each time. Greedy generation
    /// ignores it.
    pub seed: Option<u64>,
    /// Strings that end the generation when the generated text reaches one. None of them may be empty.
    /// Default none.
    pub stop: Vec<String>,
    /// Whether to go on past end-of-sequence tokens, which then appear in the stream with an empty text. For
    /// measurements; default `false`.
    pub ignore_eos: bool,
    /// Added to the logits of these token ids before anything else; finite, or negative infinity, which rules the token
    /// out. Default none.
    pub logit_bias: Vec<(u32, f32)>,
    /// Whether tokens carry their log-probability. Default `false`.
    pub logprobs: bool,
    /// How many of the most probable tokens each token comes with, at most 20. Default 0.
    pub top_logprobs: usize,
    /// Whether what an earlier request computed for the same first tokens may be used, and this request's be kept for
    /// later ones. Default `true`.
    pub prompt_cache: bool,
    /// Cancels the generation from another thread. Default `None`.
    pub cancel: Option<CancelToken>,
}

/// As the OpenAI API has it. Each costs a pass over the vocabulary's best and a text.
const MAX_TOP_LOGPROBS: usize = 20;

impl Default for GenerateOptions {
    fn default() -> GenerateOptions {
        GenerateOptions {
            max_tokens: 256,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            repetition_penalty: 1.0,
            repetition_context_size: 20,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
            stop: Vec::new(),
            ignore_eos: false,
            logit_bias: Vec::new(),
            logprobs: false,
            top_logprobs: 0,
            prompt_cache: true,
            cancel: None,
        }
    }
}

impl GenerateOptions {
    /// Sets [`max_tokens`](GenerateOptions::max_tokens).
    #[must_use]
    pub fn with_max_tokens(mut self, max_tokens: usize) -> Self {
        self.max_tokens = max_tokens;
        self
    }

    /// Sets [`temperature`](GenerateOptions::temperature).
    #[must_use]
    pub fn with_temperature(mut self, temperature: f32) -> Self {
        self.temperature = temperature;
        self
    }

    /// Sets [`top_k`](GenerateOptions::top_k).
    #[must_use]
    pub fn with_top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k;
        self
    }

    /// Sets [`top_p`](GenerateOptions::top_p).
    #[must_use]
    pub fn with_top_p(mut self, top_p: f32) -> Self {
        self.top_p = top_p;
        self
    }

    /// Sets [`min_p`](GenerateOptions::min_p).
    #[must_use]
    pub fn with_min_p(mut self, min_p: f32) -> Self {
        self.min_p = min_p;
        self
    }

    /// Sets [`xtc_probability`](GenerateOptions::xtc_probability) and
    /// [`xtc_threshold`](GenerateOptions::xtc_threshold).
    #[must_use]
    pub fn with_xtc(mut self, probability: f32, threshold: f32) -> Self {
        self.xtc_probability = probability;
        self.xtc_threshold = threshold;
        self
    }

    /// Sets [`repetition_penalty`](GenerateOptions::repetition_penalty).
    #[must_use]
    pub fn with_repetition_penalty(mut self, penalty: f32) -> Self {
        self.repetition_penalty = penalty;
        self
    }

    /// Sets [`repetition_context_size`](GenerateOptions::repetition_context_size).
    #[must_use]
    pub fn with_repetition_context_size(mut self, tokens: usize) -> Self {
        self.repetition_context_size = tokens;
        self
    }

    /// Sets [`presence_penalty`](GenerateOptions::presence_penalty).
    #[must_use]
    pub fn with_presence_penalty(mut self, penalty: f32) -> Self {
        self.presence_penalty = penalty;
        self
    }

    /// Sets [`frequency_penalty`](GenerateOptions::frequency_penalty).
    #[must_use]
    pub fn with_frequency_penalty(mut self, penalty: f32) -> Self {
        self.frequency_penalty = penalty;
        self
    }

    /// Sets [`seed`](GenerateOptions::seed).
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Adds one string to [`stop`](GenerateOptions::stop).
    #[must_use]
    pub fn with_stop(mut self, stop: impl Into<String>) -> Self {
        self.stop.push(stop.into());
        self
    }

    /// Sets [`ignore_eos`](GenerateOptions::ignore_eos).
    #[must_use]
    pub fn with_ignore_eos(mut self, ignore_eos: bool) -> Self {
        self.ignore_eos = ignore_eos;
        self
    }

    /// Adds one token to [`logit_bias`](GenerateOptions::logit_bias).
    #[must_use]
    pub fn with_logit_bias(mut self, token: u32, bias: f32) -> Self {
        self.logit_bias.push((token, bias));
        self
    }

    /// Sets [`logprobs`](GenerateOptions::logprobs).
    #[must_use]
    pub fn with_logprobs(mut self, logprobs: bool) -> Self {
        self.logprobs = logprobs;
        self
    }

    /// Sets [`top_logprobs`](GenerateOptions::top_logprobs).
    #[must_use]
    pub fn with_top_logprobs(mut self, count: usize) -> Self {
        self.top_logprobs = count;
        self
    }

    /// Sets [`prompt_cache`](GenerateOptions::prompt_cache).
    #[must_use]
    pub fn with_prompt_cache(mut self, prompt_cache: bool) -> Self {
        self.prompt_cache = prompt_cache;
        self
    }

    /// Sets [`cancel`](GenerateOptions::cancel).
    #[must_use]
    pub fn with_cancel(mut self, cancel: CancelToken) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// Whether the cancel token, if there is one, was used.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(CancelToken::is_cancelled)
    }

    /// Checks every option. Backends call this first in `generate`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for the first option out of its range; the message names the option, its
    /// value and the range.
    pub fn validate(&self) -> Result<()> {
        check("max_tokens", self.max_tokens, self.max_tokens >= 1, "at least 1")?;
        let temperature = self.temperature;
        check(
            "temperature",
            temperature,
            temperature.is_finite() && temperature >= 0.0,
            "finite and at least 0",
        )?;
        check("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "above 0 and at most 1")?;
        check("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "from 0 to 1")?;
        let (probability, threshold) = (self.xtc_probability, self.xtc_threshold);
        check("xtc_probability", probability, (0.0..=1.0).contains(&probability), "from 0 to 1")?;
        check("xtc_threshold", threshold, (0.0..=0.5).contains(&threshold), "from 0 to 0.5")?;
        let repetition = self.repetition_penalty;
        check(
            "repetition_penalty",
            repetition,
            repetition.is_finite() && repetition > 0.0,
            "finite and above 0",
        )?;
        check("presence_penalty", self.presence_penalty, self.presence_penalty.is_finite(), "finite")?;
        check("frequency_penalty", self.frequency_penalty, self.frequency_penalty.is_finite(), "finite")?;
        check("top_logprobs", self.top_logprobs, self.top_logprobs <= MAX_TOP_LOGPROBS, "at most 20")?;
        let refused = self.logit_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY);
        if let Some((token, bias)) = refused {
            check(&format!("logit_bias of token {token}"), bias, false, "finite or negative infinity")?;
        }
        check("stop", r#""""#, self.stop.iter().all(|stop| !stop.is_empty()), "a string with text in it")
    }
}

/// Fails with one message form for every option: its name, its value, and what it must be.
pub(crate) fn check(option: &str, value: impl fmt::Display, ok: bool, must_be: &str) -> Result<()> {
    if ok {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidOption, format!("{option} is {value}; it must be {must_be}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> GenerateOptions {
        GenerateOptions::default()
    }

    #[test]
    fn values_in_range_are_accepted() {
        let cases = [
            ("default", options()),
            ("one token", options().with_max_tokens(1)),
            ("any length", options().with_max_tokens(usize::MAX)),
            ("hot", options().with_temperature(5.0)),
            ("top_k", options().with_top_k(usize::MAX)),
            ("top_p", options().with_top_p(f32::MIN_POSITIVE)),
            ("min_p", options().with_min_p(1.0)),
            ("xtc", options().with_xtc(1.0, 0.5)),
            ("rewarded repetition", options().with_repetition_penalty(0.5)),
            ("no window", options().with_repetition_context_size(0)),
            ("negative penalties", options().with_presence_penalty(-2.0).with_frequency_penalty(-2.0)),
            ("stop strings", options().with_stop("\n").with_stop("END")),
            ("seed", options().with_seed(u64::MAX)),
            ("a token ruled out", options().with_logit_bias(0, f32::NEG_INFINITY).with_top_logprobs(20)),
        ];
        for (name, options) in cases {
            assert!(options.validate().is_ok(), "{name}");
        }
    }

    #[test]
    fn values_out_of_range_are_named() {
        let cases = [
            (options().with_max_tokens(0), "max_tokens is 0"),
            (options().with_temperature(-0.5), "temperature is -0.5"),
            (options().with_temperature(f32::NAN), "temperature is NaN"),
            (options().with_temperature(f32::INFINITY), "temperature is inf"),
            (options().with_top_p(0.0), "top_p is 0"),
            (options().with_top_p(1.01), "top_p is 1.01"),
            (options().with_top_p(-1.0), "top_p is -1"),
            (options().with_top_p(f32::NAN), "top_p is NaN"),
            (options().with_min_p(-0.1), "min_p is -0.1"),
            (options().with_min_p(1.5), "min_p is 1.5"),
            (options().with_min_p(f32::NAN), "min_p is NaN"),
            (options().with_xtc(1.5, 0.1), "xtc_probability is 1.5"),
            (options().with_xtc(f32::NAN, 0.1), "xtc_probability is NaN"),
            (options().with_xtc(0.5, 0.75), "xtc_threshold is 0.75"),
            (options().with_repetition_penalty(0.0), "repetition_penalty is 0"),
            (options().with_repetition_penalty(-1.1), "repetition_penalty is -1.1"),
            (options().with_repetition_penalty(f32::NAN), "repetition_penalty is NaN"),
            (options().with_repetition_penalty(f32::INFINITY), "repetition_penalty is inf"),
            (options().with_presence_penalty(f32::NEG_INFINITY), "presence_penalty is -inf"),
            (options().with_presence_penalty(f32::NAN), "presence_penalty is NaN"),
            (options().with_frequency_penalty(f32::INFINITY), "frequency_penalty is inf"),
            (options().with_frequency_penalty(f32::NAN), "frequency_penalty is NaN"),
            (options().with_stop("ok").with_stop(""), "stop is \"\""),
            (options().with_top_logprobs(21), "top_logprobs is 21"),
            (options().with_logit_bias(7, f32::NAN), "logit_bias of token 7 is NaN"),
            (options().with_logit_bias(7, f32::INFINITY), "logit_bias of token 7 is inf"),
        ];
        for (options, start) in cases {
            let error = options.validate().expect_err(start);
            assert_eq!(error.kind(), ErrorKind::InvalidOption, "{start}");
            assert!(error.to_string().starts_with(&format!("{start}; it must be ")), "{start}: {error}");
        }
    }

    #[test]
    fn the_default_is_greedy_with_everything_off() {
        let options = options();
        assert_eq!((options.max_tokens, options.temperature, options.top_k), (256, 0.0, 0));
        assert_eq!((options.top_p, options.min_p), (1.0, 0.0));
        assert_eq!((options.xtc_probability, options.xtc_threshold), (0.0, 0.1));
        assert_eq!((options.repetition_penalty, options.repetition_context_size), (1.0, 20));
        assert_eq!((options.presence_penalty, options.frequency_penalty), (0.0, 0.0));
        assert_eq!((options.seed, options.stop.len()), (None, 0));
        assert!(!options.ignore_eos && !options.logprobs && options.cancel.is_none());
        assert!(options.logit_bias.is_empty() && options.top_logprobs == 0 && options.prompt_cache);
    }
}
