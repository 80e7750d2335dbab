//! Some rows at a time: each weight is unpacked once and meets up to four rows of `x` while it is in registers.

use super::format::{CHUNK, Chunk, Format, VECTORS, Visit, add_mins};
use super::rounded::Rounded;
use super::{Output, Precision, column_blocks, columns};
use crate::isa::compiled_for_each;
use crate::simd::{LANES, Simd, each};
use crate::threads;
use crate::{Float, Isa};

/// Rows of `x` that are multiplied while a weight is in registers.
pub(super) const TILE: usize = 4;

/// Weights that a thread takes at a time, at least: enough to make taking them cheap.
const SHARE: usize = 1 << 15;

/// Rows of `x`, padded with zeros to whole chunks, and the sums of each half chunk, which minima are multiplied by.
struct Activations {
    rows: usize,
    chunks: usize,
    x: Vec<f32>,
    sums: Vec<[f32; 2]>,
}

impl Activations {
    fn new(x: &[f32], rows: usize) -> Self {
        let columns = x.len() / rows;
        let chunks = columns.div_ceil(CHUNK);
        let mut padded = vec![0.0; rows * chunks * CHUNK];
        if chunks > 0 {
            for (to, from) in padded.chunks_exact_mut(chunks * CHUNK).zip(x.chunks_exact(columns)) {
                to[..columns].copy_from_slice(from);
            }
        }
        let sum = |half: &[f32]| half.iter().sum::<f32>();
        let sums = padded.chunks_exact(CHUNK).map(|chunk| {
            let (first, second) = chunk.split_at(CHUNK / 2);
            [sum(first), sum(second)]
        });
        Activations { rows, chunks, sums: sums.collect(), x: padded }
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
            let stride = activations.chunks * CHUNK;
            columns::dots(isa, dense, weights.columns(), &activations.x, stride, first, &mut dots);
        } else {
            weights.visit(Dots {
                isa,
                activations: &activations,
                rounded: rounded.as_ref(),
                first,
                dots: &mut dots,
            });
        }
        for (row, out) in out.iter_mut().enumerate() {
            for (dot, out) in dots[row * count..].iter().zip(out.iter_mut()) {
                *out = T::from_f32(*dot);
            }
        }
    });
}

/// Products of all rows of `x` with the rows of weights from `first` on: `[rows, count]`.
struct Dots<'a> {
    isa: Isa,
    activations: &'a Activations,
    /// The same, if products are to be taken of bytes wherever the layout has them.
    rounded: Option<&'a Rounded>,
    first: usize,
    dots: &'a mut [f32],
}

impl Visit for Dots<'_> {
    type Result = ();

    fn visit<F: Format>(self, format: F) {
        let Activations { rows, chunks, .. } = *self.activations;
        let count = self.dots.len() / rows;
        for (tile, dots) in self.dots.chunks_mut(TILE * count).enumerate() {
            if let Some(rounded) = self.rounded.filter(|_| F::BYTES) {
                let rows = dots.len() / count;
                rounded.dots(self.isa, format, [tile * TILE, chunks], self.first, [rows, count], dots);
                continue;
            }
            let start = tile * TILE * chunks;
            let x = &self.activations.x[start * CHUNK..];
            let sums = &self.activations.sums[start..];
            match dots.len() / count {
                1 => one(self.isa, format, x, sums, chunks, self.first, dots),
                2 => two(self.isa, format, x, sums, chunks, self.first, dots),
                3 => three(self.isa, format, x, sums, chunks, self.first, dots),
                _ => four(self.isa, format, x, sums, chunks, self.first, dots),
            }
        }
    }
}

macro_rules! tiles {
    ($($name:ident: $rows:literal),*) => {
        $(compiled_for_each! {
            fn $name<F: Format>(
                format: F, x: &[f32], sums: &[[f32; 2]], chunks: usize, first: usize, dots: &mut [f32],
            ) = dot_rows::<_, _, $rows>
        })*
    };
}

tiles!(one: 1, two: 2, three: 3, four: 4);

#[inline(always)]
fn dot_rows<S: Simd, F: Format, const M: usize>(
    simd: S,
    format: F,
    x: &[f32],
    sums: &[[f32; 2]],
    chunks: usize,
    first: usize,
    dots: &mut [f32],
) {
    let count = dots.len() / M;
    let x: [&[[f32; CHUNK]]; M] = each!(m => &x.as_chunks().0[m * chunks..][..chunks]);
    let sums: [&[[f32; 2]]; M] = each!(m => &sums[m * chunks..][..chunks]);
    for row in 0..count {
        let mut totals = [simd.splat(0.0); M];
        let mut offsets = [0.0; M];
        for c in 0..chunks {
            format.prefetch(simd, first + row, c);
            let chunk = format.chunk(simd, first + row, c);
            for m in 0..M {
                totals[m] = add::<S, F>(simd, &chunk, &x[m][c], totals[m]);
                offsets[m] = add_mins::<S, F>(simd, chunk.mins, sums[m][c], offsets[m]);
            }
        }
        for m in 0..M {
            dots[m * count + row] = offsets[m] + simd.sum(totals[m]);
        }
    }
}

/// Adds a chunk's products to `total`: those of the levels first, which are exact factors, and then scaled.
#[inline(always)]
fn add<S: Simd, F: Format>(simd: S, chunk: &Chunk<S>, x: &[f32; CHUNK], total: S::F) -> S::F {
    let (x, _) = x.as_chunks::<LANES>();
    let size = if F::HALVES { VECTORS / 2 } else { VECTORS };
    let parts = chunk.levels.chunks_exact(size).zip(x.chunks_exact(size)).zip(chunk.scales);
    let mut total = total;
    for ((levels, x), scale) in parts {
        let mut products = simd.mul(levels[0], simd.load(&x[0]));
        for (levels, x) in levels[1..].iter().zip(&x[1..]) {
            products = simd.mul_add(*levels, simd.load(x), products);
        }
        total = simd.mul_add(products, simd.splat(scale), total);
    }
    total
}
