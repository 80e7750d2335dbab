//! Reading a prompt and choosing token after token: the loop around a model.

use mlx_core::{Array, DType, eval, memory};

use crate::sampling::{Sampled, Sampler, logprob};
use crate::{Error, KvCache, LanguageModel, Result, cache};

/// Prompt tokens that go through the model at once. More take more memory; fewer leave the processor idle. Between two
/// chunks a caller may stop.
const PREFILL_CHUNK: usize = 256;

/// One sequence in the making: its caches, its sampler, and the tokens so far.
///
/// Read the prompt with [`prefill`](Self::prefill), then alternate [`sample`](Self::sample) and [`advance`](Self::advance).
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
        self.or_break(|sequence| {
            let mut chunks = prompt.chunks(PREFILL_CHUNK).peekable();
            while let Some(chunk) = chunks.next() {
                if !go_on() {
                    return Ok(false);
                }
                let hidden = forward(sequence.model, chunk, &mut sequence.caches)?;
                if chunks.peek().is_some() {
                    // Without this the graph of the whole prompt would pile up.
                    let pending: Vec<&Array> = sequence.caches.iter().flat_map(KvCache::arrays).collect();
                    eval(&pending)?;
                    memory::clear_cache()?;
                } else {
                    sequence.read_logits(&hidden)?;
                }
                sequence.tokens.extend_from_slice(chunk);
            }
            Ok(true)
        })
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
        self.or_break(|sequence| {
            let hidden = forward(sequence.model, &[token], &mut sequence.caches)?;
            sequence.read_logits(&hidden)?;
            sequence.tokens.push(token);
            Ok(())
        })
    }

    /// Logits of the next token, `[V]`; empty before a prompt was read. Sampling may have changed them by penalties.
    pub fn logits(&self) -> &[f32] {
        &self.next
    }

    /// Runs a step that changes the caches. One that fails may leave the layers at different positions, so it is the last.
    fn or_break<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.check()?;
        let outcome = step(self);
        if let Err(error) = &outcome {
            self.broken_by = Some(error.to_string());
        }
        outcome
    }

    fn check(&self) -> Result<()> {
        match &self.broken_by {
            Some(cause) => Err(Error::Sequence { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// The head is the largest matrix of a small model, so only the last position goes through it.
    fn read_logits(&mut self, hidden: &Array) -> Result<()> {
        let length = hidden.dim(1)?;
        let last = hidden.slice_axis(1, length - 1, length)?; // [1, L, D] -> [1, 1, D]
        self.next = logits(self.model, &last)?;
        Ok(())
    }
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
