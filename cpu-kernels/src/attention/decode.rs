//! One query: blocks of keys, each by itself, then added up in order.
//!
//! The time is that of reading the keys and the values once. Each row, once loaded, serves several query heads, and
//! several rows are on their way at the same time.

use std::ops::Range;

use super::Operands;
use crate::float::Float;
use crate::isa::{Fma, Isa, compiled_for_each};
use crate::math::{GRAIN, exp, max, max_of, sum, sum_of};
use crate::threads;

/// Keys of a block.
const KEYS: usize = 256;
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
    /// Floats of a block's result: `[group]` maxima, `[group]` sums and `[group, Dv]` values.
    fn block_len(&self) -> usize {
        self.group * (2 + self.dv)
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
    let (mut q, mut scores) = (vec![0f32; group * dh], vec![0f32; group * KEYS]);
    for (partial, index) in partial.chunks_exact_mut(layout.block_len()).zip(start..) {
        let (head, block) = (index / layout.blocks().len(), index % layout.blocks().len());
        let (b, kv_head) = (head / kv_heads, head % kv_heads);
        let keys = layout.keys(layout.blocks().start + block);
        for (g, q) in q.chunks_exact_mut(dh.max(1)).enumerate() {
            let x = operands.q.row(b, kv_head * group + g, 0);
            q.iter_mut().zip(x).for_each(|(q, x)| *q = x.to_f32() * operands.options.scale);
        }
        block_scores(f, &operands, b, kv_head, keys.clone(), &q, &mut scores);

        let (largest, rest) = partial.split_at_mut(group);
        let (sums, values) = rest.split_at_mut(group);
        for (g, scores) in scores.chunks_exact_mut(KEYS).enumerate() {
            let scores = &mut scores[..keys.len()];
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
                #[inline(always)]
                |p| p,
            );
        }
        block_values(f, &operands, b, kv_head, keys, &scores, values);
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
    b: usize,
    kv_head: usize,
    keys: Range<usize>,
    q: &[f32],
    scores: &mut [f32],
) {
    let (group, start) = (operands.group(), keys.start);
    let mut s = start;
    while s < keys.end {
        // Tiles of heads and keys with 8 sums, so that no multiply-add waits for the one before it.
        let left = keys.end - s;
        let rows = |i: usize| operands.k.row(b, kv_head, s + i);
        let mut g = 0;
        let at = s - start;
        let step = if group == 1 { 8 } else { 4 };
        while g < group {
            match group - g {
                4.. if left >= 4 => {
                    dots::<_, _, 4, 2>(f, q, g, [rows(0), rows(1)], scores, at);
                    dots::<_, _, 4, 2>(f, q, g, [rows(2), rows(3)], scores, at + 2);
                    g += 4;
                }
                2.. if left >= 4 => {
                    dots::<_, _, 2, 4>(f, q, g, [rows(0), rows(1), rows(2), rows(3)], scores, at);
                    g += 2;
                }
                _ if left >= step => {
                    if step == 8 {
                        let k = [rows(0), rows(1), rows(2), rows(3), rows(4), rows(5), rows(6), rows(7)];
                        dots::<_, _, 1, 8>(f, q, g, k, scores, at);
                    } else {
                        dots::<_, _, 1, 4>(f, q, g, [rows(0), rows(1), rows(2), rows(3)], scores, at);
                    }
                    g += 1;
                }
                _ => {
                    for i in 0..left {
                        dots::<_, _, 1, 1>(f, q, g, [rows(i)], scores, at + i);
                    }
                    g += 1;
                }
            }
        }
        s += left.min(step);
    }
}

