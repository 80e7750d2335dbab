//! Files that appear whole or not at all.

use crate::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file through a temporary one in the same folder, which is synced and then renamed.
///
/// A crash or a failure at any moment leaves the old file, or none, under `path`; never half of the new one.
/// An existing file is replaced.
///
/// # Errors
/// When the folder is missing or not writable, when `write` fails, or when the disk is full.
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    replace(path, write).map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// [`write_atomically`] for what writes by the name of a file: `write` gets that of the temporary one, which is empty.
pub(crate) fn write_by_path<R>(path: &Path, write: impl FnOnce(&Path) -> Result<R>) -> Result<R> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let folder = folder_of(path);
    let (temporary, file) = Temporary::create(folder).map_err(io)?;
    let written = write(&temporary.0)?;
    file.sync_all().and_then(|()| temporary.rename(path, folder)).map_err(io)?;
    Ok(written)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let folder = folder_of(path);
    let (temporary, file) = Temporary::create(folder)?;
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    temporary.rename(path, folder)
}

/// A path whose file is removed on drop; after the rename there is nothing left to remove.
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    fn create(folder: &Path) -> io::Result<(Self, File)> {
        Self::create_with(folder, OpenOptions::new().read(true).write(true))
    }

    /// A new file in `folder`, opened as `options` say.
    pub(crate) fn create_with(folder: &Path, options: &mut OpenOptions) -> io::Result<(Self, File)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!(".mlx-{}-{number}.tmp", std::process::id()));
            match options.create_new(true).open(&path) {
                Ok(file) => return Ok((Temporary(path), file)),
                // Left behind by a killed process that had this process id.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn rename(&self, path: &Path, folder: &Path) -> io::Result<()> {
        fs::rename(&self.0, path)?;
        // Makes the rename itself durable. The contents are safe already, and some file systems cannot sync a
        // folder.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing() {
        let folder = std::env::temp_dir().join(format!("mlx-atomic-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");

        write_atomically(&path, |out| out.write_all(b"old")).unwrap();
        let error = write_atomically(&path, |out| {
            out.write_all(b"half of the new")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(error.unwrap_err().to_string().contains("file: "));
        assert_eq!(fs::read(&path).unwrap(), b"old");

        write_atomically(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
        assert!(write_atomically(&path, |_| Ok(())).is_err());
    }
}
