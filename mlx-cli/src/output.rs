//! Standard output.

use std::io::{ErrorKind, Write};

use crate::failure::Failure;

/// Writes to standard output, at once.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::io("stdout", &error),
    })
}
