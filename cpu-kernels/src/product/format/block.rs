//! ggml's blocks, as GGUF files hold them. [`blocks`](crate::blocks) describes the layouts.

use half::f16;

use super::{CHUNK, Format, GROUP, Packed, Scales, VECTORS, Visit, array};
use crate::blocks::BlockFormat;
use crate::simd::{LANES, Simd, each};

#[inline(always)]
fn half<S: Simd>(simd: S, bytes: &[u8], at: usize) -> f32 {
    simd.half(f16::from_le_bytes(*array(bytes, at)))
}

/// Rows of blocks of `BYTES` bytes.
#[derive(Clone, Copy)]
struct Blocks<'a, const BYTES: usize> {
    bytes: &'a [u8],
    /// Of a row.
    blocks: usize,
}

impl<'a, const BYTES: usize> Blocks<'a, BYTES> {
    #[inline(always)]
    fn row(&self, n: usize) -> &'a [[u8; BYTES]] {
        &self.bytes.as_chunks().0[n * self.blocks..][..self.blocks]
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, simd: S, n: usize, byte: usize) {
        simd.prefetch(self.bytes, n * self.blocks * BYTES + byte);
    }
}

/// Low nibbles, then high ones.
#[inline(always)]
fn nibbles<S: Simd>(simd: S, qs: &[u8; 16]) -> [S::I; VECTORS] {
    let (a, b) = (simd.bytes(array(qs, 0)), simd.bytes(array(qs, LANES)));
    let low = simd.splat_bits(0x0f);
    [simd.and(a, low), simd.and(b, low), simd.shr(a, 4), simd.shr(b, 4)]
}

/// [`nibbles`] with a fifth bit above each.
#[inline(always)]
fn five_bits<S: Simd>(simd: S, qs: &[u8; 16], high: &[u8; 4]) -> [S::I; VECTORS] {
    let (nibbles, fifth) = (nibbles(simd, qs), simd.splat_bits(0x10));
    let high = simd.splat_bits(u32::from_le_bytes(*high));
    each!(i => {
        // Bit `8 i + lane` comes to stand at bit 4.
        let left: [u32; LANES] = each!(lane => (4 - (8 * i + lane) as i32).max(0) as u32);
        let right: [u32; LANES] = each!(lane => ((8 * i + lane) as i32 - 4).max(0) as u32);
        let moved = if i == 0 { simd.shl_each(high, simd.words(&left)) } else { high };
        let moved = simd.shr_each(moved, simd.words(&right));
        simd.or(nibbles[i], simd.and(moved, fifth))
    })
}

/// Levels as floats, less `zero`.
#[inline(always)]
fn floats<S: Simd>(simd: S, levels: [S::I; VECTORS], zero: u32) -> [S::F; VECTORS] {
    let zeros = simd.splat_bits(zero);
    each!(i => simd.to_float(if zero == 0 { levels[i] } else { simd.sub(levels[i], zeros) }))
}

/// The field of `mask` at bit `shift` of each of 32 bytes.
#[inline(always)]
fn field<S: Simd>(simd: S, bytes: &[u8; CHUNK], shift: usize, mask: u32) -> [S::I; VECTORS] {
    let mask = simd.splat_bits(mask);
    each!(i => simd.and(simd.shr(simd.bytes(array(bytes, i * LANES)), shift as u32), mask))
}

/// Levels with more bits above them.
#[inline(always)]
fn above<S: Simd>(simd: S, low: [S::I; VECTORS], high: [S::I; VECTORS], bits: u32) -> [S::I; VECTORS] {
    each!(i => simd.or(low[i], simd.shl(high[i], bits)))
}

/// A layout of blocks of `CHUNKS` chunks: for a block, the scales of all chunks, and for chunk `c` of it, the levels as floats
/// and as integers, which are above them by so much.
macro_rules! layout {
    (
        $name:ident: $size:literal bytes, $chunks:expr, [$($trait:ident)*], $above:literal above,
        |$simd:ident, $b:ident, $c:ident| $scales:expr, $floats:expr, $integers:expr $(,)?
    ) => {
        #[derive(Clone, Copy)]
        struct $name<'a>(Blocks<'a, $size>);

        impl<'a> Format for $name<'a> {
            const CHUNKS: usize = $chunks;
            $(const $trait: bool = true;)*
            type Row = &'a [[u8; $size]];
            type Group = &'a [u8; $size];

            #[inline(always)]
            fn row(&self, n: usize) -> Self::Row {
                self.0.row(n)
            }

            #[inline(always)]
            fn group(&self, row: Self::Row, g: usize) -> Self::Group {
                &row[g]
            }

            #[inline(always)]
            fn scales<S: Simd>(&self, $simd: S, $b: Self::Group) -> Scales {
                $scales
            }

            #[inline(always)]
            fn floats<S: Simd>(&self, $simd: S, $b: Self::Group, $c: usize) -> [S::F; VECTORS] {
                $floats
            }

            #[inline(always)]
            fn prefetch<S: Simd>(&self, simd: S, n: usize, c: usize) {
                self.0.prefetch(simd, n, c * $size / $chunks);
            }
        }

        impl Packed for $name<'_> {
            const ABOVE: f32 = $above;

            #[inline(always)]
            fn integers<S: Simd>(&self, $simd: S, $b: Self::Group, $c: usize) -> [S::W; 2] {
                $integers
            }
        }
    };
}

