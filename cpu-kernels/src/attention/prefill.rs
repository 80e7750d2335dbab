//! Many queries: blocks of them against blocks of keys.
//!
//! The queries of a key head are the rows `l * group + g`, and 16 of them make a panel, one row to a lane. Everything
//! about a panel is stored with the lanes innermost: the queries `[Dh][16]`, the scores `[keys][16]` and the output
//! `[Dv][16]`. So both products are `C[6][16] += A[6][n] B[n][16]`, with `A` from the keys or the values, and the
//! maxima and sums of the softmax need no sums across lanes.

use std::ops::Range;

use super::{HeadOrder, Operands};
use crate::float::Float;
use crate::isa::{Fma, Isa, compiled_for_each};
use crate::math::{exp, max};
use crate::threads;

/// Rows of a panel.
const LANES: usize = 16;
/// Rows of a register block: its 6 x 16 sums fill 12 registers of 8 lanes and leave 4.
const TILE: usize = 6;
/// Keys of a block, a multiple of [`TILE`].
const KEYS: usize = 96;
/// The most panels that share a block of keys once it is converted to float32. With the block they fit a cache of
/// 512 KiB for heads of 256.
const PANELS: usize = 4;

/// Queries of one key head, and where their results go.
struct Work<'a, T> {
    b: usize,
    kv_head: usize,
    /// Among the rows `l * group + g`.
    rows: Range<usize>,
    /// By row, counted from the first.
    out: Vec<(usize, &'a mut [T])>,
}

pub(super) fn prefill<T: Float>(isa: Isa, operands: Operands<'_, T>, out: &mut [T]) {
    let ([_, q_heads, length, _], [batch, kv_heads, _, dv]) = (operands.q.shape(), operands.v.shape());
    let group = operands.group();
    let rows = length * group;
    // However the panels are shared out, each is computed in the same way.
    let panels = batch * kv_heads * rows.div_ceil(LANES);
    let rows_each = LANES * (panels / (2 * threads::threads())).clamp(1, PANELS);
    let each_head = rows.div_ceil(rows_each);
    let mut work: Vec<Work<'_, T>> = (0..batch * kv_heads * each_head)
        .map(|index| {
            let (head, start) = (index / each_head, index % each_head * rows_each);
            let rows = start..(start + rows_each).min(rows);
            let out = Vec::with_capacity(rows.len());
            Work { b: head / kv_heads, kv_head: head % kv_heads, rows, out }
        })
        .collect();
    for (index, out) in out.chunks_exact_mut(dv).enumerate() {
        let (b, h, l) = match operands.options.order {
            HeadOrder::HeadsFirst => (index / length / q_heads, index / length % q_heads, index % length),
            HeadOrder::TokensFirst => (index / q_heads / length, index % q_heads, index / q_heads % length),
        };
        let row = l * group + h % group;
        work[(b * kv_heads + h / group) * each_head + row / rows_each].out.push((row % rows_each, out));
    }
    // With a causal mask the last queries have the most to do.
    work.reverse();
    threads::for_each(work, |work| attend(isa, operands, work));
}

/// 16 queries, and what they have seen so far.
struct Panel {
    /// The position and the head of each lane. Lanes that are left over repeat the last.
    rows: [(usize, usize); LANES],
    /// The first key that each lane sees, and the first that it does not see any more.
    range: [(u32, u32); LANES],
    /// Scaled queries, `[Dh]`.
    q: Vec<[f32; LANES]>,
    /// The largest score.
    max: [f32; LANES],
    /// Sum of `e^(score - max)`.
    sum: [f32; LANES],
    /// Sum of `e^(score - max) v`, `[Dv]` up to a multiple of [`TILE`].
    out: Vec<[f32; LANES]>,
}

impl Panel {
    #[inline(always)]
    fn new<T: Float>(operands: &Operands<'_, T>, work: &Work<'_, T>, first: usize) -> Panel {
        let ([_, _, length, dh], [_, _, keys, dv]) = (operands.q.shape(), operands.v.shape());
        let (group, options) = (operands.group(), &operands.options);
        let mut q = vec![[0f32; LANES]; dh];
        let rows = std::array::from_fn(|lane| {
            let row = (first + lane).min(work.rows.end - 1);
            (row / group, work.kv_head * group + row % group)
        });
        for (lane, &(l, h)) in rows.iter().enumerate() {
            for (q, x) in q.iter_mut().zip(operands.q.row(work.b, h, l)) {
                q[lane] = x.to_f32() * options.scale;
            }
        }
        let range = rows.map(|(l, _)| options.mask.range(l, length, keys));
        Panel {
            rows,
            range: range.map(|range| (range.start as u32, range.end as u32)),
            q,
            max: [f32::NEG_INFINITY; LANES],
            sum: [0.0; LANES],
            out: vec![[0.0; LANES]; dv.next_multiple_of(TILE)],
        }
    }

