//! Labels instead of text: one pass over each prompt, nothing generated.

use crate::generate_options::check;
use crate::{CancelToken, Result, Token};

/// How to classify.
///
/// ```
/// use inference_api::ClassifyOptions;
///
/// let options = ClassifyOptions::default().with_labels(["finance", "sports"]);
/// assert!(options.validate().is_ok());
/// ```
#[derive(Clone, Debug, Default)]
pub struct ClassifyOptions {
    /// What the prompt may be continued by. Each is scored as text that follows the prompt, so after a prompt that ends
    /// in `Domain:` give ` finance`, with its space. None may be empty. Default none: then the next token alone tells.
    pub labels: Vec<String>,
    /// Whether [`Classification::logits`] is filled in. Default `false`.
    pub logits: bool,
    /// Cancels the whole call from another thread. Default `None`.
    pub cancel: Option<CancelToken>,
}

impl ClassifyOptions {
    /// Sets [`labels`](ClassifyOptions::labels).
    #[must_use]
    pub fn with_labels(mut self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`logits`](ClassifyOptions::logits).
    #[must_use]
    pub fn with_logits(mut self, logits: bool) -> Self {
        self.logits = logits;
        self
    }

    /// Sets [`cancel`](ClassifyOptions::cancel).
    #[must_use]
    pub fn with_cancel(mut self, cancel: CancelToken) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// Checks every option. Backends call this first in `classify`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`](crate::ErrorKind::InvalidOption) for an empty label.
    pub fn validate(&self) -> Result<()> {
        let empty = self.labels.iter().any(String::is_empty);
        check("labels", r#""""#, !empty, "strings with text in them")
    }
}

/// What a model makes of one prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Classification {
    /// The most probable next token, with its log-probability.
    pub token: Token,
    /// The natural logarithm of the probability of each label of [`ClassifyOptions::labels`], in their order: the sum over
    /// the label's tokens, each given the prompt and the label's tokens before it.
    pub scores: Vec<f32>,
    /// Logits of the next token, one for each id of the vocabulary, where they were asked for.
    pub logits: Option<Vec<f32>>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
}

impl Classification {
    /// The position of the label with the highest score, the first among equals; `None` without labels.
    pub fn best(&self) -> Option<usize> {
        let better =
            |best: usize, other: usize| if self.scores[other] > self.scores[best] { other } else { best };
        (0..self.scores.len()).reduce(better)
    }

    /// The probability of each label if one of them is right: the scores, exponentiated and scaled to sum to 1.
    pub fn probabilities(&self) -> Vec<f32> {
        let highest = self.best().map_or(0.0, |best| self.scores[best]);
        let weights: Vec<f32> = self.scores.iter().map(|score| (score - highest).exp()).collect();
        let total: f32 = weights.iter().sum();
        weights.iter().map(|weight| weight / total).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_label_is_the_first_of_the_highest() {
        let of = |scores: &[f32]| Classification { scores: scores.to_vec(), ..Classification::default() };
        assert_eq!(of(&[]).best(), None);
        assert_eq!(of(&[-3.0, -1.0, -1.0]).best(), Some(1));
        assert_eq!(of(&[f32::NEG_INFINITY]).best(), Some(0));
    }

    #[test]
    fn probabilities_sum_to_one_however_small_the_scores_are() {
        let scores = vec![-1000.0, -1000.0 - 3f32.ln()];
        let found = Classification { scores, ..Classification::default() }.probabilities();
        assert!((found[0] - 0.75).abs() < 1e-4 && (found[1] - 0.25).abs() < 1e-4, "{found:?}");
    }

    #[test]
    fn an_empty_label_is_refused() {
        let error = ClassifyOptions::default().with_labels(["a", ""]).validate().unwrap_err();
        assert_eq!(error.to_string(), "labels is \"\"; it must be strings with text in them");
    }
}
