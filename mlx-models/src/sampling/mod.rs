//! From one row of logits to one token.
//!
//! The order is mlx-lm's (0.32, `sample_utils.py`), so that equal settings mean equal distributions:
//!
//! ```text
//! logits [V]
//!   + logit bias, then repetition, presence and frequency penalty      (in place)
//!   → log-probabilities: softmax at temperature 1                      (what Sampled::logprob reports)
//!   → top-p, min-p, both on that softmax                               (which tokens stay)
//!   → XTC, on the softmax of the tokens left, now and then             (a random number of its own)
//!   → top-k among the tokens left
//!   → draw with weights exp(logit / temperature) among those           (one random number)
//! ```
//!
//! Temperature 0 takes the highest logit, the lowest id among equals, and reads neither filters nor seed.
//!
//! A [`Sampler`] belongs to one request and holds its random state: the same seed, settings and logits give the same
//! tokens whatever runs beside it. No step sorts the row; the cost per token is a few passes over V.
//!
//! ```
//! use mlx_models::sampling::{Sampler, SamplingConfig};
//!
//! let config = SamplingConfig { temperature: 0.8, top_k: 2, ..SamplingConfig::default() };
//! let mut sampler = Sampler::new(config, 42)?;
//! let mut logits = [0.5, 3.0, -1.0, 2.5];
//! let sampled = sampler.sample(&mut logits, &[])?;
//! assert!(sampled.token == 1 || sampled.token == 3);
//! assert!(sampled.logprob < 0.0);
//! # Ok::<(), mlx_models::Error>(())
//! ```

mod config;
mod cut;
mod numeric;
mod penalties;
mod random;
mod xtc;

pub use config::SamplingConfig;
pub use random::fresh_seed;

use crate::{Error, Result};
use cut::Cut;
use random::Uniform;

/// A chosen token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampled {
    /// The token's id.
    pub token: u32,
    /// Its natural-log probability in the softmax of the penalised logits, at temperature 1 and before any filter.
    ///
    /// This is what mlx-lm reports: it says how likely the model found the token, not how the draw was arranged.
    pub logprob: f32,
}

/// Chooses the tokens of one request, one row of logits at a time.
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplingConfig,
    uniform: Uniform,
    scratch: Scratch,
}

/// Buffers that live as long as the request, so that a token costs no allocation.
#[derive(Debug, Clone, Default)]
struct Scratch {
    tokens: Vec<u32>,
    best: Vec<(f32, u32)>,
    ids: Vec<u32>,
    weights: Vec<f32>,
}

/// What one pass over a row finds out.
#[derive(Debug, Clone, Copy)]
struct Row {
    max: f32,
    /// Sum of `exp(logit - max)`.
    exp_sum: f64,
}

impl Row {
    fn read(logits: &[f32]) -> Result<Self> {
        let max = numeric::checked_max(logits)?;
        Ok(Self { max, exp_sum: numeric::exp_sum(logits, max) })
    }

    fn logprob(self, logit: f32) -> f32 {
        (f64::from(logit) - f64::from(self.max) - self.exp_sum.ln()) as f32
    }
}

impl Sampler {
    /// Makes the sampler of one request. Without a seed of the user's, pass [`fresh_seed`].
    ///
    /// # Errors
    /// [`Error::Option`] naming an option of `config` that is out of its range.
    pub fn new(config: SamplingConfig, seed: u64) -> Result<Self> {
        config.validate()?;
        Ok(Self { config, uniform: Uniform::new(seed), scratch: Scratch::default() })
    }

    /// The options this sampler was made with.
    pub fn config(&self) -> &SamplingConfig {
        &self.config
    }

    /// Chooses a token from `logits` `[V]`.
    ///
    /// `history` holds the tokens so far, prompt included, oldest first; only penalties read it. Afterwards `logits`
    /// carries bias and penalties and is otherwise unchanged, ready for [`top_logprobs`].
    ///
    /// # Errors
    /// [`Error::Sampling`] when the row is empty, holds NaN or positive infinity, or rules out
    /// every token, and when `history` names a token outside it; [`Error::Option`] when
    /// `logit_bias` or `xtc_special_tokens` does.
    pub fn sample(&mut self, logits: &mut [f32], history: &[u32]) -> Result<Sampled> {
        penalties::apply(&self.config, logits, history, &mut self.scratch.tokens)?;
        let row = Row::read(logits)?;
        let mut token = numeric::first_position(logits, row.max) as u32;
        if self.config.temperature > 0.0 {
            self.check_special_tokens(logits)?;
            // Without XTC no number is drawn for it, and seeds mean what they mean without it.
            let probability = f64::from(self.config.xtc_probability);
            let excludes = probability > 0.0 && self.uniform.draw() < probability;
            self.weigh(logits, row, excludes);
            token = self.draw(token);
        }
        let logit = logits.get(token as usize).copied().unwrap_or(row.max);
        Ok(Sampled { token, logprob: row.logprob(logit) })
    }

