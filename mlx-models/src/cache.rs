//! The keys and values of the tokens that a model has read, one cache a layer.

use mlx_core::{Array, AttentionMask, concatenate, scaled_dot_product_attention};

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

    /// Attention of `L` tokens over what the cache holds and over themselves, whose keys and values it takes in:
    /// queries `[B, Hq, L, Dh]`, keys and values `[B, Hkv, L, Dh]`, the result as the queries.
    ///
    /// Each token sees the earlier positions and its own, those in the window where there is one.
    ///
    /// # Errors
    /// As [`update_and_fetch`](Self::update_and_fetch), and when the queries' heads are no multiple of the others'.
    pub fn attend(&mut self, queries: &Array, keys: &Array, values: &Array, scale: f32) -> Result<Array> {
        let mask = self.mask(keys.dim(2)?);
        let (keys, values) = self.update_and_fetch(keys, values)?; // [B, Hkv, S, Dh]
        Ok(scaled_dot_product_attention(queries, &keys, &values, scale, mask)?)
    }

    /// Appends the keys and values of `L` tokens; gives those that the tokens may see, these included, `[B, Hkv, S, Dh]`.
    ///
    /// # Errors
    /// When the shapes or dtypes differ from those of earlier calls. The cache is then as it was before the call.
    pub fn update_and_fetch(&mut self, keys: &Array, values: &Array) -> Result<(Array, Array)> {
        self.check(keys, values)?;
        let length = keys.dim(2)?;
        let kept = self.kept();
        let (buffers, seen) = match &self.buffers {
            Some(buffers) if buffers.end + length <= buffers.keys.dim(2)? => {
                buffers.append(keys, values, length, kept)?
            }
            old => Buffers::grow(old.as_ref(), keys, values, kept, self.window)?,
        };
        // The old handles go here, so MLX may write into their memory.
        self.buffers = Some(buffers);
        self.offset += length;
        Ok(seen)
    }

    /// Refuses what MLX would cast, or repeat along an axis, to make it fit into the buffers.
    fn check(&self, keys: &Array, values: &Array) -> Result<()> {
        let (k, v) = (keys.shape(), values.shape());
        let refuse = |message: String| Err(mlx_core::Error::Shape { op: "update_and_fetch", message }.into());
        if k.len() != 4 || v.len() != 4 || k[..3] != v[..3] {
            return refuse(format!("keys {k:?} and values {v:?} are not [B, Hkv, L, Dh] of the same tokens"));
        }
        let held = self.buffers.iter().flat_map(|b| [("keys", &b.keys, keys), ("values", &b.values, values)]);
        for (name, old, new) in held {
            let (a, b) = (old.shape(), new.shape());
            if (a[0], a[1], a[3], old.dtype()) != (b[0], b[1], b[3], new.dtype()) {
                let (old, new) = (old.dtype(), new.dtype());
                return refuse(format!("{name} {new}{b:?} do not fit a cache of {old}{a:?}"));
            }
        }
        Ok(())
    }

    /// Which of the keys that [`update_and_fetch`](Self::update_and_fetch) will give each of `length` tokens may see.
    pub fn mask(&self, length: i32) -> AttentionMask<'static> {
        let seen = self.kept() + length;
        match self.window {
            _ if length == 1 => AttentionMask::None,
            Some(window) if seen > window => AttentionMask::Window(window),
            _ => AttentionMask::Causal,
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
    /// Writes into the spare room. Gives the last `kept` positions and the new ones too.
    fn append(&self, keys: &Array, values: &Array, length: i32, kept: i32) -> Result<(Self, (Array, Array))> {
        let (start, end) = (self.end - kept, self.end + length);
        let keys = self.keys.slice_update_axis(keys, 2, self.end, end)?;
        let values = self.values.slice_update_axis(values, 2, self.end, end)?;
        let seen = (keys.slice_axis(2, start, end)?, values.slice_axis(2, start, end)?);
        Ok((Buffers { keys, values, start, end }, seen))
    }

    /// Moves the last `kept` positions, and the new ones, to the front of new buffers. Gives them too.
    fn grow(
        old: Option<&Self>,
        keys: &Array,
        values: &Array,
        kept: i32,
        window: Option<i32>,
    ) -> Result<(Self, (Array, Array))> {
        let seen = kept + keys.dim(2)?;
        // What falls out of the window is seen this once and not held.
        let end = window.map_or(seen, |window| seen.min(window - 1));
        let grown = |old: Option<&Array>, from: i32, new: &Array| match old {
            Some(old) => grown(&[&old.slice_axis(2, from, from + kept)?, new], seen, end),
            None => grown(&[new], seen, end),
        };
        let from = old.map_or(0, |old| old.end - kept);
        let (keys, seen_keys) = grown(old.map(|old| &old.keys), from, keys)?;
        let (values, seen_values) = grown(old.map(|old| &old.values), from, values)?;
        Ok((Buffers { keys, values, start: 0, end }, (seen_keys, seen_values)))
    }
}

