//! Operations that pick elements by position.

use crate::{Array, Result, ffi};

impl Array {
    /// The slices along `axis` at the positions in `indices`; the result has the shape of `indices` in that axis' place.
    ///
    /// MLX does not check positions, so this method does, which computes `indices`.
    ///
    /// # Errors
    /// When there is no such axis, `indices` are not integers, or a position lies outside.
    #[doc(alias = "mlx_take_axis")]
    pub fn take(&self, indices: &Array, axis: i32) -> Result<Array> {
        ffi::ops::take_axis(self, indices, axis)
    }
}
