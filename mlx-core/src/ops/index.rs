//! Operations that pick elements by position.

use crate::{Array, DType, Error, Result, ffi};

impl Array {
    /// The slices along `axis` at the positions in `indices`; the result has the shape of `indices` in that axis' place.
    ///
    /// MLX does not check positions, so this method does, which computes `indices`.
    ///
    /// # Errors
    /// When there is no such axis, `indices` are not integers, or a position lies outside.
    #[doc(alias = "mlx_take_axis")]
    pub fn take(&self, indices: &Array, axis: i32) -> Result<Array> {
        let length = i64::from(self.dim(axis)?);
        if !matches!(
            indices.dtype(),
            DType::U8 | DType::U16 | DType::U32 | DType::I8 | DType::I16 | DType::I32 | DType::I64
        ) {
            return Err(Error::DTypeMismatch { op: "take", expected: DType::I32, found: indices.dtype() });
        }
        let positions: Vec<i64> = match indices.dtype() {
            DType::U32 => indices.to_vec::<u32>()?.into_iter().map(i64::from).collect(),
            DType::I32 => indices.to_vec::<i32>()?.into_iter().map(i64::from).collect(),
            _ => indices.as_type(DType::I64)?.to_vec()?,
        };
        if let Some(outside) = positions.iter().find(|position| **position < -length || **position >= length)
        {
            let message = format!("position {outside} lies outside axis {axis} of {}", self.describe());
            return Err(Error::Shape { op: "take", message });
        }
        ffi::ops::take_axis(self, indices, axis)
    }
}
