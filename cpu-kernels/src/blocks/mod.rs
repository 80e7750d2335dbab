//! ggml's block formats: the packed weights of GGUF files.
//!
//! A tensor in a block format is a sequence of equal blocks along its last axis. A block holds small
//! integers, called levels here, in groups of 16 or 32 that share one scale; the value of a level `q` is
//! either
//!
//! ```text
//! scale * (q - zero)        Q4_0  Q5_0  Q8_0  Q3_K  Q6_K
//! scale * q + min           Q4_1  Q5_1  Q2_K  Q4_K  Q5_K
//! ```
//!
//! The layouts are those of ggml's `ggml-common.h`, and the arithmetic that of the Python package `gguf`
//! (`gguf.quants.dequantize`): [`dequantize`] returns the same bits. [`to_affine`] repacks the formats that
//! MLX's affine quantization can hold without loss.
//!
//! ```
//! use cpu_kernels::blocks::{BlockFormat, dequantize};
//!
//! // One Q8_0 block: the scale 0.5 as an f16, then 32 signed bytes.
//! let mut block = vec![0x00, 0x38];
//! block.extend((0..32).map(|i| i as u8));
//!
//! let mut values = [0.0; 32];
//! dequantize(BlockFormat::Q8_0, &block, &mut values)?;
//! assert_eq!(values[..4], [0.0, 0.5, 1.0, 1.5]);
//! # Ok::<(), cpu_kernels::blocks::BlockError>(())
//! ```

mod affine;
mod error;
mod groups;
mod k;
mod legacy;

pub use affine::{Affine, to_affine};
pub use error::BlockError;

use groups::{Offset, for_each_group};
use half::f16;
use std::fmt;

/// A block format, by ggml's name without the underscore before the `K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlockFormat {
    /// 32 levels of 4 bits, an f16 scale, zero at 8.
    Q4_0,
    /// 32 levels of 4 bits, an f16 scale and minimum.
    Q4_1,
    /// 32 levels of 5 bits, an f16 scale, zero at 16.
    Q5_0,
    /// 32 levels of 5 bits, an f16 scale and minimum.
    Q5_1,
    /// 32 signed bytes and an f16 scale.
    Q8_0,
    /// 16 groups of 16 levels of 2 bits; 4-bit scales and minima under two f16.
    Q2K,
    /// 16 groups of 16 levels of 3 bits, zero at 4; 6-bit signed scales under one f16.
    Q3K,
    /// 8 groups of 32 levels of 4 bits; 6-bit scales and minima under two f16.
    Q4K,
    /// 8 groups of 32 levels of 5 bits; 6-bit scales and minima under two f16.
    Q5K,
    /// 16 groups of 16 levels of 6 bits, zero at 32; 8-bit signed scales under one f16.
    Q6K,
}

impl BlockFormat {
    /// Every format of this module.
    pub const ALL: [BlockFormat; 10] = [
        BlockFormat::Q4_0,
        BlockFormat::Q4_1,
        BlockFormat::Q5_0,
        BlockFormat::Q5_1,
        BlockFormat::Q8_0,
        BlockFormat::Q2K,
        BlockFormat::Q3K,
        BlockFormat::Q4K,
        BlockFormat::Q5K,
        BlockFormat::Q6K,
    ];

