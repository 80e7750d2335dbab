//! What finished requests have read, for requests that begin with the same tokens.

use mlx_models::{KvCache, Sequence, cache};

/// A prefix shorter than this is read again: all prompts of a model begin with the same token or two.
pub(super) const WORTHWHILE: usize = 16;

/// Caches of finished sequences, the least recently used of which go when there is no room.
///
/// It belongs to one loaded model, and so to one adapter and one kind of cache; what is found here fits.
pub(crate) struct PromptCache {
    /// The least recently used first.
    entries: Vec<Entry>,
    limit: usize,
}

/// What a sequence had read when it ended.
struct Entry {
    tokens: Vec<u32>,
    caches: Vec<KvCache>,
    checkpoint: Option<Checkpoint>,
    bytes: usize,
}

/// What the sliding layers of a sequence held at the end of its prompt.
///
/// They can't go back far, so a reply that is longer than they can would leave nothing for a request that shares the prompt
/// and not the reply: one that is asked for again, or whose reply is rendered otherwise in the next turn. The other layers
/// can always go back.
#[derive(Clone)]
pub(crate) struct Checkpoint {
    length: usize,
    /// One for each layer; `None` for those that can go back.
    sliding: Vec<Option<KvCache>>,
}

impl Checkpoint {
    /// That of a sequence; `None` when all of its layers can go back, or it is unusable.
    pub(crate) fn of(sequence: &Sequence<'_>) -> Option<Self> {
        let caches = sequence.caches().ok()?;
        let sliding: Vec<_> =
            caches.iter().map(|cache| cache.window().is_some().then(|| cache.clone())).collect();
        sliding.iter().any(Option::is_some).then(|| Checkpoint { length: sequence.tokens().len(), sliding })
    }

    fn bytes(&self) -> usize {
        self.sliding.iter().flatten().map(KvCache::nbytes).sum()
    }
}

impl PromptCache {
    /// An empty cache of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        PromptCache { entries: Vec::new(), limit }
    }

    /// Takes in what a finished sequence has read. What is larger than the whole cache is not kept, and costs nobody else a
    /// place.
    pub(crate) fn insert(&mut self, tokens: Vec<u32>, caches: Vec<KvCache>, checkpoint: Option<Checkpoint>) {
        let bytes = caches.iter().map(KvCache::nbytes).sum::<usize>()
            + checkpoint.as_ref().map_or(0, Checkpoint::bytes)
            + size_of_val(&tokens[..]);
        if tokens.len() < WORTHWHILE || bytes > self.limit {
            return;
        }
        let new = Entry { tokens, caches, checkpoint, bytes };
        // Whoever could use a prefix can use the whole, if that can go back so far.
        self.entries.retain(|entry| {
            let length = entry.tokens.len();
            !new.tokens.starts_with(&entry.tokens) || new.usable(length) < length
        });
        self.entries.push(new);
        let mut total: usize = self.entries.iter().map(|entry| entry.bytes).sum();
        while total > self.limit {
            total -= self.entries.remove(0).bytes;
        }
    }

    /// Caches that hold the longest prefix of `prompt` that there is, and its length, which is below the prompt's: the last
    /// token has to be read for its logits. `None` when nothing worthwhile is there.
    pub(crate) fn find(&mut self, prompt: &[u32]) -> Option<(usize, Vec<KvCache>)> {
        let most = prompt.len().checked_sub(1)?;
        let usable = |entry: &Entry| entry.usable(common(&entry.tokens, prompt).min(most));
        let (length, index) =
            self.entries.iter().enumerate().map(|(index, entry)| (usable(entry), index)).max()?;
        if length < WORTHWHILE {
            return None;
        }
        let entry = self.entries.remove(index);
        if length == entry.tokens.len() && entry.checkpoint.is_none() {
            // The next turn of a conversation: it goes on in the same memory, and comes back when it ends.
            return Some((length, entry.caches));
        }
        let caches = entry.at(length);
        self.entries.push(entry);
        caches.map(|caches| (length, caches))
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

impl Entry {
    /// The longest prefix of at most `length` tokens that can be had.
    fn usable(&self, length: usize) -> usize {
        if length >= cache::shortest_prefix(&self.caches) {
            return length;
        }
        match &self.checkpoint {
            Some(checkpoint) if checkpoint.length <= length => checkpoint.length,
            Some(checkpoint) if checkpoint.can_truncate(length) => length,
            _ => 0,
        }
    }

    /// Caches that hold the first `length` tokens, which [`usable`](Self::usable) said can be had.
    fn at(&self, length: usize) -> Option<Vec<KvCache>> {
        let mut caches = self.caches.clone();
        if length < cache::shortest_prefix(&caches) {
            for (cache, sliding) in caches.iter_mut().zip(&self.checkpoint.as_ref()?.sliding) {
                if let Some(sliding) = sliding {
                    *cache = sliding.clone();
                }
            }
        }
        cache::truncate(&mut caches, length).ok()?;
        caches.iter_mut().try_for_each(KvCache::fit).ok()?;
        // Now, so that the memory that it was cut from can go when its owner does.
        mlx_core::eval(&caches.iter().flat_map(KvCache::arrays).collect::<Vec<_>>()).ok()?;
        Some(caches)
    }
}

impl Checkpoint {
    fn can_truncate(&self, length: usize) -> bool {
        let length = i32::try_from(length).unwrap_or(i32::MAX);
        self.sliding.iter().flatten().all(|cache| cache.can_truncate(length))
    }
}

/// How many tokens two texts begin with in common.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
