//! Some rows at a time: each weight is unpacked once and meets up to four rows of `x` while it is in registers.

use std::ops::Range;

use super::format::{CHUNK, Format, GROUP, Packed, Scales, VECTORS, Visit};
use super::rounded::Rounded;
use super::{Matrix, Output, Precision, column_blocks, columns};
use crate::isa::compiled_for_each;
use crate::simd::{LANES, Simd, each};
use crate::threads;
use crate::{Float, Isa};

/// Rows of `x` that are multiplied while a weight is in registers.
const TILE: usize = 4;

/// Weights that a thread takes at a time, at least: enough to make taking them cheap.
const SHARE: usize = 1 << 15;

/// Rows of `x`, padded with zeros to whole chunks, in tiles: one chunk after another, and of each the rows of the tile. So a
/// kernel follows one address, not one for each row.
struct Activations {
    rows: usize,
    /// Of a row.
    chunks: usize,
    x: Vec<[f32; CHUNK]>,
    /// Of the first halves of the chunks and of the second, which minima are multiplied by.
    sums: [Vec<f32>; 2],
}

impl Activations {
    fn new(x: &[f32], rows: usize) -> Self {
        let columns = x.len() / rows;
        let chunks = columns.div_ceil(CHUNK);
        let mut padded = Vec::with_capacity(rows * chunks);
        for tile in x.chunks((TILE * columns).max(1)) {
            for start in (0..columns).step_by(CHUNK) {
                for row in tile.chunks_exact(columns) {
                    let part = &row[start..columns.min(start + CHUNK)];
                    let mut chunk = [0.0; CHUNK];
                    chunk[..part.len()].copy_from_slice(part);
                    padded.push(chunk);
                }
            }
        }
        let half =
            |range: Range<usize>| padded.iter().map(|chunk| chunk[range.clone()].iter().sum()).collect();
        let sums = [half(0..CHUNK / 2), half(CHUNK / 2..CHUNK)];
        Activations { rows, chunks, sums, x: padded }
    }
}

pub(super) fn product<T: Float>(
    isa: Isa,
    x: &[f32],
    rows: usize,
    outputs: &mut [Output<'_, '_, T>],
    precision: Precision,
) {
    let activations = Activations::new(x, rows);
    let rounded = (precision == Precision::Rounded).then(|| Rounded::new(isa, &activations.x));
    let total: usize = outputs.iter().map(|output| output.weights.rows()).sum();
    let share = (SHARE / (activations.chunks * CHUNK).max(1)).max(total / (threads::threads() * 16)).max(1);
    let mut items = Vec::new();
    for Output { weights, out } in outputs {
        let blocks = column_blocks(out, weights.rows(), share);
        items.extend(blocks.into_iter().enumerate().map(|(block, out)| (*weights, block * share, out)));
    }
    threads::for_each(items, |(weights, first, mut out)| {
        let count = out.first().map_or(0, |row| row.len());
        let mut dots = vec![0.0; count * activations.rows];
        if let Some(dense) = weights.as_columns() {
            columns::dots(isa, dense, x, activations.rows, first, &mut dots);
        } else {
            let (activations, rounded) = (&activations, rounded.as_ref());
            visit(weights, Dots { isa, activations, rounded, first, dots: &mut dots });
        }
        for (row, out) in out.iter_mut().enumerate() {
            for (dot, out) in dots[row * count..].iter().zip(out.iter_mut()) {
                *out = T::from_f32(*dot);
            }
        }
    });
}

/// Not generic, so that the loops for all layouts are compiled here, and not again in every crate that calls them.
fn visit(weights: Matrix<'_>, dots: Dots<'_>) {
    weights.visit(dots);
}

/// Products of all rows of `x` with the rows of weights from `first` on: `[rows, count]`.
struct Dots<'a> {
    isa: Isa,
    activations: &'a Activations,
    /// The same, if products are to be taken of integers wherever the layout has them.
    rounded: Option<&'a Rounded>,
    first: usize,
    dots: &'a mut [f32],
}

impl Visit for Dots<'_> {
    type Result = ();

    fn visit<F: Format>(self, format: F) {
        let Activations { rows, chunks, x, sums } = self.activations;
        let all = Exact { x, sums: each!(half => &sums[half][..]) };
        dots(self.isa, format, all, [*rows, *chunks], self.first, self.dots);
    }

    fn visit_packed<F: Packed>(self, format: F) {
        let Some(rounded) = self.rounded else { return self.visit(format) };
        let Activations { rows, chunks, .. } = *self.activations;
        dots(self.isa, format, rounded.all(), [rows, chunks], self.first, self.dots);
    }
}

/// Chunks of rows of `x`, and how they meet the levels of weights.
pub(super) trait Chunks<F: Format>: Copy {
    /// By how much a level is above what the layout says.
    const ABOVE: f32;
    /// The levels of a chunk of weights.
    type Levels<S: Simd>: Copy;

    /// Some of the chunks.
    fn part(self, range: Range<usize>) -> Self;
    /// What chunk `i` is to be multiplied by.
    fn scale(self, i: usize) -> f32;
    /// The sum of a half of chunk `i`, scaled.
    fn sum(self, half: usize, i: usize) -> f32;

    /// The levels of chunk `c` of a group of weights.
    fn levels<S: Simd>(simd: S, format: F, group: F::Group, c: usize) -> Self::Levels<S>;

    /// `total` and the products with chunk `i`, times the scales of its halves.
    fn add<S: Simd>(self, simd: S, levels: Self::Levels<S>, i: usize, scales: [f32; 2], total: S::F) -> S::F;
}

