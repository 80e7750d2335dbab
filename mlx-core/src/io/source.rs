//! Bytes read by position.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where a format's reader gets its bytes: a file, or memory.
///
/// Reads name their position, so threads may share a source. The length is taken once, when the source is
/// made; if the file shrinks later, reads past its end fail.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    len: u64,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    File(File),
    Memory(Vec<u8>),
}

/// How much memory is zeroed at a time before it is read into: it stays in the cache in between.
const CHUNK: usize = 1 << 18;

impl Source {
    /// Opens a regular file.
    ///
    /// # Errors
    /// When the file cannot be opened, or is a folder, a pipe or a device.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let io = |source| Error::Io { path: path.to_owned(), source };
        // Asked before opening, because opening a pipe waits for its writer.
        if !fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        Ok(Source { path: path.to_owned(), len, bytes: Bytes::File(file) })
    }

    /// Reads from memory, under the path `<memory>`; for tests and fuzzing.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Source { path: "<memory>".into(), len: bytes.len() as u64, bytes: Bytes::Memory(bytes) }
    }

    /// The file, for error messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Errors
    /// When the bytes do not all lie inside the file, or the system fails to read them.
    pub fn read_into(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.check(offset, out.len() as u64)?;
        match &self.bytes {
            Bytes::File(file) => file.read_exact_at(out, offset).map_err(|e| self.io(e)),
            Bytes::Memory(bytes) => {
                let bytes =
                    usize::try_from(offset).ok().and_then(|start| bytes.get(start..)?.get(..out.len()));
                out.copy_from_slice(bytes.ok_or_else(|| self.past_the_end())?);
                Ok(())
            }
        }
    }

    /// The `len` bytes from `offset` on.
    ///
    /// # Errors
    /// As [`read_into`](Self::read_into), checked before anything is allocated; and when memory is short.
    pub fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        self.check(offset, len)?;
        let short = |_| self.io(io::ErrorKind::OutOfMemory.into());
        let total = usize::try_from(len).map_err(|_| self.past_the_end())?;
        let mut out = Vec::new();
        out.try_reserve_exact(total).map_err(short)?;
        while out.len() < total {
            let start = out.len();
            out.resize(total.min(start + CHUNK), 0);
            self.read_into(offset + start as u64, &mut out[start..])?;
        }
        Ok(out)
    }

    fn check(&self, offset: u64, len: u64) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(self.past_the_end()),
        }
    }

    fn past_the_end(&self) -> Error {
        self.io(io::ErrorKind::UnexpectedEof.into())
    }

    fn io(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_and_memory_agree() {
        let bytes: Vec<u8> = (0..CHUNK + 1000).map(|i| (i % 251) as u8).collect();
        let path = std::env::temp_dir().join(format!("mlx-source-{}", std::process::id()));
        fs::write(&path, &bytes).unwrap();
        let (file, memory) = (Source::open(&path).unwrap(), Source::from_bytes(bytes.clone()));
        fs::remove_file(&path).unwrap();
        let len = bytes.len() as u64;
        for source in [&file, &memory] {
            assert_eq!(source.len(), len);
            assert_eq!(source.read(0, len).unwrap(), bytes);
            assert_eq!(source.read(7, 3).unwrap(), bytes[7..10]);
            assert!(source.read(len, 0).unwrap().is_empty());
            for (offset, count) in [(0, len + 1), (len, 1), (len + 1, 0), (u64::MAX, 1), (1, u64::MAX)] {
                assert!(source.read(offset, count).is_err(), "{offset} {count}");
            }
        }
    }

    #[test]
    fn folders_and_missing_files_are_refused() {
        let folder = std::env::temp_dir();
        assert!(Source::open(&folder).unwrap_err().to_string().ends_with("not a regular file"));
        let error = Source::open(folder.join("no-such-file.safetensors")).unwrap_err();
        assert!(error.to_string().contains("no-such-file.safetensors: "));
    }
}
