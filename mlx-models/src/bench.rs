//! How fast a model reads a prompt and decodes: the two tests of llama.cpp's `llama-bench`, under its names.
//!
//! As there, the token ids are arbitrary and none is sampled, so the figures are the model's own. Results are evaluated
//! inside the clock.

use std::fmt;
use std::time::{Duration, Instant};

use mlx_core::{Array, eval};

use crate::sampling::{Sampler, SamplingConfig};
use crate::{LanguageModel, Result, Sequence};

/// What is timed. Each run starts from empty caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// Reading a prompt, to the logits of the token after it.
    Prefill {
        /// Tokens of the prompt.
        tokens: usize,
    },
    /// Decoding one token after another, to the logits of each.
    Decode {
        /// Tokens of each sequence.
        tokens: usize,
        /// Sequences that are decoded together.
        batch: usize,
    },
}

impl Test {
    /// Tokens that go through the model in one run.
    pub fn tokens(self) -> usize {
        match self {
            Test::Prefill { tokens } => tokens,
            Test::Decode { tokens, batch } => tokens * batch,
        }
    }

    /// Sequences that go through the model together.
    pub fn batch(self) -> usize {
        match self {
            Test::Prefill { .. } => 1,
            Test::Decode { batch, .. } => batch,
        }
    }

    /// Runs the test once, to warm up, and then `repetitions` times on the clock.
    ///
    /// # Errors
    /// When computing fails.
    pub fn measure(self, model: &dyn LanguageModel, repetitions: usize) -> Result<Speed> {
        self.run(model)?;
        let rate = |_| Ok(self.tokens() as f64 / self.run(model)?.as_secs_f64());
        Ok(Speed { samples: (0..repetitions).map(rate).collect::<Result<_>>()? })
    }

    fn run(self, model: &dyn LanguageModel) -> Result<Duration> {
        match self {
            Test::Prefill { tokens } => prefill(model, tokens),
            Test::Decode { tokens, batch } => decode(model, tokens, batch),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Prefill { tokens } => write!(f, "pp{tokens}"),
            Test::Decode { tokens, batch: 1 } => write!(f, "tg{tokens}"),
            Test::Decode { tokens, batch } => write!(f, "tg{tokens} x {batch}"),
        }
    }
}

/// Tokens per second, of all sequences together.
#[derive(Clone, Debug, PartialEq)]
pub struct Speed {
    /// One figure a repetition, in their order.
    pub samples: Vec<f64>,
}

impl Speed {
    /// The arithmetic mean; NaN without samples.
    pub fn mean(&self) -> f64 {
        self.samples.iter().sum::<f64>() / self.samples.len() as f64
    }

    /// The standard deviation of the samples, `√(Σ(x - mean)² / (n - 1))`; 0 with fewer than two.
    pub fn standard_deviation(&self) -> f64 {
        if self.samples.len() < 2 {
            return 0.0;
        }
        let mean = self.mean();
        let squares = self.samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        (squares / (self.samples.len() - 1) as f64).sqrt()
    }
}

fn prefill(model: &dyn LanguageModel, tokens: usize) -> Result<Duration> {
    let prompt: Vec<u32> = (0..tokens).map(|position| any_id(model, position)).collect();
    // Nothing is sampled: the sequence is here for the chunks in which prompts are read.
    let sampler = Sampler::new(SamplingConfig::default(), 0)?;
    let start = Instant::now();
    Sequence::new(model, sampler).prefill(&prompt, || true)?;
    Ok(start.elapsed())
}

fn decode(model: &dyn LanguageModel, tokens: usize, batch: usize) -> Result<Duration> {
    let start = Instant::now();
    let mut caches = model.make_caches();
    for position in 0..tokens {
        let ids: Vec<u32> = (0..batch).map(|sequence| any_id(model, position + sequence)).collect();
        let hidden = model.forward(&Array::from_slice(&ids, &[batch as i32, 1])?, &mut caches)?;
        eval(&[&model.logits(&hidden)?])?;
    }
    Ok(start.elapsed())
}

