//! The crate's one error type.

use std::path::PathBuf;

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A tokenizer could not be built, or could not do what was asked of it.
    #[error("{origin}: {message}")]
    Tokenizer {
        /// Where the tokenizer came from: a path, or `GGUF vocabulary`.
        origin: String,
        /// What is wrong, with the token, id or setting concerned.
        message: String,
    },
    /// A chat template could not be parsed or rendered.
    #[error("{origin}{at}: {message}", at = line.map(|n| format!(":{n}")).unwrap_or_default())]
    Template {
        /// Where the template came from: a path, or `chat template`.
        origin: String,
        /// The template's line, counted from one, where it is known.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
}
