//! One query: blocks of keys, each by itself, then added up in order.
//!
//! The time is that of reading the keys and the values once: a few rows at a time are converted to float32, and serve
//! all query heads of the group while they are in the nearest cache.

use std::ops::Range;

use super::Operands;
use crate::float::Float;
use crate::isa::{Fma, Isa, compiled_for_each};
use crate::math::{GRAIN, exp, max, max_of, sum_of};
use crate::threads;

/// Keys of a block.
const KEYS: usize = 256;
/// Keys that are taken at once: so many sums that no multiply-add waits for the one before it.
const ROWS: usize = 8;
/// Sums that a dot product keeps side by side.
const LANES: usize = 8;

/// What the blocks of all heads give: for each batch, key head and block the largest score of each head of the
/// group, the sum of `e^(score - largest)`, and that of the values so weighted.
#[derive(Clone, Copy)]
struct Layout {
    group: usize,
    dv: usize,
    /// The keys that the query may see.
    first: usize,
    end: usize,
}

impl Layout {
    /// Floats of a row of values, filled up to whole chunks.
    fn row_len(&self) -> usize {
        self.dv.next_multiple_of(LANES)
    }

    /// Floats of a block's result: `[group]` maxima, `[group]` sums and `[group]` rows of values.
    fn block_len(&self) -> usize {
        self.group * (2 + self.row_len())
    }

    /// The blocks with keys that the query may see. They start at multiples of [`KEYS`].
    fn blocks(&self) -> Range<usize> {
        self.first / KEYS..self.end.div_ceil(KEYS)
    }

    fn keys(&self, block: usize) -> Range<usize> {
        (block * KEYS).max(self.first)..((block + 1) * KEYS).min(self.end)
    }
}

pub(super) fn decode<T: Float>(isa: Isa, operands: Operands<'_, T>, out: &mut [T]) {
    let ([batch, kv_heads, keys, dh], [.., dv]) = (operands.k.shape(), operands.v.shape());
    let seen = operands.options.mask.range(0, 1, keys);
    let layout = Layout { group: operands.group(), dv, first: seen.start, end: seen.end };
    let (blocks, len) = (layout.blocks().len(), layout.block_len());
    let mut partial = vec![0f32; batch * kv_heads * blocks * len];
    // Short contexts have less to do than it takes to wake a thread.
    let each = (4 * GRAIN / (seen.len().clamp(1, KEYS) * (dh + dv))).max(1);
    let work = partial.chunks_mut(each * len).zip((0..).step_by(each)).collect();
    threads::for_each(work, |(partial, start)| attend(isa, operands, layout, start, partial));
    let heads = layout.group * dv;
    for (index, out) in out.chunks_exact_mut(heads).enumerate() {
        combine(isa, layout, &partial[index * blocks * len..][..blocks * len], out);
    }
}

/// What a thread works with.
struct Scratch {
    /// Scaled queries, `[group, Dh]`. Rows are filled up with zeros to whole chunks, here and below.
    q: Vec<[f32; LANES]>,
    /// A few rows of keys.
    k_tile: Vec<[f32; LANES]>,
    /// A few rows of values.
    v_tile: Vec<[f32; LANES]>,
    /// What makes up the scores, `[group, KEYS]`.
    lanes: Vec<[f32; LANES]>,
    /// The scores and then their exponentials, `[group, KEYS]`.
    scores: Vec<f32>,
}

