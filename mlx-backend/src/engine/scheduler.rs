//! Which sequence gets what computed next.
//!
//! Between two looks at what has arrived, the engine takes one step of each kind that there is work for: a chunk of the
//! prompts that are being read, a token of each sequence that is being decoded, a handful of prompts that are being
//! classified. So streams that run wait for one chunk of a new prompt at most, and a request for one step to begin or end.
//!
//! How a prompt is cut into chunks depends on nothing but the prompt and what was cached of it, and sequences that are
//! computed together don't see each other. So the tokens of a request don't depend on its company.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;

use inference_api::{Error, ErrorKind, FinishReason, Result};
use mlx_core::memory;
use mlx_models::{LoadedModel, PREFILL_CHUNK, Reading, Sequence, read_together};

use super::change::Change;
use super::classify::{ClassifyRequest, Classifying};
use super::inspect::Inspection;
use super::limits::Limits;
use super::prompt_cache::{Checkpoint, PromptCache};
use super::{Shared, panic_text};
use crate::error::{closed, from_models};
use crate::generation::{Generation, Request};

/// Tokens of several short prompts that are read at once.
pub(super) const TOGETHER: usize = 2 * PREFILL_CHUNK;

/// Steps of decoding after which MLX gives back what it keeps for reuse: buffers of sizes that were outgrown.
const STEPS_BETWEEN_CLEARING: usize = 256;

/// After so many failures of its own a request is given up.
const MAX_FAILURES: u32 = 3;

/// After so many failures of requests by themselves, with no success between them, the engine is given up.
const HOPELESS: u32 = 8;

/// What handles ask of the engine.
pub(crate) enum Job {
    Generate(Box<Request>),
    Classify(ClassifyRequest),
    Inspect(Inspection),
    Change(Change),
}

/// The engine's state while a model runs.
pub(super) struct Scheduler<'m> {
    model: &'m LoadedModel,
    limits: Limits,
    shared: &'m Shared,
    arriving: &'m Receiver<Job>,
    /// How many may run: as many as the caller asked for, until the device has no memory for so many.
    slots: usize,
    /// In the order of their arrival.
    waiting: VecDeque<Request>,
    /// Had a slot, and gave its memory to others; these come before those that wait.
    parked: VecDeque<Generation<'m>>,
    running: Vec<Running<'m>>,
    classifying: VecDeque<Classifying>,
    inspecting: VecDeque<Inspection>,
    /// The first waits until nothing runs, and nothing begins until then.
    changes: VecDeque<Change>,
    prompts: PromptCache,
    steps: usize,
    /// Failures of single requests since the last step that succeeded.
    failures: u32,
}

/// What waits while the model is changed.
#[derive(Default)]
pub(super) struct Waiting {
    requests: VecDeque<Request>,
    changes: VecDeque<Change>,
}

/// A generation in a slot.
struct Running<'m> {
    generation: Generation<'m>,
    /// The prompt is not yet read to its end.
    in_prompt: bool,
    checkpoint: Option<Checkpoint>,
}

impl<'m> Scheduler<'m> {
    pub(super) fn new(
        model: &'m LoadedModel,
        limits: Limits,
        shared: &'m Shared,
        arriving: &'m Receiver<Job>,
        waiting: Waiting,
    ) -> Self {
        Scheduler {
            model,
            limits,
            shared,
            arriving,
            slots: limits.slots,
            waiting: waiting.requests,
            parked: VecDeque::new(),
            running: Vec::new(),
            classifying: VecDeque::new(),
            inspecting: VecDeque::new(),
            changes: waiting.changes,
            prompts: PromptCache::new(limits.prompt_cache),
            steps: 0,
            failures: 0,
        }
    }

