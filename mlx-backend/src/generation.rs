//! One generation: from a prompt's tokens to a stream of steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use inference_api::{Finish, FinishReason, GenerateMetrics, GenerateOptions, Result, Step, Token};
use mlx_core::memory;
use mlx_models::sampling::{self, Sampler, SamplingConfig};
use mlx_models::stop::StopStrings;
use mlx_models::{Detokenizer, LoadedModel, Sequence, TextTools};

use crate::error::{closed, from_models};

/// What the handle asks of the engine.
pub(crate) struct Request {
    pub(crate) prompt: Vec<u32>,
    pub(crate) options: GenerateOptions,
    pub(crate) sampler: Sampler,
    pub(crate) stops: StopStrings,
    /// When `generate` was called; the time to the first token counts from here.
    pub(crate) called: Instant,
    /// Set when the stream is dropped.
    pub(crate) dropped: Arc<AtomicBool>,
    /// Unbounded, so that a slow reader never holds the engine up; `max_tokens` bounds what waits in it.
    pub(crate) steps: Sender<Result<Step>>,
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

    fn emit(&self, token: Token) {
        // A failed send means that the stream was dropped, which the next look at the flag tells.
        let _ = self.steps.send(Ok(Step::Token(token)));
    }

    fn finish(&self, reason: FinishReason, metrics: GenerateMetrics) {
        let _ = self.steps.send(Ok(Step::Finished(Finish { reason, metrics })));
    }

    /// Whether the sampler changes the logits before it chooses.
    fn has_penalties(&self) -> bool {
        let config = self.sampler.config();
        config.repetition_penalty != 1.0 || config.presence_penalty != 0.0 || config.frequency_penalty != 0.0
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
        ..SamplingConfig::default()
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

/// Runs the generation to its end. Every step goes out as soon as it is certain.
///
/// Between two steps, and between two chunks of the prompt, `is_open` tells whether the model still is.
pub(crate) fn run(model: &LoadedModel, request: &Request, mut is_open: impl FnMut() -> bool) -> Result<()> {
    let options = &request.options;
    let raw_logprobs = options.logprobs && request.has_penalties();
    // The peak of this generation. Two models at once share the measurement, which is of the whole process.
    memory::reset_peak_memory().map_err(|error| from_models(error.into()))?;

    let mut clock = Clock { called: request.called, start: Instant::now(), first_token: None };
    let mut sequence = Sequence::new(&*model.model, request.sampler.clone());
    let read =
        sequence.prefill(&request.prompt, || is_open() && !request.is_cancelled()).map_err(from_models)?;
    let mut text = TextStream::new(model, request.stops.clone());
    let mut generated = 0;

    let reason = loop {
        if !is_open() {
            return Err(closed());
        }
        if !read || request.is_cancelled() {
            break FinishReason::Cancelled;
        }
        // The contract wants the model's own probabilities, and sampling puts the penalties into the logits.
        let raw = raw_logprobs.then(|| sequence.logits().to_vec());
        let sampled = sequence.sample().map_err(from_models)?;
        let is_eos = model.text.eos_ids.contains(&sampled.token);
        if is_eos && !options.ignore_eos {
            break FinishReason::Stop;
        }
        clock.first_token.get_or_insert_with(Instant::now);
        generated += 1;
        let logprob = match raw {
            Some(raw) => sampling::logprob(&raw, sampled.token).map_err(from_models)?,
            None => sampled.logprob,
        };
        let piece = if is_eos { String::new() } else { text.decode(sampled.token) };
        let token = Token { id: sampled.token, text: piece, logprob: options.logprobs.then_some(logprob) };
        if text.push(token, &mut |token| request.emit(token)) {
            break FinishReason::StopString;
        }
        if generated == options.max_tokens {
            break FinishReason::Length;
        }
        sequence.advance(sampled.token).map_err(from_models)?;
    };
    let reason = match text.finish(&mut |token| request.emit(token)) {
        true => FinishReason::StopString,
        false => reason,
    };
    // Its caches are no part of the memory that stays in use.
    drop(sequence);
    request.finish(reason, clock.metrics(request.prompt.len(), generated)?);
    Ok(())
}

/// When things happened.
struct Clock {
    called: Instant,
    start: Instant,
    first_token: Option<Instant>,
}

impl Clock {
    fn metrics(&self, prompt_tokens: usize, generated_tokens: usize) -> Result<GenerateMetrics> {
        let bytes = |value: mlx_core::Result<usize>| {
            value.map(|n| n as u64).map_err(|error| from_models(error.into()))
        };
        let first = self.first_token;
        let active = bytes(memory::active_memory())?;
        // MLX raises the peak only when it allocates, which a generation that was cancelled at once did not.
        let peak = bytes(memory::peak_memory())?.max(active);
        Ok(GenerateMetrics {
            prompt_tokens,
            generated_tokens,
            time_to_first_token: first.map(|first| first - self.called),
            prefill_duration: first.map_or_else(|| self.start.elapsed(), |first| first - self.start),
            decode_duration: first.map_or(Duration::ZERO, |first| first.elapsed()),
            peak_memory_bytes: Some(peak),
            active_memory_bytes: Some(active),
        })
    }
}

/// Turns token ids into tokens with text, none of which ends inside a character or inside a possible stop string.
///
/// While text is held back, so is the last token: it must carry the rest if the stream ends there.
struct TextStream {
    /// `None` for a model without a tokenizer, whose tokens have no text.
    detokenizer: Option<Detokenizer>,
    stops: StopStrings,
    held: Option<Token>,
}

impl TextStream {
    fn new(model: &LoadedModel, stops: StopStrings) -> Self {
        let detokenizer = model.text.tokenizer().ok().map(|tokenizer| tokenizer.detokenizer(true));
        TextStream { detokenizer, stops, held: None }
    }

    /// The text that the token makes certain.
    fn decode(&mut self, id: u32) -> String {
        // The one error is an id that no token has: a head may be wider than the vocabulary, and such ids spell nothing.
        self.detokenizer.as_mut().and_then(|detokenizer| detokenizer.push(id).ok()).unwrap_or_default()
    }

    /// Takes the next token; gives whether a stop string ended the text.
    fn push(&mut self, token: Token, emit: &mut dyn FnMut(Token)) -> bool {
        let outcome = self.stops.push(&token.text);
        if let Some(held) = self.held.take() {
            emit(held);
        }
        self.held = Some(Token { text: outcome.text, ..token });
        // Text that stayed behind belongs to this token if no other follows; one that is whole may go.
        let whole = self.held_back_bytes() == 0;
        if whole && let Some(token) = self.held.take() {
            emit(token);
        }
        outcome.stopped
    }

    /// Ends the stream; gives whether a stop string was in the text that was still held back.
    fn finish(&mut self, emit: &mut dyn FnMut(Token)) -> bool {
        let mut rest = String::new();
        if !self.stops.stopped() {
            let tail = self.detokenizer.as_mut().map(Detokenizer::finish).unwrap_or_default();
            rest = self.stops.push(&tail).text;
            rest += &self.stops.finish();
        }
        if let Some(mut token) = self.held.take() {
            token.text += &rest;
            emit(token);
        }
        self.stops.stopped()
    }

    fn held_back_bytes(&self) -> usize {
        self.stops.held_back() + self.detokenizer.as_ref().map_or(0, Detokenizer::held_back)
    }
}
