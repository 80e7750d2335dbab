//! Conversion and choice, element by element.

use super::super::array::to_c;
use super::super::door;
use crate::{Array, DType, Result};

pub(crate) fn as_type(a: &Array, dtype: DType) -> Result<Array> {
    door::call("as_type", &[a], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_astype(out, a.raw(), to_c(dtype), s) }
    })
}

pub(crate) fn select(condition: &Array, x: &Array, y: &Array) -> Result<Array> {
    door::call("select", &[condition, x, y], |out, s| {
        // SAFETY: the handles are live for the call.
        unsafe { mlx_sys::mlx_where(out, condition.raw(), x.raw(), y.raw(), s) }
    })
}