    /// Computes the distribution that [`sample`](Self::sample) draws from: the tokens it can choose, ascending, with
    /// probabilities that sum to 1, with and without XTC mixed as often as they occur. No random number is used up.
    ///
    /// # Errors
    /// Those of [`sample`](Self::sample).
    pub fn distribution(&mut self, logits: &mut [f32], history: &[u32]) -> Result<Vec<(u32, f32)>> {
        penalties::apply(&self.config, logits, history, &mut self.scratch.tokens)?;
        let row = Row::read(logits)?;
        if self.config.temperature == 0.0 {
            return Ok(vec![(numeric::first_position(logits, row.max) as u32, 1.0)]);
        }
        self.check_special_tokens(logits)?;
        let share = f64::from(self.config.xtc_probability);
        let mut mixture = vec![0.0; if share > 0.0 && share < 1.0 { logits.len() } else { 0 }];
        for (excludes, share) in [(false, 1.0 - share), (true, share)] {
            if share > 0.0 {
                self.weigh(logits, row, excludes);
                let Scratch { ids, weights, .. } = &self.scratch;
                let total = numeric::sum(weights);
                if mixture.is_empty() {
                    let positive = ids.iter().zip(weights).filter(|&(_, &w)| w > 0.0);
                    return Ok(positive.map(|(&id, &w)| (id, (f64::from(w) / total) as f32)).collect());
                }
                for (&id, &weight) in ids.iter().zip(weights) {
                    if let Some(mixed) = mixture.get_mut(id as usize) {
                        *mixed += share * f64::from(weight) / total;
                    }
                }
            }
        }
        let positive = (0..).zip(mixture).filter(|&(_, p)| p > 0.0);
        Ok(positive.map(|(id, p)| (id, p as f32)).collect())
    }

    /// Runs the filters and leaves the kept ids, ascending, and their weights in the scratch buffers.
    fn weigh(&mut self, logits: &[f32], row: Row, excludes: bool) {
        let SamplingConfig { temperature, top_k, top_p, min_p, xtc_threshold, .. } = self.config;
        let Scratch { best, ids, weights, .. } = &mut self.scratch;
        let mut cut = Cut::NONE;
        if min_p > 0.0 {
            cut = cut.stricter(cut::min_p(row.max, min_p));
        }
        // Without XTC between them, the filters may come in any order.
        if !excludes {
            cut = cut.stricter(cut::top_k(logits, top_k, best));
        }
        cut = cut.stricter(cut::top_p(logits, top_p, row.max, row.exp_sum, cut, weights));

        ids.clear();
        weights.clear();
        if cut == Cut::NONE {
            // Ruled-out tokens come along: their weight is 0.
            ids.extend(0..logits.len() as u32);
            weights.extend_from_slice(logits);
        } else {
            for (id, &logit) in (0u32..).zip(logits) {
                if cut.keeps(logit, id) {
                    ids.push(id);
                    weights.push(logit);
                }
            }
        }
        let mut max = row.max;
        if excludes {
            xtc::exclude(ids, weights, row.max, xtc_threshold, &self.config.xtc_special_tokens);
            cut::keep_top_k(ids, weights, top_k, best);
            // Beside one that is gone, all others could weigh nothing.
            max = weights.iter().copied().fold(f32::MIN, f32::max);
        }
        numeric::to_weights(weights, max, temperature);
    }

    /// Checks that XTC's special tokens are tokens, if it is on.
    fn check_special_tokens(&self, logits: &[f32]) -> Result<()> {
        let SamplingConfig { xtc_probability, xtc_special_tokens, .. } = &self.config;
        match xtc_special_tokens.iter().find(|&&token| token as usize >= logits.len()) {
            Some(token) if *xtc_probability > 0.0 => Err(Error::Option {
                option: "xtc_special_tokens",
                message: format!("token {token} is outside the vocabulary of {}", logits.len()),
            }),
            _ => Ok(()),
        }
    }

    /// Draws among the weighed tokens by inverting their cumulative distribution.
    fn draw(&mut self, fallback: u32) -> u32 {
        let Scratch { ids, weights, .. } = &self.scratch;
        let at = numeric::pick(weights, self.uniform.draw());
        at.and_then(|at| ids.get(at)).copied().unwrap_or(fallback)
    }
}

/// The natural-log probability of `token` in the softmax of `logits` `[V]`.
///
/// Computed from logits as the model gave them, it is free of the penalties that [`Sampled::logprob`] includes.
///
/// # Errors
/// [`Error::Sampling`] for a row that [`Sampler::sample`] refuses, and for a token outside it.
pub fn logprob(logits: &[f32], token: u32) -> Result<f32> {
    Ok(logprobs(logits, &[token])?[0])
}

/// [`logprob`] of several tokens of one row, for little more than that of one.
///
/// # Errors
/// As there.
pub fn logprobs(logits: &[f32], tokens: &[u32]) -> Result<Vec<f32>> {
    let row = Row::read(logits)?;
    tokens
        .iter()
        .map(|token| match logits.get(*token as usize) {
            Some(logit) => Ok(row.logprob(*logit)),
            None => {
                let message = format!("token {token} is outside the row of {}", logits.len());
                Err(Error::Sampling { message })
            }
        })
        .collect()
}

/// Lists the `n` most likely tokens of `logits` `[V]` with their log-probabilities, most likely first.
///
/// Probabilities are as in [`Sampled::logprob`] when `logits` comes from [`Sampler::sample`]. Tokens at negative
/// infinity are left out.
///
/// # Errors
/// [`Error::Sampling`] for a row that [`Sampler::sample`] refuses.
pub fn top_logprobs(logits: &[f32], n: usize) -> Result<Vec<Sampled>> {
    let row = Row::read(logits)?;
    if n == 0 {
        return Ok(Vec::new());
    }
    let cut = cut::top_k(logits, n, &mut Vec::new());
    let mut top: Vec<Sampled> = (0u32..)
        .zip(logits)
        .filter(|&(id, &logit)| cut.keeps(logit, id))
        .map(|(token, &logit)| Sampled { token, logprob: row.logprob(logit) })
        .collect();
    // The sort is stable and the ids ascend, so equals stay in order of their ids.
    top.sort_by(|a, b| b.logprob.total_cmp(&a.logprob));
    Ok(top)
}
