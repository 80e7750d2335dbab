//! Rotary position embedding: pairs of features turn by `scale * position * base^(-2i / dims)`. (Su et al., 2021)

use crate::{Array, Frequencies, Result};

/// RoPE over the last axis of `[.., L, Dh]`, in the halves form: feature `i` is paired with `i + dims / 2`.
#[derive(Clone, Debug)]
pub struct Rope {
    /// Features that turn; the others pass.
    pub dims: i32,
    /// The base of the angles' geometric series, `rope_theta` in configurations.
    pub base: f32,
    /// Factor on positions: below 1 to stretch a model over longer contexts than it was trained on.
    pub scale: f32,
    /// Positions that pair `i` needs for a turn, divided by 2π: float32 `[dims / 2]`, in the place of what follows from
    /// the base, `base^(2i / dims)`.
    pub wavelengths: Option<Array>,
}

impl Rope {
    /// RoPE as first published, of `dims` features.
    pub fn new(dims: i32, base: f32) -> Self {
        Rope { dims, base, scale: 1.0, wavelengths: None }
    }

    /// Turns the rows of `x`, the first of which stands at position `offset`.
    ///
    /// # Errors
    /// When `dims` does not fit the last axis, or there are not as many wavelengths as pairs.
    pub fn forward(&self, x: &Array, offset: i32) -> Result<Array> {
        let frequencies =
            self.wavelengths.as_ref().map_or(Frequencies::Base(self.base), Frequencies::Wavelengths);
        x.rope(self.dims, false, frequencies, self.scale, offset)
    }
}

// Angles are computed, not learned.
super::module! { Rope { ; dims, base, scale, wavelengths } }
