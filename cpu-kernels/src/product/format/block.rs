//! ggml's blocks, as GGUF files hold them. [`blocks`](crate::blocks) describes the layouts.

use half::f16;

use super::{Bytes, CHUNK, Chunk, Format, VECTORS, Visit, array};
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
    fn block(&self, n: usize, block: usize) -> &'a [u8; BYTES] {
        array(self.bytes, (n * self.blocks + block) * BYTES)
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

macro_rules! legacy {
    ($name:ident, $size:literal, $mins:literal, |$simd:ident, $block:ident| $chunk:expr, $bytes:expr) => {
        #[derive(Clone, Copy)]
        struct $name<'a>(Blocks<'a, $size>);

        impl Format for $name<'_> {
            const MINS: bool = $mins;
            const BYTES: bool = true;
            const SIGNED: bool = !$mins;

            #[inline(always)]
            fn chunk<S: Simd>(&self, simd: S, n: usize, c: usize) -> Chunk<S> {
                let $simd = simd;
                let $block = self.0.block(n, c);
                $chunk
            }

            #[inline(always)]
            fn bytes<S: Simd>(&self, simd: S, n: usize, c: usize) -> Bytes<S> {
                let $simd = simd;
                let $block = self.0.block(n, c);
                $bytes
            }

            #[inline(always)]
            fn prefetch<S: Simd>(&self, simd: S, n: usize, c: usize) {
                simd.prefetch(self.0.bytes, (n * self.0.blocks + c) * $size);
            }
        }
    };
}

legacy!(
    Q4_0,
    18,
    false,
    |simd, b| Chunk::symmetric(half(simd, b, 0), floats(simd, nibbles(simd, array(b, 2)), 8)),
    Bytes::new(half(simd, b, 0), 0.0, simd.byte_sub(simd.nibbles(array(b, 2)), 8))
);
legacy!(
    Q4_1,
    20,
    true,
    |simd, b| Chunk::shifted(half(simd, b, 0), half(simd, b, 2), floats(simd, nibbles(simd, array(b, 4)), 0)),
    Bytes::new(half(simd, b, 0), half(simd, b, 2), simd.nibbles(array(b, 4)))
);
legacy!(
    Q5_0,
    22,
    false,
    |simd, b| Chunk::symmetric(half(simd, b, 0), floats(simd, five_bits(simd, array(b, 6), array(b, 2)), 16)),
    {
        let levels = five_bit_bytes(simd, array(b, 6), array(b, 2));
        Bytes::new(half(simd, b, 0), 0.0, simd.byte_sub(levels, 16))
    }
);
legacy!(
    Q5_1,
    24,
    true,
    |simd, b| {
        let levels = floats(simd, five_bits(simd, array(b, 8), array(b, 4)), 0);
        Chunk::shifted(half(simd, b, 0), half(simd, b, 2), levels)
    },
    Bytes::new(half(simd, b, 0), half(simd, b, 2), five_bit_bytes(simd, array(b, 8), array(b, 4)))
);
legacy!(
    Q8_0,
    34,
    false,
    |simd, b| {
        let levels = each!(i => simd.to_float(simd.signed_bytes(array(b, 2 + i * LANES))));
        Chunk::symmetric(half(simd, b, 0), levels)
    },
    Bytes::new(half(simd, b, 0), 0.0, simd.load_bytes(array(b, 2)))
);

/// Nibbles with a fifth bit above each.
#[inline(always)]
fn five_bit_bytes<S: Simd>(simd: S, qs: &[u8; 16], high: &[u8; 4]) -> S::B {
    simd.byte_or(simd.nibbles(qs), simd.byte_and(simd.bits(high), 0x10))
}

/// The field of `mask` at bit `shift` of each byte.
#[inline(always)]
fn byte_field<S: Simd>(simd: S, bytes: &[u8; CHUNK], shift: usize, mask: u8) -> S::B {
    simd.byte_and(simd.byte_shr(simd.load_bytes(bytes), shift as u32), mask)
}

/// Chunks of a block of the K formats.
const CHUNKS: usize = 8;

macro_rules! k {
    ($name:ident, $size:literal, $halves:literal, $mins:literal, |$simd:ident, $block:ident, $c:ident| $chunk:expr, $bytes:expr) => {
        #[derive(Clone, Copy)]
        struct $name<'a>(Blocks<'a, $size>);

        impl Format for $name<'_> {
            const HALVES: bool = $halves;
            const MINS: bool = $mins;
            const BYTES: bool = true;
            const SIGNED: bool = !$mins;

            #[inline(always)]
            fn chunk<S: Simd>(&self, simd: S, n: usize, c: usize) -> Chunk<S> {
                let $simd = simd;
                let ($block, $c) = (self.0.block(n, c / CHUNKS), c % CHUNKS);
                $chunk
            }

            #[inline(always)]
            fn bytes<S: Simd>(&self, simd: S, n: usize, c: usize) -> Bytes<S> {
                let $simd = simd;
                let ($block, $c) = (self.0.block(n, c / CHUNKS), c % CHUNKS);
                $bytes
            }

            #[inline(always)]
            fn prefetch<S: Simd>(&self, simd: S, n: usize, c: usize) {
                let start = (n * self.0.blocks + c / CHUNKS) * $size;
                simd.prefetch(self.0.bytes, start + c % CHUNKS * ($size / CHUNKS));
            }
        }
    };
}

