//! Computing what has been built.

use std::rc::Rc;

use super::super::{ArrayVector, door};
use crate::{Array, Result};

pub(crate) fn eval(arrays: &[&Array]) -> Result<()> {
    let vector = ArrayVector::new(arrays);
    // SAFETY: the vector is live. Evaluation reports failures by its status.
    let outcome = door::check("eval", arrays, unsafe { mlx_sys::mlx_eval(vector.as_raw()) });
    if outcome.is_err() {
        arrays.iter().for_each(|array| array.handle().mark_failed());
    }
    outcome
}

pub(crate) fn async_eval(arrays: &[&Array]) -> Result<()> {
    let vector = ArrayVector::new(arrays);
    // MLX tells a failure to the first who waits; the others are to learn of it too.
    let failed = Rc::default();
    arrays.iter().for_each(|array| array.handle().share_failure(&failed));
    // SAFETY: the vector is live; MLX keeps references of its own to what it evaluates later.
    door::check("async_eval", arrays, unsafe { mlx_sys::mlx_async_eval(vector.as_raw()) })
}
