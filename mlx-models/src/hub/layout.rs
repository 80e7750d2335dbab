//! Where files of the Hub lie on this machine: the layout of Python's `huggingface_hub`, which both can use at once.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use mlx_core::io::write_atomically;
use serde::Deserialize;

use super::HubId;
use super::choice::{self, is_weights};
use super::id::{FileName, is_commit, is_gguf, is_path};

pub(super) const CONFIG: &str = "config.json";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The largest models list some hundred thousand tensors.
const MAX_INDEX: u64 = 64 << 20;

/// Folders inside a snapshot that are looked into for GGUF files.
const DEPTH: usize = 4;

/// One repository in the cache.
///
/// ```text
/// <cache>/models--org--name/
///     refs/main                  the commit that the branch stood at
///     blobs/<etag>               a file's bytes, once whole and checked
///     blobs/<etag>.incomplete    the same while it arrives
///     snapshots/<commit>/<path>  a link to the blob
/// <cache>/.locks/models--org--name/<etag>.lock
/// ```
#[derive(Debug)]
pub(super) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, repo: &str) -> Self {
        let name = format!("models--{}", repo.replace('/', "--"));
        RepoCache { folder: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    pub(super) fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    pub(super) fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Where a revision is written down.
    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    /// Lets a file of a commit appear, as a link to its blob.
    pub(super) fn point(&self, commit: &str, path: &str, etag: &str) -> Result<(), (PathBuf, io::Error)> {
        let link = self.snapshot(commit).join(path);
        let refused = |error| (link.clone(), error);
        let folder = link.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(refused)?;
        let up = "../".repeat(path.split('/').count() + 1);
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs::read_link(&link).is_ok_and(|found| found == target) {
            return Ok(());
        }
        // Threads of this process may let the same file appear at once.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let unfinished = folder.join(format!(".{etag}.{}-{number}", std::process::id()));
        // Left by a killed process that had this one's number.
        let _ = fs::remove_file(&unfinished);
        match symlink(&target, &unfinished) {
            Ok(()) => fs::rename(&unfinished, &link),
            // Windows gives links to few; the file itself then moves to where it is wanted, as it does with Python's.
            Err(_) => fs::rename(self.blob(etag), &link),
        }
        .map_err(refused)
    }

    /// Writes down which commit a branch or tag stands at.
    pub(super) fn remember(&self, id: &HubId, commit: &str) -> Result<(), (PathBuf, io::Error)> {
        if id.is_pinned() || self.commit_of(id).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.reference(id.revision());
        let folder = path.parent().unwrap_or(&self.folder);
        let write = |out: &mut io::BufWriter<fs::File>| io::Write::write_all(out, commit.as_bytes());
        fs::create_dir_all(folder)
            .and_then(|()| write_atomically(&path, write).map_err(io::Error::other))
            .map_err(|error| (path, error))
    }

    /// The commit of a revision, as far as this machine knows.
    fn commit_of(&self, id: &HubId) -> Option<String> {
        if id.is_pinned() {
            return Some(id.revision().to_owned());
        }
        let commit = fs::read_to_string(self.reference(id.revision())).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// The model, when all of its weights are here: a snapshot's folder, or a GGUF file in one.
    pub(super) fn cached(&self, id: &HubId) -> Option<PathBuf> {
        let snapshot = self.snapshot(&self.commit_of(id)?);
        match id.file() {
            None if is_whole(&snapshot) => Some(snapshot),
            Some(FileName::Path(path)) if snapshot.join(path).is_file() => Some(snapshot.join(path)),
            _ => {
                let files = gguf_files(&snapshot);
                let chosen = choice::gguf(id, files.iter().map(String::as_str)).ok()?;
                Some(snapshot.join(chosen))
            }
        }
    }

    /// The commits of which there are files here, with the revisions that stand at them.
    fn snapshots(&self) -> Vec<(String, Vec<String>)> {
        let mut revisions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for revision in files_below(&self.folder.join("refs"), DEPTH) {
            let commit = fs::read_to_string(self.reference(&revision)).unwrap_or_default();
            revisions.entry(commit.trim().to_owned()).or_default().push(revision);
        }
        let mut commits: Vec<String> =
            names_in(&self.folder.join("snapshots")).into_iter().filter(|name| is_commit(name)).collect();
        commits.sort();
        let with_revisions = |commit: String| {
            let revisions = revisions.remove(&commit).unwrap_or_default();
            (commit, revisions)
        };
        commits.into_iter().map(with_revisions).collect()
    }
}

/// A model of the Hub that is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModel {
    /// How to name it: `org/name`, with a revision where it is not `main`, and a file where it is a GGUF.
    pub id: String,
    /// The snapshot's folder, or the GGUF file.
    pub path: PathBuf,
    /// Whether everything is here that its index of weights names.
    pub is_whole: bool,
}

/// The models in a cache, by their names. Folders without weights, such as tokenizers, are left out.
///
/// A cache that is not there has none.
pub fn cached_models(cache: &Path) -> Vec<CachedModel> {
    let mut folders = names_in(cache);
    folders.sort();
    let mut models = Vec::new();
    for folder in folders {
        let Some(repo) = folder.strip_prefix("models--").map(|name| name.replacen("--", "/", 1)) else {
            continue;
        };
        let cached = RepoCache::new(cache, &repo);
        for (commit, revisions) in cached.snapshots() {
            let snapshot = cached.snapshot(&commit);
            let revision = match revisions.iter().find(|name| *name == "main").or(revisions.first()) {
                Some(main) if main == "main" => String::new(),
                Some(other) => format!("@{other}"),
                None => format!("@{commit}"),
            };
            let is_whole = is_whole(&snapshot);
            if is_whole || snapshot.join(INDEX).exists() {
                models.push(CachedModel {
                    id: format!("{repo}{revision}"),
                    path: snapshot.clone(),
                    is_whole,
                });
            }
            models.extend(gguf_files(&snapshot).into_iter().map(|file| CachedModel {
                id: format!("{repo}/{file}{revision}"),
                path: snapshot.join(&file),
                is_whole: true,
            }));
        }
    }
    models
}

/// Whether a folder has a configuration and all of its weights.
fn is_whole(folder: &Path) -> bool {
    if !folder.join(CONFIG).is_file() {
        return false;
    }
    let index = folder.join(INDEX);
    match index.exists() {
        true => shards(&index).is_ok_and(|shards| shards.iter().all(|name| folder.join(name).is_file())),
        false => names_in(folder).iter().any(|name| is_weights(name) && folder.join(name).is_file()),
    }
}

/// The part of an index that is needed.
#[derive(Deserialize)]
#[serde(expecting = "an object with weight_map")]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that an index names, each once.
///
/// # Errors
/// What is wrong with it.
pub(super) fn shards(index: &Path) -> Result<Vec<String>, String> {
    let mut text = Vec::new();
    fs::File::open(index)
        .and_then(|file| file.take(MAX_INDEX + 1).read_to_end(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_INDEX {
        return Err(format!("longer than {} MiB; this is no index", MAX_INDEX >> 20));
    }
    let Index { weight_map } = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let mut names: Vec<String> = weight_map.into_values().collect();
    names.sort_unstable();
    names.dedup();
    match names.iter().find(|name| !is_path(name) || name.contains('/')) {
        Some(name) => Err(format!("shard name {name:?} is not a plain file name")),
        None => Ok(names),
    }
}

/// The GGUF files of a snapshot, by their paths in it.
fn gguf_files(snapshot: &Path) -> Vec<String> {
    files_below(snapshot, DEPTH).into_iter().filter(|name| is_gguf(name)).collect()
}

/// Files in a folder and those below it, with slashes between the names, in order.
fn files_below(folder: &Path, depth: usize) -> Vec<String> {
    let mut files = Vec::new();
    for name in names_in(folder) {
        let path = folder.join(&name);
        // A folder in a snapshot is never a link.
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            let below = if depth > 0 { files_below(&path, depth - 1) } else { Vec::new() };
            files.extend(below.into_iter().map(|below| format!("{name}/{below}")));
        } else if path.is_file() {
            files.push(name);
        }
    }
    files.sort();
    files
}

/// The names in a folder, of which there are none if it cannot be read.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}