/// The scores of `K` keys, which are at `at` and on, for `G` heads, `g` and on.
#[inline(always)]
fn dots<F: Fma, T: Float, const G: usize, const K: usize>(
    f: F,
    q: &[f32],
    g: usize,
    k: [&[T]; K],
    scores: &mut [f32],
    at: usize,
) {
    let dh = k[0].len();
    let whole = dh / LANES;
    let mut queries = [&q[..0]; G];
    for (i, query) in queries.iter_mut().enumerate() {
        *query = &q[(g + i) * dh..][..dh];
    }
    let mut q_chunks = [&queries[0].as_chunks::<LANES>().0[..whole]; G];
    for i in 0..G {
        q_chunks[i] = &queries[i].as_chunks().0[..whole];
    }
    let mut k_chunks = [&k[0].as_chunks::<LANES>().0[..whole]; K];
    for j in 0..K {
        k_chunks[j] = &k[j].as_chunks().0[..whole];
    }
    let mut lanes = [[[0f32; LANES]; K]; G];
    for c in 0..whole {
        for j in 0..K {
            let mut key = [0f32; LANES];
            for lane in 0..LANES {
                key[lane] = k_chunks[j][c][lane].to_f32();
            }
            for i in 0..G {
                for lane in 0..LANES {
                    lanes[i][j][lane] = f.fma(q_chunks[i][c][lane], key[lane], lanes[i][j][lane]);
                }
            }
        }
    }
    for i in 0..G {
        for j in 0..K {
            for (lane, d) in (whole * LANES..dh).enumerate() {
                lanes[i][j][lane] = f.fma(queries[i][d], k[j][d].to_f32(), lanes[i][j][lane]);
            }
            scores[(g + i) * KEYS + at + j] = sum(lanes[i][j]);
        }
    }
}

/// The values `[group, Dv]`, weighted by `[group, KEYS]` and added up.
#[inline(always)]
fn block_values<F: Fma, T: Float>(
    f: F,
    operands: &Operands<'_, T>,
    b: usize,
    kv_head: usize,
    keys: Range<usize>,
    p: &[f32],
    values: &mut [f32],
) {
    values.fill(0.0);
    let (group, start) = (operands.group(), keys.start);
    let row = |s: usize| operands.v.row(b, kv_head, s);
    let mut s = start;
    while s < keys.end {
        let four = keys.end - s >= 4;
        let mut g = 0;
        while g < group {
            g += match (four, group - g) {
                (true, 4..) => {
                    add_values::<_, _, 4, 4>(f, values, g, [0, 1, 2, 3].map(|i| row(s + i)), p, s - start)
                }
                (true, 2..) => {
                    add_values::<_, _, 2, 4>(f, values, g, [0, 1, 2, 3].map(|i| row(s + i)), p, s - start)
                }
                (true, _) => {
                    add_values::<_, _, 1, 4>(f, values, g, [0, 1, 2, 3].map(|i| row(s + i)), p, s - start)
                }
                (false, _) => add_values::<_, _, 1, 1>(f, values, g, [row(s)], p, s - start),
            };
        }
        s += if four { 4 } else { 1 };
    }
}

/// Adds the values of `K` keys, which are at `at` and on, to the sums of `G` heads, `g` and on. Returns `G`.
#[inline(always)]
fn add_values<F: Fma, T: Float, const G: usize, const K: usize>(
    f: F,
    values: &mut [f32],
    g: usize,
    v: [&[T]; K],
    p: &[f32],
    at: usize,
) -> usize {
    let dv = v[0].len();
    let mut weights = [[0f32; K]; G];
    for i in 0..G {
        weights[i].copy_from_slice(&p[(g + i) * KEYS + at..][..K]);
    }
    let values = &mut values[g * dv..][..G * dv];
    let whole = dv / LANES;
    let mut chunks = [&v[0].as_chunks::<LANES>().0[..whole]; K];
    for j in 0..K {
        chunks[j] = &v[j].as_chunks().0[..whole];
    }
    for c in 0..whole {
        let mut rows = [[0f32; LANES]; K];
        for j in 0..K {
            for lane in 0..LANES {
                rows[j][lane] = chunks[j][c][lane].to_f32();
            }
        }
        for i in 0..G {
            let out = &mut values[i * dv + c * LANES..][..LANES];
            let mut sums = [0f32; LANES];
            sums.copy_from_slice(out);
            for j in 0..K {
                for lane in 0..LANES {
                    sums[lane] = f.fma(weights[i][j], rows[j][lane], sums[lane]);
                }
            }
            out.copy_from_slice(&sums);
        }
    }
    for i in 0..G {
        for d in whole * LANES..dv {
            for j in 0..K {
                values[i * dv + d] = f.fma(weights[i][j], v[j][d].to_f32(), values[i * dv + d]);
            }
        }
    }
    G
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
            let values = &block[2 * group + g * dv..][..dv];
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
