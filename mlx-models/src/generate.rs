//! Reading a prompt and choosing token after token: the loop around a model.

use mlx_core::{Array, DType, concatenate, eval, kernels, memory};

use crate::sampling::{Sampled, Sampler, logprob};
use crate::{Batch, Error, KvCache, LanguageModel, Result, cache};

/// Prompt tokens that go through the model at once. More take more memory; fewer leave the processor idle. Between two
/// chunks a caller may stop.
pub const PREFILL_CHUNK: usize = 256;

/// One sequence in the making: its caches, its sampler, and the tokens so far.
///
/// Read the prompt with [`prefill`](Self::prefill), then alternate [`sample`](Self::sample) and [`advance`](Self::advance).
///
/// A clone goes on by itself from the same place; it shares memory with the first until one of them reads on.
#[derive(Clone)]
pub struct Sequence<'m> {
    model: &'m dyn LanguageModel,
    caches: Vec<KvCache>,
    sampler: Sampler,
    tokens: Vec<u32>,
    /// Logits of the next token, `[V]`.
    next: Vec<f32>,
    /// The error that ended the sequence.
    broken_by: Option<String>,
}

impl<'m> Sequence<'m> {
    /// Starts an empty sequence.
    pub fn new(model: &'m dyn LanguageModel, sampler: Sampler) -> Self {
        let caches = model.make_caches();
        Sequence { model, caches, sampler, tokens: Vec::new(), next: Vec::new(), broken_by: None }
    }

    /// Goes on from what was read before: `caches` that hold `tokens`, as [`cache::load_prompt`] and
    /// [`into_parts`](Self::into_parts) give them. With no tokens and caches of
    /// [`make_caches_with`](LanguageModel::make_caches_with), starts a sequence whose caches are packed.
    ///
    /// There are no logits yet: [`prefill`](Self::prefill) has to read a token at least.
    ///
    /// # Errors
    /// When a cache has read another number of tokens.
    pub fn resume(
        model: &'m dyn LanguageModel,
        sampler: Sampler,
        tokens: Vec<u32>,
        caches: Vec<KvCache>,
    ) -> Result<Self> {
        if let Some(cache) = caches.iter().find(|cache| cache.offset() as usize != tokens.len()) {
            let message = format!("a cache has read {} tokens; {} were given", cache.offset(), tokens.len());
            return Err(mlx_core::Error::Shape { op: "resume", message }.into());
        }
        Ok(Sequence { model, caches, sampler, tokens, next: Vec::new(), broken_by: None })
    }

    /// The tokens that were read, and the caches that hold them.
    ///
    /// # Errors
    /// After an error of another method, which may have left the caches at different positions.
    pub fn into_parts(self) -> Result<(Vec<u32>, Vec<KvCache>)> {
        self.check()?;
        Ok((self.tokens, self.caches))
    }

    /// The tokens that were read.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Bytes that the caches take.
    pub fn cache_bytes(&self) -> usize {
        self.caches.iter().map(KvCache::nbytes).sum()
    }

    /// The caches. Clones of them share memory with them until the sequence reads on.
    ///
    /// # Errors
    /// As [`into_parts`](Self::into_parts).
    pub fn caches(&self) -> Result<&[KvCache]> {
        self.check()?;
        Ok(&self.caches)
    }

    /// Forgets everything that was read, also after an error, and gives the tokens back, to be read again. The sampler goes on
    /// from where it is.
    pub fn restart(&mut self) -> Vec<u32> {
        self.caches = self.model.make_caches();
        self.next.clear();
        self.broken_by = None;
        std::mem::take(&mut self.tokens)
    }

    /// Forgets all but the first `length` tokens, to go on from a prefix. There are no logits then, until
    /// [`prefill`](Self::prefill) has read a token.
    ///
    /// # Errors
    /// When a sliding window no longer holds what that takes (see [`cache::truncate`]), or there are not as many tokens. The
    /// sequence is then as it was.
    pub fn truncate(&mut self, length: usize) -> Result<()> {
        self.check()?;
        cache::truncate(&mut self.caches, length)?;
        self.tokens.truncate(length);
        self.next.clear();
        Ok(())
    }

