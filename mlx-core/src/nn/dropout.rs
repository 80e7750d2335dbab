//! Dropout: `y = x * b / (1 - p)` with `b` 0 or 1, 0 with the probability `p`. (Srivastava et al., 2014)

use super::random::Keys;
use super::{DynModule, find_mut};
use crate::{Array, Error, Result, random};

/// `x` with a part `p` of its elements, chosen by `key`, set to 0, and the others divided by `1 - p`.
///
/// One key always chooses the same elements, so draw a new one for each step.
///
/// # Errors
/// When `p` is not at least 0 and below 1, `key` is not a key, or `x` is not of a floating dtype.
pub fn dropout(x: &Array, p: f32, key: &Array) -> Result<Array> {
    const OP: &str = "dropout";
    if !(0.0..1.0).contains(&p) {
        let message = format!("the part {p} must be at least 0 and below 1");
        return Err(Error::Shape { op: OP, message });
    }
    if !x.dtype().is_float() {
        let message = format!("{} does not hold floating-point numbers", x.describe());
        return Err(Error::Shape { op: OP, message });
    }
    if p == 0.0 {
        return Ok(x.clone());
    }
    let kept = random::bernoulli(key, 1.0 - p, x.shape())?;
    x.multiply(&kept.as_type(x.dtype())?)?.multiply(&x.scalar_like(1.0 / (1.0 - p))?)
}

/// [`dropout`] as a layer. It drops only while it has a key, which [`train`] gives it.
///
/// As long as the key stays the same, so do the dropped elements: a forward pass that is computed again, as
/// [`checkpoint`](crate::transforms::checkpoint) does, gives the same numbers.
#[derive(Clone, Debug, Default)]
pub struct Dropout {
    /// The probability of an element to be dropped.
    pub p: f32,
    /// What chooses the elements. Without one, `x` passes as it is.
    pub key: Option<Array>,
}

impl Dropout {
    /// A layer that lets everything pass until it gets a key.
    pub fn new(p: f32) -> Self {
        Dropout { p, key: None }
    }

    /// Drops elements if there is a key.
    ///
    /// # Errors
    /// As [`dropout`].
    pub fn forward(&self, x: &Array) -> Result<Array> {
        match &self.key {
            Some(key) => dropout(x, self.p, key),
            None => Ok(x.clone()),
        }
    }
}

// The key is no parameter.
super::module! { Dropout { ; p, key } }

/// Readies a model for a step of training: gives each [`Dropout`] in it a key of its own, split from `key`. With `None`,
/// nothing is dropped from then on.
///
/// # Errors
/// When `key` is not a key.
pub fn train(model: &mut DynModule, key: Option<&Array>) -> Result<()> {
    let found = find_mut::<Dropout>(model);
    let keys = key.map(|key| Keys::split(key, found.len())).transpose()?;
    for (index, (_, dropout)) in found.into_iter().enumerate() {
        dropout.key = keys.as_ref().map(|keys| keys.get(index)).transpose()?;
    }
    Ok(())
}
