//! How much a model may take.

use inference_api::{Error, ErrorKind, LoadOptions, Result};
use mlx_core::memory;
use mlx_models::LanguageModel;

/// Sequences that are decoded at a time, unless the caller says otherwise.
const SLOTS: usize = 4;

/// Requests that may wait, unless the caller says otherwise.
const QUEUE: usize = 1024;

/// The most that the prompt cache takes by default.
const PROMPT_CACHE: usize = 4 << 30;

/// What is taken to be free where MLX tells no limit of its own: a part of any machine that runs models.
const NO_LIMIT: usize = 8 << 30;

/// The limits of one loaded model. All sizes are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Tokens of one sequence, prompt and answer together.
    pub(crate) context_len: usize,
    /// Sequences that are decoded at a time.
    pub(crate) slots: usize,
    /// Requests that may wait.
    pub(crate) queue: usize,
    /// What the KV caches of running sequences take together.
    pub(crate) kv_cache: usize,
    /// What is kept of finished sequences.
    pub(crate) prompt_cache: usize,
}

impl Limits {
    /// Those that the caller asked for, and for the rest what is usual: half of what MLX may still allocate goes to running
    /// sequences, and an eighth, up to 4 GiB, to finished ones.
    pub(crate) fn of(model: &dyn LanguageModel, options: &LoadOptions) -> Result<Self> {
        let made_for = model.shape().context_len;
        let context_len = options.context_len.unwrap_or(made_for);
        if context_len > made_for {
            let message = format!("context_len is {context_len}, but the model was made for {made_for}");
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        let free = memory::memory_limit()
            .ok()
            .filter(|limit| *limit > 0)
            .map_or(NO_LIMIT, |limit| limit.saturating_sub(memory::active_memory().unwrap_or(0)));
        let bytes = |given: Option<u64>, usual: usize| {
            given.map_or(usual, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
        };
        Ok(Limits {
            context_len,
            slots: options.parallel_slots.unwrap_or(SLOTS),
            queue: options.queue_len.unwrap_or(QUEUE),
            kv_cache: bytes(options.kv_cache_bytes, free / 2),
            prompt_cache: bytes(options.prompt_cache_bytes, (free / 8).min(PROMPT_CACHE)),
        })
    }
}
