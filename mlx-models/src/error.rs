//! The crate's one error type.

use std::path::PathBuf;

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An option has a value that it cannot take.
    #[error("{option}: {message}")]
    Option {
        /// The option, by its name in this crate.
        option: &'static str,
        /// What the value is and which values are allowed.
        message: String,
    },
    /// No token can be chosen from a row of logits.
    #[error("sampling: {message}")]
    Sampling {
        /// What is wrong with the row.
        message: String,
    },
    /// A packaged model could not be brought onto this machine.
    #[error("fetching {model}: {message}")]
    Fetch {
        /// The model, by its name in the table of packaged models.
        model: String,
        /// What failed and what to do next, in one line.
        message: String,
    },
}
