//! Classification: prompts are read several at a time, and nothing is decoded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::Sender;

use inference_api::{BatchResult, CancelToken, Classification, Error, ErrorKind, Result, Token};
use mlx_models::sampling::{self, Sampler, SamplingConfig};
use mlx_models::{KvCache, LanguageModel, LoadedModel, PREFILL_CHUNK, Reading, Sequence, read_together};

use super::prompt_cache::{PromptCache, WORTHWHILE};
use super::scheduler::{TOGETHER, catch};
use crate::error::from_models;

/// Prompts, or labels, that are read at a time.
const MOST: usize = 32;

/// The result of one prompt, with its position among those of the call; or what ended the whole call.
pub(crate) type Answer = Result<(usize, BatchResult<Classification>)>;

/// A call of `classify`.
pub(crate) struct ClassifyRequest {
    /// In their order, each with its position among those of the call.
    pub(crate) prompts: Vec<(usize, Vec<u32>)>,
    /// The labels' tokens.
    pub(crate) labels: Vec<Vec<u32>>,
    pub(crate) wants_logits: bool,
    pub(crate) cancel: Option<CancelToken>,
    pub(crate) answers: Sender<Answer>,
}

impl ClassifyRequest {
    /// Ends the call.
    pub(super) fn fail(&self, error: &Error) {
        let _ = self.answers.send(Err(error.clone()));
    }
}

/// A call of `classify`, and how far it is.
pub(super) struct Classifying {
    /// Without its prompts, which wait here.
    pub(super) request: ClassifyRequest,
    waiting: VecDeque<(usize, Vec<u32>)>,
    reading: Vec<Half>,
    /// What all prompts begin with, maybe nothing; unknown at first.
    prefix: Option<Half>,
    /// Since reading together failed, to see which prompt it was.
    one_by_one: bool,
}

/// A prompt, or what several begin with, that is partly read.
struct Half {
    index: usize,
    prompt: Vec<u32>,
    read: Vec<u32>,
    caches: Vec<KvCache>,
}

impl Classifying {
    pub(super) fn new(mut request: ClassifyRequest) -> Self {
        Classifying {
            waiting: std::mem::take(&mut request.prompts).into(),
            request,
            reading: Vec::new(),
            prefix: None,
            one_by_one: false,
        }
    }

    /// Ends the call if it was cancelled.
    pub(super) fn ends_cancelled(&self) -> bool {
        let cancelled = self.request.cancel.as_ref().is_some_and(CancelToken::is_cancelled);
        if cancelled {
            let error = Error::new(ErrorKind::Cancelled, "the classification was cancelled");
            let _ = self.request.answers.send(Err(error));
        }
        cancelled
    }

    /// Reads a chunk of some prompts, and answers those that are read to their end; gives whether there are more.
    /// What it holds at a time takes `room` bytes at most, or is one prompt.
    pub(super) fn step(
        &mut self,
        model: &LoadedModel,
        prompts: &mut PromptCache,
        room: usize,
    ) -> Result<bool> {
        if self.reads_prefix(model, prompts)? {
            return Ok(true);
        }
        if self.reading.is_empty() {
            self.pick(&*model.model, room);
        }
        if let Err(error) = catch(|| self.read(model)) {
            self.retry(error);
        }
        Ok(!self.reading.is_empty() || !self.waiting.is_empty())
    }

    /// Takes prompts out of the queue, as many as go into one step.
    fn pick(&mut self, model: &dyn LanguageModel, room: usize) {
        let longest = self.request.labels.iter().map(Vec::len).max().unwrap_or(0);
        let (mut tokens, mut bytes) = (0, 0_usize);
        while let Some((_, prompt)) = self.waiting.front() {
            let known = self.prefix.as_ref().map_or(0, |prefix| prefix.read.len());
            tokens += prompt.len() - known;
            bytes = bytes.saturating_add(model.cache_bytes(prompt.len() + longest));
            let full = self.reading.len() == MOST || tokens > TOGETHER || bytes > room || self.one_by_one;
            if !self.reading.is_empty() && full {
                return;
            }
            let Some((index, prompt)) = self.waiting.pop_front() else { return };
            let (read, caches) = match &self.prefix {
                Some(prefix) if !prefix.read.is_empty() => (prefix.read.clone(), prefix.caches.clone()),
                _ => (Vec::new(), model.make_caches()),
            };
            self.reading.push(Half { index, prompt, read, caches });
        }
    }

    /// Reads a chunk of what all prompts begin with; gives whether there was one to read.
    fn reads_prefix(&mut self, model: &LoadedModel, prompts: &mut PromptCache) -> Result<bool> {
        if self.prefix.is_none() {
            let common = self.common().to_vec();
            // With a token behind it, all of it may be found.
            let with_next: Vec<u32> = common.iter().copied().chain([0]).collect();
            let found = if common.is_empty() { None } else { prompts.find(&with_next) };
            let (known, caches) = found.unwrap_or_else(|| (0, model.model.make_caches()));
            let (read, prompt) = (common[..known].to_vec(), common);
            if !read.is_empty() {
                // It may have been taken out whole.
                prompts.insert(read.clone(), caches.clone(), None);
            }
            self.prefix = Some(Half { index: 0, prompt, read, caches });
        }
        let Some(prefix) = &mut self.prefix else { return Ok(false) };
        if prefix.read.len() == prefix.prompt.len() {
            return Ok(false);
        }
        let (read, caches) = (std::mem::take(&mut prefix.read), std::mem::take(&mut prefix.caches));
        let mut sequence = sequence(&*model.model, read, caches)?;
        let rest = &prefix.prompt[sequence.tokens().len()..];
        let tokens = &rest[..rest.len().min(PREFILL_CHUNK)];
        let reading = Reading { sequence: &mut sequence, tokens, wants_logits: false };
        read_together(&mut [reading]).map_err(from_models)?;
        (prefix.read, prefix.caches) = sequence.into_parts().map_err(from_models)?;
        if prefix.read.len() == prefix.prompt.len() {
            prompts.insert(prefix.read.clone(), prefix.caches.clone(), None);
        }
        Ok(true)
    }

