//! The loss of a batch: cross entropy of the tokens that count, each given those before it.

use mlx_core::loss::{CrossEntropy, Reduction, cross_entropy};
use mlx_core::{Array, concatenate, transforms};

use super::data::Row;
use crate::{LanguageModel, Result};

/// Logits that are there at once, as a number of elements: 128 MiB in float32, and a few times that with what is computed
/// from them. More makes products of the head with few rows rarer.
const LOGITS: usize = 32 << 20;

/// Rows as arrays: padded on the right, where nothing that counts can see it.
pub(super) struct Batch {
    /// Token ids, `[B, L]`.
    inputs: Array,
    /// Places in `[B * L]` whose next token counts, `[T]`.
    places: Array,
    /// These tokens, `[T]`.
    targets: Array,
    /// `T`
    pub(super) counted: usize,
    /// Tokens that go in, without the padding.
    pub(super) tokens: usize,
}

impl Batch {
    /// At least one of the rows' tokens counts.
    pub(super) fn new(rows: &[&Row]) -> Result<Self> {
        let length = rows.iter().map(|row| row.tokens.len().saturating_sub(1)).max().unwrap_or(0);
        let mut inputs: Vec<u32> = Vec::with_capacity(rows.len() * length);
        let (mut places, mut targets) = (Vec::new(), Vec::new());
        for (index, row) in rows.iter().enumerate() {
            let seen = &row.tokens[..row.tokens.len().saturating_sub(1)];
            inputs.extend(seen);
            inputs.resize((index + 1) * length, 0);
            for at in 1..row.tokens.len() {
                if row.counted[at] {
                    places.push((index * length + at - 1) as u32);
                    targets.push(row.tokens[at]);
                }
            }
        }
        let counted = targets.len();
        Ok(Batch {
            inputs: Array::from_slice(&inputs, &[rows.len() as i32, length as i32])?,
            places: Array::from_slice(&places, &[counted as i32])?,
            targets: Array::from_slice(&targets, &[counted as i32])?,
            counted,
            tokens: rows.iter().map(|row| row.tokens.len().saturating_sub(1)).sum(),
        })
    }

    /// Hidden states of the places that count, `[T, D]`.
    fn hidden(&self, model: &dyn LanguageModel) -> Result<Array> {
        let hidden = model.forward(&self.inputs, &mut model.make_caches())?; // [B, L, D]
        let width = hidden.dim(2)?;
        Ok(hidden.reshape(&[-1, width])?.take(&self.places, 0)?)
    }

    /// The sum of the losses, and its gradient with respect to the hidden states if that is asked for; a part of the rows
    /// at a time, so that the logits of a large vocabulary never stand there whole.
    fn summed(&self, model: &dyn LanguageModel, hidden: &Array, gradient: bool) -> Result<(Array, Array)> {
        let step = (LOGITS / model.shape().vocab_size.max(1)).clamp(16, 1 << 20) as i32;
        let rows = self.counted as i32;
        let (mut sum, mut gradients) = (Array::scalar(0.0f32)?, Vec::new());
        let mut start = 0;
        while start < rows {
            let end = (start + step).min(rows);
            let part = hidden.slice_axis(0, start, end)?;
            let targets = self.targets.slice_axis(0, start, end)?;
            let loss = if gradient {
                let f = |part: &Array| to_core(head_loss(model, part, &targets));
                let (loss, to_hidden) = transforms::value_and_grad(f, &part)?;
                gradients.push(to_hidden);
                loss
            } else {
                head_loss(model, &part, &targets)?
            };
            sum = sum.add(&loss)?;
            start = end;
        }
        let gradients = match gradients.is_empty() {
            true => Array::scalar(0.0f32)?,
            false => concatenate(&gradients.iter().collect::<Vec<_>>(), 0)?,
        };
        Ok((sum, gradients))
    }

    /// The sum of the losses.
    pub(super) fn loss(&self, model: &dyn LanguageModel) -> Result<Array> {
        let hidden = self.hidden(model)?;
        Ok(self.summed(model, &hidden, false)?.0)
    }

    /// The sum of the losses divided by `total`, twice: as something to take the gradient of, and as its value.
    ///
    /// Where the head is `frozen`, its part of the gradient is computed with its part of the loss, so that the logits can
    /// go at once. What is differentiated is then `hidden · gradient`, whose gradient is the same.
    pub(super) fn training_loss(
        &self,
        model: &dyn LanguageModel,
        total: usize,
        frozen: bool,
    ) -> Result<[Array; 2]> {
        let share = Array::scalar(1.0 / total.max(1) as f32)?;
        let hidden = self.hidden(model)?;
        if !frozen {
            let loss = self.summed(model, &hidden, false)?.0.multiply(&share)?;
            return Ok([loss.clone(), loss]);
        }
        let (sum, gradient) = self.summed(model, &hidden.stop_gradient()?, true)?;
        let gradient = gradient.multiply(&share.as_type(gradient.dtype())?)?.stop_gradient()?;
        let surrogate = hidden.multiply(&gradient)?.as_type(share.dtype())?.sum(.., false)?;
        Ok([surrogate, sum.multiply(&share)?.stop_gradient()?])
    }
}

/// The sum of the losses of hidden states `[T, D]`.
fn head_loss(model: &dyn LanguageModel, hidden: &Array, targets: &Array) -> Result<Array> {
    let logits = model.logits(&hidden.expand_dims(0)?)?.squeeze(0)?; // [1, T, D] -> [T, V]
    Ok(cross_entropy(&logits, targets, CrossEntropy { reduction: Reduction::Sum, ..Default::default() })?)
}

/// Transforms carry the errors of arrays alone.
pub(super) fn to_core<T>(result: Result<T>) -> mlx_core::Result<T> {
    result.map_err(|error| match error {
        crate::Error::Core(error) => error,
        other => mlx_core::Error::Shape { op: "loss", message: other.to_string() },
    })
}
