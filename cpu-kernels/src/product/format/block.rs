//! ggml's blocks, as GGUF files hold them. [`blocks`](crate::blocks) describes the layouts.

use half::f16;

use super::{CHUNK, Chunk, Format, Visit, array};
use crate::Float;
use crate::blocks::BlockFormat;

#[inline(always)]
fn half(bytes: &[u8], at: usize) -> f32 {
    Float::to_f32(f16::from_le_bytes(*array(bytes, at)))
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

/// Low nibbles, then high ones, less `zero`.
#[inline(always)]
fn nibbles(qs: &[u8; 16], zero: i32) -> [f32; CHUNK] {
    std::array::from_fn(|i| {
        let level = if i < 16 { qs[i] & 0x0f } else { qs[i - 16] >> 4 };
        (i32::from(level) - zero) as f32
    })
}

/// [`nibbles`] with a fifth bit above each.
#[inline(always)]
fn five_bits(qs: &[u8; 16], high: u32, zero: i32) -> [f32; CHUNK] {
    std::array::from_fn(|i| {
        let low = if i < 16 { qs[i] & 0x0f } else { qs[i - 16] >> 4 };
        let level = u32::from(low) | (high >> i & 1) << 4;
        (level as i32 - zero) as f32
    })
}

macro_rules! legacy {
    ($name:ident, $bytes:literal, $mins:literal, |$block:ident| $chunk:expr) => {
        #[derive(Clone, Copy)]
        struct $name<'a>(Blocks<'a, $bytes>);

        impl Format for $name<'_> {
            const MINS: bool = $mins;

            #[inline(always)]
            fn chunk(&self, n: usize, c: usize) -> Chunk {
                let $block = self.0.block(n, c);
                $chunk
            }
        }
    };
}

legacy!(Q4_0, 18, false, |b| Chunk::symmetric(half(b, 0), nibbles(array(b, 2), 8)));
legacy!(Q4_1, 20, true, |b| Chunk::shifted(half(b, 0), half(b, 2), nibbles(array(b, 4), 0)));
legacy!(Q5_0, 22, false, |b| {
    Chunk::symmetric(half(b, 0), five_bits(array(b, 6), u32::from_le_bytes(*array(b, 2)), 16))
});
legacy!(Q5_1, 24, true, |b| {
    Chunk::shifted(half(b, 0), half(b, 2), five_bits(array(b, 8), u32::from_le_bytes(*array(b, 4)), 0))
});
legacy!(Q8_0, 34, false, |b| {
    Chunk::symmetric(half(b, 0), array::<_, CHUNK>(b, 2).map(|q| f32::from(q.cast_signed())))
});

/// Chunks of a block of the K formats.
const CHUNKS: usize = 8;

macro_rules! k {
    ($name:ident, $bytes:literal, $halves:literal, $mins:literal, |$block:ident, $c:ident| $chunk:expr) => {
        #[derive(Clone, Copy)]
        struct $name<'a>(Blocks<'a, $bytes>);

        impl Format for $name<'_> {
            const HALVES: bool = $halves;
            const MINS: bool = $mins;

            #[inline(always)]
            fn chunk(&self, n: usize, c: usize) -> Chunk {
                let ($block, $c) = (self.0.block(n, c / CHUNKS), c % CHUNKS);
                $chunk
            }
        }
    };
}

k!(Q2K, 84, true, true, |b, c| {
    // 16 bytes of scales, 64 of levels: four chunks in the four fields of the same 32 bytes.
    let (d, dmin) = (half(b, 80), half(b, 82));
    let qs: &[u8; CHUNK] = array(b, 16 + c / 4 * 32);
    let shift = c % 4 * 2;
    let scales = [b[2 * c], b[2 * c + 1]];
    Chunk {
        levels: qs.map(|q| f32::from(q >> shift & 3)),
        scales: scales.map(|s| d * f32::from(s & 0x0f)),
        mins: scales.map(|s| -(dmin * f32::from(s >> 4))),
    }
});
k!(Q3K, 110, true, false, |b, c| {
    let (d, hmask) = (half(b, 108), array::<_, CHUNK>(b, 0));
    let qs: &[u8; CHUNK] = array(b, 32 + c / 4 * 32);
    let shift = c % 4 * 2;
    let scale = |i: usize| {
        let low = b[96 + i % 8] >> (i / 8 * 4) & 0x0f;
        let high = b[104 + i % 4] >> (i / 4 * 2) & 3;
        d * f32::from(i16::from(low | high << 4) - 32)
    };
    Chunk {
        levels: std::array::from_fn(|i| {
            let level = qs[i] >> shift & 3 | (hmask[i] >> c & 1) << 2;
            f32::from(i16::from(level) - 4)
        }),
        scales: [scale(2 * c), scale(2 * c + 1)],
        mins: [0.0; 2],
    }
});
k!(Q4K, 144, false, true, |b, c| {
    let (d, dmin) = (half(b, 0), half(b, 2));
    let (scale, min) = scale_and_min(array(b, 4), c);
    let qs: &[u8; CHUNK] = array(b, 16 + c / 2 * 32);
    let shift = c % 2 * 4;
    Chunk::shifted(d * scale, -(dmin * min), qs.map(|q| f32::from(q >> shift & 0x0f)))
});
k!(Q5K, 176, false, true, |b, c| {
    let (d, dmin) = (half(b, 0), half(b, 2));
    let (scale, min) = scale_and_min(array(b, 4), c);
    let (high, qs) = (array::<_, CHUNK>(b, 16), array::<_, CHUNK>(b, 48 + c / 2 * 32));
    let shift = c % 2 * 4;
    let levels = std::array::from_fn(|i| f32::from(qs[i] >> shift & 0x0f | (high[i] >> c & 1) << 4));
    Chunk::shifted(d * scale, -(dmin * min), levels)
});
k!(Q6K, 210, true, false, |b, c| {
    let d = half(b, 208);
    // Four chunks share 64 bytes of low nibbles and 32 of high pairs.
    let ql: &[u8; CHUNK] = array(b, c / 4 * 64 + c % 2 * 32);
    let qh: &[u8; CHUNK] = array(b, 128 + c / 4 * 32);
    let (low, high) = (c % 4 / 2 * 4, c % 4 * 2);
    let levels = std::array::from_fn(|i| {
        let level = ql[i] >> low & 0x0f | (qh[i] >> high & 3) << 4;
        f32::from(i16::from(level) - 32)
    });
    let scale = |i: usize| d * f32::from(b[192 + i].cast_signed());
    Chunk { levels, scales: [scale(2 * c), scale(2 * c + 1)], mins: [0.0; 2] }
});

/// The scale and the minimum of chunk `c` of Q4_K and Q5_K, six bits each.
#[inline(always)]
fn scale_and_min(scales: &[u8; 12], c: usize) -> (f32, f32) {
    let (scale, min) = if c < 4 {
        (scales[c] & 0x3f, scales[c + 4] & 0x3f)
    } else {
        let low = scales[c + 4];
        (low & 0x0f | scales[c - 4] >> 6 << 4, low >> 4 | scales[c] >> 6 << 4)
    };
    (f32::from(scale), f32::from(min))
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