/// A buffer with room that begins with the last `held` of the `count` positions of `parts`; and all of `parts`.
fn grown(parts: &[&Array], count: i32, held: i32) -> Result<(Array, Array)> {
    if held == count {
        let buffer = with_room(parts)?;
        let seen = buffer.slice_axis(2, 0, count)?;
        return Ok((buffer, seen));
    }
    let seen = concatenate(parts, 2)?;
    let buffer = with_room(&[&seen.slice_axis(2, count - held, count)?])?;
    Ok((buffer, seen))
}

/// The parts one after another along the positions, with room for [`STEP`] more.
fn with_room(parts: &[&Array]) -> Result<Array> {
    let mut shape = parts[0].shape().to_vec();
    shape[2] = STEP;
    let room = Array::zeros(&shape, parts[0].dtype())?;
    let all: Vec<&Array> = parts.iter().copied().chain([&room]).collect();
    Ok(concatenate(&all, 2)?)
}

#[cfg(test)]
mod tests {
    use mlx_core::DType;

    use super::*;

    /// Keys that carry their own position.
    fn rows(from: i32, length: i32) -> Array {
        let positions: Vec<f32> = (from..from + length).map(|p| p as f32).collect();
        Array::from_slice(&positions, &[1, 1, length, 1]).unwrap()
    }

    /// The positions that query `i` of a step sees, by mask and keys together.
    fn seen(cache: &mut KvCache, length: i32) -> Vec<Vec<i32>> {
        let mask = cache.mask(length);
        let new = rows(cache.offset(), length);
        let (keys, values) = cache.update_and_fetch(&new, &new).unwrap();
        let keys = keys.to_vec::<f32>().unwrap();
        assert_eq!(keys, values.to_vec::<f32>().unwrap());
        let count = keys.len();
        (0..length as usize)
            .map(|query| {
                let own = count - length as usize + query;
                let sees = |key: usize| match mask {
                    AttentionMask::None => true,
                    AttentionMask::Window(window) => key <= own && key + window as usize > own,
                    _ => key <= own,
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
    fn a_long_first_chunk_is_held_no_longer_than_the_window() {
        let mut cache = KvCache::sliding(16);
        let (keys, _) = cache.update_and_fetch(&rows(0, 4000), &rows(0, 4000)).unwrap();
        assert_eq!(keys.shape(), [1, 1, 4000, 1]);
        assert!(cache.nbytes() <= 2 * 4 * (16 + STEP as usize), "{}", cache.nbytes());
        assert_eq!(seen(&mut cache, 1), [(3985..=4000).collect::<Vec<_>>()]);
    }

    #[test]
    fn keys_of_another_shape_are_an_error() {
        let zeros = |shape: &[i32], dtype| Array::zeros(shape, dtype).unwrap();
        let held = [2, 2, 3, 4];
        // Beside longer axes, those of length one, which MLX would repeat, and dtypes that it would cast.
        for (keys, values) in [
            ([1, 2, 1, 4], [1, 2, 1, 4]),
            ([2, 1, 1, 4], [2, 1, 1, 4]),
            ([2, 2, 1, 1], [2, 2, 1, 1]),
            ([2, 3, 1, 4], [2, 3, 1, 4]),
            ([2, 2, 2, 4], [2, 2, 1, 4]),
            ([2, 2, 1, 4], [2, 2, 1, 1]),
            ([2, 2, 1, 4], [1, 2, 1, 4]),
        ] {
            // Both with room to write into and without.
            for room in [true, false] {
                let mut cache = KvCache::new();
                let first = if room { held } else { [2, 2, STEP + 3, 4] };
                let first = zeros(&first, DType::F32);
                cache.update_and_fetch(&first, &first).unwrap();
                if !room {
                    let rest = zeros(&[2, 2, STEP, 4], DType::F32);
                    cache.update_and_fetch(&rest, &rest).unwrap();
                }
                let before = (cache.offset(), cache.nbytes());
                let outcome = cache.update_and_fetch(&zeros(&keys, DType::F32), &zeros(&values, DType::F32));
                assert!(outcome.is_err(), "{keys:?} {values:?}");
                assert_eq!((cache.offset(), cache.nbytes()), before);
            }
        }
        let mut cache = KvCache::new();
        assert!(
            cache.update_and_fetch(&zeros(&[2, 2, 4], DType::F32), &zeros(&[2, 2, 4], DType::F32)).is_err()
        );
        seen(&mut cache, 2);
        let wide = zeros(&[1, 2, 1, 1], DType::F32);
        let half = zeros(&[1, 1, 1, 1], DType::F16);
        for odd in [&wide, &half] {
            assert!(cache.update_and_fetch(odd, odd).is_err());
        }
        assert_eq!(seen(&mut cache, 1), [[0, 1, 2]], "the cache still works");
    }
}
