//! What a model and the tensors of a checkpoint disagree about, all of it in one error.

use super::{Checkpoint, missing, refuse};
use crate::{Error, Result};

/// Names that an error lists before it only counts.
const LISTED: usize = 8;
/// Faults after which a survey ends: a configuration may claim thousands of layers.
const MOST: usize = 1000;

/// What was found wrong while nothing but headers was looked at.
#[derive(Default)]
pub(super) struct Faults {
    missing: Vec<String>,
    /// About tensors that are there.
    errors: Vec<Error>,
}

impl Faults {
    /// Notes that a tensor is missing.
    ///
    /// # Errors
    /// When so many are that what follows would not tell more.
    pub(super) fn note_missing(&mut self, checkpoint: &Checkpoint, name: &str) -> Result<()> {
        self.missing.push(name.to_owned());
        if self.are_many() { Err(missing(checkpoint.path(), name)) } else { Ok(()) }
    }

    /// Notes what is wrong with a tensor.
    ///
    /// # Errors
    /// The error itself, if it is about the configuration: that is said once. And as [`note_missing`](Self::note_missing).
    pub(super) fn note(&mut self, error: Error) -> Result<()> {
        match &error {
            Error::Checkpoint { path, .. } if path.extension().is_none_or(|kind| kind != "json") => {
                let many = refuse(path, "too much does not fit");
                self.errors.push(error);
                if self.are_many() { Err(many) } else { Ok(()) }
            }
            _ => Err(error),
        }
    }

    pub(super) fn are_many(&self) -> bool {
        self.missing.len() + self.errors.len() >= MOST
    }

    /// Reports everything; `left` are the names of tensors that the model has no place for.
    pub(super) fn report<'n>(
        mut self,
        checkpoint: &Checkpoint,
        left: impl ExactSizeIterator<Item = &'n String>,
    ) -> Result<()> {
        let only = self.missing.is_empty() && left.len() == 0 && self.errors.len() == 1;
        if let Some(error) = self.errors.pop_if(|_| only) {
            return Err(error);
        }
        let mut parts = Vec::new();
        match &self.missing[..] {
            [] => {}
            [name] => parts.push(format!("tensor {name} is missing")),
            names => parts.push(format!("tensors {} are missing", listed(names.iter()))),
        }
        if !self.errors.is_empty() {
            let texts = self.errors.into_iter().map(|error| match error {
                Error::Checkpoint { path, message } if path == checkpoint.path() => message,
                Error::Checkpoint { path, message } => {
                    format!("{}: {message}", path.file_name().unwrap_or_default().to_string_lossy())
                }
                other => other.to_string(),
            });
            parts.push(listed(texts.collect::<Vec<_>>().iter()));
        }
        if left.len() > 0 {
            parts.push(format!("the model has no place for tensors {}", listed(left)));
        }
        if parts.is_empty() { Ok(()) } else { Err(checkpoint.refuse(parts.join("; "))) }
    }
}

fn listed<'n>(names: impl ExactSizeIterator<Item = &'n String>) -> String {
    let more = names.len().saturating_sub(LISTED);
    let shown: Vec<&str> = names.take(LISTED).map(String::as_str).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &more
}
