//! Blocks of 32 levels under f16 scales: Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0.
//!
//! | format | bytes of a block                                          | value         |
//! |--------|-----------------------------------------------------------|---------------|
//! | Q4_0   | `d` f16, `qs[16]`                                         | `d * (q - 8)` |
//! | Q4_1   | `d` f16, `m` f16, `qs[16]`                                | `d * q + m`   |
//! | Q5_0   | `d` f16, `qh` u32, `qs[16]`                               | `d * (q - 16)`|
//! | Q5_1   | `d` f16, `m` f16, `qh` u32, `qs[16]`                      | `d * q + m`   |
//! | Q8_0   | `d` f16, `qs[32]` signed                                  | `d * q`       |
//!
//! The low nibbles of `qs` are elements 0 to 15 and the high nibbles 16 to 31; bit `i` of `qh` is the fifth
//! bit of element `i`.

use super::groups::{Group, Offset, half};

/// Elements of a block.
pub(super) const BLOCK_LEN: usize = 32;

pub(super) const Q4_0_BYTES: usize = 18;
pub(super) const Q4_1_BYTES: usize = 20;
pub(super) const Q5_0_BYTES: usize = 22;
pub(super) const Q5_1_BYTES: usize = 24;
pub(super) const Q8_0_BYTES: usize = 34;

pub(super) fn q4_0(block: &[u8; Q4_0_BYTES]) -> [Group<32>; 1] {
    let [d0, d1, qs @ ..] = block;
    [Group { scale: half(*d0, *d1), offset: Offset::Zero(8), levels: nibbles(qs) }]
}

pub(super) fn q4_1(block: &[u8; Q4_1_BYTES]) -> [Group<32>; 1] {
    let [d0, d1, m0, m1, qs @ ..] = block;
    [Group { scale: half(*d0, *d1), offset: Offset::Min(half(*m0, *m1)), levels: nibbles(qs) }]
}

pub(super) fn q5_0(block: &[u8; Q5_0_BYTES]) -> [Group<32>; 1] {
    let [d0, d1, h0, h1, h2, h3, qs @ ..] = block;
    let levels = with_fifth_bit(nibbles(qs), u32::from_le_bytes([*h0, *h1, *h2, *h3]));
    [Group { scale: half(*d0, *d1), offset: Offset::Zero(16), levels }]
}

pub(super) fn q5_1(block: &[u8; Q5_1_BYTES]) -> [Group<32>; 1] {
    let [d0, d1, m0, m1, h0, h1, h2, h3, qs @ ..] = block;
    let levels = with_fifth_bit(nibbles(qs), u32::from_le_bytes([*h0, *h1, *h2, *h3]));
    [Group { scale: half(*d0, *d1), offset: Offset::Min(half(*m0, *m1)), levels }]
}

pub(super) fn q8_0(block: &[u8; Q8_0_BYTES]) -> [Group<32>; 1] {
    let [d0, d1, qs @ ..] = block;
    // Flipping the sign bit adds 128 to a two's complement byte, which makes it an unsigned level.
    [Group { scale: half(*d0, *d1), offset: Offset::Zero(128), levels: qs.map(|q| q ^ 0x80) }]
}

/// The 16 low nibbles, then the 16 high ones.
fn nibbles(qs: &[u8; 16]) -> [u8; 32] {
    std::array::from_fn(|i| if i < 16 { qs[i] & 0x0f } else { qs[i - 16] >> 4 })
}

/// The levels with bit `i` of `high` put above the four bits of level `i`.
fn with_fifth_bit(mut levels: [u8; 32], high: u32) -> [u8; 32] {
    for (i, q) in levels.iter_mut().enumerate() {
        *q |= u8::from(high >> i & 1 == 1) << 4;
    }
    levels
}
