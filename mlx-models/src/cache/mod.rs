//! The keys and values of the tokens that a model has read, one cache a layer.
//!
//! A model says which kind each of its layers wants ([`KvCache::new`], [`KvCache::sliding`]) and calls
//! [`KvCache::attend`], nothing else. Its caller says how they hold what they hold ([`CacheConfig`], through
//! [`LanguageModel::make_caches_with`](crate::LanguageModel::make_caches_with)), takes tokens back ([`truncate`]), and keeps
//! them in files ([`save_prompt`], [`load_prompt`]).

mod buffers;
mod config;
mod file;
mod rows;

pub use config::CacheConfig;
pub use file::{load_prompt, save_prompt};

use mlx_core::{
    Array, AttentionMask, Quantization, Quantized, concatenate, quantized_attention,
    scaled_dot_product_attention,
};

use self::buffers::Buffers;
use self::rows::{Packed, Rows};
use crate::{Error, Result};

/// Keys and values `[B, Hkv, S, Dh]` of one attention layer, in the order of their positions.
///
/// Without a window the buffer grows in steps. With one it holds the last `window - 1` positions and some spare room:
/// when the room is used up, the last positions move to its front, so memory stays bounded and order never changes.
///
/// A clone shares the memory of what is held until one of the two goes on, which copies it.
#[derive(Clone, Debug)]
pub struct KvCache {
    window: Option<i32>,
    config: CacheConfig,
    /// Tokens that went in so far: the position of the next one.
    offset: i32,
    store: Option<Store>,
    /// What attention was computed from, step by step, where that is recorded.
    recorded: Option<Vec<Recording>>,
}

/// What attention is computed from, after norms and positions.
#[derive(Clone, Debug)]
pub struct Recording {
    /// `[B, Hq, S, Dh]`
    pub queries: Array,
    /// `[B, Hkv, S, Dh]`
    pub keys: Array,
}

#[derive(Clone, Debug)]
enum Store {
    Plain(Buffers<Array>),
    Packed(Buffers<Packed>),
}

/// Keys and values that a step sees.
enum Seen {
    Plain([Array; 2]),
    Packed(Box<[Quantized; 2]>),
}

impl KvCache {
    /// A cache for a layer that sees every earlier position.
    pub fn new() -> Self {
        KvCache { window: None, config: CacheConfig::default(), offset: 0, store: None, recorded: None }
    }

    /// A cache for a layer that sees `window` positions, its own included.
    pub fn sliding(window: i32) -> Self {
        KvCache { window: Some(window.max(1)), ..Self::new() }
    }

    /// The same kind of cache, empty, to hold what it will hold as `config` says.
    pub fn with_config(self, config: CacheConfig) -> Self {
        KvCache { config, ..self.emptied() }
    }

    /// The same kind of cache, empty, to keep the queries and keys of all tokens beside what attention needs. They grow
    /// without bound, also where there is a window.
    pub fn recording(self) -> Self {
        KvCache { recorded: Some(Vec::new()), ..self.emptied() }
    }

    fn emptied(self) -> Self {
        KvCache { offset: 0, store: None, ..self }
    }

    /// Queries and keys of all tokens that went in, if they were [recorded](Self::recording) and there are any.
    ///
    /// # Errors
    /// When putting them together fails.
    pub fn recorded(&self) -> Result<Option<Recording>> {
        let steps = match &self.recorded {
            Some(steps) if !steps.is_empty() => steps,
            _ => return Ok(None),
        };
        let joined =
            |part: fn(&Recording) -> &Array| concatenate(&steps.iter().map(part).collect::<Vec<_>>(), 2);
        Ok(Some(Recording { queries: joined(|step| &step.queries)?, keys: joined(|step| &step.keys)? }))
    }

    /// Tokens that went in so far: the position of the next one.
    pub fn offset(&self) -> i32 {
        self.offset
    }

    /// Positions that a token sees, its own included, if that is limited.
    pub fn window(&self) -> Option<i32> {
        self.window
    }

    /// How the cache holds what it holds.
    pub fn config(&self) -> CacheConfig {
        self.config
    }

    /// Bytes that the buffers take.
    pub fn nbytes(&self) -> usize {
        self.arrays().map(Array::nbytes).sum()
    }

    /// Positions that the buffers have room for once `tokens` tokens went in, at most.
    pub fn capacity_for(&self, tokens: usize) -> usize {
        let held = self.window.map_or(tokens, |window| tokens.min((window - 1 + buffers::SPARE) as usize));
        held.saturating_add(buffers::room(i32::try_from(held).unwrap_or(i32::MAX)) as usize)
    }

    /// The arrays, for evaluation.
    pub fn arrays(&self) -> impl Iterator<Item = &Array> {
        let (keys, values) = match &self.store {
            None => (&[][..], &[][..]),
            Some(Store::Plain(buffers)) => (buffers.keys.arrays(), buffers.values.arrays()),
            Some(Store::Packed(buffers)) => (buffers.keys.arrays(), buffers.values.arrays()),
        };
        keys.iter().chain(values)
    }