    /// The keys that any lane sees. Ranges rise with the lanes.
    #[inline(always)]
    fn range(&self) -> Range<usize> {
        self.range[0].0 as usize..self.range[LANES - 1].1 as usize
    }
}

/// Keys and values of one block, in float32.
struct Block {
    /// Its first key.
    start: usize,
    /// `[KEYS, Dh]`. Behind the last key is whatever was there; its scores are masked.
    k: Vec<f32>,
    /// `[Dv / TILE, KEYS]`.
    v: Vec<[f32; TILE]>,
}

impl Block {
    #[inline(always)]
    fn load<T: Float>(&mut self, operands: &Operands<'_, T>, work: &Work<'_, T>, start: usize, end: usize) {
        let [_, _, _, dh] = operands.k.shape();
        self.start = start;
        for (i, s) in (start..end).enumerate() {
            let k = operands.k.row(work.b, work.kv_head, s);
            self.k[i * dh..][..dh].iter_mut().zip(k).for_each(|(k, x)| *k = x.to_f32());
            let v = operands.v.row(work.b, work.kv_head, s);
            let (tiles, rest) = v.as_chunks::<TILE>();
            for (x, v) in tiles.iter().zip(self.v[i..].iter_mut().step_by(KEYS)) {
                *v = x.map(T::to_f32);
            }
            if !rest.is_empty() {
                let v = &mut self.v[tiles.len() * KEYS + i];
                v.iter_mut().zip(rest).for_each(|(v, x)| *v = x.to_f32());
            }
        }
    }
}

#[inline(always)]
fn attend_body<F: Fma, T: Float>(f: F, operands: Operands<'_, T>, work: Work<'_, T>) {
    let ([_, _, keys, dh], [_, _, _, dv]) = (operands.k.shape(), operands.v.shape());
    let panels = work.rows.clone().step_by(LANES);
    let mut panels: Vec<Panel> = panels.map(|first| Panel::new(&operands, &work, first)).collect();
    let mut block =
        Block { start: 0, k: vec![0.0; KEYS * dh], v: vec![[0.0; TILE]; dv.div_ceil(TILE) * KEYS] };
    let mut scores = [[0f32; LANES]; KEYS];

    let first = panels.first().map_or(0, |panel| panel.range().start) / KEYS * KEYS;
    let end = panels.last().map_or(0, |panel| panel.range().end);
    for start in (first..end).step_by(KEYS) {
        block.load(&operands, &work, start, keys.min(start + KEYS));
        for panel in &mut panels {
            let seen = panel.range();
            // Only the tiles of keys that some lane sees.
            let from = (seen.start.clamp(start, start + KEYS) - start) / TILE * TILE;
            let to = seen.end.clamp(start, start + KEYS) - start;
            if from < to {
                step(f, &operands, work.b, &block, from..to, panel, &mut scores);
            }
        }
    }

    for (row, out) in work.out {
        let (panel, lane) = (&panels[row / LANES], row % LANES);
        let sum = panel.sum[lane];
        for (out, sums) in out.iter_mut().zip(&panel.out) {
            *out = T::from_f32(if sum == 0.0 { 0.0 } else { sums[lane] / sum });
        }
    }
}

compiled_for_each! {
    fn attend<T: Float>(operands: Operands<'_, T>, work: Work<'_, T>) = attend_body
}