/// The results of some blocks, `start` and on, counted over all heads.
#[inline(always)]
fn attend_body<F: Fma, T: Float>(
    f: F,
    operands: Operands<'_, T>,
    layout: Layout,
    start: usize,
    partial: &mut [f32],
) {
    let ([_, kv_heads, _, dh], group) = (operands.k.shape(), layout.group);
    let (k_chunks, v_chunks) = (dh.div_ceil(LANES), layout.dv.div_ceil(LANES));
    let mut scratch = Scratch {
        q: vec![[0.0; LANES]; group * k_chunks],
        k_tile: vec![[0.0; LANES]; ROWS * k_chunks],
        v_tile: vec![[0.0; LANES]; ROWS * v_chunks],
        lanes: vec![[0.0; LANES]; group * KEYS],
        scores: vec![0.0; group * KEYS],
    };
    for (partial, index) in partial.chunks_exact_mut(layout.block_len()).zip(start..) {
        let (head, block) = (index / layout.blocks().len(), index % layout.blocks().len());
        let (b, kv_head) = (head / kv_heads, head % kv_heads);
        let keys = layout.keys(layout.blocks().start + block);
        for (g, q) in scratch.q.chunks_exact_mut(k_chunks.max(1)).enumerate() {
            let x = operands.q.row(b, kv_head * group + g, 0);
            let scale = operands.options.scale;
            q.as_flattened_mut().iter_mut().zip(x).for_each(|(q, x)| *q = x.to_f32() * scale);
        }
        block_scores(f, &operands, (b, kv_head), keys.clone(), &mut scratch);

        let (largest, rest) = partial.split_at_mut(group);
        let (sums, values) = rest.split_at_mut(group);
        for (g, scores) in scratch.scores.chunks_exact_mut(KEYS).enumerate() {
            let (scores, behind) = scores.split_at_mut(keys.len());
            behind.fill(0.0);
            if !operands.options.mask.is_range() {
                for (score, s) in scores.iter_mut().zip(keys.clone()) {
                    *score = operands.options.mask.apply(*score, b, kv_head * group + g, 0, s);
                }
            }
            largest[g] = max_of(scores);
            // As in prefill: a head that sees nothing has no maximum.
            let shift = if largest[g] == f32::NEG_INFINITY { 0.0 } else { largest[g] };
            scores.iter_mut().for_each(|score| *score = exp(f, *score - shift));
            sums[g] = sum_of(
                scores,
                0.0,
                #[inline(always)]
                |p| p,
            );
        }
        block_values(f, &operands, (b, kv_head), keys, &mut scratch, values);
    }
}