    /// Works until the model is closed, or the engine given up, or the model is to be changed: gives the change, and what waits.
    pub(super) fn run(mut self) -> Option<(Change, Waiting)> {
        while self.receive() {
            if self.shared.is_closing() {
                self.fail_all(&closed());
                return None;
            }
            self.end_cancelled();
            if self.nothing_runs()
                && let Some(change) = self.changes.pop_front()
            {
                let (requests, changes) =
                    (std::mem::take(&mut self.waiting), std::mem::take(&mut self.changes));
                return Some((change, Waiting { requests, changes }));
            }
            self.admit();
            self.read_prompts();
            self.decode();
            self.classify();
            if let Some(inspection) = self.inspecting.pop_front() {
                inspection.answer(self.model, self.shared);
            }
            if self.failures >= HOPELESS {
                let message = format!("the engine gave up: {HOPELESS} requests in a row failed");
                let error = Error::new(ErrorKind::Closed, message);
                self.shared.give_up(&error);
                self.fail_all(&error);
                return None;
            }
        }
        self.fail_all(&closed());
        None
    }

    /// Takes in what has arrived, and waits for something when there is nothing to do; gives whether anyone may still ask.
    fn receive(&mut self) -> bool {
        if self.nothing_runs() && self.waiting.is_empty() && self.changes.is_empty() {
            let _ = memory::clear_cache();
            let Ok(job) = self.arriving.recv() else { return false };
            // The peak of what begins now. Two models at once share the measurement, which is of the whole process.
            let _ = memory::reset_peak_memory();
            self.take_in(job);
        }
        // A change is not kept waiting by what comes after it.
        while self.changes.is_empty()
            && let Ok(job) = self.arriving.try_recv()
        {
            self.take_in(job);
        }
        true
    }

    /// Whether nothing was begun that is not yet ended.
    fn nothing_runs(&self) -> bool {
        self.running.is_empty()
            && self.parked.is_empty()
            && self.classifying.is_empty()
            && self.inspecting.is_empty()
    }

    fn take_in(&mut self, job: Job) {
        match job {
            Job::Generate(request) => self.waiting.push_back(*request),
            Job::Classify(request) => self.classifying.push_back(Classifying::new(request)),
            Job::Inspect(inspection) => self.inspecting.push_back(inspection),
            Job::Change(change) => self.changes.push_back(change),
        }
    }

    fn fail_all(&mut self, error: &Error) {
        let running = self.running.drain(..).map(|running| running.generation);
        for generation in running.chain(self.parked.drain(..)) {
            generation.request.fail(error.clone());
        }
        self.waiting.drain(..).for_each(|request| request.fail(error.clone()));
        self.classifying.drain(..).for_each(|classifying| classifying.request.fail(error));
        self.inspecting.drain(..).for_each(|inspection| inspection.fail(error));
        self.changes.drain(..).for_each(|change| change.fail(error));
        for job in self.arriving.try_iter() {
            match job {
                Job::Generate(request) => request.fail(error.clone()),
                Job::Classify(request) => request.fail(error),
                Job::Inspect(inspection) => inspection.fail(error),
                Job::Change(change) => change.fail(error),
            }
        }
        self.prompts.clear();
    }

    /// Ends what nobody wants any more, in the queue as well.
    fn end_cancelled(&mut self) {
        self.waiting.retain(|request| {
            let cancelled = request.is_cancelled();
            if cancelled {
                request.answer_cancelled();
            }
            !cancelled
        });
        for index in (0..self.running.len()).rev() {
            if self.running[index].generation.request.is_cancelled() {
                self.end(index, Ok(FinishReason::Cancelled));
            }
        }
        for index in (0..self.parked.len()).rev() {
            if self.parked[index].request.is_cancelled()
                && let Some(generation) = self.parked.remove(index)
            {
                generation.finish(FinishReason::Cancelled, drop);
            }
        }
        self.classifying.retain(|classifying| !classifying.ends_cancelled());
    }

    /// Gives free slots to those that wait, as far as there is memory for what they will have read and a little more.
    fn admit(&mut self) {
        while self.running.len() < self.slots {
            let next = self.parked.front().map(Generation::len);
            let first = self.waiting.front().filter(|_| self.changes.is_empty());
            let Some(tokens) = next.or_else(|| first.map(|request| request.prompt.len())) else { return };
            if !self.running.is_empty() && self.cache_bytes(Some(tokens)) > self.limits.kv_cache {
                return;
            }
            let generation = match self.parked.pop_front() {
                Some(generation) => generation,
                None => match self.waiting.pop_front() {
                    Some(request) if self.never_fits(request.prompt.len()) => {
                        request.fail(self.too_large(request.prompt.len()));
                        continue;
                    }
                    Some(request) => self.begin(request),
                    None => return,
                },
            };
            self.running.push(Running { generation, in_prompt: true, checkpoint: None });
        }
    }