    /// What all prompts begin with, if it is worth reading by itself; each has a token more, for its logits.
    fn common(&self) -> &[u32] {
        let mut all = self.waiting.iter().map(|(_, prompt)| &prompt[..]);
        let Some(first) = all.next() else { return &[] };
        let common = all.clone().fold(&first[..first.len() - 1], |common, prompt| {
            let same = common.iter().zip(&prompt[..prompt.len() - 1]).take_while(|(a, b)| a == b).count();
            &common[..same]
        });
        if all.next().is_some() && common.len() >= WORTHWHILE { common } else { &[] }
    }

    fn read(&mut self, model: &LoadedModel) -> Result<()> {
        let mut sequences = Vec::with_capacity(self.reading.len());
        for half in &mut self.reading {
            let (read, caches) = (std::mem::take(&mut half.read), std::mem::take(&mut half.caches));
            sequences.push(sequence(&*model.model, read, caches)?);
        }
        let mut readings = Vec::with_capacity(sequences.len());
        for (half, sequence) in self.reading.iter().zip(&mut sequences) {
            let rest = &half.prompt[sequence.tokens().len()..];
            let tokens = &rest[..rest.len().min(PREFILL_CHUNK)];
            if !tokens.is_empty() {
                readings.push(Reading { sequence, tokens, wants_logits: tokens.len() == rest.len() });
            }
        }
        read_together(&mut readings).map_err(from_models)?;
        let mut unread = Vec::new();
        for (mut half, sequence) in self.reading.drain(..).zip(sequences) {
            if half.prompt.len() == sequence.tokens().len() {
                let result = result(&self.request, model, &sequence);
                let _ = self.request.answers.send(Ok((half.index, result)));
            } else {
                (half.read, half.caches) = sequence.into_parts().map_err(from_models)?;
                unread.push(half);
            }
        }
        self.reading = unread;
        Ok(())
    }

    /// After a failure: a prompt by itself has its error, of several each is tried by itself.
    fn retry(&mut self, error: Error) {
        if let [half] = &self.reading[..] {
            let _ = self.request.answers.send(Ok((half.index, Err(error))));
            self.reading.clear();
            return;
        }
        self.one_by_one = true;
        for half in self.reading.drain(..).rev() {
            self.waiting.push_front((half.index, half.prompt));
        }
    }
}

fn result(
    request: &ClassifyRequest,
    model: &LoadedModel,
    sequence: &Sequence<'_>,
) -> BatchResult<Classification> {
    let mut scores = Vec::with_capacity(request.labels.len());
    for labels in request.labels.chunks(MOST) {
        scores.extend(score(sequence, labels)?);
    }
    let logits = sequence.logits();
    let best = sampling::top_logprobs(logits, 1).map_err(from_models)?;
    let Some(best) = best.first() else {
        return Err(Error::new(ErrorKind::Backend, "the model gives no next token"));
    };
    let text = model.text.tokenizer().ok().and_then(|t| t.decode(&[best.token], true).ok());
    let token = Token { logprob: Some(best.logprob), ..Token::new(best.token, text.unwrap_or_default()) };
    Ok(Classification {
        token,
        scores,
        logits: request.wants_logits.then(|| logits.to_vec()),
        prompt_tokens: sequence.tokens().len(),
    })
}

/// Log-probabilities of labels after a sequence: token by token, those of all labels together.
fn score(sequence: &Sequence<'_>, labels: &[Vec<u32>]) -> Result<Vec<f32>> {
    let firsts: Vec<u32> = labels.iter().map(|label| label[0]).collect();
    let mut scores = sampling::logprobs(sequence.logits(), &firsts).map_err(from_models)?;
    // Labels that begin with the same tokens share what has read those.
    let mut branches = BTreeMap::from([(&[][..], sequence.clone())]);
    let longest = labels.iter().map(Vec::len).max().unwrap_or(0);
    for depth in 1..longest {
        let mut next: BTreeMap<&[u32], Sequence<'_>> = BTreeMap::new();
        for label in labels.iter().filter(|label| label.len() > depth) {
            if let (false, Some(parent)) =
                (next.contains_key(&label[..depth]), branches.get(&label[..depth - 1]))
            {
                next.insert(&label[..depth], parent.clone());
            }
        }
        let mut readings: Vec<Reading<'_, '_>> = next
            .iter_mut()
            .map(|(path, sequence)| Reading { sequence, tokens: &path[depth - 1..], wants_logits: true })
            .collect();
        read_together(&mut readings).map_err(from_models)?;
        for (score, label) in scores.iter_mut().zip(labels).filter(|(_, label)| label.len() > depth) {
            if let Some(sequence) = next.get(&label[..depth]) {
                *score += sampling::logprob(sequence.logits(), label[depth]).map_err(from_models)?;
            }
        }
        branches = next;
    }
    Ok(scores)
}

/// A sequence that nothing is sampled from.
fn sequence(model: &dyn LanguageModel, read: Vec<u32>, caches: Vec<KvCache>) -> Result<Sequence<'_>> {
    let sampler = Sampler::new(SamplingConfig::default(), 0).map_err(from_models)?;
    Sequence::resume(model, sampler, read, caches).map_err(from_models)
}
