//! The crate's one error type.

use std::path::PathBuf;

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// MLX refused or failed an operation.
    #[error("{op}({operands}): {message}")]
    Op {
        /// The operation, by its name in this crate.
        op: &'static str,
        /// Shapes and dtypes of the operands, such as `float32[2, 3], float32[4]`.
        operands: String,
        /// MLX's own message.
        message: String,
    },
    /// Elements were asked for as a type that the array does not hold.
    #[error("{op}: the array holds {found}, not {expected}; convert it with as_type first")]
    DTypeMismatch {
        /// The operation, by its name in this crate.
        op: &'static str,
        /// The dtype that the caller asked for.
        expected: crate::DType,
        /// The dtype of the array.
        found: crate::DType,
    },
    /// A shape does not fit the data or the operation.
    #[error("{op}: {message}")]
    Shape {
        /// The operation, by its name in this crate.
        op: &'static str,
        /// What does not fit, with both shapes.
        message: String,
    },
    /// A closure or a primitive written in Rust panicked inside a transform or an evaluation.
    #[error("{op}: panicked: {message}")]
    Panic {
        /// What was running it.
        op: &'static str,
        /// The panic's message.
        message: String,
    },
    /// An error of another crate, from a closure that was given to a transform.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
    /// The operating system refused a file operation.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A safetensors file breaks the format's rules.
    #[error("{}: {message}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong, naming the tensor where there is one.
        message: String,
    },
    /// An npy file breaks the format's rules.
    #[error("{}: {message}", path.display())]
    Npy {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file of an exported function is not what it should be.
    #[error("{}: {message}", path.display())]
    Export {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl Error {
    /// Wraps an error of another crate, so that a closure given to a transform can return it.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::Other(error.into())
    }
}
