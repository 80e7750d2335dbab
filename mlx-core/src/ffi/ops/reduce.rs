//! Reductions with signatures of their own.

use super::super::door;
use crate::{Array, Result};

pub(crate) fn softmax(a: &Array, axes: &[i32], precise: bool) -> Result<Array> {
    door::axes_flag("softmax", mlx_sys::mlx_softmax_axes, a, axes, precise)
}