/// Lets a panel see the keys `range` of a block, which starts with a tile.
#[inline(always)]
fn step<F: Fma, T: Float>(
    f: F,
    operands: &Operands<'_, T>,
    b: usize,
    block: &Block,
    range: Range<usize>,
    panel: &mut Panel,
    scores: &mut [[f32; LANES]; KEYS],
) {
    let dh = panel.q.len();
    let tiles = range.start / TILE..range.end.div_ceil(TILE);
    for (i, out) in scores.as_chunks_mut::<TILE>().0.iter_mut().enumerate().take(tiles.end).skip(tiles.start)
    {
        scores_tile(f, &block.k[i * TILE * dh..][..TILE * dh], &panel.q, out);
    }
    let scores = &mut scores[range.clone()];
    mask(operands, b, block.start + range.start, panel, scores);

    let mut largest = panel.max;
    for scores in scores.iter() {
        for lane in 0..LANES {
            largest[lane] = max(largest[lane], scores[lane]);
        }
    }
    // While a lane has seen nothing, its maximum is -infinity: 0 in its place makes all exponentials 0, and not NaN.
    let mut shift = largest;
    shift.iter_mut().for_each(|shift| *shift = if *shift == f32::NEG_INFINITY { 0.0 } else { *shift });
    let mut rescale = [0f32; LANES];
    for lane in 0..LANES {
        rescale[lane] = exp(f, panel.max[lane] - shift[lane]);
    }
    for scores in scores.iter_mut() {
        for lane in 0..LANES {
            scores[lane] -= shift[lane];
        }
    }
    scores.as_flattened_mut().iter_mut().for_each(|score| *score = exp(f, *score));
    let mut sum = [0f32; LANES];
    for scores in scores.iter() {
        for lane in 0..LANES {
            sum[lane] += scores[lane];
        }
    }
    for lane in 0..LANES {
        panel.sum[lane] = f.fma(panel.sum[lane], rescale[lane], sum[lane]);
    }
    panel.max = largest;

    for (v, out) in block.v.chunks_exact(KEYS).zip(panel.out.as_chunks_mut::<TILE>().0) {
        values_tile(f, &v[range.clone()], scores, &rescale, out);
    }
}

/// Makes the scores of keys `start` and on -infinity where a lane does not see them.
#[inline(always)]
fn mask<T: Float>(
    operands: &Operands<'_, T>,
    b: usize,
    start: usize,
    panel: &Panel,
    scores: &mut [[f32; LANES]],
) {
    let mask = &operands.options.mask;
    if !mask.is_range() {
        for (scores, s) in scores.iter_mut().zip(start..) {
            for (score, &(l, h)) in scores.iter_mut().zip(&panel.rows) {
                *score = mask.apply(*score, b, h, l, s);
            }
        }
    }
    let (start, end) = (start as u32, (start + scores.len()) as u32);
    if panel.range[LANES - 1].0 <= start && end <= panel.range[0].1 {
        return;
    }
    let (from, to) = (panel.range.map(|range| range.0), panel.range.map(|range| range.1));
    for (scores, s) in scores.iter_mut().zip(start..) {
        for lane in 0..LANES {
            let seen = s >= from[lane] && s < to[lane];
            scores[lane] = if seen { scores[lane] } else { f32::NEG_INFINITY };
        }
    }
}

/// The scores of 6 keys, `[6, Dh]`, for 16 queries.
#[inline(always)]
fn scores_tile<F: Fma>(f: F, k: &[f32], q: &[[f32; LANES]], out: &mut [[f32; LANES]; TILE]) {
    let dh = q.len();
    let mut rows = [&k[..dh]; TILE];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &k[i * dh..][..dh];
    }
    let mut sums = [[0f32; LANES]; TILE];
    for d in 0..dh {
        for i in 0..TILE {
            let k = rows[i][d];
            for lane in 0..LANES {
                sums[i][lane] = f.fma(k, q[d][lane], sums[i][lane]);
            }
        }
    }
    *out = sums;
}

/// Rescales 6 features of 16 outputs and adds the keys' values, `[keys, 6]`, weighted by `p`.
#[inline(always)]
fn values_tile<F: Fma>(
    f: F,
    v: &[[f32; TILE]],
    p: &[[f32; LANES]],
    rescale: &[f32; LANES],
    out: &mut [[f32; LANES]; TILE],
) {
    let mut sums = *out;
    for sums in &mut sums {
        for lane in 0..LANES {
            sums[lane] *= rescale[lane];
        }
    }
    for (v, p) in v.iter().zip(p) {
        for i in 0..TILE {
            for lane in 0..LANES {
                sums[i][lane] = f.fma(v[i], p[lane], sums[i][lane]);
            }
        }
    }
    *out = sums;
}