/// An id of the vocabulary, always the same; neighbours are far apart in the embeddings.
fn any_id(model: &dyn LanguageModel, index: usize) -> u32 {
    const STRIDE: usize = 7919;
    (index.wrapping_mul(STRIDE) % model.shape().vocab_size.max(1)) as u32
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use mlx_core::DType;

    use super::*;
    use crate::{Batch, KvCache, ModelShape};

    const VOCABULARY: usize = 10;

    /// Notes the position and shape of every step, and computes zeros.
    struct Recorder {
        shape: ModelShape,
        /// Position, batch, length.
        steps: RefCell<Vec<[i32; 3]>>,
    }

    mlx_core::nn::module! { Recorder { ; shape, steps } }

    impl Recorder {
        fn new() -> Self {
            let shape = ModelShape {
                vocab_size: VOCABULARY,
                hidden_size: 1,
                num_hidden_layers: 1,
                head_dim: 1,
                key_value_bytes: 8,
                context_len: 4096,
                parameters: 0,
                weight_bytes: 0,
                dtype: DType::F32,
            };
            Recorder { shape, steps: RefCell::default() }
        }
    }

    impl LanguageModel for Recorder {
        fn model_type(&self) -> &'static str {
            "recorder"
        }

        fn config(&self) -> std::result::Result<serde_json::Value, String> {
            Err("a recorder has none".to_owned())
        }

        fn shape(&self) -> &ModelShape {
            &self.shape
        }

        fn make_caches(&self) -> Vec<KvCache> {
            vec![KvCache::new()]
        }

        fn forward_batch(&self, tokens: &Array, batch: &mut Batch<'_>) -> Result<Array> {
            assert!(tokens.to_vec::<u32>()?.iter().all(|id| (*id as usize) < VOCABULARY));
            let (count, length) = (tokens.dim(0)?, tokens.dim(1)?);
            let hidden = Array::zeros(&[count, length, 1], DType::F32)?;
            batch.layer(0).each([hidden], |[hidden], cache| {
                self.steps.borrow_mut().push([cache.offset(), count, length]);
                let rows = Array::zeros(&[count, 1, length, 1], DType::F32)?;
                cache.attend(&rows, &rows, &rows, 1.0)?;
                Ok(hidden)
            })
        }

        fn logits(&self, hidden: &Array) -> Result<Array> {
            Ok(Array::zeros(&[hidden.dim(0)?, hidden.dim(1)?, VOCABULARY as i32], DType::F32)?)
        }
    }

    #[test]
    fn every_run_puts_its_tokens_through_the_model_from_the_start() {
        let cases = [
            (Test::Prefill { tokens: 1 }, "pp1", 1),
            (Test::Prefill { tokens: 300 }, "pp300", 300),
            (Test::Decode { tokens: 3, batch: 1 }, "tg3", 3),
            (Test::Decode { tokens: 5, batch: 4 }, "tg5 x 4", 20),
        ];
        for (test, name, tokens) in cases {
            assert_eq!((test.to_string().as_str(), test.tokens()), (name, tokens));
            let model = Recorder::new();
            let speed = test.measure(&model, 2).unwrap();
            assert_eq!(speed.samples.len(), 2, "{name}");
            assert!(speed.samples.iter().all(|rate| rate.is_finite() && *rate > 0.0), "{name}: {speed:?}");

            let steps = model.steps.into_inner();
            let runs: Vec<_> = steps.chunk_by(|_, next| next[0] != 0).collect();
            assert_eq!(runs.len(), 3, "{name}: one to warm up and two on the clock");
            for run in runs {
                let mut position = 0;
                for [at, batch, length] in run {
                    assert_eq!((*at, *batch as usize), (position, test.batch()), "{name}");
                    position += length;
                    assert!(*length == 1 || matches!(test, Test::Prefill { .. }), "{name}");
                }
                assert_eq!(position as usize * test.batch(), tokens, "{name}");
            }
        }
    }

    #[test]
    fn mean_and_deviation_are_those_of_the_formula() {
        let cases = [(vec![2.0], 2.0, 0.0), (vec![1.0, 3.0], 2.0, 2f64.sqrt()), (vec![4.0; 5], 4.0, 0.0)];
        for (samples, mean, deviation) in cases {
            let speed = Speed { samples };
            assert_eq!((speed.mean(), speed.standard_deviation()), (mean, deviation), "{speed:?}");
        }
    }
}
