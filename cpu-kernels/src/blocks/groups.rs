//! The common form of all formats: groups of levels that share a scale.

use super::{BlockFormat, k, legacy};
use half::f16;

/// Turns a level into a value, together with the group's scale.
#[derive(Clone, Copy)]
pub(super) enum Offset {
    /// Subtracted from the level before scaling.
    Zero(u8),
    /// Added to the scaled level.
    Min(f32),
}

/// A group as one block format's decoder leaves it.
pub(super) struct Group<const N: usize> {
    pub(super) scale: f32,
    pub(super) offset: Offset,
    pub(super) levels: [u8; N],
}

/// A group of any length.
pub(super) struct GroupRef<'a> {
    pub(super) scale: f32,
    pub(super) offset: Offset,
    pub(super) levels: &'a [u8],
}

/// Calls `visit` with each group of `bytes`, in order of the elements; an incomplete last block is left out.
pub(super) fn for_each_group(format: BlockFormat, bytes: &[u8], visit: impl FnMut(GroupRef<'_>)) {
    match format {
        BlockFormat::Q4_0 => each(bytes, legacy::q4_0, visit),
        BlockFormat::Q4_1 => each(bytes, legacy::q4_1, visit),
        BlockFormat::Q5_0 => each(bytes, legacy::q5_0, visit),
        BlockFormat::Q5_1 => each(bytes, legacy::q5_1, visit),
        BlockFormat::Q8_0 => each(bytes, legacy::q8_0, visit),
        BlockFormat::Q2K => each(bytes, k::q2k, visit),
        BlockFormat::Q3K => each(bytes, k::q3k, visit),
        BlockFormat::Q4K => each(bytes, k::q4k, visit),
        BlockFormat::Q5K => each(bytes, k::q5k, visit),
        BlockFormat::Q6K => each(bytes, k::q6k, visit),
    }
}

/// Decodes blocks of `BYTES` bytes into `GROUPS` groups of `N` levels each.
fn each<const BYTES: usize, const N: usize, const GROUPS: usize>(
    bytes: &[u8],
    decode: impl Fn(&[u8; BYTES]) -> [Group<N>; GROUPS],
    mut visit: impl FnMut(GroupRef<'_>),
) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    for block in blocks {
        for group in &decode(block) {
            visit(GroupRef { scale: group.scale, offset: group.offset, levels: &group.levels });
        }
    }
}

/// The value of a little-endian f16.
pub(super) fn half(lo: u8, hi: u8) -> f32 {
    f16::from_le_bytes([lo, hi]).to_f32()
}