compiled_for_each! {
    fn attend<T: Float>(operands: Operands<'_, T>, layout: Layout, start: usize, partial: &mut [f32]) = attend_body
}

/// Scores `[group, KEYS]` of the keys for the queries `[group, Dh]`.
#[inline(always)]
fn block_scores<F: Fma, T: Float>(
    f: F,
    operands: &Operands<'_, T>,
    (b, kv_head): (usize, usize),
    keys: Range<usize>,
    scratch: &mut Scratch,
) {
    let chunks = operands.k.shape()[3].div_ceil(LANES);
    let Scratch { q, k_tile, lanes, scores, .. } = scratch;
    for at in (0..keys.len()).step_by(ROWS) {
        // Behind the last key are rows of before. What they give is not looked at.
        let rows = keys.start + at..keys.end.min(keys.start + at + ROWS);
        widen(rows.map(|s| operands.k.row(b, kv_head, s)), chunks, k_tile);
        for (g, lanes) in lanes.chunks_exact_mut(KEYS).enumerate() {
            if let Some(lanes) = lanes[at..].first_chunk_mut() {
                dots(f, &q[g * chunks..][..chunks], k_tile, lanes);
            }
        }
    }
    for (lanes, scores) in lanes.chunks_exact(KEYS).zip(scores.chunks_exact_mut(KEYS)) {
        for (lanes, score) in lanes.iter().zip(scores).take(keys.len()) {
            let [a, b, c, d, e, f, g, h] = *lanes;
            *score = ((a + e) + (c + g)) + ((b + f) + (d + h));
        }
    }
}

/// What makes up the scores of [`ROWS`] keys for one query.
///
/// The lanes go to memory, and are added up later, many at a time: as long as they stay whole, they stay in vectors.
#[inline(always)]
fn dots<F: Fma>(f: F, q: &[[f32; LANES]], k: &[[f32; LANES]], out: &mut [[f32; LANES]; ROWS]) {
    let chunks = q.len();
    let k: [&[[f32; LANES]]; ROWS] = std::array::from_fn(|i| &k[i * chunks..][..chunks]);
    let mut sums = [[0f32; LANES]; ROWS];
    for c in 0..chunks {
        for i in 0..ROWS {
            for lane in 0..LANES {
                sums[i][lane] = f.fma(q[c][lane], k[i][c][lane], sums[i][lane]);
            }
        }
    }
    *out = sums;
}

/// The values `[group, Dv]`, weighted by the scratch's scores and added up.
#[inline(always)]
fn block_values<F: Fma, T: Float>(
    f: F,
    operands: &Operands<'_, T>,
    (b, kv_head): (usize, usize),
    keys: Range<usize>,
    scratch: &mut Scratch,
    values: &mut [f32],
) {
    let chunks = operands.v.shape()[3].div_ceil(LANES);
    let Scratch { v_tile, scores, .. } = scratch;
    values.fill(0.0);
    for at in (0..keys.len()).step_by(ROWS) {
        let rows = keys.start + at..keys.end.min(keys.start + at + ROWS);
        // Behind the last key both the weights and the values are 0.
        v_tile[rows.len() * chunks..].fill([0.0; LANES]);
        widen(rows.map(|s| operands.v.row(b, kv_head, s)), chunks, v_tile);
        let (values, scores) = (values.as_chunks_mut().0, scores.chunks_exact(KEYS));
        for (values, scores) in values.chunks_exact_mut(chunks).zip(scores) {
            if let Some(p) = scores[at..].first_chunk() {
                add_values(f, p, v_tile, values);
            }
        }
    }
}

/// Adds rows of values, weighted by `p`, four at a time: their weights and addresses fit the registers.
#[inline(always)]
fn add_values<F: Fma>(f: F, p: &[f32; ROWS], v: &[[f32; LANES]], out: &mut [[f32; LANES]]) {
    let chunks = out.len();
    for (&[p0, p1, p2, p3], v) in p.as_chunks().0.iter().zip(v.chunks_exact(4 * chunks)) {
        let (v01, v23) = v.split_at(2 * chunks);
        let ((v0, v1), (v2, v3)) = (v01.split_at(chunks), v23.split_at(chunks));
        for ((((out, v0), v1), v2), v3) in out.iter_mut().zip(v0).zip(v1).zip(v2).zip(v3) {
            let mut sums = *out;
            for lane in 0..LANES {
                sums[lane] = f.fma(p0, v0[lane], sums[lane]);
                sums[lane] = f.fma(p1, v1[lane], sums[lane]);
                sums[lane] = f.fma(p2, v2[lane], sums[lane]);
                sums[lane] = f.fma(p3, v3[lane], sums[lane]);
            }
            *out = sums;
        }
    }
}

/// Rows that are converted to float32, and filled up with zeros to whole chunks.
#[inline(always)]
fn widen<'a, T: Float>(rows: impl Iterator<Item = &'a [T]>, chunks: usize, out: &mut [[f32; LANES]]) {
    for (row, out) in rows.zip(out.chunks_exact_mut(chunks.max(1))) {
        out.as_flattened_mut().iter_mut().zip(row).for_each(|(out, x)| *out = x.to_f32());
    }
}

/// The result of the heads of a group, `[group, Dv]`, from all their blocks.
#[inline(always)]
fn combine_body<F: Fma, T: Float>(f: F, layout: Layout, partial: &[f32], out: &mut [T]) {
    let Layout { group, dv, .. } = layout;
    let blocks = || partial.chunks_exact(layout.block_len());
    let mut total = vec![0f32; dv];
    for (g, out) in out.chunks_exact_mut(dv).enumerate() {
        let largest = blocks().fold(f32::NEG_INFINITY, |largest, block| max(largest, block[g]));
        let mut sum = 0.0;
        total.fill(0.0);
        for block in blocks() {
            // A block without a maximum has nothing to add.
            let weight = if block[g] == f32::NEG_INFINITY { 0.0 } else { exp(f, block[g] - largest) };
            sum = f.fma(weight, block[group + g], sum);
            let values = &block[2 * group + g * layout.row_len()..][..dv];
            total.iter_mut().zip(values).for_each(|(total, &value)| *total = f.fma(weight, value, *total));
        }
        for (out, total) in out.iter_mut().zip(&total) {
            *out = T::from_f32(if sum == 0.0 { 0.0 } else { total / sum });
        }
    }
}

compiled_for_each! {
    fn combine<T: Float>(layout: Layout, partial: &[f32], out: &mut [T]) = combine_body
}
