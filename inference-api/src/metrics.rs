//! Counters of one generation.

use std::fmt;
use std::time::Duration;

/// What one generation cost: tokens, time and memory.
///
/// `Display` prints one line, and leaves out what was not measured:
///
/// ```
/// use inference_api::GenerateMetrics;
/// use std::time::Duration;
///
/// let metrics = GenerateMetrics {
///     prompt_tokens: 9,
///     cached_prompt_tokens: 0,
///     generated_tokens: 32,
///     reasoning_tokens: 0,
///     time_to_first_token: Some(Duration::from_millis(731)),
///     prefill_duration: Duration::from_millis(730),
///     decode_duration: Duration::from_millis(6_900),
///     peak_memory_bytes: Some(1_181_116_006),
///     active_memory_bytes: None,
/// };
/// assert_eq!(
///     metrics.to_string(),
///     "prompt 9 tokens, 12.3 tok/s · 32 tokens, 4.5 tok/s · first token 0.73 s · peak memory 1.1 GiB",
/// );
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenerateMetrics {
    /// Tokens of the prompt, with those that the backend added at its start.
    pub prompt_tokens: usize,
    /// How many of them were there already, from a request before that began with the same tokens.
    pub cached_prompt_tokens: usize,
    /// Tokens that the stream yielded; the end-of-sequence token that ended it is not one of them.
    pub generated_tokens: usize,
    /// How many of them the model spent on thinking before its answer.
    pub reasoning_tokens: usize,
    /// From the call of `generate` to the first token, waiting included; `None` when there was no token.
    pub time_to_first_token: Option<Duration>,
    /// Time spent on the prompt, up to the choice of the first token. Waiting in a queue does not count.
    pub prefill_duration: Duration,
    /// Time spent from the first token to the end.
    pub decode_duration: Duration,
    /// The most memory in use on the device during this generation, and during others that ran beside it or since before it,
    /// without a pause; `None` when the backend cannot tell.
    pub peak_memory_bytes: Option<u64>,
    /// Memory in use on the device after this generation; `None` when the backend cannot tell.
    pub active_memory_bytes: Option<u64>,
}

impl GenerateMetrics {
    /// Prompt tokens per second of prefill, those that were there already left out; `None` when no time was measured.
    pub fn prefill_tokens_per_second(&self) -> Option<f64> {
        rate(self.prompt_tokens.saturating_sub(self.cached_prompt_tokens), self.prefill_duration)
    }

    /// Tokens per second of decode. The first token belongs to the prefill, so this is the number of tokens
    /// after it over [`decode_duration`](GenerateMetrics::decode_duration); `None` with fewer than two tokens
    /// or no measured time.
    pub fn decode_tokens_per_second(&self) -> Option<f64> {
        rate(self.generated_tokens.saturating_sub(1), self.decode_duration)
    }
}

fn rate(tokens: usize, time: Duration) -> Option<f64> {
    (tokens > 0 && !time.is_zero()).then(|| tokens as f64 / time.as_secs_f64())
}

impl fmt::Display for GenerateMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "prompt {}", Tokens(self.prompt_tokens))?;
        if self.cached_prompt_tokens > 0 {
            write!(f, " ({} cached)", self.cached_prompt_tokens)?;
        }
        if let Some(rate) = self.prefill_tokens_per_second() {
            write!(f, ", {rate:.1} tok/s")?;
        }
        write!(f, " · {}", Tokens(self.generated_tokens))?;
        if let Some(rate) = self.decode_tokens_per_second() {
            write!(f, ", {rate:.1} tok/s")?;
        }
        if let Some(time) = self.time_to_first_token {
            write!(f, " · first token {:.2} s", time.as_secs_f64())?;
        }
        if let Some(bytes) = self.peak_memory_bytes {
            write!(f, " · peak memory {}", Bytes(bytes))?;
        }
        Ok(())
    }
}

struct Tokens(usize);

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, if self.0 == 1 { "token" } else { "tokens" })
    }
}

struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: f64 = (1u64 << 20) as f64;
        const GIB: f64 = (1u64 << 30) as f64;
        let bytes = self.0 as f64;
        if bytes >= GIB { write!(f, "{:.1} GiB", bytes / GIB) } else { write!(f, "{:.1} MiB", bytes / MIB) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_none_when_nothing_was_measured() {
        let cases = [
            ("all zero", GenerateMetrics::default(), None, None),
            (
                "no time",
                GenerateMetrics { prompt_tokens: 5, generated_tokens: 5, ..Default::default() },
                None,
                None,
            ),
            (
                "one token",
                GenerateMetrics {
                    prompt_tokens: 4,
                    generated_tokens: 1,
                    prefill_duration: Duration::from_secs(2),
                    decode_duration: Duration::from_secs(1),
                    ..Default::default()
                },
                Some(2.0),
                None,
            ),
            (
                "five tokens",
                GenerateMetrics {
                    prompt_tokens: 4,
                    generated_tokens: 5,
                    prefill_duration: Duration::from_secs(4),
                    decode_duration: Duration::from_secs(2),
                    ..Default::default()
                },
                Some(1.0),
                Some(2.0),
            ),
        ];
        for (name, metrics, prefill, decode) in cases {
            assert_eq!(metrics.prefill_tokens_per_second(), prefill, "{name}");
            assert_eq!(metrics.decode_tokens_per_second(), decode, "{name}");
        }
    }

    #[test]
    fn display_leaves_out_what_is_unknown() {
        assert_eq!(GenerateMetrics::default().to_string(), "prompt 0 tokens · 0 tokens");
        let small = GenerateMetrics {
            prompt_tokens: 1,
            generated_tokens: 1,
            peak_memory_bytes: Some(3 << 19),
            ..Default::default()
        };
        assert_eq!(small.to_string(), "prompt 1 token · 1 token · peak memory 1.5 MiB");
        let warm = GenerateMetrics {
            prompt_tokens: 30,
            cached_prompt_tokens: 20,
            prefill_duration: Duration::from_secs(2),
            ..Default::default()
        };
        assert_eq!(warm.to_string(), "prompt 30 tokens (20 cached), 5.0 tok/s · 0 tokens");
    }
}
