//! Between rows of all heads side by side, as projections have them, and heads by themselves, as attention has them.

use mlx_core::Array;

use crate::Result;

/// `[B, L, H * Dh] -> [B, H, L, Dh]`
pub(super) fn heads(x: &Array, heads: i32) -> Result<Array> {
    let (batch, length) = (x.dim(0)?, x.dim(1)?);
    if length == 1 {
        // One row of each head lies where it has to.
        return Ok(x.reshape(&[batch, heads, 1, -1])?);
    }
    Ok(x.reshape(&[batch, length, heads, -1])?.transpose(&[0, 2, 1, 3])?)
}

/// `[B, H, L, Dh] -> [B, L, H * Dh]`
pub(super) fn merge_heads(x: &Array) -> Result<Array> {
    let (batch, length) = (x.dim(0)?, x.dim(2)?);
    let rows = if length == 1 { x.clone() } else { x.transpose(&[0, 2, 1, 3])? };
    Ok(rows.reshape(&[batch, length, -1])?)
}