    /// ggml's name of the format, such as `Q4_K`.
    pub const fn name(self) -> &'static str {
        match self {
            BlockFormat::Q4_0 => "Q4_0",
            BlockFormat::Q4_1 => "Q4_1",
            BlockFormat::Q5_0 => "Q5_0",
            BlockFormat::Q5_1 => "Q5_1",
            BlockFormat::Q8_0 => "Q8_0",
            BlockFormat::Q2K => "Q2_K",
            BlockFormat::Q3K => "Q3_K",
            BlockFormat::Q4K => "Q4_K",
            BlockFormat::Q5K => "Q5_K",
            BlockFormat::Q6K => "Q6_K",
        }
    }

    /// Elements in one block. A row's length must be a multiple of it.
    pub const fn block_len(self) -> usize {
        match self {
            BlockFormat::Q4_0
            | BlockFormat::Q4_1
            | BlockFormat::Q5_0
            | BlockFormat::Q5_1
            | BlockFormat::Q8_0 => legacy::BLOCK_LEN,
            BlockFormat::Q2K | BlockFormat::Q3K | BlockFormat::Q4K | BlockFormat::Q5K | BlockFormat::Q6K => {
                k::BLOCK_LEN
            }
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            BlockFormat::Q4_0 => legacy::Q4_0_BYTES,
            BlockFormat::Q4_1 => legacy::Q4_1_BYTES,
            BlockFormat::Q5_0 => legacy::Q5_0_BYTES,
            BlockFormat::Q5_1 => legacy::Q5_1_BYTES,
            BlockFormat::Q8_0 => legacy::Q8_0_BYTES,
            BlockFormat::Q2K => k::Q2K_BYTES,
            BlockFormat::Q3K => k::Q3K_BYTES,
            BlockFormat::Q4K => k::Q4K_BYTES,
            BlockFormat::Q5K => k::Q5K_BYTES,
            BlockFormat::Q6K => k::Q6K_BYTES,
        }
    }

    /// Elements that share one scale.
    pub const fn group_len(self) -> usize {
        match self {
            BlockFormat::Q2K | BlockFormat::Q3K | BlockFormat::Q6K => 16,
            _ => 32,
        }
    }

    /// Bits of one level, scales not counted.
    pub const fn bits(self) -> usize {
        match self {
            BlockFormat::Q2K => 2,
            BlockFormat::Q3K => 3,
            BlockFormat::Q4_0 | BlockFormat::Q4_1 | BlockFormat::Q4K => 4,
            BlockFormat::Q5_0 | BlockFormat::Q5_1 | BlockFormat::Q5K => 5,
            BlockFormat::Q6K => 6,
            BlockFormat::Q8_0 => 8,
        }
    }

    /// Where a block has its float16 numbers, counted in bytes: what everything in it is multiplied by.
    pub const fn scales(self) -> &'static [usize] {
        match self {
            BlockFormat::Q4_0 | BlockFormat::Q5_0 | BlockFormat::Q8_0 => &[0],
            BlockFormat::Q4_1 | BlockFormat::Q5_1 | BlockFormat::Q4K | BlockFormat::Q5K => &[0, 2],
            BlockFormat::Q2K => &[80, 82],
            BlockFormat::Q3K => &[108],
            BlockFormat::Q6K => &[208],
        }
    }

    /// Whether [`to_affine`] takes the format: MLX has no groups of 16.
    pub const fn is_affine(self) -> bool {
        self.group_len() == affine::GROUP_SIZE
    }

    /// Elements in `bytes`, which must be whole blocks.
    fn elements(self, bytes: &[u8]) -> Result<usize, BlockError> {
        if !bytes.len().is_multiple_of(self.block_bytes()) {
            return Err(BlockError::PartialBlock { format: self, bytes: bytes.len() });
        }
        Ok(bytes.len() / self.block_bytes() * self.block_len())
    }
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether `bytes` are whole blocks whose values are all finite.
///
/// # Errors
/// When they are not.
pub fn check(format: BlockFormat, bytes: &[u8]) -> Result<(), BlockError> {
    format.elements(bytes)?;
    let finite = |block: &[u8]| {
        format.scales().iter().all(|at| f16::from_le_bytes([block[*at], block[at + 1]]).is_finite())
    };
    match bytes.chunks_exact(format.block_bytes()).position(|block| !finite(block)) {
        Some(block) => {
            Err(BlockError::NotFinite { format, group: block * format.block_len() / format.group_len() })
        }
        None => Ok(()),
    }
}

/// Writes the values of the blocks in `bytes` to `out`, in order.
///
/// The bits equal those of `gguf.quants.dequantize`, down to the sign of a zero.
///
/// # Errors
/// When `bytes` is not a whole number of blocks, or `out` is not as long as the blocks say.
pub fn dequantize(format: BlockFormat, bytes: &[u8], out: &mut [f32]) -> Result<(), BlockError> {
    let elements = format.elements(bytes)?;
    if out.len() != elements {
        return Err(BlockError::OutputLength { format, expected: elements, found: out.len() });
    }
    let mut groups = out.chunks_exact_mut(format.group_len());
    for_each_group(format, bytes, |group| {
        let values = groups.next().into_iter().flatten().zip(group.levels);
        match group.offset {
            Offset::Zero(zero) => {
                values
                    .for_each(|(value, &q)| *value = group.scale * f32::from(i16::from(q) - i16::from(zero)));
            }
            Offset::Min(min) => values.for_each(|(value, &q)| *value = group.scale * f32::from(q) + min),
        }
    });
    Ok(())
}
