//! Picking elements by position.

use super::super::door;
use super::as_type;
use crate::{Array, DType, Error, Result};

/// MLX reads outside the array for positions outside the axis, so they are looked at first, which computes them.
pub(crate) fn take_axis(a: &Array, indices: &Array, axis: i32) -> Result<Array> {
    let length = i64::from(a.axis_length("take", axis)?);
    let positions: Vec<i64> = match indices.dtype() {
        DType::U32 => indices.to_vec::<u32>()?.into_iter().map(i64::from).collect(),
        DType::I32 => indices.to_vec::<i32>()?.into_iter().map(i64::from).collect(),
        DType::U8 | DType::U16 | DType::I8 | DType::I16 | DType::I64 => {
            as_type(indices, DType::I64)?.to_vec()?
        }
        other => {
            let message = format!("positions must be integers of at most 63 bits, not {other}");
            return Err(Error::Shape { op: "take", message });
        }
    };
    if let Some(outside) = positions.iter().find(|position| **position < -length || **position >= length) {
        let message = format!("position {outside} lies outside axis {axis} of {}", a.describe());
        return Err(Error::Shape { op: "take", message });
    }
    door::call("take", &[a, indices], |out, s| {
        // SAFETY: the handles are live for the call, and every position lies inside the axis.
        unsafe { mlx_sys::mlx_take_axis(out, a.raw(), indices.raw(), axis, s) }
    })
}
