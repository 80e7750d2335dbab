//! The one error of this crate.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for programs that react to it; the message is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No backend is registered, so nothing can load a model.
    NoBackend,
    /// A backend of that name is registered already.
    AlreadyRegistered,
    /// The backend is registered but cannot run on this machine.
    Unavailable,
    /// No such backend, model, folder or file.
    NotFound,
    /// A feature, format or architecture that the backend does not implement.
    Unsupported,
    /// An option has a value out of its range.
    InvalidOption,
    /// A prompt that cannot be used, such as an empty one or a token id outside the vocabulary.
    InvalidPrompt,
    /// The prompt does not fit the context; the message gives both lengths.
    ContextLength,
    /// The model's files are damaged or contradict each other.
    InvalidModel,
    /// The device or the machine has no memory left for the work.
    OutOfMemory,
    /// Too many requests wait already; the same request may succeed later.
    Busy,
    /// The call was cancelled before it had a result. Streams end without an error then.
    Cancelled,
    /// The model was closed, by its owner or because it failed for good; the message tells.
    Closed,
    /// Reading or writing a file, or the network, failed.
    Io,
    /// The backend failed in a way that no other kind describes.
    Backend,
}

/// An error with a kind, a message and, when another error caused it, that error.
///
/// `{}` prints the message on one line. `{:#}` adds the causes behind it, each after a colon, still on one
/// line: the form for a command line. A clone shares the cause, so that one failure can be reported to every
/// request it ends.
///
/// ```
/// use inference_api::{Error, ErrorKind};
///
/// let cause = std::io::Error::other("disk on fire");
/// let error = Error::new(ErrorKind::Io, "cannot read config.json").with_source(cause);
/// assert_eq!(error.kind(), ErrorKind::Io);
/// assert_eq!(error.to_string(), "cannot read config.json");
/// assert_eq!(format!("{error:#}"), "cannot read config.json: disk on fire");
/// ```
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error. The message starts in lower case, names the thing that is wrong, and has no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), source: None }
    }

    /// Makes the error for a file that cannot be read: [`ErrorKind::NotFound`] when it does not exist, else
    /// [`ErrorKind::Io`].
    pub fn read(path: &Path, cause: io::Error) -> Error {
        let kind = match cause.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("cannot read {}", path.display())).with_source(cause)
    }

    /// Returns this error with `source` as its cause.
    pub fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        Error { source: Some(Arc::from(source.into())), ..self }
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message as it was given, without the causes.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_line(f, &self.message)?;
        let mut cause = self.source().filter(|_| f.alternate());
        while let Some(error) = cause {
            f.write_str(": ")?;
            write_line(f, &error.to_string())?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Writes `text` on one line, with its line breaks and the blanks around them as one space.
fn write_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut lines = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    if let Some(first) = lines.next() {
        f.write_str(first)?;
    }
    lines.try_for_each(|line| write!(f, " {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_stays_on_one_line() {
        let inner = Error::new(ErrorKind::Backend, "[matmul]\n  shapes differ\r\n").with_source("root");
        let outer = Error::new(ErrorKind::Backend, "step 3 failed").with_source(inner);
        assert_eq!(outer.to_string(), "step 3 failed");
        assert_eq!(format!("{outer:#}"), "step 3 failed: [matmul] shapes differ: root");
    }

    #[test]
    fn a_clone_keeps_kind_message_and_cause() {
        let error = Error::new(ErrorKind::OutOfMemory, "no memory").with_source("cudaMalloc").clone();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert_eq!(error.message(), "no memory");
        assert_eq!(error.source().map(ToString::to_string), Some("cudaMalloc".to_owned()));
    }

    #[test]
    fn a_missing_file_is_not_found_and_named() {
        let path = Path::new("/nowhere/config.json");
        let missing = Error::read(path, io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(missing.to_string().contains("/nowhere/config.json"), "{missing}");
        assert_eq!(Error::read(path, io::Error::other("x")).kind(), ErrorKind::Io);
    }

    #[test]
    fn errors_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Error>();
    }
}
