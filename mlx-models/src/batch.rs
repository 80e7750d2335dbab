//! Several sequences in one pass through the weights.
//!
//! A model's matrices are most of what a step reads, so steps of several sequences are cheaper together than one after
//! another. Everything but attention looks at one token at a time and does not care whose it is. Attention does:
//! [`LayerCaches::each`] hands it the rows of one sequence after another, each with the cache of its own. So nothing is
//! padded, sequences of any lengths go together, and what a sequence computes is what it computes alone.

use mlx_core::{Array, concatenate};

use crate::{KvCache, Result};

/// The sequences whose tokens a model reads in one pass, each with its caches.
#[derive(Default)]
pub struct Batch<'a> {
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    /// Tokens that the sequence reads now.
    length: i32,
    /// One for each layer.
    caches: &'a mut [KvCache],
}

impl<'a> Batch<'a> {
    /// A batch without sequences.
    pub fn new() -> Self {
        Batch { parts: Vec::new() }
    }

    /// All rows of `tokens`, `[B, L]`, read by one set of caches: sequences of one length that never part.
    pub fn of_one(caches: &'a mut [KvCache]) -> Self {
        Batch { parts: vec![Part { length: 0, caches }] }
    }

    /// Adds a sequence that reads `length` tokens. They lie behind those of the sequences before it.
    pub fn push(&mut self, length: i32, caches: &'a mut [KvCache]) {
        self.parts.push(Part { length, caches });
    }

    /// Refuses caches that were made for a model with another number of layers, which would silently skip some, and those
    /// that an error left at different positions; and `tokens` that are not those of the sequences.
    pub(crate) fn check(&self, layers: usize, tokens: &Array) -> Result<()> {
        let refuse = |message| Err(mlx_core::Error::Shape { op: "forward", message }.into());
        for Part { caches, .. } in &self.parts {
            if caches.len() != layers {
                let count = caches.len();
                return refuse(format!(
                    "{count} caches for a model of {layers} layers; make them with make_caches"
                ));
            }
            let mut offsets = caches.iter().map(KvCache::offset);
            let first = offsets.next();
            if let Some(other) = offsets.find(|offset| Some(*offset) != first) {
                let first = first.unwrap_or_default();
                return refuse(format!(
                    "the caches are at positions {first} and {other}; an earlier error leaves them so"
                ));
            }
        }
        let length: i64 = self.parts.iter().map(|part| i64::from(part.length)).sum();
        if self.parts.len() != 1
            && (length != tokens.size() as i64 || self.parts.iter().any(|p| p.length < 1))
        {
            let (count, size) = (self.parts.len(), tokens.size());
            return refuse(format!("{count} sequences that read {length} tokens, of {size}"));
        }
        Ok(())
    }

    /// The caches of one layer.
    pub(crate) fn layer(&mut self, index: usize) -> LayerCaches<'_, 'a> {
        LayerCaches { batch: self, index }
    }
}

/// The caches of one layer, one for each sequence of a batch.
pub(crate) struct LayerCaches<'b, 'a> {
    batch: &'b mut Batch<'a>,
    index: usize,
}

impl LayerCaches<'_, '_> {
    /// Positions that a token sees in this layer, its own included, if that is limited.
    pub(crate) fn window(&self) -> Option<i32> {
        self.batch.parts.first().and_then(|part| part.caches[self.index].window())
    }

    /// Gives the rows of each sequence, `[1, l, _]` of `[B, L, _]`, to `f` with the sequence's cache, and puts together what
    /// it makes of them, in the same places.
    pub(crate) fn each<const N: usize>(
        &mut self,
        rows: [Array; N],
        mut f: impl FnMut([Array; N], &mut KvCache) -> Result<Array>,
    ) -> Result<Array> {
        if let [Part { caches, .. }] = &mut self.batch.parts[..] {
            return f(rows, &mut caches[self.index]);
        }
        let lead: Vec<i32> =
            rows.iter().take(1).flat_map(|rows| rows.shape().iter().copied().take(2)).collect();
        let mut flat = Vec::with_capacity(N);
        for rows in &rows {
            flat.push(rows.reshape(&[1, -1, rows.dim(2)?])?); // [B, L, _] -> [1, T, _]
        }
        let (mut start, mut results) = (0, Vec::with_capacity(self.batch.parts.len()));
        for Part { length, caches } in &mut self.batch.parts {
            let mut own = rows.clone();
            for (own, all) in own.iter_mut().zip(&flat) {
                *own = all.slice_axis(1, start, start + *length)?;
            }
            results.push(f(own, &mut caches[self.index])?);
            start += *length;
        }
        let joined = concatenate(&results.iter().collect::<Vec<_>>(), 1)?; // [1, T, _]
        Ok(joined.reshape(&[lead[0], lead[1], joined.dim(2)?])?)
    }
}
