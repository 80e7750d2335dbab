//! Some rows at a time, with activations rounded to 16 bits: sixteen products an instruction, and no conversion of weights.
//!
//! Of each 32 elements `x` of a row, the largest magnitude decides the scale `s = max |x| / 32767`, and `x` becomes
//! `s * round(x / s)`. The error of an element is at most `s / 2`, a 65534th of the largest of its chunk. Everything else is
//! exact up to float32 sums: products of integers are summed as integers. (With 8 bits, greedy text changed.)

use std::ops::Range;

use super::few::Chunks;
use super::format::{CHUNK, Packed};
use crate::Isa;
use crate::isa::compiled_for_each;
use crate::simd::{Simd, each};

/// The largest number that an element becomes.
const LARGEST: f32 = 32767.0;

/// The numbers at even places and those at odd ones.
type Chunk = [[i16; CHUNK / 2]; 2];

/// Chunks of `x` as integers. Each vector has an entry for each chunk.
pub(super) struct Rounded {
    numbers: Vec<Chunk>,
    scales: Vec<f32>,
    /// Of the first halves, as rounded, and of the second.
    sums: [Vec<f32>; 2],
}

impl Rounded {
    pub(super) fn new(isa: Isa, chunks: &[[f32; CHUNK]]) -> Self {
        let mut rounded = Rounded {
            numbers: vec![[[0; CHUNK / 2]; 2]; chunks.len()],
            scales: vec![0.0; chunks.len()],
            sums: [vec![0.0; chunks.len()], vec![0.0; chunks.len()]],
        };
        let Rounded { numbers, scales, sums } = &mut rounded;
        let [first, second] = sums;
        round(isa, chunks, numbers, scales, first, second);
        rounded
    }

    pub(super) fn all(&self) -> RoundedChunks<'_> {
        let Rounded { numbers, scales, sums } = self;
        RoundedChunks { numbers, scales, sums: each!(half => &sums[half][..]) }
    }
}

#[derive(Clone, Copy)]
pub(super) struct RoundedChunks<'a> {
    numbers: &'a [Chunk],
    scales: &'a [f32],
    sums: [&'a [f32]; 2],
}

impl<F: Packed> Chunks<F> for RoundedChunks<'_> {
    const ABOVE: f32 = F::ABOVE;
    type Levels<S: Simd> = [S::W; 2];

    #[inline(always)]
    fn part(self, range: Range<usize>) -> Self {
        RoundedChunks {
            numbers: &self.numbers[range.clone()],
            scales: &self.scales[range.clone()],
            sums: each!(half => &self.sums[half][range.clone()]),
        }
    }

    #[inline(always)]
    fn scale(self, i: usize) -> f32 {
        self.scales[i]
    }

    #[inline(always)]
    fn sum(self, half: usize, i: usize) -> f32 {
        self.sums[half][i]
    }

    #[inline(always)]
    fn levels<S: Simd>(simd: S, format: F, group: F::Group, c: usize) -> [S::W; 2] {
        format.integers(simd, group, c)
    }

    #[inline(always)]
    fn add<S: Simd>(self, simd: S, levels: [S::W; 2], i: usize, scales: [f32; 2], total: S::F) -> S::F {
        let products = simd.to_float(simd.dot(levels, &self.numbers[i]));
        let scales = if F::HALVES { simd.splat_halves(scales[0], scales[1]) } else { simd.splat(scales[0]) };
        simd.mul_add(products, scales, total)
    }
}

compiled_for_each! {
    fn round(
        chunks: &[[f32; CHUNK]], numbers: &mut [Chunk], scales: &mut [f32], first: &mut [f32], second: &mut [f32],
    ) = round_chunks
}

#[inline(always)]
fn round_chunks<S: Simd>(
    _: S,
    chunks: &[[f32; CHUNK]],
    numbers: &mut [Chunk],
    scales: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let sums = first.iter_mut().zip(second);
    for (((chunk, numbers), scale), (first, second)) in chunks.iter().zip(numbers).zip(scales).zip(sums) {
        let mut largest = 0.0f32;
        let mut finite = true;
        for x in chunk {
            largest = largest.max(x.abs());
            finite &= x.is_finite();
        }
        // What is not finite makes the whole chunk NaN.
        *scale = if finite { largest / LARGEST } else { f32::NAN };
        let inverse = if *scale > 0.0 { scale.recip() } else { 0.0 };
        // The inverse of a subnormal number may be infinite, and then 0 times it is no number, which becomes 0.
        let number = |x: f32| (x * inverse).round_ties_even().clamp(-LARGEST, LARGEST) as i16;
        *numbers = each!(odd => each!(i => number(chunk[2 * i + odd])));
        let sum = |range: Range<usize>| {
            let sum = |numbers: &[i16]| numbers.iter().map(|number| i32::from(*number)).sum::<i32>();
            *scale * (sum(&numbers[0][range.clone()]) + sum(&numbers[1][range])) as f32
        };
        (*first, *second) = (sum(0..CHUNK / 4), sum(CHUNK / 4..CHUNK / 2));
    }
}