layout!(
    Q4_0: 18 bytes, 1, [], 0.0 above,
    |simd, b, _c| Scales::of_one(half(simd, b, 0), 0.0),
    floats(simd, nibbles(simd, array(b, 2)), 8),
    simd.signed_evens_and_odds(simd.byte_sub(simd.nibbles(array(b, 2)), 8)),
);
layout!(
    Q4_1: 20 bytes, 1, [MINS], 0.0 above,
    |simd, b, _c| Scales::of_one(half(simd, b, 0), half(simd, b, 2)),
    floats(simd, nibbles(simd, array(b, 4)), 0),
    simd.evens_and_odds(simd.nibbles(array(b, 4))),
);
layout!(
    Q5_0: 22 bytes, 1, [], 0.0 above,
    |simd, b, _c| Scales::of_one(half(simd, b, 0), 0.0),
    floats(simd, five_bits(simd, array(b, 6), array(b, 2)), 16),
    five_bits_less_16(simd, array(b, 6), array(b, 2)),
);
layout!(
    Q5_1: 24 bytes, 1, [MINS], -16.0 above,
    |simd, b, _c| Scales::of_one(half(simd, b, 0), half(simd, b, 2)),
    floats(simd, five_bits(simd, array(b, 8), array(b, 4)), 0),
    five_bits_less_16(simd, array(b, 8), array(b, 4)),
);
layout!(
    Q8_0: 34 bytes, 1, [], 0.0 above,
    |simd, b, _c| Scales::of_one(half(simd, b, 0), 0.0),
    each!(i => simd.to_float(simd.signed_bytes(array(b, 2 + i * LANES)))),
    simd.signed_evens_and_odds(simd.load_bytes(array(b, 2))),
);

/// Nibbles with a fifth bit above each, less 16: what lacks the bit is negative, so its upper bits are all set.
#[inline(always)]
fn five_bits_less_16<S: Simd>(simd: S, qs: &[u8; 16], high: &[u8; 4]) -> [S::W; 2] {
    let sign = simd.byte_and(simd.missing_bits(high), 0xf0);
    simd.signed_evens_and_odds(simd.byte_or(simd.nibbles(qs), sign))
}

/// The field of `mask` at bit `shift` of each byte.
#[inline(always)]
fn byte_field<S: Simd>(simd: S, bytes: &[u8; CHUNK], shift: usize, mask: u8) -> S::B {
    simd.byte_and(simd.byte_shr(simd.load_bytes(bytes), shift as u32), mask)
}

/// Levels as bytes, without a sign, with more bits above them.
#[inline(always)]
fn bytes_above<S: Simd>(simd: S, low: S::B, high: S::B, bits: u32) -> [S::W; 2] {
    simd.evens_and_odds(simd.byte_or(low, simd.byte_shl(high, bits)))
}

layout!(
    Q2K: 84 bytes, GROUP, [HALVES MINS], 0.0 above,
    |simd, b, c| q2k_scales(simd, b),
    floats(simd, field(simd, array(b, 16 + c / 4 * 32), c % 4 * 2, 3), 0),
    simd.evens_and_odds(byte_field(simd, array(b, 16 + c / 4 * 32), c % 4 * 2, 3)),
);
layout!(
    Q3K: 110 bytes, GROUP, [HALVES], 4.0 above,
    |simd, b, c| q3k_scales(simd, b),
    {
        let low = field(simd, array(b, 32 + c / 4 * 32), c % 4 * 2, 3);
        floats(simd, above(simd, low, field(simd, array(b, 0), c, 1), 2), 4)
    },
    {
        let low = byte_field(simd, array(b, 32 + c / 4 * 32), c % 4 * 2, 3);
        bytes_above(simd, low, byte_field(simd, array(b, 0), c, 1), 2)
    },
);
layout!(
    Q4K: 144 bytes, GROUP, [MINS], 0.0 above,
    |simd, b, c| scales_and_mins(simd, b),
    floats(simd, field(simd, array(b, 16 + c / 2 * 32), c % 2 * 4, 0x0f), 0),
    simd.evens_and_odds(byte_field(simd, array(b, 16 + c / 2 * 32), c % 2 * 4, 0x0f)),
);
layout!(
    Q5K: 176 bytes, GROUP, [MINS], 0.0 above,
    |simd, b, c| scales_and_mins(simd, b),
    {
        let low = field(simd, array(b, 48 + c / 2 * 32), c % 2 * 4, 0x0f);
        floats(simd, above(simd, low, field(simd, array(b, 16), c, 1), 4), 0)
    },
    {
        let low = byte_field(simd, array(b, 48 + c / 2 * 32), c % 2 * 4, 0x0f);
        bytes_above(simd, low, byte_field(simd, array(b, 16), c, 1), 4)
    },
);
// Four chunks share 64 bytes of low nibbles and 32 of high pairs.
layout!(
    Q6K: 210 bytes, GROUP, [HALVES], 32.0 above,
    |simd, b, c| q6k_scales(simd, b),
    {
        let low = field(simd, array(b, c / 4 * 64 + c % 2 * 32), c % 4 / 2 * 4, 0x0f);
        let high = field(simd, array(b, 128 + c / 4 * 32), c % 4 * 2, 3);
        floats(simd, above(simd, low, high, 4), 32)
    },
    {
        let low = byte_field(simd, array(b, c / 4 * 64 + c % 2 * 32), c % 4 / 2 * 4, 0x0f);
        bytes_above(simd, low, byte_field(simd, array(b, 128 + c / 4 * 32), c % 4 * 2, 3), 4)
    },
);