    /// Attention of `L` tokens over what the cache holds and over themselves, whose keys and values it takes in:
    /// queries `[B, Hq, L, Dh]`, keys and values `[B, Hkv, L, Dh]`, the result as the queries.
    ///
    /// Each token sees the earlier positions and its own, those in the window where there is one. A cache that packs sees
    /// its own token packed too, so results do not depend on how a prompt is cut into steps (but for the step at whose
    /// beginning it first packs, where [`CacheConfig::start`] is not 0).
    ///
    /// # Errors
    /// When the shapes do not belong together or differ from those of earlier calls, as dtypes may not either, or when
    /// heads cannot be packed as the configuration says. The cache is then as it was before the call.
    pub fn attend(&mut self, queries: &Array, keys: &Array, values: &Array, scale: f32) -> Result<Array> {
        self.check(queries, keys, values)?;
        let length = keys.dim(2)?;
        let mask = self.mask(length);
        let (store, seen) = self.extended(keys, values, length)?;
        let attended = match &seen {
            Seen::Plain([keys, values]) => scaled_dot_product_attention(queries, keys, values, scale, mask)?,
            Seen::Packed(seen) => quantized_attention(queries, &seen[0], &seen[1], scale, mask)?,
        };
        // The old handles go here, so MLX may write into their memory.
        self.store = Some(store);
        self.offset += length;
        if let Some(steps) = &mut self.recorded {
            steps.push(Recording { queries: queries.clone(), keys: keys.clone() });
        }
        Ok(attended)
    }

    /// The buffers with the keys and values of `length` more tokens, and those that the tokens may see, these included.
    fn extended(&self, keys: &Array, values: &Array, length: i32) -> Result<(Store, Seen)> {
        let (kept, window) = (self.kept(), self.window);
        let Some(quantization) = self.packing() else {
            let old = match &self.store {
                Some(Store::Plain(old)) => Some(old),
                _ => None,
            };
            let (buffers, seen) = Buffers::extended(old, [keys, values], length, kept, window)?;
            return Ok((Store::Plain(buffers), Seen::Plain(seen)));
        };
        let packed_now;
        let old = match &self.store {
            Some(Store::Packed(old)) => Some(old),
            Some(Store::Plain(old)) => {
                packed_now = Buffers {
                    keys: Packed::of(&old.keys, quantization)?,
                    values: Packed::of(&old.values, quantization)?,
                    end: old.end,
                };
                Some(&packed_now)
            }
            None => None,
        };
        let rows = [&Packed::of(keys, quantization)?, &Packed::of(values, quantization)?];
        let (buffers, seen) = Buffers::extended(old, rows, length, kept, window)?;
        Ok((Store::Packed(buffers), Seen::Packed(Box::new(seen.map(Packed::quantized)))))
    }

    /// How the next step packs what the cache holds, if it does.
    fn packing(&self) -> Option<Quantization> {
        match &self.store {
            Some(Store::Packed(buffers)) => Some(buffers.keys.quantization),
            _ => self.config.quantization.filter(|_| self.offset as usize >= self.config.start),
        }
    }

    /// Positions that the buffers hold, the newest ones.
    fn held(&self) -> i32 {
        match &self.store {
            None => 0,
            Some(Store::Plain(buffers)) => buffers.end,
            Some(Store::Packed(buffers)) => buffers.end,
        }
    }

    /// Earlier positions that the next token may see.
    fn kept(&self) -> i32 {
        self.window.map_or(self.held(), |window| self.held().min(window - 1))
    }

