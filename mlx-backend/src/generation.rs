//! One generation: from a prompt's tokens to a stream of steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use inference_api::{Finish, FinishReason, GenerateMetrics, GenerateOptions, Result, Step, Token};
use mlx_core::memory;
use mlx_models::sampling::{Sampler, SamplingConfig};
use mlx_models::stop::StopStrings;
use mlx_models::{Detokenizer, LoadedModel, Sequence};

use crate::engine::Shared;
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

/// The sampler's settings for the options of the contract.
pub(crate) fn sampling_config(options: &GenerateOptions) -> SamplingConfig {
    // The contract's window of 0 tokens switches penalties off; the sampler's means all tokens.
    let window = options.repetition_context_size;
    let on = window > 0;
    SamplingConfig {
        temperature: options.temperature,
        top_k: options.top_k,
        top_p: options.top_p,
        min_p: options.min_p,
        repetition_penalty: if on { options.repetition_penalty } else { 1.0 },
        repetition_context_size: window,
        presence_penalty: if on { options.presence_penalty } else { 0.0 },
        presence_context_size: window,
        frequency_penalty: if on { options.frequency_penalty } else { 0.0 },
        frequency_context_size: window,
        ..SamplingConfig::default()
    }
}

/// Runs the generation to its end. Every step goes out as soon as it is certain.
pub(crate) fn run(model: &LoadedModel, request: Request, shared: &Shared) -> Result<()> {
    let Request { prompt, options, sampler, stops, called, dropped, steps } = request;
    let go_on = || !shared.is_closing() && !options.is_cancelled() && !dropped.load(Ordering::Acquire);
    // The peak of this generation. Two models at once share the measurement, which is of the whole process.
    memory::reset_peak_memory().map_err(|error| from_models(error.into()))?;

    let start = Instant::now();
    let mut sequence = Sequence::new(&*model.model, sampler);
    let read = sequence.prefill(&prompt, go_on).map_err(from_models)?;
    let mut clock = Clock { called, start, first_token: None };
    let mut text = TextStream::new(model, stops)?;
    let mut generated = 0;

    let reason = loop {
        if shared.is_closing() {
            return Err(closed());
        }
        if !read || !go_on() {
            break FinishReason::Cancelled;
        }
        let sampled = sequence.sample().map_err(from_models)?;
        if !options.ignore_eos && model.text.eos_ids.contains(&sampled.token) {
            break FinishReason::Stop;
        }
        clock.first_token.get_or_insert_with(Instant::now);
        generated += 1;
        let logprob = options.logprobs.then_some(sampled.logprob);
        let stopped = text.push(sampled.token, logprob, &mut |token| {
            // A failed send means that the stream was dropped, which the next look at the flag tells.
            let _ = steps.send(Ok(Step::Token(token)));
        })?;
        if stopped {
            break FinishReason::StopString;
        }
        if generated == options.max_tokens {
            break FinishReason::Length;
        }
        sequence.advance(sampled.token).map_err(from_models)?;
    };
    let reason = match text.finish(&mut |token| drop(steps.send(Ok(Step::Token(token))))) {
        true => FinishReason::StopString,
        false => reason,
    };
    let metrics = clock.metrics(prompt.len(), generated)?;
    shared.set_last_metrics(metrics);
    let _ = steps.send(Ok(Step::Finished(Finish { reason, metrics })));
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
        Ok(GenerateMetrics {
            prompt_tokens,
            generated_tokens,
            time_to_first_token: first.map(|first| first - self.called),
            prefill_duration: first.map_or_else(|| self.start.elapsed(), |first| first - self.start),
            decode_duration: first.map_or(Duration::ZERO, |first| first.elapsed()),
            peak_memory_bytes: Some(bytes(memory::peak_memory())?),
            active_memory_bytes: Some(bytes(memory::active_memory())?),
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
    fn new(model: &LoadedModel, stops: StopStrings) -> Result<Self> {
        let detokenizer = model.text.tokenizer().ok().map(|tokenizer| tokenizer.detokenizer(true));
        Ok(TextStream { detokenizer, stops, held: None })
    }

    /// Takes the next token; gives whether a stop string ended the text.
    fn push(&mut self, id: u32, logprob: Option<f32>, emit: &mut dyn FnMut(Token)) -> Result<bool> {
        let piece = match &mut self.detokenizer {
            Some(detokenizer) => detokenizer.push(id).map_err(from_models)?,
            None => String::new(),
        };
        let outcome = self.stops.push(&piece);
        if let Some(held) = self.held.take() {
            emit(held);
        }
        self.held = Some(Token { id, text: outcome.text, logprob });
        // Text that stayed behind belongs to this token if no other follows; one that is whole may go.
        let whole = self.held_back_bytes() == 0;
        if whole && let Some(token) = self.held.take() {
            emit(token);
        }
        Ok(outcome.stopped)
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
