//! Standard output, and files that commands write.

use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::failure::Failure;

/// Writes to standard output, at once.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::io("stdout", &error),
    })
}

/// Fails for a missing folder now rather than after the work.
pub(crate) fn check_file(out: &Path) -> Result<(), Failure> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Failure::new(format!("--out {}: {} is no folder", out.display(), folder.display())));
    }
    if out.is_dir() {
        return Err(Failure::new(format!("--out {}: is a folder", out.display())));
    }
    Ok(())
}
