//! MLX's affine quantization.

use half::{bf16, f16};

use super::super::matrix::{Affine, Values};
use super::{CHUNK, Chunk, Format, Visit, array};
use crate::Float;

/// Codes of `BITS` bits, of which each 32 fill `BITS` words.
#[derive(Clone, Copy)]
struct Codes<'a, S, const BITS: usize> {
    codes: &'a [u32],
    scales: &'a [S],
    biases: &'a [S],
    /// Chunks of a row.
    chunks: usize,
    /// Chunks that share a scale are `1 << shift`.
    shift: u32,
}

impl<S: Float, const BITS: usize> Format for Codes<'_, S, BITS> {
    const MINS: bool = true;

    #[inline(always)]
    fn chunk(&self, n: usize, c: usize) -> Chunk {
        let words: &[u32; BITS] = array(self.codes, (n * self.chunks + c) * BITS);
        let group = (n * (self.chunks >> self.shift)) + (c >> self.shift);
        Chunk::shifted(self.scales[group].to_f32(), self.biases[group].to_f32(), levels(words))
    }
}

/// The codes of a chunk as numbers.
#[inline(always)]
fn levels<const BITS: usize>(words: &[u32; BITS]) -> [f32; CHUNK] {
    if matches!(BITS, 2 | 4 | 8) {
        // No code crosses the end of a word.
        let codes = 32 / BITS;
        return std::array::from_fn(|i| {
            (words[i / codes] >> (i % codes * BITS) & mask::<BITS>()) as i32 as f32
        });
    }
    // Eight codes fill a whole number of bytes.
    let mut levels = [0.0; CHUNK];
    for (eight, levels) in levels.chunks_exact_mut(8).enumerate() {
        let (word, shift) = (eight * 8 * BITS / 32, eight * 8 * BITS % 32);
        let next = if word + 1 < BITS { words[word + 1] } else { 0 };
        let bits = (u64::from(next) << 32 | u64::from(words[word])) >> shift;
        for (i, level) in levels.iter_mut().enumerate() {
            *level = ((bits >> (i * BITS)) as u32 & mask::<BITS>()) as i32 as f32;
        }
    }
    levels
}

const fn mask<const BITS: usize>() -> u32 {
    (1 << BITS) - 1
}

pub(in crate::product) fn visit<V: Visit>(parts: Affine<'_>, columns: usize, visit: V) -> V::Result {
    match (parts.scales, parts.biases) {
        (Values::F32(scales), Values::F32(biases)) => by_bits(parts, scales, biases, columns, visit),
        (Values::F16(scales), Values::F16(biases)) => {
            by_bits::<_, f16>(parts, scales, biases, columns, visit)
        }
        (Values::Bf16(scales), Values::Bf16(biases)) => {
            by_bits::<_, bf16>(parts, scales, biases, columns, visit)
        }
        _ => unreachable!("a matrix is not made with scales and biases of two types"),
    }
}

fn by_bits<V: Visit, S: Float>(
    parts: Affine<'_>,
    scales: &[S],
    biases: &[S],
    columns: usize,
    visit: V,
) -> V::Result {
    let (codes, chunks) = (parts.codes, columns / CHUNK);
    let shift = (parts.group_size / CHUNK).trailing_zeros();
    macro_rules! of {
        ($bits:literal) => {
            visit.visit(Codes::<_, $bits> { codes, scales, biases, chunks, shift })
        };
    }
    match parts.bits {
        2 => of!(2),
        3 => of!(3),
        4 => of!(4),
        5 => of!(5),
        6 => of!(6),
        8 => of!(8),
        _ => unreachable!("a matrix is not made with such codes"),
    }
}
