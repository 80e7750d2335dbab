//! Models of the Hugging Face Hub, fetched by `org/name` into the cache that Python's `huggingface_hub` uses.
//!
//! ```no_run
//! use mlx_models::hub::{self, HubConfig, HubId};
//!
//! let id: HubId = "mlx-community/gemma-3-1b-it-4bit".parse().expect("a Hub id");
//! let folder = hub::fetch(&id, &HubConfig::from_env()?, &mut |p| println!("{} {}", p.item, p.done_bytes))?;
//! # Ok::<(), mlx_models::Error>(())
//! ```
//!
//! One request lists the repository at a revision. The files that make the model are then fetched one by one, small
//! ones first, and only those: configuration, tokenizer, chat template, and the safetensors that the index names, or one
//! GGUF file. Each arrives as `blobs/<etag>.incomplete` and gets its name once its length is right, and its sha256 where
//! the Hub gives one, as it does for weights; a download that breaks goes on where it ended, in this run or the next.
//! When all are here the revision is written down, so that what was whole stays reachable until its successor is.
//!
//! A model that is here is still asked for, since branches move; when the Hub cannot be reached, what is here is used.
//! A commit as the revision needs no asking.
//!
//! # Why not the `hf-hub` crate
//!
//! Version 1 downloads each file from its start, compares neither length nor hash, knows no offline mode, and stands on
//! an asynchronous runtime with some 280 crates. Version 0.5 resumes, and takes any answer to a range for its rest: a
//! server that ignores the range spoils the file unnoticed; it has no timeouts either. What is left to write above
//! either is most of this module, so it stands on `ureq` instead, a blocking client with timeouts for each read.

mod choice;
mod client;
mod config;
mod download;
mod failure;
mod id;
mod layout;
mod url;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::choice::Choice;
use self::client::{Client, Listing, RemoteFile};
pub use self::config::HubConfig;
use self::download::{Download, Event};
use self::failure::{Failure, io_at};
pub use self::id::HubId;
use self::layout::RepoCache;
pub use self::layout::{CachedModel, cached_models};
use crate::packaged::{Progress, Stage};
use crate::{Error, Result};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// Returns the folder or the GGUF file of a model, fetching what is missing of it.
///
/// Blocks until done; `progress` is called some ten times a second. Several processes may call this at once.
///
/// # Errors
/// [`Error::Fetch`] with what to do next: when the model is not here and the Hub cannot be reached or may not be asked,
/// does not have it, or does not let this token read it; when the repository holds no model; and when a file is not
/// what the Hub says it is. What arrived is kept, unless it is wrong.
pub fn fetch(id: &HubId, config: &HubConfig, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
    fetch_with_hint(id, config, progress, |_| None)
}

/// [`fetch`] with what else to say when there is no telling whether the id is right, or when the repository is there
/// and may not be read, which the hint is told.
pub(crate) fn fetch_with_hint(
    id: &HubId,
    config: &HubConfig,
    progress: &mut dyn FnMut(Progress),
    hint: impl FnOnce(bool) -> Option<String>,
) -> Result<PathBuf> {
    Fetch { id, config, cache: RepoCache::new(&config.cache, id.repo()) }.run(progress).map_err(|failure| {
        let mut message = failure.message(id, config);
        if failure.leaves_doubt()
            && let Some(hint) = hint(failure.is_gated())
        {
            message = format!("{message}; {hint}");
        }
        Error::Fetch { model: id.to_string(), message: crate::checkpoint::one_line(&message) }
    })
}

/// Returns the folder or the GGUF file of a model if all of its weights are here. Opens no connection.
pub fn cached(id: &HubId, config: &HubConfig) -> Option<PathBuf> {
    RepoCache::new(&config.cache, id.repo()).cached(id)
}

struct Fetch<'f> {
    id: &'f HubId,
    config: &'f HubConfig,
    cache: RepoCache,
}

