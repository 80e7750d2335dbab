//! Super-blocks of 256 levels whose group scales are themselves small integers: the K formats.
//!
//! | format | bytes of a block                                       | value of `q` in group `i`       |
//! |--------|--------------------------------------------------------|---------------------------------|
//! | Q2_K   | `scales[16]`, `qs[64]`, `d` f16, `dmin` f16            | `d * sc[i] * q - dmin * m[i]`   |
//! | Q3_K   | `hmask[32]`, `qs[64]`, `scales[12]`, `d` f16           | `d * (sc[i] - 32) * (q - 4)`    |
//! | Q4_K   | `d` f16, `dmin` f16, `scales[12]`, `qs[128]`           | `d * sc[i] * q - dmin * m[i]`   |
//! | Q5_K   | `d` f16, `dmin` f16, `scales[12]`, `qh[32]`, `qs[128]` | `d * sc[i] * q - dmin * m[i]`   |
//! | Q6_K   | `ql[128]`, `qh[64]`, `scales[16]` signed, `d` f16      | `d * sc[i] * (q - 32)`          |
//!
//! Levels are cut into bit planes. A plane of `w` bytes with fields of `b` bits holds runs of `8 / b` times
//! `w` levels: the lowest field of the `w` bytes first, then the next field of the same bytes (see
//! [`field`]).

use super::groups::{Group, Offset, half};
use std::array::from_fn;

/// Elements of a block.
pub(super) const BLOCK_LEN: usize = 256;

pub(super) const Q2K_BYTES: usize = 84;
pub(super) const Q3K_BYTES: usize = 110;
pub(super) const Q4K_BYTES: usize = 144;
pub(super) const Q5K_BYTES: usize = 176;
pub(super) const Q6K_BYTES: usize = 210;

pub(super) fn q2k(block: &[u8; Q2K_BYTES]) -> [Group<16>; 16] {
    let (scales, qs) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half(block[80], block[81]), half(block[82], block[83]));
    from_fn(|i| Group {
        scale: d * f32::from(scales[i] & 0x0f),
        offset: Offset::Min(-(dmin * f32::from(scales[i] >> 4))),
        levels: from_fn(|j| field::<2, 32>(qs, 16 * i + j)),
    })
}

pub(super) fn q3k(block: &[u8; Q3K_BYTES]) -> [Group<16>; 16] {
    let (hmask, qs, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half(block[108], block[109]);
    from_fn(|i| {
        // Four low bits in the first eight bytes, two high bits in the last four.
        let scale = field::<4, 8>(scales, i) | field::<2, 4>(&scales[8..], i) << 4;
        Group {
            scale: d * f32::from(i16::from(scale) - 32),
            offset: Offset::Zero(4),
            levels: from_fn(|j| field::<2, 32>(qs, 16 * i + j) | field::<1, 32>(hmask, 16 * i + j) << 2),
        }
    })
}

pub(super) fn q4k(block: &[u8; Q4K_BYTES]) -> [Group<32>; 8] {
    let (scales, qs) = (&block[4..16], &block[16..]);
    let (d, dmin) = (half(block[0], block[1]), half(block[2], block[3]));
    from_fn(|i| {
        let (scale, min) = scale_and_min(scales, i);
        Group {
            scale: d * f32::from(scale),
            offset: Offset::Min(-(dmin * f32::from(min))),
            levels: from_fn(|j| field::<4, 32>(qs, 32 * i + j)),
        }
    })
}

pub(super) fn q5k(block: &[u8; Q5K_BYTES]) -> [Group<32>; 8] {
    let (scales, qh, qs) = (&block[4..16], &block[16..48], &block[48..]);
    let (d, dmin) = (half(block[0], block[1]), half(block[2], block[3]));
    from_fn(|i| {
        let (scale, min) = scale_and_min(scales, i);
        Group {
            scale: d * f32::from(scale),
            offset: Offset::Min(-(dmin * f32::from(min))),
            levels: from_fn(|j| field::<4, 32>(qs, 32 * i + j) | field::<1, 32>(qh, 32 * i + j) << 4),
        }
    })
}

pub(super) fn q6k(block: &[u8; Q6K_BYTES]) -> [Group<16>; 16] {
    let (ql, qh, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half(block[208], block[209]);
    from_fn(|i| Group {
        scale: d * f32::from(scales[i].cast_signed()),
        offset: Offset::Zero(32),
        levels: from_fn(|j| field::<4, 64>(ql, 16 * i + j) | field::<2, 32>(qh, 16 * i + j) << 4),
    })
}

/// Field `i` of `BITS` bits, in planes of `WIDTH` bytes.
#[inline(always)]
fn field<const BITS: usize, const WIDTH: usize>(bytes: &[u8], i: usize) -> u8 {
    let (plane, within) = (i / (WIDTH * 8 / BITS), i % (WIDTH * 8 / BITS));
    let (shift, byte) = (within / WIDTH * BITS, within % WIDTH);
    bytes[plane * WIDTH + byte] >> shift & ((1 << BITS) - 1)
}

/// The 6-bit scale and minimum of group `i` of Q4_K and Q5_K.
///
/// Groups 0 to 3 lie in the low six bits of bytes 0 to 3 (scales) and 4 to 7 (minima). Groups 4 to 7 have
/// their low four bits in the nibbles of bytes 8 to 11, and their high two in what the first eight bytes
/// leave free.
fn scale_and_min(scales: &[u8], i: usize) -> (u8, u8) {
    if i < 4 {
        (scales[i] & 0x3f, scales[i + 4] & 0x3f)
    } else {
        let low = scales[i + 4];
        (low & 0x0f | scales[i - 4] >> 6 << 4, low >> 4 | scales[i] >> 6 << 4)
    }
}
