//! The keys and values of the tokens that a model has read, one cache a layer.

use mlx_core::{Array, AttentionMask, concatenate};

use crate::Result;

/// Positions that a buffer grows by. Writing into spare room costs nothing but the write; growing copies the whole.
const STEP: i32 = 256;

/// Keys and values `[B, Hkv, S, Dh]` of one attention layer, in the order of their positions.
///
/// Without a window the buffer grows in steps. With one it holds the last `window - 1` positions and some spare room:
/// when the room is used up, they move to its front, so memory stays bounded and order never changes.
#[derive(Debug)]
pub struct KvCache {
    window: Option<i32>,
    /// Tokens that went in so far: the position of the next one.
    offset: i32,
    buffers: Option<Buffers>,
}

#[derive(Debug)]
struct Buffers {
    /// `[B, Hkv, capacity, Dh]`
    keys: Array,
    /// `[B, Hkv, capacity, Dh]`
    values: Array,
    /// Positions in the buffer that still count are `start..end`.
    start: i32,
    end: i32,
}

impl KvCache {
    /// A cache for a layer that sees every earlier position.
    pub fn new() -> Self {
        KvCache { window: None, offset: 0, buffers: None }
    }

    /// A cache for a layer that sees `window` positions, its own included.
    pub fn sliding(window: i32) -> Self {
        KvCache { window: Some(window.max(1)), offset: 0, buffers: None }
    }

    /// Tokens that went in so far: the position of the next one.
    pub fn offset(&self) -> i32 {
        self.offset
    }

    /// Bytes that the buffers take.
    pub fn nbytes(&self) -> usize {
        self.buffers.as_ref().map_or(0, |b| b.keys.nbytes() + b.values.nbytes())
    }

    /// Earlier positions that the next token may see.
    fn kept(&self) -> i32 {
        let held = self.buffers.as_ref().map_or(0, |b| b.end - b.start);
        self.window.map_or(held, |window| held.min(window - 1))
    }

    /// Appends the keys and values of `L` tokens; gives those that the tokens may see, these included, `[B, Hkv, S, Dh]`.
    ///
    /// # Errors
    /// When the shapes differ from those of earlier calls.
    pub fn update_and_fetch(&mut self, keys: &Array, values: &Array) -> Result<(Array, Array)> {
        let length = keys.dim(2)?;
        let kept = self.kept();
        let buffers = match self.buffers.take() {
            Some(buffers) if buffers.end + length <= buffers.keys.dim(2)? => {
                buffers.append(keys, values, length)?
            }
            Some(buffers) => buffers.grow(keys, values, kept)?,
            None => Buffers::new(keys, values)?,
        };
        let from = buffers.end - length - kept;
        let seen = (
            buffers.keys.slice_axis(2, from, buffers.end)?,
            buffers.values.slice_axis(2, from, buffers.end)?,
        );
        self.buffers = Some(Buffers { start: from, ..buffers });
        self.offset += length;
        Ok(seen)
    }

    /// Which of the keys that [`update_and_fetch`](Self::update_and_fetch) will give each of `length` tokens may see.
    ///
    /// # Errors
    /// When no memory is left for the mask.
    pub fn mask(&self, length: i32) -> Result<Mask> {
        let seen = self.kept() + length;
        match self.window {
            _ if length == 1 => Ok(Mask::None),
            Some(window) if seen > window => Mask::windowed(length, seen, window),
            _ => Ok(Mask::Causal),
        }
    }

    /// The arrays, for evaluation.
    pub fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.buffers.iter().flat_map(|b| [&b.keys, &b.values])
    }
}

impl Default for KvCache {
    fn default() -> Self {
        Self::new()
    }
}

impl Buffers {
    fn new(keys: &Array, values: &Array) -> Result<Self> {
        let length = keys.dim(2)?;
        Ok(Buffers { keys: with_room(&[keys])?, values: with_room(&[values])?, start: 0, end: length })
    }

    fn append(self, keys: &Array, values: &Array, length: i32) -> Result<Self> {
        let end = self.end + length;
        Ok(Buffers {
            keys: self.keys.slice_update_axis(keys, 2, self.end, end)?,
            values: self.values.slice_update_axis(values, 2, self.end, end)?,
            start: self.start,
            end,
        })
    }

    /// Moves the last `kept` positions to the front of a new buffer and appends.
    fn grow(self, keys: &Array, values: &Array, kept: i32) -> Result<Self> {
        let old = |buffer: &Array| buffer.slice_axis(2, self.end - kept, self.end);
        Ok(Buffers {
            keys: with_room(&[&old(&self.keys)?, keys])?,
            values: with_room(&[&old(&self.values)?, values])?,
            start: 0,
            end: kept + keys.dim(2)?,
        })
    }
}

