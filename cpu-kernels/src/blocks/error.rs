//! Why blocks could not be read.

use super::BlockFormat;
use std::fmt;

/// What [`dequantize`](super::dequantize) and [`to_affine`](super::to_affine) refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockError {
    /// The input ends inside a block.
    PartialBlock {
        /// The format asked for.
        format: BlockFormat,
        /// Length of the input.
        bytes: usize,
    },
    /// The output slice is not as long as the input's blocks.
    OutputLength {
        /// The format asked for.
        format: BlockFormat,
        /// Elements that the blocks hold.
        expected: usize,
        /// Length of the output slice.
        found: usize,
    },
    /// The format's groups are narrower than MLX's narrowest.
    NotAffine {
        /// The format asked for.
        format: BlockFormat,
    },
    /// A scale or minimum is infinite or not a number.
    NotFinite {
        /// The format asked for.
        format: BlockFormat,
        /// The group, counted from the start of the input.
        group: usize,
    },
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockError::PartialBlock { format, bytes } => {
                write!(f, "{bytes} bytes are not whole {format} blocks of {} bytes", format.block_bytes())
            }
            BlockError::OutputLength { format, expected, found } => {
                write!(f, "the {format} blocks hold {expected} elements, the output {found}")
            }
            BlockError::NotAffine { format } => {
                write!(
                    f,
                    "{format} has groups of {}, which affine quantization cannot hold",
                    format.group_len()
                )
            }
            BlockError::NotFinite { format, group } => {
                write!(f, "group {group} of the {format} blocks has a scale that is not finite")
            }
        }
    }
}

impl std::error::Error for BlockError {}