impl Fetch<'_> {
    fn run(&self, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, Failure> {
        let cached = self.cache.cached(self.id);
        if let Some(path) = cached.as_ref().filter(|_| self.config.offline || self.id.is_pinned()) {
            return Ok(path.clone());
        }
        if self.config.offline {
            return Err(Failure::Offline);
        }
        let client = Client::new(self.config)?;
        let listing = match (client.list(self.id), cached) {
            (Ok(listing), _) => listing,
            // The Hub cannot be asked what is newest, and what was newest is here.
            (Err(failure), Some(path)) if failure.is_transient() => return Ok(path),
            (Err(failure), _) => return Err(failure),
        };
        let path = self.bring(&client, &listing, progress)?;
        self.cache.remember(self.id, &listing.commit).map_err(|(path, error)| Failure::Io(path, error))?;
        Ok(path)
    }

    fn bring(
        &self,
        client: &Client<'_>,
        listing: &Listing,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, Failure> {
        let snapshot = self.cache.snapshot(&listing.commit);
        match choice::choose(self.id, listing.paths()).map_err(Failure::Refused)? {
            Choice::Gguf(file) => {
                self.bring_all(client, listing, &[file], progress)?;
                Ok(snapshot.join(file))
            }
            Choice::Folder { small, index, weights } => {
                // The index says what else is needed, so it comes first, and unseen: the total is not known yet.
                let named = match index {
                    Some(index) => {
                        self.bring_all(client, listing, &[index], &mut |_| ())?;
                        let index = snapshot.join(index);
                        layout::shards(&index)
                            .map_err(|message| Failure::Refused(format!("{}: {message}", index.display())))?
                    }
                    None => Vec::new(),
                };
                let names: Vec<&str> =
                    small.into_iter().chain(weights).chain(named.iter().map(String::as_str)).collect();
                self.bring_all(client, listing, &names, progress)?;
                Ok(snapshot)
            }
        }
    }

    /// Brings files, in this order, and lets each appear in its snapshot.
    fn bring_all(
        &self,
        client: &Client<'_>,
        listing: &Listing,
        paths: &[&str],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), Failure> {
        let files: Vec<RemoteFile> = paths
            .iter()
            .map(|path| client.describe(self.id, listing, path))
            .collect::<Result<_, Failure>>()?;
        let downloads = files.iter().map(|file| Download {
            client,
            cache: &self.cache,
            id: self.id,
            commit: &listing.commit,
            file,
            retries: self.config.retries,
        });
        // What is in the snapshot is there to stay; it may be a file in place of a link, with no blob.
        let downloads = downloads.filter(|download| !download.is_in_place());
        let (here, missing): (Vec<_>, Vec<_>) = downloads.partition(Download::is_done);
        let mut meter = Meter {
            done: 0,
            total: missing.iter().map(|download| download.file.size).fold(0, u64::saturating_add),
            told: None,
            progress,
        };
        for download in here.iter().chain(&missing) {
            let file = download.file;
            // One of two names for the same bytes brings them for both.
            if !download.is_done() {
                download.run(&mut |event| meter.tell(file, event))?;
                meter.end(file);
            }
            let pointed = self.cache.point(&listing.commit, &file.path, &file.etag);
            pointed.map_err(|(path, error)| io_at(&path)(error))?;
        }
        Ok(())
    }
}

/// Adds the files up.
struct Meter<'p> {
    /// Bytes of the files that are finished.
    done: u64,
    total: u64,
    /// When progress was last told, and of which file.
    told: Option<Instant>,
    progress: &'p mut dyn FnMut(Progress),
}

impl Meter<'_> {
    fn tell(&mut self, file: &RemoteFile, event: Event) {
        let (stage, bytes) = match event {
            Event::Waiting => (Stage::Waiting, 0),
            Event::Bytes(bytes) => (Stage::Downloading, bytes),
        };
        if self.told.is_some_and(|told| told.elapsed() < TICK) {
            return;
        }
        self.told = Some(Instant::now());
        self.say(file, stage, bytes);
    }

    fn end(&mut self, file: &RemoteFile) {
        self.say(file, Stage::Downloading, file.size);
        self.done += file.size;
        // The next file's first news is news.
        self.told = None;
    }

    fn say(&mut self, file: &RemoteFile, stage: Stage, bytes: u64) {
        (self.progress)(Progress {
            stage,
            item: &file.path,
            done_bytes: self.done + bytes,
            total_bytes: self.total,
            item_done_bytes: bytes,
            item_total_bytes: file.size,
        });
    }
}