    /// Reads `prompt`. `go_on` is asked between chunks; gives whether the whole prompt was read.
    ///
    /// # Errors
    /// When an id lies outside the vocabulary, or computing fails; the sequence is then unusable.
    pub fn prefill(&mut self, prompt: &[u32], mut go_on: impl FnMut() -> bool) -> Result<bool> {
        self.check()?;
        let mut chunks = prompt.chunks(PREFILL_CHUNK).peekable();
        while let Some(tokens) = chunks.next() {
            if !go_on() {
                return Ok(false);
            }
            let wants_logits = chunks.peek().is_none();
            read_together(&mut [Reading { sequence: self, tokens, wants_logits }])?;
            if !wants_logits {
                memory::clear_cache()?;
            }
        }
        Ok(true)
    }

    /// Chooses the next token; the sequence does not change until it is given to [`advance`](Self::advance).
    ///
    /// # Errors
    /// When the logits hold no choice: before any prompt was read, or when the model computed NaN. And after an error of
    /// another method.
    pub fn sample(&mut self) -> Result<Sampled> {
        self.check()?;
        self.sampler.sample(&mut self.next, &self.tokens)
    }

    /// Appends a token and computes the logits of the one after it.
    ///
    /// # Errors
    /// When the id lies outside the vocabulary, or computing fails; the sequence is then unusable.
    pub fn advance(&mut self, token: u32) -> Result<()> {
        read_together(&mut [Reading { sequence: self, tokens: &[token], wants_logits: true }])
    }

    /// Logits of the next token, `[V]`; empty before a prompt was read. Sampling may have changed them by penalties.
    pub fn logits(&self) -> &[f32] {
        &self.next
    }

    fn check(&self) -> Result<()> {
        match &self.broken_by {
            Some(cause) => Err(Error::Sequence { cause: cause.clone() }),
            None => Ok(()),
        }
    }
}

/// What one sequence reads in a step of several: see [`read_together`].
pub struct Reading<'r, 'm> {
    /// The sequence, which grows by the tokens.
    pub sequence: &'r mut Sequence<'m>,
    /// At least one token.
    pub tokens: &'r [u32],
    /// Whether to compute the logits after the last of them, so that the sequence can be sampled from.
    pub wants_logits: bool,
}

/// Reads tokens of several sequences of one model at a time, which costs less than one after another.
///
/// On a CPU, with kernels of our own, each computes bit for bit what it computes alone: sequences that read few tokens, and
/// those that read many, each take the kernels that they take alone.
///
/// # Errors
/// When one of the sequences is unusable already or has nothing to read; nothing happens then. When an id lies outside the
/// vocabulary, or computing fails; all of the sequences are unusable then.
pub fn read_together(readings: &mut [Reading<'_, '_>]) -> Result<()> {
    for reading in &*readings {
        reading.sequence.check()?;
        if reading.tokens.is_empty() {
            let message = "there are no tokens to read".to_owned();
            return Err(mlx_core::Error::Shape { op: "read_together", message }.into());
        }
    }
    let outcome = read(readings);
    if let Err(error) = &outcome {
        // Some layers may have grown and others not.
        for reading in readings {
            reading.sequence.broken_by = Some(error.to_string());
        }
    }
    outcome
}

