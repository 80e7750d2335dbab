//! Computing what has been built.

use super::super::array::Fate;
use super::super::{ArrayVector, door, failures};
use crate::{Array, Result};

pub(crate) fn eval(arrays: &[&Array]) -> Result<()> {
    let vector = ArrayVector::new(arrays);
    let began = failures::taken_before();
    // SAFETY: the vector is live. Evaluation reports failures by its status.
    let mut outcome = door::check("eval", arrays, unsafe { mlx_sys::mlx_eval(vector.as_raw()) });
    if outcome.is_ok() && failures::taken() != began {
        outcome = Err(failures::lost("eval", String::new()));
    }
    if outcome.is_err() {
        arrays.iter().for_each(|array| array.handle().mark_failed());
    }
    outcome
}

pub(crate) fn async_eval(arrays: &[&Array]) -> Result<()> {
    let vector = ArrayVector::new(arrays);
    // MLX tells a failure to the first who waits; the others are to learn of it too.
    let fate = Fate::pending();
    arrays.iter().for_each(|array| array.handle().share_fate(&fate));
    // SAFETY: the vector is live; MLX keeps references of its own to what it evaluates later.
    door::check("async_eval", arrays, unsafe { mlx_sys::mlx_async_eval(vector.as_raw()) })
}
