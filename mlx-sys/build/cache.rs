//! The per-user cache folder, and putting things into it whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::Result;
use crate::config::Os;

/// `RUST_MLX_CACHE`, else `$XDG_CACHE_HOME/rust-mlx`, else the system's place for a user's caches.
pub fn cache_dir(os: Os, vars: &BTreeMap<String, String>) -> Result<PathBuf> {
    let set = |name: &str| vars.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = set("RUST_MLX_CACHE") {
        return Ok(dir);
    }
    if let Some(dir) = set("XDG_CACHE_HOME").filter(|dir| dir.is_absolute()) {
        return Ok(dir.join("rust-mlx"));
    }
    let home = set("HOME")
        .ok_or("neither RUST_MLX_CACHE nor HOME is set; set RUST_MLX_CACHE to a folder to build in.")?;
    Ok(match os {
        Os::Linux => home.join(".cache/rust-mlx"),
        Os::MacOs => home.join("Library/Caches/rust-mlx"),
    })
}

/// Returns `cache/name`, making it with `fill` if it is not there yet.
///
/// `fill` writes into a folder beside the final one, which takes the final name when everything is on disk; so a
/// folder that has the name is complete. A lock keeps two builds from filling it at the same time.
pub fn folder(cache: &Path, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let done = cache.join(name);
    if done.is_dir() {
        return Ok(done);
    }
    let io = |what: &str, path: &Path, error: std::io::Error| {
        format!(
            "Cannot {what} {}: {error}.\nSet RUST_MLX_CACHE to a folder that can be written.",
            path.display()
        )
    };
    fs::create_dir_all(cache).map_err(|e| io("create the cache folder", cache, e))?;
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).map_err(|e| io("create", &lock_path, e))?;
    lock.lock().map_err(|e| io("lock", &lock_path, e))?;
    if done.is_dir() {
        return Ok(done);
    }
    let partial = cache.join(format!("{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(|e| io("clear", &partial, e))?;
    }
    fs::create_dir(&partial).map_err(|e| io("create", &partial, e))?;
    fill(&partial)?;
    fs::rename(&partial, &done).map_err(|e| io("put in place", &done, e))?;
    Ok(done)
}