fn read(readings: &mut [Reading<'_, '_>]) -> Result<()> {
    let Some(first) = readings.first() else { return Ok(()) };
    let model = first.sequence.model;
    // The last hidden state of each that wants logits, [1, 1, D], and which one that is.
    let (mut wanting, mut last) = (Vec::new(), Vec::new());
    for few in [true, false] {
        let (mut batch, mut tokens, mut ends) = (Batch::new(), Vec::new(), Vec::new());
        for (index, reading) in readings.iter_mut().enumerate() {
            if few == (reading.tokens.len() < kernels::MANY) {
                tokens.extend_from_slice(reading.tokens);
                batch.push(reading.tokens.len() as i32, &mut reading.sequence.caches);
                ends.push((index, tokens.len() as i32, reading.wants_logits));
            }
        }
        // The shape tells the kernels how long a sequence is, and those of several short ones are as good as of one token each.
        let count = tokens.len() as i32;
        let shape = if few && ends.len() > 1 { [count, 1] } else { [1, count] };
        if ends.is_empty() {
            continue;
        }
        let hidden = model.forward_batch(&Array::from_slice(&tokens, &shape)?, &mut batch)?;
        let hidden = hidden.reshape(&[1, count, -1])?;
        for (index, end, _) in ends.into_iter().filter(|(.., wants_logits)| *wants_logits) {
            wanting.push(index);
            last.push(hidden.slice_axis(1, end - 1, end)?);
        }
    }
    // The head is the largest matrix of a small model, so only last positions go through it.
    let logits = match &last[..] {
        [] => None,
        [last] => Some(model.logits(last)?.as_type(DType::F32)?),
        several => {
            let last = concatenate(&several.iter().collect::<Vec<_>>(), 1)?.swapaxes(0, 1)?; // [n, 1, D]
            Some(model.logits(&last)?.as_type(DType::F32)?) // [n, 1, V]
        }
    };
    // Without this the graph of a whole prompt would pile up.
    let caches = readings.iter().flat_map(|reading| reading.sequence.caches.iter().flat_map(KvCache::arrays));
    eval(&caches.chain(&logits).collect::<Vec<_>>())?;

    for reading in &mut *readings {
        reading.sequence.tokens.extend_from_slice(reading.tokens);
        reading.sequence.next.clear();
    }
    let mut logits = logits.map_or(Ok(Vec::new()), |logits| logits.to_vec::<f32>())?;
    for index in wanting.into_iter().rev() {
        let start = logits.len().saturating_sub(model.shape().vocab_size);
        readings[index].sequence.next = logits.split_off(start);
    }
    Ok(())
}

/// Hidden states of one chunk of one sequence, `[1, l, D]`.
fn forward(model: &dyn LanguageModel, chunk: &[u32], caches: &mut [KvCache]) -> Result<Array> {
    let ids = Array::from_slice(chunk, &[1, chunk.len() as i32])?;
    model.forward(&ids, caches)
}

/// Logits of hidden states `[1, l, D]`, flat.
fn logits(model: &dyn LanguageModel, hidden: &Array) -> Result<Vec<f32>> {
    Ok(model.logits(hidden)?.as_type(DType::F32)?.to_vec()?)
}

/// How well the model foresees `tokens`: the exponential of the mean negative log-likelihood of each but the first.
///
/// # Errors
/// When there are fewer than two tokens or more than the model's context holds, an id lies outside the vocabulary, or
/// computing fails.
pub fn perplexity(model: &dyn LanguageModel, tokens: &[u32]) -> Result<f64> {
    let (vocab, context) = (model.shape().vocab_size, model.shape().context_len);
    if tokens.len() < 2 || tokens.len() > context {
        let message =
            format!("{} tokens; perplexity takes from 2 to the model's context of {context}", tokens.len());
        return Err(Error::Option { option: "tokens", message });
    }
    let (mut position, mut total) = (0, 0.0);
    for_each_logits(model, tokens, |rows| {
        for row in rows.chunks(vocab) {
            position += 1;
            if let Some(next) = tokens.get(position) {
                total -= f64::from(logprob(row, *next)?);
            }
        }
        Ok(())
    })?;
    Ok((total / (tokens.len() - 1) as f64).exp())
}

/// Logits of every position of `tokens`, a chunk at a time: `each` gets the rows `[l, V]` of a chunk, flat.
///
/// # Errors
/// When an id lies outside the vocabulary, computing fails, or `each` does.
pub fn for_each_logits(
    model: &dyn LanguageModel,
    tokens: &[u32],
    mut each: impl FnMut(Vec<f32>) -> Result<()>,
) -> Result<()> {
    let mut caches = model.make_caches();
    for chunk in tokens.chunks(PREFILL_CHUNK) {
        let hidden = forward(model, chunk, &mut caches)?;
        each(logits(model, &hidden)?)?;
        memory::clear_cache()?;
    }
    Ok(())
}