    fn begin(&mut self, request: Request) -> Generation<'m> {
        let model = &*self.model.model;
        let sampler = request.sampler.clone();
        let found = request.options.prompt_cache.then(|| self.prompts.find(&request.prompt)).flatten();
        let resumed = found.and_then(|(length, caches)| {
            Sequence::resume(model, sampler.clone(), request.prompt[..length].to_vec(), caches).ok()
        });
        let sequence = resumed.unwrap_or_else(|| Sequence::new(model, sampler));
        Generation::new(request, sequence)
    }

    /// Whether the caches of a sequence of so many tokens are too large even alone.
    fn never_fits(&self, tokens: usize) -> bool {
        self.model.model.cache_bytes(tokens) > self.limits.kv_cache
    }

    fn too_large(&self, tokens: usize) -> Error {
        let (bytes, limit) = (self.model.model.cache_bytes(tokens), self.limits.kv_cache);
        let message = format!(
            "the KV cache of {tokens} tokens takes {bytes} bytes; the model was loaded with room for {limit}"
        );
        Error::new(ErrorKind::OutOfMemory, message)
    }

    /// Bytes that the caches of what runs take, with those of `another` sequence of so many tokens.
    fn cache_bytes(&self, another: Option<usize>) -> usize {
        let lengths = self.running.iter().map(|running| running.generation.len()).chain(another);
        lengths.map(|tokens| self.model.model.cache_bytes(tokens)).sum()
    }

    /// Reads a chunk of each prompt that is being read, as far as there is room in one step: the oldest first.
    fn read_prompts(&mut self) {
        let (mut picked, mut room) = (Vec::new(), TOGETHER);
        for (index, running) in self.running.iter().enumerate() {
            let tokens = running.generation.unread.len().min(PREFILL_CHUNK);
            if tokens == 0 {
                continue;
            }
            let alone = running.generation.alone;
            if !picked.is_empty() && (alone || tokens > room) {
                continue;
            }
            picked.push(index);
            room = room.saturating_sub(tokens);
            if alone {
                break;
            }
        }
        if picked.is_empty() {
            return;
        }
        self.step(&picked);
        let _ = memory::clear_cache();
    }

    /// Chooses a token of each sequence whose prompt was read, and reads it.
    fn decode(&mut self) {
        let decoding = |running: &Running<'_>| running.generation.is_decoding();
        if !self.running.iter().any(decoding) {
            return;
        }
        let mut ended = Vec::new();
        for (index, running) in self.running.iter_mut().enumerate().filter(|(_, running)| decoding(running)) {
            match running.generation.choose(self.model) {
                Ok(None) => {}
                Ok(Some(reason)) => ended.push((index, Ok(reason))),
                Err(error) => ended.push((index, Err(error))),
            }
        }
        for (index, outcome) in ended.into_iter().rev() {
            self.end(index, outcome);
        }
        self.make_room();
        let chose = |running: &Running<'_>| !running.in_prompt && running.generation.unread.len() == 1;
        let picked: Vec<usize> =
            (0..self.running.len()).filter(|index| chose(&self.running[*index])).collect();
        if !picked.is_empty() {
            self.step(&picked);
        }
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_BETWEEN_CLEARING) {
            let _ = memory::clear_cache();
        }
    }

    /// Takes the youngest out of their slots while the caches are too large. They are read anew when there is room.
    fn make_room(&mut self) {
        while self.cache_bytes(None) > self.limits.kv_cache {
            if let [only] = &self.running[..] {
                let error = self.too_large(only.generation.len());
                return self.end(0, Err(error));
            }
            self.park_youngest();
        }
    }

    /// Takes the youngest out of its slot, and the memory with it: it is read anew when it is its turn again.
    fn park_youngest(&mut self) {
        if let Some(Running { mut generation, .. }) = self.running.pop() {
            generation.restart();
            self.parked.push_front(generation);
        }
    }

    /// Reads the next tokens of some of the sequences: a chunk of a prompt, or the one that was chosen.
    fn step(&mut self, picked: &[usize]) {
        let mut readings = Vec::with_capacity(picked.len());
        for (index, running) in self.running.iter_mut().enumerate() {
            if picked.contains(&index) {
                let Generation { sequence, unread, .. } = &mut running.generation;
                let count = unread.len().min(PREFILL_CHUNK);
                let wants_logits = count == unread.len();
                readings.push(Reading { sequence, tokens: &unread[..count], wants_logits });
            }
        }
        let outcome = catch(|| read_together(&mut readings).map_err(from_models));
        match outcome {
            Ok(()) => {
                self.failures = 0;
                for index in picked {
                    let running = &mut self.running[*index];
                    let unread = &mut running.generation.unread;
                    unread.drain(..unread.len().min(PREFILL_CHUNK));
                    if picked.len() > 1 {
                        running.generation.failures = 0;
                    }
                    if unread.is_empty() && running.in_prompt {
                        running.in_prompt = false;
                        running.generation.alone = false;
                        let request = &running.generation.request;
                        let is_prompt = running.generation.sequence.tokens().len() == request.prompt.len();
                        if request.options.prompt_cache && self.limits.prompt_cache > 0 && is_prompt {
                            running.checkpoint = Checkpoint::of(&running.generation.sequence);
                        }
                    }
                }
            }
            // Who is to blame shows when each is read by itself, from the start: a failure leaves caches in any state.
            Err(error) => {
                // What can be had again is given up first.
                self.prompts.clear();
                let _ = memory::clear_cache();
                // That there is no memory for so many is none's fault, and fewer are next.
                let too_many = error.kind() == ErrorKind::OutOfMemory && picked.len() > 1;
                if too_many {
                    self.slots = (self.running.len() / 2).max(1);
                }
                let mut gave_up = false;
                for index in picked.iter().rev() {
                    let running = &mut self.running[*index];
                    running.generation.failures += u32::from(!too_many);
                    if picked.len() == 1 || running.generation.failures >= MAX_FAILURES {
                        gave_up = true;
                        self.end(*index, Err(error.clone()));
                    } else {
                        running.generation.restart();
                        running.generation.alone = true;
                        running.in_prompt = true;
                    }
                }
                self.failures += u32::from(gave_up);
                while self.running.len() > self.slots {
                    self.park_youngest();
                }
            }
        }
    }

    /// Ends a generation, frees its slot, and keeps what it has read.
    fn end(&mut self, index: usize, outcome: Result<FinishReason>) {
        let Running { generation, in_prompt, checkpoint } = self.running.remove(index);
        let keeps = generation.request.options.prompt_cache;
        let prompts = &mut self.prompts;
        match outcome {
            Ok(reason) => generation.finish(reason, |sequence| {
                if keeps && let Ok((tokens, caches)) = sequence.into_parts() {
                    // Of a prompt that was not read to its end the checkpoint would be the whole.
                    prompts.insert(tokens, caches, checkpoint.filter(|_| !in_prompt));
                }
                let _ = memory::clear_cache();
            }),
            Err(error) => {
                let Generation { request, sequence, .. } = generation;
                drop(sequence);
                let _ = memory::clear_cache();
                request.fail(error);
            }
        }
    }

    /// Does a part of the oldest call of `classify`.
    fn classify(&mut self) {
        let Some(classifying) = self.classifying.front_mut() else { return };
        let room = self.limits.kv_cache;
        let outcome = catch(|| classifying.step(self.model, &mut self.prompts, room));
        match outcome {
            // The next step allocates much the same again.
            Ok(true) => {
                self.failures = 0;
                return;
            }
            Ok(false) => {
                self.classifying.pop_front();
            }
            Err(error) => {
                self.failures += 1;
                if let Some(classifying) = self.classifying.pop_front() {
                    classifying.request.fail(&error);
                }
            }
        }
        let _ = memory::clear_cache();
    }
}

/// A panic outside of a step: whoever waits is told why, before what he waits on is gone.
impl Drop for Scheduler<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.give_up(&Error::new(ErrorKind::Closed, "the engine panicked"));
        }
    }
}

/// What `f` gives; a panic in it is an error.
pub(super) fn catch<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic_text(Some(panic));
        Err(Error::new(ErrorKind::Backend, format!("the engine panicked: {text}")))
    })
}
