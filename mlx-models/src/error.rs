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
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A GGUF file breaks the format's rules, lacks something, or holds what is not supported.
    #[error("{}: {message}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong, naming the tensor or the metadata key where there is one.
        message: String,
    },
    /// An array operation or a file of arrays failed.
    #[error(transparent)]
    Core(#[from] mlx_core::Error),
}
