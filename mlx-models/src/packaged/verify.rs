//! Is a file the one it should be? By sha256, and by a stamp that remembers the answer.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use mlx_core::io::write_atomically;
use sha2::{Digest, Sha256};

/// Bytes read at a time: large enough for full disk speed.
const CHUNK: usize = 1 << 20;

/// Copies `from` to `to`, calling `each` with the bytes of every chunk, and adds the bytes to `hash`.
pub(super) fn copy_hashed(
    from: &Path,
    to: &mut dyn Write,
    hash: &mut Sha256,
    each: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let mut file = File::open(from)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let bytes = match file.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(bytes) => &chunk[..bytes],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(bytes);
        to.write_all(bytes)?;
        each(bytes.len() as u64);
    }
}

/// Computes a file's sha256 in lower-case hex.
pub(super) fn sha256(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    copy_hashed(path, &mut io::sink(), &mut hash, &mut |_| ())?;
    Ok(hex(hash))
}

/// Ends a hash and writes it in lower-case hex.
pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `path` is a file of this size and hash; hashes it.
pub(super) fn matches(path: &Path, size: u64, want: &str) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == size)
        && sha256(path).is_ok_and(|got| got == want)
}

/// Whether `path` is a file of this size and hash; trusts the stamp beside it, and writes one after hashing.
pub(super) fn is_sound(path: &Path, size: u64, want: &str) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    if !metadata.is_file() || metadata.len() != size {
        return false;
    }
    let stamp = stamp(&metadata, want);
    if fs::read(stamp_path(path)).is_ok_and(|found| found == stamp.as_bytes()) {
        return true;
    }
    let sound = sha256(path).is_ok_and(|got| got == want);
    if sound {
        // A cache that cannot be written costs a hash at each start and nothing else.
        let _ = write_stamp(path, &stamp);
    }
    sound
}

/// The stamp of a file as it is on disk now, `sha256` being known to be right.
pub(super) fn stamp(metadata: &Metadata, sha256: &str) -> String {
    let nanoseconds = match metadata.modified().map(|time| time.duration_since(UNIX_EPOCH)) {
        Ok(Ok(after)) => after.as_nanos().to_string(),
        Ok(Err(before)) => format!("-{}", before.duration().as_nanos()),
        Err(_) => "unknown".into(),
    };
    format!("size {}\nmodified_ns {nanoseconds}\nsha256 {sha256}\n", metadata.len())
}

/// Where the stamp of `path` lies.
pub(super) fn stamp_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".checked");
    name.into()
}

/// Writes the stamp of `path`: readers see the old one or the new one, and never half of it.
pub(super) fn write_stamp(path: &Path, stamp: &str) -> mlx_core::Result<()> {
    write_atomically(stamp_path(path), |file| file.write_all(stamp.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_may_write_the_same_stamp_at_once() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("model.gguf");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| write_stamp(&path, "size 1\n").unwrap()));
            }
        });
        assert_eq!(fs::read_to_string(stamp_path(&path)).unwrap(), "size 1\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