    /// Which of the keys that a step of `length` tokens gets each of them may see.
    fn mask(&self, length: i32) -> AttentionMask<'static> {
        let seen = self.kept() + length;
        match self.window {
            _ if length == 1 => AttentionMask::None,
            Some(window) if seen > window => AttentionMask::Window(window),
            _ => AttentionMask::Causal,
        }
    }

    /// Refuses what MLX would cast, or repeat along an axis, to make it fit into the buffers.
    fn check(&self, queries: &Array, keys: &Array, values: &Array) -> Result<()> {
        let (q, k, v) = (queries.shape(), keys.shape(), values.shape());
        if k.len() != 4 || v.len() != 4 || k[..3] != v[..3] {
            return refuse(
                "attend",
                format!("keys {k:?} and values {v:?} are not [B, Hkv, L, Dh] of the same tokens"),
            );
        }
        if q.len() != 4 || [q[0], q[2]] != [k[0], k[2]] || k[1] == 0 || q[1] % k[1] != 0 {
            return refuse(
                "attend",
                format!("queries {q:?} are not [B, Hq, L, Dh] of the tokens of keys {k:?}"),
            );
        }
        if k[2] == 0 || self.offset.checked_add(k[2]).is_none() {
            return refuse("attend", format!("{} tokens after {}", k[2], self.offset));
        }
        for width in [k[3], v[3]] {
            self.config.check(width as usize)?;
        }
        let held = match &self.store {
            None => return Ok(()),
            Some(Store::Plain(buffers)) => [buffers.keys.row(), buffers.values.row()],
            Some(Store::Packed(buffers)) => [buffers.keys.row(), buffers.values.row()],
        };
        for ((name, new), old) in [("keys", keys), ("values", values)].into_iter().zip(held) {
            if new.row() != old {
                let (dtype, [batch, heads, width]) = old;
                let old = format!("{dtype}[{batch}, {heads}, .., {width}]");
                let (dtype, shape) = (new.dtype(), new.shape());
                return refuse("attend", format!("{name} {dtype}{shape:?} do not fit a cache of {old}"));
            }
        }
        Ok(())
    }

    /// The shortest prefix that [`truncate`](Self::truncate) can go back to, beside none at all, which it always can.
    ///
    /// Without a window that is 0. With one, the window of the token after the prefix must be there whole: the cache holds
    /// the positions from some `first` on, and the answer is `first + window - 1`, or 0 while it holds all of them. `first`
    /// moves only when the buffer is full and its end moves to the front, and then at least 64 positions beyond the window
    /// stay; so the last 64 tokens of what was ever read can be taken back, and mostly some hundred more.
    pub fn shortest_prefix(&self) -> i32 {
        match (self.window, self.offset - self.held()) {
            (None, _) | (_, 0) => 0,
            (Some(window), first) => first.saturating_add(window - 1),
        }
    }

    /// Whether [`truncate`](Self::truncate) can go back to `length` tokens.
    pub fn can_truncate(&self, length: i32) -> bool {
        length == 0 || (self.shortest_prefix()..=self.offset).contains(&length)
    }

    /// Forgets all but the first `length` tokens. What the cache gives after that is what it would give if it had never
    /// read the others. Costs nothing: the places of the others are written anew.
    ///
    /// # Errors
    /// When there are not as many tokens, or what the first of those to come may see is no longer held (see
    /// [`shortest_prefix`](Self::shortest_prefix)). The cache is then as it was.
    pub fn truncate(&mut self, length: i32) -> Result<()> {
        if !self.can_truncate(length) {
            let shortest = self.shortest_prefix();
            let offset = self.offset;
            return refuse(
                "truncate",
                match self.window {
                    Some(window) if (0..offset).contains(&length) => format!(
                        "{length} of {offset} tokens: of what a window of {window} sees, enough is held for {shortest} \
                         tokens or more; truncate to those, or to 0 and read the prompt again"
                    ),
                    _ => format!("{length} of {offset} tokens; a prefix has 0 to {offset}"),
                },
            );
        }
        let forgotten = self.offset - length;
        match &mut self.store {
            _ if length == 0 => self.store = None,
            None => {}
            Some(Store::Plain(buffers)) => buffers.end -= forgotten,
            Some(Store::Packed(buffers)) => buffers.end -= forgotten,
        }
        self.offset = length;
        Ok(())
    }
}

impl KvCache {
    /// Moves what is held into memory of its own, with a little room, where there is no window: whoever goes on would copy the
    /// whole memory otherwise, which may be that of something much longer. It is not computed yet; evaluate
    /// [`arrays`](Self::arrays).
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn fit(&mut self) -> Result<()> {
        match &mut self.store {
            Some(Store::Plain(buffers)) if self.window.is_none() => buffers.fit(),
            Some(Store::Packed(buffers)) if self.window.is_none() => buffers.fit(),
            _ => Ok(()),
        }
    }
}

impl Default for KvCache {
    fn default() -> Self {
        Self::new()
    }
}

/// [`KvCache::truncate`] for all layers of a sequence: for all of them or, on an error, for none.
///
/// # Errors
/// When one of the caches cannot; the error names its layer.
pub fn truncate(caches: &mut [KvCache], length: usize) -> Result<()> {
    // No cache has that many.
    let length = i32::try_from(length).unwrap_or(i32::MAX);
    if let Some((layer, cache)) = caches.iter_mut().enumerate().find(|(_, cache)| !cache.can_truncate(length))
    {
        return cache.truncate(length).map_err(|error| match error {
            Error::Core(mlx_core::Error::Shape { op, message }) => {
                Error::Core(mlx_core::Error::Shape { op, message: format!("layer {layer}: {message}") })
            }
            error => error,
        });
    }
    caches.iter_mut().try_for_each(|cache| cache.truncate(length))
}

/// The shortest prefix, beside none at all, that [`truncate`] can go back to: the longest of those of the layers.
pub fn shortest_prefix(caches: &[KvCache]) -> usize {
    caches.iter().map(|cache| cache.shortest_prefix().max(0) as usize).max().unwrap_or(0)
}

fn refuse<T>(op: &'static str, message: String) -> Result<T> {
    Err(mlx_core::Error::Shape { op, message }.into())
}

#[cfg(test)]
mod tests;
