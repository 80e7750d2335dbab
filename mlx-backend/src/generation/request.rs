//! What a handle asks of the engine, and how the engine answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use inference_api::{Error, Finish, FinishReason, GenerateMetrics, GenerateOptions, Result, Step, Token};
use mlx_models::TextTools;
use mlx_models::sampling::{Sampler, SamplingConfig};

use super::text::TextStream;
use crate::engine::Ticket;
use crate::error::from_models;

/// A generation that was asked for.
pub(crate) struct Request {
    pub(crate) prompt: Vec<u32>,
    pub(crate) options: GenerateOptions,
    pub(crate) sampler: Sampler,
    /// When `generate` was called; the time to the first token counts from here.
    pub(crate) called: Instant,
    /// Set when the stream is dropped.
    pub(crate) dropped: Arc<AtomicBool>,
    /// Unbounded, so that a slow reader never holds the engine up; `max_tokens` bounds what waits in it.
    pub(crate) steps: Sender<Result<Step>>,
    /// What makes text of its tokens.
    pub(crate) text: TextStream,
    /// Its place, until it has ended.
    pub(crate) _ticket: Ticket,
}

impl Request {
    /// Whether nobody wants its tokens any more.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.options.is_cancelled() || self.dropped.load(Ordering::Acquire)
    }

    /// Ends it before its turn has come.
    pub(crate) fn answer_cancelled(&self) {
        let metrics = GenerateMetrics { prompt_tokens: self.prompt.len(), ..GenerateMetrics::default() };
        self.finish(FinishReason::Cancelled, metrics);
    }

    /// Sends what is certain of the next token, which spells nothing if it is `silent`; gives whether a stop string ended the
    /// text.
    pub(crate) fn take(&mut self, token: Token, silent: bool) -> bool {
        // A failed send means that the stream was dropped, which the next look at the flag tells.
        self.text.push(token, silent, &mut |token| {
            let _ = self.steps.send(Ok(Step::Token(token)));
        })
    }

    /// Sends what is left of the text; gives whether a stop string was in it.
    pub(crate) fn take_rest(&mut self) -> bool {
        self.text.finish(&mut |token| {
            let _ = self.steps.send(Ok(Step::Token(token)));
        })
    }

    pub(crate) fn finish(&self, reason: FinishReason, metrics: GenerateMetrics) {
        let _ = self.steps.send(Ok(Step::Finished(Finish { reason, metrics })));
    }

    pub(crate) fn fail(&self, error: Error) {
        // A stream that was dropped does not want to know.
        let _ = self.steps.send(Err(error));
    }

    /// Whether the sampler changes the logits before it chooses.
    pub(crate) fn changes_logits(&self) -> bool {
        let config = self.sampler.config();
        config.repetition_penalty != 1.0
            || config.presence_penalty != 0.0
            || config.frequency_penalty != 0.0
            || !config.logit_bias.is_empty()
    }
}

/// The sampler's settings for the options of the contract.
///
/// # Errors
/// When the tokenizer can't encode a line break, which XTC has to know.
pub(crate) fn sampling_config(options: &GenerateOptions, text: &TextTools) -> Result<SamplingConfig> {
    // The contract's window of 0 tokens switches penalties off; the sampler's means all tokens.
    let window = options.repetition_context_size;
    let on = window > 0;
    let xtc_special_tokens = match options.xtc_probability > 0.0 {
        true => lasting_tokens(text).map_err(from_models)?,
        false => Vec::new(),
    };
    Ok(SamplingConfig {
        temperature: options.temperature,
        top_k: options.top_k,
        top_p: options.top_p,
        min_p: options.min_p,
        xtc_probability: options.xtc_probability,
        xtc_threshold: options.xtc_threshold,
        xtc_special_tokens,
        repetition_penalty: if on { options.repetition_penalty } else { 1.0 },
        repetition_context_size: window,
        presence_penalty: if on { options.presence_penalty } else { 0.0 },
        presence_context_size: window,
        frequency_penalty: if on { options.frequency_penalty } else { 0.0 },
        frequency_context_size: window,
        logit_bias: options.logit_bias.clone(),
    })
}

/// Tokens that XTC must not leave out: without those of a line break and of the end, a text runs on. As in mlx-lm.
fn lasting_tokens(text: &TextTools) -> mlx_models::Result<Vec<u32>> {
    let mut tokens: Vec<u32> = text.eos_ids.iter().copied().collect();
    if let Ok(tokenizer) = text.tokenizer() {
        tokens.extend(tokenizer.encode("\n", true, false)?);
    }
    Ok(tokens)
}