/// Products of rows of `x` with the rows of weights from `first` on, into `dots`, `[rows, count]`.
fn dots<F: Format, X: Chunks<F>>(
    isa: Isa,
    format: F,
    x: X,
    [rows, chunks]: [usize; 2],
    first: usize,
    dots: &mut [f32],
) {
    let count = dots.len() / rows;
    for (tile, dots) in dots.chunks_mut((TILE * count).max(1)).enumerate() {
        let start = tile * TILE;
        let height = TILE.min(rows - start);
        let x = x.part(start * chunks..(start + height) * chunks);
        match height {
            1 => one(isa, format, x, chunks, first, dots),
            2 => two(isa, format, x, chunks, first, dots),
            3 => three(isa, format, x, chunks, first, dots),
            _ => four(isa, format, x, chunks, first, dots),
        }
    }
}

macro_rules! tiles {
    ($($name:ident: $rows:literal),*) => {
        $(compiled_for_each! {
            fn $name<F: Format, X: Chunks<F>>(
                format: F, x: X, chunks: usize, first: usize, dots: &mut [f32],
            ) = dot_rows::<_, _, _, $rows>
        })*
    };
}

tiles!(one: 1, two: 2, three: 3, four: 4);

/// A loop over the chunks of a group. For a single row it is written out, so that offsets and shifts are constants; several
/// rows share what they cost.
macro_rules! each_chunk {
    ($c:ident of $chunks:expr, $rows:expr => $body:block) => {
        if $rows == 1 {
            each_chunk!(@ $c $chunks, $body, 0 1 2 3 4 5 6 7);
        } else {
            for $c in 0..$chunks $body
        }
    };
    (@ $c:ident $chunks:expr, $body:block, $($number:literal)*) => {
        $(if $number < $chunks {
            let $c = $number;
            $body
        })*
    };
}

/// Products of `M` rows of `x` with the rows of weights from `first` on: `[M, count]`.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
fn dot_rows<S: Simd, F: Format, X: Chunks<F>, const M: usize>(
    simd: S,
    format: F,
    x: X,
    chunks: usize,
    first: usize,
    dots: &mut [f32],
) {
    let count = dots.len() / M;
    let halves = if F::HALVES { 2 } else { 1 };
    let x = x.part(0..chunks * M);
    for n in 0..count {
        let weights = format.row(first + n);
        let mut totals = [simd.splat(0.0); M];
        let mut offsets = [[0.0; M]; GROUP];
        for g in 0..chunks / F::CHUNKS {
            let x = x.part(g * F::CHUNKS * M..(g + 1) * F::CHUNKS * M);
            let group = format.group(weights, g);
            let Scales { scales, mins } = format.scales(simd, group);
            let mins: [[f32; GROUP]; 2] = match X::ABOVE {
                0.0 => mins,
                above => each!(half => each!(c => mins[half][c] - above * scales[half][c])),
            };
            // Loops of their own, each of which becomes a few vector instructions.
            let mut factors = [[[0.0; M]; GROUP]; 2];
            for half in 0..halves {
                for c in 0..F::CHUNKS {
                    for m in 0..M {
                        factors[half][c][m] = scales[half][c] * x.scale(c * M + m);
                    }
                }
                if !F::MINS && X::ABOVE == 0.0 {
                    continue;
                }
                for c in 0..F::CHUNKS {
                    for m in 0..M {
                        let i = c * M + m;
                        let sum = if F::HALVES { x.sum(half, i) } else { x.sum(0, i) + x.sum(1, i) };
                        offsets[c][m] = simd.fma(mins[half][c], sum, offsets[c][m]);
                    }
                }
            }
            each_chunk!(c of F::CHUNKS, M => {
                format.prefetch(simd, first + n, g * F::CHUNKS + c);
                let levels = X::levels(simd, format, group, c);
                for m in 0..M {
                    let factors = each!(half => factors[half][c][m]);
                    totals[m] = x.add(simd, levels, c * M + m, factors, totals[m]);
                }
            });
        }
        for m in 0..M {
            let offset = simd.sum(simd.load(&each!(c => offsets[c][m])));
            dots[m * count + n] = offset + simd.sum(totals[m]);
        }
    }
}

/// Chunks of floats.
#[derive(Clone, Copy)]
struct Exact<'a> {
    x: &'a [[f32; CHUNK]],
    sums: [&'a [f32]; 2],
}

impl<F: Format> Chunks<F> for Exact<'_> {
    const ABOVE: f32 = 0.0;
    type Levels<S: Simd> = [S::F; VECTORS];

    #[inline(always)]
    fn part(self, range: Range<usize>) -> Self {
        Exact { x: &self.x[range.clone()], sums: each!(half => &self.sums[half][range.clone()]) }
    }

    #[inline(always)]
    fn scale(self, _: usize) -> f32 {
        1.0
    }

    #[inline(always)]
    fn sum(self, half: usize, i: usize) -> f32 {
        self.sums[half][i]
    }

    #[inline(always)]
    fn levels<S: Simd>(simd: S, format: F, group: F::Group, c: usize) -> [S::F; VECTORS] {
        format.floats(simd, group, c)
    }

    /// The products with the levels come first, which are exact factors, and are then scaled.
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, levels: [S::F; VECTORS], i: usize, scales: [f32; 2], total: S::F) -> S::F {
        let (x, _) = self.x[i].as_chunks::<LANES>();
        let size = if F::HALVES { VECTORS / 2 } else { VECTORS };
        let mut total = total;
        for ((levels, x), scale) in levels.chunks_exact(size).zip(x.chunks_exact(size)).zip(scales) {
            let mut products = simd.mul(levels[0], simd.load(&x[0]));
            for (levels, x) in levels[1..].iter().zip(&x[1..]) {
                products = simd.mul_add(*levels, simd.load(x), products);
            }
            total = simd.mul_add(products, simd.splat(scale), total);
        }
        total
    }
}
