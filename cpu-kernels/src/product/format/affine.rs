//! MLX's affine quantization.

use half::{bf16, f16};

use super::super::matrix::{Affine, Values};
use super::{CHUNK, Format, Packed, Scales, VECTORS, Visit, array};
use crate::Float;
use crate::simd::{LANES, Simd, each};

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

impl<'a, S: Float, const BITS: usize> Format for Codes<'a, S, BITS> {
    const MINS: bool = true;

    type Row = (&'a [[u32; BITS]], &'a [S], &'a [S]);
    type Group = (&'a [u32; BITS], S, S);

    #[inline(always)]
    fn row(&self, n: usize) -> Self::Row {
        let groups = self.chunks >> self.shift;
        let of_row = |values: &'a [S]| &values[n * groups..][..groups];
        let codes = self.codes.as_chunks().0;
        (&codes[n * self.chunks..][..self.chunks], of_row(self.scales), of_row(self.biases))
    }

    #[inline(always)]
    fn group(&self, (codes, scales, biases): Self::Row, g: usize) -> Self::Group {
        (&codes[g], scales[g >> self.shift], biases[g >> self.shift])
    }

    #[inline(always)]
    fn scales<V: Simd>(&self, _: V, (_, scale, bias): Self::Group) -> Scales {
        Scales::of_one(scale.to_f32(), bias.to_f32())
    }

    #[inline(always)]
    fn floats<V: Simd>(&self, simd: V, (words, ..): Self::Group, _: usize) -> [V::F; VECTORS] {
        levels(simd, words)
    }

    #[inline(always)]
    fn prefetch<V: Simd>(&self, simd: V, n: usize, c: usize) {
        simd.prefetch(self.codes, (n * self.chunks + c) * BITS);
    }
}

impl<S: Float, const BITS: usize> Packed for Codes<'_, S, BITS> {
    #[inline(always)]
    fn integers<V: Simd>(&self, simd: V, (words, ..): Self::Group, _: usize) -> [V::W; 2] {
        let mut bytes = [0; CHUNK];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        match BITS {
            2 => simd.evens_and_odds(simd.bit_pairs(array(&bytes, 0))),
            4 => simd.nibble_pairs(array(&bytes, 0)),
            8 => simd.evens_and_odds(simd.load_bytes(&bytes)),
            _ => unreachable!("codes that cross words are visited as floats"),
        }
    }
}

/// The codes of a chunk as numbers. Vector `i` holds the codes from bit `8 * BITS * i` on; where they do not lie in one
/// word, each lane takes the word in which its code begins, and the next for what crosses over.
#[inline(always)]
fn levels<S: Simd, const BITS: usize>(simd: S, words: &[u32; BITS]) -> [S::F; VECTORS] {
    let mask = simd.splat_bits((1 << BITS) - 1);
    each!(i => {
        let bit = |lane: usize| (i * LANES + lane) * BITS;
        let shifts: [u32; LANES] = each!(lane => (bit(lane) % 32) as u32);
        let here: [u32; LANES] = each!(lane => words[bit(lane) / 32]);
        let mut codes = simd.shr_each(simd.words(&here), simd.words(&shifts));
        if !matches!(BITS, 2 | 4 | 8) {
            // Shifted by 32 or more, what does not cross over is gone.
            let next: [u32; LANES] = each!(lane => words[(bit(lane) / 32 + 1).min(BITS - 1)]);
            let over: [u32; LANES] = each!(lane => {
                let shift = (bit(lane) % 32) as u32;
                if shift as usize + BITS > 32 { 32 - shift } else { 32 }
            });
            codes = simd.or(codes, simd.shl_each(simd.words(&next), simd.words(&over)));
        }
        simd.to_float(simd.and(codes, mask))
    })
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
        ($visit:ident, $bits:literal) => {
            visit.$visit(Codes::<_, $bits> { codes, scales, biases, chunks, shift })
        };
    }
    match parts.bits {
        2 => of!(visit_packed, 2),
        3 => of!(visit, 3),
        4 => of!(visit_packed, 4),
        5 => of!(visit, 5),
        6 => of!(visit, 6),
        8 => of!(visit_packed, 8),
        _ => unreachable!("a matrix is not made with such codes"),
    }
}
