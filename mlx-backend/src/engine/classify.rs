//! Classification: prompts are read several at a time, and nothing is decoded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::Sender;

use inference_api::{BatchResult, CancelToken, Classification, Error, ErrorKind, Result, Token};
use mlx_models::sampling::{self, Sampler, SamplingConfig};
use mlx_models::{KvCache, LanguageModel, LoadedModel, PREFILL_CHUNK, Reading, Sequence, read_together};

use super::prompt_cache::PromptCache;
use super::scheduler::{TOGETHER, catch};
use crate::error::from_models;

/// Prompts, or labels, that are read at a time.
const MOST: usize = 32;

/// Tokens that all prompts must begin with for these to be read once.
const WORTHWHILE: usize = 16;

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
    pub(super) fn step(&mut self, model: &LoadedModel, prompts: &mut PromptCache) -> Result<bool> {
        if self.reads_prefix(model, prompts)? {
            return Ok(true);
        }
        if self.reading.is_empty() {
            self.pick(&*model.model);
        }
        if let Err(error) = catch(|| self.read(model)) {
            self.retry(error);
        }
        Ok(!self.reading.is_empty() || !self.waiting.is_empty())
    }

    /// Takes prompts out of the queue, as many as go into one step.
    fn pick(&mut self, model: &dyn LanguageModel) {
        let mut tokens = 0;
        while let Some((_, prompt)) = self.waiting.front() {
            let known = self.prefix.as_ref().map_or(0, |prefix| prefix.read.len());
            tokens += prompt.len() - known;
            let full = self.reading.len() == MOST || tokens > TOGETHER || self.one_by_one;
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
        let is_read = |half: &Half, sequence: &Sequence<'_>| half.prompt.len() == sequence.tokens().len();
        if self.reading.iter().zip(&sequences).all(|(half, sequence)| is_read(half, sequence)) {
            let results = self.results(model, &sequences)?;
            for (half, result) in self.reading.drain(..).zip(results) {
                let _ = self.request.answers.send(Ok((half.index, result)));
            }
            return Ok(());
        }
        for (half, sequence) in self.reading.iter_mut().zip(sequences) {
            // Logits would be lost, so the last token of one that is done is read again.
            let mut sequence = sequence;
            if is_read(half, &sequence) {
                sequence.truncate(half.prompt.len() - 1).map_err(from_models)?;
            }
            (half.read, half.caches) = sequence.into_parts().map_err(from_models)?;
        }
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

    fn results(
        &self,
        model: &LoadedModel,
        sequences: &[Sequence<'_>],
    ) -> Result<Vec<BatchResult<Classification>>> {
        let scores = self.scores(sequences)?;
        Ok(sequences
            .iter()
            .zip(scores)
            .map(|(sequence, scores)| self.result(model, sequence, scores))
            .collect())
    }

    fn result(
        &self,
        model: &LoadedModel,
        sequence: &Sequence<'_>,
        scores: Vec<f32>,
    ) -> BatchResult<Classification> {
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
            logits: self.request.wants_logits.then(|| logits.to_vec()),
            prompt_tokens: sequence.tokens().len(),
        })
    }

    /// Log-probabilities of the labels after each sequence: token by token, those of all sequences together.
    fn scores(&self, sequences: &[Sequence<'_>]) -> Result<Vec<Vec<f32>>> {
        let firsts: Vec<u32> = self.request.labels.iter().map(|label| label[0]).collect();
        let first =
            |sequence: &Sequence<'_>| sampling::logprobs(sequence.logits(), &firsts).map_err(from_models);
        let mut scores: Vec<Vec<f32>> = sequences.iter().map(first).collect::<Result<_>>()?;

        // Labels that begin with the same tokens share what has read those.
        let mut branches: Vec<BTreeMap<&[u32], Sequence<'_>>> =
            sequences.iter().map(|sequence| BTreeMap::from([(&[][..], sequence.clone())])).collect();
        let longest = self.request.labels.iter().map(Vec::len).max().unwrap_or(0);
        for depth in 1..longest {
            let mut next: Vec<(usize, &[u32], Sequence<'_>)> = Vec::new();
            for (index, branches) in branches.iter().enumerate() {
                for (place, label) in
                    self.request.labels.iter().enumerate().filter(|(_, label)| label.len() > depth)
                {
                    let seen = self.request.labels[..place]
                        .iter()
                        .any(|l| l.len() > depth && l[..depth] == label[..depth]);
                    if let Some(parent) = branches.get(&label[..depth - 1]).filter(|_| !seen) {
                        next.push((index, &label[..depth], parent.clone()));
                    }
                }
            }
            for some in next.chunks_mut(MOST) {
                let mut readings: Vec<Reading<'_, '_>> = some
                    .iter_mut()
                    .map(|(_, path, sequence)| Reading {
                        sequence,
                        tokens: &path[depth - 1..],
                        wants_logits: true,
                    })
                    .collect();
                read_together(&mut readings).map_err(from_models)?;
            }
            branches = vec![BTreeMap::new(); sequences.len()];
            for (index, path, sequence) in next {
                for (score, label) in scores[index].iter_mut().zip(&self.request.labels) {
                    if label.len() > depth && label[..depth] == *path {
                        *score += sampling::logprob(sequence.logits(), label[depth]).map_err(from_models)?;
                    }
                }
                branches[index].insert(path, sequence);
            }
        }
        Ok(scores)
    }
}

/// A sequence that nothing is sampled from.
fn sequence(model: &dyn LanguageModel, read: Vec<u32>, caches: Vec<KvCache>) -> Result<Sequence<'_>> {
    let sampler = Sampler::new(SamplingConfig::default(), 0).map_err(from_models)?;
    Sequence::resume(model, sampler, read, caches).map_err(from_models)
}
