//! One generation: from a prompt's tokens to a stream of steps.

mod request;
mod text;

use std::time::{Duration, Instant};

use inference_api::{FinishReason, GenerateMetrics, Result, Token, TokenLogprob};
use mlx_core::memory;
use mlx_models::sampling::{self, Sampled};
use mlx_models::{LoadedModel, Sequence, TextTools};

pub(crate) use self::request::{Request, sampling_config};
pub(crate) use self::text::TextStream;
use crate::error::from_models;

/// A request that has a slot: its sequence, and how far it is.
pub(crate) struct Generation<'m> {
    pub(crate) request: Request,
    pub(crate) sequence: Sequence<'m>,
    /// Tokens that the sequence has to read before it can be sampled from: what the prompt cache lacked of the prompt or,
    /// after a failure, everything.
    pub(crate) unread: Vec<u32>,
    /// How many steps failed that it took part in.
    pub(crate) failures: u32,
    /// Whether it reads by itself, since a step failed, to show whose fault that was.
    pub(crate) alone: bool,
    clock: Clock,
    cached: usize,
    generated: usize,
}

impl<'m> Generation<'m> {
    /// Begins a request whose sequence has read the first tokens of the prompt already, or none.
    pub(crate) fn new(request: Request, sequence: Sequence<'m>) -> Self {
        let cached = sequence.tokens().len();
        Generation {
            unread: request.prompt[cached..].to_vec(),
            failures: 0,
            alone: false,
            clock: Clock { called: request.called, start: Instant::now(), first_token: None },
            cached,
            generated: 0,
            request,
            sequence,
        }
    }

    /// Whether it is being decoded: the prompt was read, and logits are there.
    pub(crate) fn is_decoding(&self) -> bool {
        self.unread.is_empty()
    }

    /// Tokens that it holds once it has read what is to be read.
    pub(crate) fn len(&self) -> usize {
        self.sequence.tokens().len() + self.unread.len()
    }

    /// Forgets what was read, to read it again from the start.
    pub(crate) fn restart(&mut self) {
        let mut tokens = self.sequence.restart();
        tokens.append(&mut self.unread);
        self.unread = tokens;
    }

    /// Chooses the next token and sends what is certain of it. Gives why the generation ends here, if it does; otherwise the
    /// token is to be read.
    pub(crate) fn choose(&mut self, model: &LoadedModel) -> Result<Option<FinishReason>> {
        let options = &self.request.options;
        // The contract wants the model's own probabilities, and sampling puts penalties and bias into the logits.
        let wants_logprobs = options.logprobs || options.top_logprobs > 0;
        let raw = (wants_logprobs && self.request.changes_logits()).then(|| self.sequence.logits().to_vec());
        let sampled = self.sequence.sample().map_err(from_models)?;
        let is_eos = model.text.eos_ids.contains(&sampled.token);
        if is_eos && !options.ignore_eos {
            return Ok(Some(FinishReason::Stop));
        }
        self.clock.first_token.get_or_insert_with(Instant::now);
        self.generated += 1;
        let mut token = Token::new(sampled.token, "");
        if wants_logprobs {
            let logits = raw.as_deref().unwrap_or(self.sequence.logits());
            token.logprob = Some(sampling::logprob(logits, sampled.token).map_err(from_models)?);
            let top = sampling::top_logprobs(logits, options.top_logprobs).map_err(from_models)?;
            token.top_logprobs = top.into_iter().map(|other| alternative(&model.text, other)).collect();
        }
        let at_limit = self.generated == options.max_tokens;
        let reason = match self.request.take(token, is_eos) {
            true => Some(FinishReason::StopString),
            false if at_limit => Some(FinishReason::Length),
            false => None,
        };
        if reason.is_none() {
            self.unread.push(sampled.token);
        }
        Ok(reason)
    }

    /// Sends what is left of the text, then the end. `keep` gets the sequence before that: whoever reads the end finds the
    /// memory as it stays.
    pub(crate) fn finish(self, reason: FinishReason, keep: impl FnOnce(Sequence<'m>)) {
        let Generation { mut request, sequence, clock, cached, generated, .. } = self;
        let reason = match (request.take_rest(), reason) {
            (true, _) => FinishReason::StopString,
            (false, FinishReason::Stop) if request.text.calls() > 0 => FinishReason::ToolCalls,
            (false, reason) => reason,
        };
        keep(sequence);
        match clock.metrics() {
            Ok(metrics) => request.finish(
                reason,
                GenerateMetrics {
                    prompt_tokens: request.prompt.len(),
                    cached_prompt_tokens: cached,
                    generated_tokens: generated,
                    reasoning_tokens: request.text.reasoning_tokens(),
                    ..metrics
                },
            ),
            Err(error) => request.fail(error),
        }
    }
}

/// A token that might have been chosen, with its text.
fn alternative(text: &TextTools, sampled: Sampled) -> TokenLogprob {
    let spelled = text.tokenizer().ok().and_then(|tokenizer| tokenizer.decode(&[sampled.token], false).ok());
    TokenLogprob { id: sampled.token, text: spelled.unwrap_or_default(), logprob: sampled.logprob }
}

/// When things happened.
struct Clock {
    called: Instant,
    start: Instant,
    first_token: Option<Instant>,
}

impl Clock {
    fn metrics(&self) -> Result<GenerateMetrics> {
        let bytes = |value: mlx_core::Result<usize>| {
            value.map(|n| n as u64).map_err(|error| from_models(error.into()))
        };
        let first = self.first_token;
        let active = bytes(memory::active_memory())?;
        // MLX raises the peak only when it allocates, which a generation that was cancelled at once did not.
        let peak = bytes(memory::peak_memory())?.max(active);
        Ok(GenerateMetrics {
            time_to_first_token: first.map(|first| first - self.called),
            prefill_duration: first.map_or_else(|| self.start.elapsed(), |first| first - self.start),
            decode_duration: first.map_or(Duration::ZERO, |first| first.elapsed()),
            peak_memory_bytes: Some(peak),
            active_memory_bytes: Some(active),
            ..GenerateMetrics::default()
        })
    }
}