/// A number of each chunk, times `factor`.
#[inline(always)]
fn scaled<S: Simd>(simd: S, numbers: S::I, factor: f32) -> [f32; GROUP] {
    let mut scaled = [0.0; GROUP];
    simd.store(simd.mul(simd.to_float(numbers), simd.splat(factor)), &mut scaled);
    scaled
}

/// Scales and minima of the halves of all chunks, four bits each.
#[inline(always)]
fn q2k_scales<S: Simd>(simd: S, block: &[u8; 84]) -> Scales {
    let (d, dmin) = (half(simd, block, 80), half(simd, block, 82));
    let bytes: [[u8; GROUP]; 2] = each!(half => each!(c => block[2 * c + half]));
    let low = simd.splat_bits(0x0f);
    Scales {
        scales: each!(half => scaled(simd, simd.and(simd.bytes(&bytes[half]), low), d)),
        mins: each!(half => scaled(simd, simd.shr(simd.bytes(&bytes[half]), 4), -dmin)),
    }
}

/// Scales of the halves of all chunks: four low bits and two high ones, 32 at zero.
#[inline(always)]
fn q3k_scales<S: Simd>(simd: S, block: &[u8; 110]) -> Scales {
    let d = half(simd, block, 108);
    let level = |i: usize| {
        let low = block[96 + i % 8] >> (i / 8 * 4) & 0x0f;
        let high = block[104 + i % 4] >> (i / 4 * 2) & 3;
        (low | high << 4).wrapping_sub(32)
    };
    let scales = each!(half => scaled(simd, simd.signed_bytes(&each!(c => level(2 * c + half))), d));
    Scales { scales, mins: [[0.0; GROUP]; 2] }
}

/// Scales of the halves of all chunks.
#[inline(always)]
fn q6k_scales<S: Simd>(simd: S, block: &[u8; 210]) -> Scales {
    let d = half(simd, block, 208);
    let scales = each!(half => scaled(simd, simd.signed_bytes(&each!(c => block[192 + 2 * c + half])), d));
    Scales { scales, mins: [[0.0; GROUP]; 2] }
}

/// Scales and minima of Q4_K and Q5_K, six bits each: those of the first four chunks whole in a byte each, of whose upper two
/// bits those of the others are made.
#[inline(always)]
fn scales_and_mins<S: Simd>(simd: S, block: &[u8]) -> Scales {
    let word = |at| u32::from_le_bytes(*array(block, at));
    let (scales, mins, rest) = (word(4), word(8), word(12));
    let both = |first: u32, low: u32| {
        let (low, high) = (low & 0x0f0f_0f0f, first >> 2 & 0x3030_3030);
        (u64::from(low | high) << 32 | u64::from(first & 0x3f3f_3f3f)).to_le_bytes()
    };
    let scales = scaled(simd, simd.bytes(&both(scales, rest)), half(simd, block, 0));
    let mins = scaled(simd, simd.bytes(&both(mins, rest >> 4)), -half(simd, block, 2));
    Scales::of_chunks(scales, mins)
}

pub(in crate::product) fn visit<V: Visit>(
    format: BlockFormat,
    bytes: &[u8],
    columns: usize,
    visit: V,
) -> V::Result {
    let blocks = columns / format.block_len();
    macro_rules! of {
        ($name:ident) => {
            visit.visit_packed($name(Blocks { bytes, blocks }))
        };
    }
    match format {
        BlockFormat::Q4_0 => of!(Q4_0),
        BlockFormat::Q4_1 => of!(Q4_1),
        BlockFormat::Q5_0 => of!(Q5_0),
        BlockFormat::Q5_1 => of!(Q5_1),
        BlockFormat::Q8_0 => of!(Q8_0),
        BlockFormat::Q2K => of!(Q2K),
        BlockFormat::Q3K => of!(Q3K),
        BlockFormat::Q4K => of!(Q4K),
        BlockFormat::Q5K => of!(Q5K),
        BlockFormat::Q6K => of!(Q6K),
    }
}
