//! Models that take an adapter.

use crate::generate_options::check;
use crate::{Result, TextModel};
use std::fmt;
use std::path::Path;

/// A loaded model that can be given a LoRA adapter, to be trained or exchanged.
///
/// Reached by [`load_trainable`](crate::load_trainable), or by
/// [`TextModel::trainable`](crate::TextModel::trainable) of a model that was loaded already.
pub trait TrainableModel: TextModel {
    /// Transformer layers. Returns at once, also after `close`.
    fn num_layers(&self) -> usize;

    /// The tokens of a text, with the start tokens that the checkpoint asks for. All of it is plain text.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) when the model has no tokenizer, and
    /// [`InvalidPrompt`](crate::ErrorKind::InvalidPrompt) for what it cannot encode.
    fn encode(&self, text: &str) -> Result<Vec<u32>>;

    /// The text of tokens, special ones left out.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) when the model has no tokenizer, and
    /// [`InvalidPrompt`](crate::ErrorKind::InvalidPrompt) for ids that no token has.
    fn decode(&self, tokens: &[u32]) -> Result<String>;

    /// Puts a fresh adapter on the model, in place of one that is there. It changes nothing until it is trained.
    ///
    /// **Blocking**: until the generations that run have ended; those that are asked for meanwhile wait, and go through
    /// the adapter. **After an error** the model is as it was.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) for numbers out of range and for targets that the model does not
    /// have, [`Closed`](crate::ErrorKind::Closed).
    fn apply_lora(&self, options: &LoraOptions) -> Result<LoraSummary>;

    /// Writes the adapter that [`apply_lora`](TrainableModel::apply_lora) put on the model into a folder, in mlx-lm's format.
    ///
    /// **Blocking**: as there. Files are written whole or not at all.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) when there is no such adapter, [`Io`](crate::ErrorKind::Io),
    /// [`Closed`](crate::ErrorKind::Closed).
    fn save_adapter(&self, folder: &Path) -> Result<()>;
}

impl fmt::Debug for dyn TrainableModel + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrainableModel({})", self.model_type())
    }
}

/// What an adapter is like: `y = W x + alpha / rank · B A x`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraOptions {
    /// Columns of A and rows of B, at least 1. Default 8.
    pub rank: usize,
    /// Finite; what the adapter adds is multiplied by `alpha / rank`. Default 16.
    pub alpha: f32,
    /// The probability with which elements of the adapter's input are dropped in training; at least 0, below 1. Default 0.
    pub dropout: f32,
    /// Linear maps by the end of their names, such as `q_proj`. Default none, which means all of the layers'.
    pub targets: Vec<String>,
    /// Only so many layers, the last ones. `None`, the default, means all.
    pub layers: Option<usize>,
    /// Makes the start values of A repeatable. `None`, the default, takes a new seed each time.
    pub seed: Option<u64>,
}

impl Default for LoraOptions {
    fn default() -> LoraOptions {
        LoraOptions { rank: 8, alpha: 16.0, dropout: 0.0, targets: Vec::new(), layers: None, seed: None }
    }
}

impl LoraOptions {
    /// Checks every option. Backends call this first in `apply_lora`.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) for the first option out of its range.
    pub fn validate(&self) -> Result<()> {
        check("rank", self.rank, self.rank >= 1 && self.rank <= 1 << 16, "from 1 to 65536")?;
        check("alpha", self.alpha, self.alpha.is_finite(), "finite")?;
        check("dropout", self.dropout, (0.0..1.0).contains(&self.dropout), "at least 0 and below 1")
    }
}

/// What was put on a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoraSummary {
    /// Numbers that training would change.
    pub parameters: u64,
    /// The names of the adapter's arrays, as its file has them.
    pub names: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_named() {
        let cases = [
            (LoraOptions { rank: 0, ..Default::default() }, "rank is 0"),
            (LoraOptions { alpha: f32::NAN, ..Default::default() }, "alpha is NaN"),
            (LoraOptions { dropout: 1.0, ..Default::default() }, "dropout is 1"),
        ];
        for (options, start) in cases {
            let error = options.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{start}; it must be ")), "{error}");
        }
        assert!(LoraOptions::default().validate().is_ok());
    }
}