/// The parts one after another along the positions, with room for [`STEP`] more.
fn with_room(parts: &[&Array]) -> Result<Array> {
    let mut shape = parts[0].shape().to_vec();
    shape[2] = STEP;
    let room = Array::zeros(&shape, parts[0].dtype())?;
    let all: Vec<&Array> = parts.iter().copied().chain([&room]).collect();
    Ok(concatenate(&all, 2)?)
}

/// An attention mask that owns its array.
#[derive(Clone, Debug)]
pub enum Mask {
    /// Every key is seen.
    None,
    /// Keys up to the query's own position.
    Causal,
    /// Boolean, `[L, S]`: keys up to the query's own position that lie inside the window.
    Windowed(Array),
}

impl Mask {
    /// Query `i` stands at key `seen - length + i`; it sees `window` keys, that one the last.
    fn windowed(length: i32, seen: i32, window: i32) -> Result<Self> {
        let sees = |query: i32, key: i32| {
            let own = seen - length + query;
            key <= own && key > own - window
        };
        let allowed: Vec<bool> = (0..length).flat_map(|q| (0..seen).map(move |k| sees(q, k))).collect();
        Ok(Mask::Windowed(Array::from_slice(&allowed, &[length, seen])?))
    }

    /// The mask, as attention takes it.
    pub fn as_attention(&self) -> AttentionMask<'_> {
        match self {
            Mask::None => AttentionMask::None,
            Mask::Causal => AttentionMask::Causal,
            Mask::Windowed(allowed) => AttentionMask::Boolean(allowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that carry their own position.
    fn rows(from: i32, length: i32) -> Array {
        let positions: Vec<f32> = (from..from + length).map(|p| p as f32).collect();
        Array::from_slice(&positions, &[1, 1, length, 1]).unwrap()
    }

    /// The positions that query `i` of a step sees, by mask and keys together.
    fn seen(cache: &mut KvCache, length: i32) -> Vec<Vec<i32>> {
        let mask = cache.mask(length).unwrap();
        let new = rows(cache.offset(), length);
        let (keys, values) = cache.update_and_fetch(&new, &new).unwrap();
        let keys = keys.to_vec::<f32>().unwrap();
        let allowed = match &mask {
            Mask::Windowed(allowed) => allowed.to_vec::<bool>().unwrap(),
            _ => Vec::new(),
        };
        assert_eq!(keys, values.to_vec::<f32>().unwrap());
        let count = keys.len();
        (0..length as usize)
            .map(|query| {
                let own = count - length as usize + query;
                let sees = |key: usize| match &mask {
                    Mask::None => true,
                    Mask::Causal => key <= own,
                    Mask::Windowed(_) => allowed[query * count + key],
                };
                (0..count).filter(|key| sees(*key)).map(|key| keys[key] as i32).collect()
            })
            .collect()
    }

    #[test]
    fn every_query_sees_its_window_whatever_the_chunks() {
        for window in [None, Some(1), Some(2), Some(5), Some(8), Some(300)] {
            for chunk in [1, 2, 3, 7, 8, 9, 11, 260] {
                let mut cache = window.map_or_else(KvCache::new, KvCache::sliding);
                let total = if chunk == 260 { 780 } else { 40 };
                // Single steps follow each chunk, as decoding follows prefill.
                let steps = std::iter::repeat_n([chunk, 1], total as usize).flatten();
                for length in steps {
                    let first = cache.offset();
                    if first >= total {
                        break;
                    }
                    for (i, positions) in seen(&mut cache, length).into_iter().enumerate() {
                        let own = first + i as i32;
                        let oldest = window.map_or(0, |w| (own + 1 - w).max(0));
                        assert_eq!(
                            positions,
                            (oldest..=own).collect::<Vec<_>>(),
                            "window {window:?}, chunk {chunk}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_window_bounds_the_memory() {
        let (mut growing, mut sliding) = (KvCache::new(), KvCache::sliding(16));
        for position in 0..1000 {
            for cache in [&mut growing, &mut sliding] {
                cache.update_and_fetch(&rows(position, 1), &rows(position, 1)).unwrap();
            }
        }
        assert_eq!((growing.offset(), sliding.offset()), (1000, 1000));
        assert!(sliding.nbytes() <= 2 * 4 * (16 + STEP as usize), "{}", sliding.nbytes());
        assert!(growing.nbytes() >= 2 * 4 * 1000);
    }

    #[test]
    fn keys_of_another_shape_are_an_error() {
        let mut cache = KvCache::new();
        cache.update_and_fetch(&rows(0, 2), &rows(0, 2)).unwrap();
        let wide = Array::zeros(&[1, 2, 1, 1], mlx_core::DType::F32).unwrap();
        let outcome = cache.update_and_fetch(&wide, &wide).and_then(|(keys, _)| Ok(keys.eval()?));
        assert!(outcome.is_err());
    }
}
