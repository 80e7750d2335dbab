//! Blocks as MLX's affine quantization.

use super::groups::{Offset, for_each_group};
use super::{BlockError, BlockFormat};

/// Elements that share a scale and a bias.
pub(super) const GROUP_SIZE: usize = 32;

/// Weights in MLX's affine quantization: a value is `scale * q + bias`.
///
/// The vectors are flat. For a tensor of `rows` rows of `cols` elements, `weight` has the shape
/// `[rows, cols * bits / 32]`, and `scales` and `biases` have `[rows, cols / group_size]`; no padding lies
/// between rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// Bits of one level.
    pub bits: usize,
    /// Elements that share a scale and a bias: 32.
    pub group_size: usize,
    /// The levels as a little-endian bit stream: element `i` is bits `i * bits` and up.
    pub weight: Vec<u32>,
    /// One scale for each group.
    pub scales: Vec<f32>,
    /// One bias for each group: the value of level 0.
    pub biases: Vec<f32>,
}

/// Repacks blocks for MLX's `dequantize` and `quantized_matmul`, without loss.
///
/// The values equal those of [`dequantize`](super::dequantize) bit for bit, except that a zero is always
/// `+0.0` in the formats with a zero point (Q4_0, Q5_0, Q8_0). That holds with and without fused
/// multiply-add, because a scale has at most 17 significant bits and a level at most 8. It holds in f32 only:
/// the scales of Q4_K and Q5_K do not fit an f16, and neither do the values of any format.
///
/// # Errors
/// When `bytes` is not a whole number of blocks, when the format has groups of 16 (Q2_K, Q3_K, Q6_K), and
/// when a scale or minimum is not finite.
pub fn to_affine(format: BlockFormat, bytes: &[u8]) -> Result<Affine, BlockError> {
    if !format.is_affine() {
        return Err(BlockError::NotAffine { format });
    }
    let elements = format.elements(bytes)?;
    let (bits, groups) = (format.bits(), elements / GROUP_SIZE);
    let mut weight = Vec::with_capacity(groups * bits);
    let mut scales = Vec::with_capacity(groups);
    let mut biases = Vec::with_capacity(groups);
    for_each_group(format, bytes, |group| {
        scales.push(group.scale);
        biases.push(match group.offset {
            Offset::Zero(zero) => group.scale * -f32::from(zero),
            Offset::Min(min) => min,
        });
        pack(group.levels, bits, &mut weight);
    });
    match scales.iter().zip(&biases).position(|(s, b)| !(s.is_finite() && b.is_finite())) {
        Some(group) => Err(BlockError::NotFinite { format, group }),
        None => Ok(Affine { bits, group_size: GROUP_SIZE, weight, scales, biases }),
    }
}

/// Appends the levels of a group: 32 levels of `bits` bits are `bits` whole words.
fn pack(levels: &[u8], bits: usize, out: &mut Vec<u32>) {
    let (mut stream, mut held) = (0_u64, 0);
    for &q in levels {
        stream |= u64::from(q) << held;
        held += bits;
        if held >= 32 {
            out.push(stream as u32);
            stream >>= 32;
            held -= 32;
        }
    }
}
