//! What layers draw at random.

use crate::{Array, DType, Error, Result, random};

/// Keys that were split from one.
pub(super) struct Keys(Array);

impl Keys {
    pub(super) fn split(key: &Array, count: usize) -> Result<Self> {
        let count = i32::try_from(count)
            .map_err(|_| Error::Shape { op: "split", message: format!("{count} keys are too many") })?;
        Ok(Keys(random::split_num(key, count)?))
    }

    pub(super) fn get(&self, index: usize) -> Result<Array> {
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        self.0.slice_axis(0, index, index.saturating_add(1))?.reshape(&[2])
    }
}

/// Float32 numbers within `±1 / √inputs`, the first weights of a map from so many numbers.
pub(super) fn uniform_for(inputs: i32, shape: &[i32], key: &Array) -> Result<Array> {
    let bound = (inputs.max(1) as f32).sqrt().recip();
    random::uniform(key, -bound, bound, shape, DType::F32)
}
