//! Computing what has been built.

use super::super::{ArrayVector, door};
use crate::{Array, Result};

pub(crate) fn eval(arrays: &[&Array]) -> Result<()> {
    let vector = ArrayVector::new(arrays);
    // SAFETY: the vector is live. Evaluation reports failures by its status.
    let outcome = door::check("eval", arrays, unsafe { mlx_sys::mlx_eval(vector.as_raw()) });
    if outcome.is_err() {
        arrays.iter().for_each(|array| array.mark_failed());
    }
    outcome
}

pub(crate) fn async_eval(arrays: &[&Array]) -> Result<()> {
    let vector = ArrayVector::new(arrays);
    // SAFETY: the vector is live; MLX keeps references of its own to what it evaluates later.
    door::check("async_eval", arrays, unsafe { mlx_sys::mlx_async_eval(vector.as_raw()) })
}
