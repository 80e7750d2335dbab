//! Some rows at a time, with activations rounded to 16 bits: sixteen products an instruction, and no conversion of weights.
//!
//! Of each 32 elements `x` of a row, the largest magnitude decides the scale `s = max |x| / 32767`, and `x` becomes
//! `s * round(x / s)`. The error of an element is at most `s / 2`, a 65534th of the largest of its chunk. Everything else is
//! exact up to float32 sums: products of integers are summed as integers. (With 8 bits, greedy text changed.)

use super::few::TILE;
use super::format::{CHUNK, Format, add_mins};
use crate::Isa;
use crate::isa::compiled_for_each;
use crate::simd::{Simd, each};

/// The largest number that an element becomes.
const LARGEST: f32 = 32767.0;

/// Rows of `x` as integers. Each vector has an entry for each chunk of each row.
pub(super) struct Rounded {
    numbers: Vec<[i16; CHUNK]>,
    scales: Vec<f32>,
    /// Of the halves of each chunk, as rounded.
    sums: Vec<[f32; 2]>,
}

impl Rounded {
    /// Rounds rows that are padded to whole chunks.
    pub(super) fn new(isa: Isa, padded: &[f32]) -> Self {
        let (chunks, _) = padded.as_chunks::<CHUNK>();
        let mut rounded = Rounded {
            numbers: vec![[0; CHUNK]; chunks.len()],
            scales: vec![0.0; chunks.len()],
            sums: vec![[0.0; 2]; chunks.len()],
        };
        let Rounded { numbers, scales, sums } = &mut rounded;
        round(isa, chunks, numbers, scales, sums);
        rounded
    }

    /// Products of rows `start..` of `x` with the rows of weights from `first` on, into `dots`, `[at most TILE, count]`.
    pub(super) fn dots<F: Format>(
        &self,
        isa: Isa,
        format: F,
        [start, chunks]: [usize; 2],
        first: usize,
        [rows, count]: [usize; 2],
        dots: &mut [f32],
    ) {
        let from = start * chunks;
        let (numbers, scales, sums) = (&self.numbers[from..], &self.scales[from..], &self.sums[from..]);
        debug_assert!(rows <= TILE && dots.len() == rows * count);
        match rows {
            1 => one(isa, format, numbers, scales, sums, chunks, first, dots),
            2 => two(isa, format, numbers, scales, sums, chunks, first, dots),
            3 => three(isa, format, numbers, scales, sums, chunks, first, dots),
            _ => four(isa, format, numbers, scales, sums, chunks, first, dots),
        }
    }
}

compiled_for_each! {
    fn round(
        chunks: &[[f32; CHUNK]], numbers: &mut [[i16; CHUNK]], scales: &mut [f32], sums: &mut [[f32; 2]],
    ) = round_chunks
}

#[inline(always)]
fn round_chunks<S: Simd>(
    _: S,
    chunks: &[[f32; CHUNK]],
    numbers: &mut [[i16; CHUNK]],
    scales: &mut [f32],
    sums: &mut [[f32; 2]],
) {
    for (((chunk, numbers), scale), sums) in chunks.iter().zip(numbers).zip(scales).zip(sums) {
        let mut largest = 0.0f32;
        let mut finite = true;
        for x in chunk {
            largest = largest.max(x.abs());
            finite &= x.is_finite();
        }
        // What is not finite makes the whole chunk NaN.
        *scale = if finite { largest / LARGEST } else { f32::NAN };
        let inverse = if *scale > 0.0 { scale.recip() } else { 0.0 };
        for (number, x) in numbers.iter_mut().zip(chunk) {
            // The inverse of a subnormal number may be infinite, and then 0 times it is no number, which becomes 0.
            *number = (x * inverse).round_ties_even().clamp(-LARGEST, LARGEST) as i16;
        }
        let sum = |half: &[i16]| half.iter().map(|number| i32::from(*number)).sum::<i32>() as f32;
        let (first, second) = numbers.split_at(CHUNK / 2);
        *sums = [*scale * sum(first), *scale * sum(second)];
    }
}

macro_rules! tiles {
    ($($name:ident: $rows:literal),*) => {
        $(compiled_for_each! {
            fn $name<F: Format>(
                format: F, numbers: &[[i16; CHUNK]], scales: &[f32], sums: &[[f32; 2]], chunks: usize, first: usize,
                dots: &mut [f32],
            ) = dot_rows::<_, _, $rows>
        })*
    };
}

tiles!(one: 1, two: 2, three: 3, four: 4);

#[allow(clippy::too_many_arguments)]
#[inline(always)]
fn dot_rows<S: Simd, F: Format, const M: usize>(
    simd: S,
    format: F,
    numbers: &[[i16; CHUNK]],
    scales: &[f32],
    sums: &[[f32; 2]],
    chunks: usize,
    first: usize,
    dots: &mut [f32],
) {
    let count = dots.len() / M;
    let numbers: [&[[i16; CHUNK]]; M] = each!(m => &numbers[m * chunks..][..chunks]);
    let scales: [&[f32]; M] = each!(m => &scales[m * chunks..][..chunks]);
    let sums: [&[[f32; 2]]; M] = each!(m => &sums[m * chunks..][..chunks]);
    for row in 0..count {
        let mut totals = [simd.splat(0.0); M];
        let mut offsets = [0.0; M];
        for c in 0..chunks {
            format.prefetch(simd, first + row, c);
            let chunk = format.bytes(simd, first + row, c);
            for m in 0..M {
                let scale = scales[m][c];
                let [first, second] = simd.dot(chunk.levels, F::SIGNED, &numbers[m][c]);
                totals[m] = if F::HALVES {
                    let [first, second] = [simd.to_float(first), simd.to_float(second)];
                    let total = simd.mul_add(first, simd.splat(chunk.scales[0] * scale), totals[m]);
                    simd.mul_add(second, simd.splat(chunk.scales[1] * scale), total)
                } else {
                    let both = simd.to_float(simd.add_int(first, second));
                    simd.mul_add(both, simd.splat(chunk.scales[0] * scale), totals[m])
                };
                offsets[m] = add_mins::<S, F>(simd, chunk.mins, sums[m][c], offsets[m]);
            }
        }
        for m in 0..M {
            dots[m * count + row] = offsets[m] + simd.sum(totals[m]);
        }
    }
}
