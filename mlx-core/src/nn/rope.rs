//! Rotary position embedding: pairs of features turn by `scale * position * base^(-2i / dims)`. (Su et al., 2021)

use crate::{Array, Result};

/// RoPE over the last axis of `[.., L, Dh]`, in the halves form: feature `i` is paired with `i + dims / 2`.
#[derive(Clone, Copy, Debug)]
pub struct Rope {
    /// Features that turn; the others pass.
    pub dims: i32,
    /// The base of the angles' geometric series, `rope_theta` in configurations.
    pub base: f32,
    /// Factor on positions: below 1 to stretch a model over longer contexts than it was trained on.
    pub scale: f32,
}

impl Rope {
    /// Turns the rows of `x`, the first of which stands at position `offset`.
    ///
    /// # Errors
    /// When `dims` does not fit the last axis.
    pub fn forward(&self, x: &Array, offset: i32) -> Result<Array> {
        x.rope(self.dims, false, self.base, self.scale, offset)
    }
}

// Angles are computed, not learned.
super::module! { Rope { ; dims, base, scale } }
