//! Operations on order with signatures of their own.

use super::super::door;
use crate::{Array, Result};

pub(crate) fn searchsorted(sorted: &Array, values: &Array, right: bool) -> Result<Array> {
    let side = if right { c"right" } else { c"left" };
    door::call("searchsorted", &[sorted, values], |out, s| {
        // SAFETY: the handles are live for the call and the side is a NUL-terminated constant.
        unsafe { mlx_sys::mlx_searchsorted(out, sorted.raw(), values.raw(), side.as_ptr(), s) }
    })
}