k!(
    Q2K,
    84,
    true,
    true,
    |simd, b, c| {
        let levels = field(simd, array(b, 16 + c / 4 * 32), c % 4 * 2, 3);
        let (scales, mins) = q2k_scales(simd, b, c);
        Chunk { levels: floats(simd, levels, 0), scales, mins }
    },
    {
        let (scales, mins) = q2k_scales(simd, b, c);
        Bytes { levels: byte_field(simd, array(b, 16 + c / 4 * 32), c % 4 * 2, 3), scales, mins }
    }
);
k!(
    Q3K,
    110,
    true,
    false,
    |simd, b, c| {
        let low = field(simd, array(b, 32 + c / 4 * 32), c % 4 * 2, 3);
        let levels = floats(simd, above(simd, low, field(simd, array(b, 0), c, 1), 2), 4);
        Chunk { levels, scales: q3k_scales(simd, b, c), mins: [0.0; 2] }
    },
    {
        let low = byte_field(simd, array(b, 32 + c / 4 * 32), c % 4 * 2, 3);
        let high = simd.byte_shl(byte_field(simd, array(b, 0), c, 1), 2);
        let scales = q3k_scales(simd, b, c);
        let levels = simd.byte_sub(simd.byte_or(low, high), 4);
        Bytes { levels, scales, mins: [0.0; 2] }
    }
);
k!(
    Q4K,
    144,
    false,
    true,
    |simd, b, c| {
        let (scale, min) = scale_and_min(simd, b, c);
        Chunk::shifted(scale, min, floats(simd, field(simd, array(b, 16 + c / 2 * 32), c % 2 * 4, 0x0f), 0))
    },
    {
        let (scale, min) = scale_and_min(simd, b, c);
        Bytes::new(scale, min, byte_field(simd, array(b, 16 + c / 2 * 32), c % 2 * 4, 0x0f))
    }
);
k!(
    Q5K,
    176,
    false,
    true,
    |simd, b, c| {
        let (scale, min) = scale_and_min(simd, b, c);
        let low = field(simd, array(b, 48 + c / 2 * 32), c % 2 * 4, 0x0f);
        Chunk::shifted(scale, min, floats(simd, above(simd, low, field(simd, array(b, 16), c, 1), 4), 0))
    },
    {
        let (scale, min) = scale_and_min(simd, b, c);
        let low = byte_field(simd, array(b, 48 + c / 2 * 32), c % 2 * 4, 0x0f);
        let high = simd.byte_shl(byte_field(simd, array(b, 16), c, 1), 4);
        Bytes::new(scale, min, simd.byte_or(low, high))
    }
);
k!(
    Q6K,
    210,
    true,
    false,
    |simd, b, c| {
        // Four chunks share 64 bytes of low nibbles and 32 of high pairs.
        let low = field(simd, array(b, c / 4 * 64 + c % 2 * 32), c % 4 / 2 * 4, 0x0f);
        let high = field(simd, array(b, 128 + c / 4 * 32), c % 4 * 2, 3);
        let levels = floats(simd, above(simd, low, high, 4), 32);
        Chunk { levels, scales: q6k_scales(simd, b, c), mins: [0.0; 2] }
    },
    {
        let low = byte_field(simd, array(b, c / 4 * 64 + c % 2 * 32), c % 4 / 2 * 4, 0x0f);
        let high = simd.byte_shl(byte_field(simd, array(b, 128 + c / 4 * 32), c % 4 * 2, 3), 4);
        let scales = q6k_scales(simd, b, c);
        let levels = simd.byte_sub(simd.byte_or(low, high), 32);
        Bytes { levels, scales, mins: [0.0; 2] }
    }
);

/// Scales and minima of the halves of chunk `c`, four bits each.
#[inline(always)]
fn q2k_scales<S: Simd>(simd: S, block: &[u8; 84], c: usize) -> ([f32; 2], [f32; 2]) {
    let (d, dmin) = (half(simd, block, 80), half(simd, block, 82));
    let scales = [block[2 * c], block[2 * c + 1]];
    (scales.map(|s| d * f32::from(s & 0x0f)), scales.map(|s| -(dmin * f32::from(s >> 4))))
}

/// Scales of the halves of chunk `c`: four low bits and two high ones, 32 at zero.
#[inline(always)]
fn q3k_scales<S: Simd>(simd: S, block: &[u8; 110], c: usize) -> [f32; 2] {
    let d = half(simd, block, 108);
    [2 * c, 2 * c + 1].map(|i| {
        let low = block[96 + i % 8] >> (i / 8 * 4) & 0x0f;
        let high = block[104 + i % 4] >> (i / 4 * 2) & 3;
        d * f32::from(i16::from(low | high << 4) - 32)
    })
}

/// Scales of the halves of chunk `c`.
#[inline(always)]
fn q6k_scales<S: Simd>(simd: S, block: &[u8; 210], c: usize) -> [f32; 2] {
    let d = half(simd, block, 208);
    [2 * c, 2 * c + 1].map(|i| d * f32::from(block[192 + i].cast_signed()))
}

/// The scale and the minimum of chunk `c` of Q4_K and Q5_K, six bits each.
#[inline(always)]
fn scale_and_min<S: Simd>(simd: S, block: &[u8], c: usize) -> (f32, f32) {
    let scales: &[u8; 12] = array(block, 4);
    let (scale, min) = if c < 4 {
        (scales[c] & 0x3f, scales[c + 4] & 0x3f)
    } else {
        let low = scales[c + 4];
        (low & 0x0f | scales[c - 4] >> 6 << 4, low >> 4 | scales[c] >> 6 << 4)
    };
    (half(simd, block, 0) * f32::from(scale), -(half(simd, block, 2) * f32::from(min)))
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
            visit.visit($name(Blocks { bytes, blocks }))
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
