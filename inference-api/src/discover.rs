//! Which models lie in a folder.

use crate::{DiscoveredModel, Error, ErrorKind, Registry, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders inside folders that are looked into.
const MAX_DEPTH: usize = 8;

/// Files and folders that are looked at. A home folder with a few model caches in it has fewer.
const MAX_ENTRIES: usize = 200_000;

/// What [`discover`](crate::discover) found.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// The models, in the order of their paths.
    pub models: Vec<DiscoveredModel>,
    /// What looks like a model and is damaged, or could not be read, and why.
    pub failed: Vec<(PathBuf, Error)>,
    /// Whether the search ended before everything was looked at, because there was too much.
    pub is_cut: bool,
}

impl Registry {
    /// Finds the models in `folder` and in the folders below it, by asking the backends what they recognise: each folder,
    /// and each `.gguf` file.
    ///
    /// Folders are followed eight deep, through links too but none of them twice; those whose name begins with a dot are
    /// left out. No weights are read.
    ///
    /// **Blocking**: for as long as it takes to look at the files.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] when there is nobody to ask, and [`ErrorKind::NotFound`] or [`ErrorKind::Io`] when
    /// `folder` itself cannot be read. What is wrong further down is in [`Discovery::failed`].
    pub fn discover(&self, folder: &Path) -> Result<Discovery> {
        if self.list().is_empty() {
            return Err(crate::registry::no_backend());
        }
        fs::read_dir(folder).map_err(|cause| Error::read(folder, cause))?;
        let mut search =
            Search { registry: self, found: Discovery::default(), seen: BTreeSet::new(), entries: 0 };
        search.look_into(folder, MAX_DEPTH);
        let mut found = search.found;
        found.models.sort_by(|a, b| a.path.cmp(&b.path));
        found.failed.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }
}

struct Search<'r> {
    registry: &'r Registry,
    found: Discovery,
    /// Folders by their true paths.
    seen: BTreeSet<PathBuf>,
    entries: usize,
}

impl Search<'_> {
    fn look_into(&mut self, folder: &Path, depth: usize) {
        let read = fs::canonicalize(folder).and_then(|path| Ok((path, fs::read_dir(folder)?)));
        let entries = match read {
            Ok((path, entries)) if self.seen.insert(path.clone()) => entries,
            Ok(_) => return,
            Err(cause) => return self.found.failed.push((folder.to_owned(), Error::read(folder, cause))),
        };
        self.ask(folder);
        let mut folders = Vec::new();
        for entry in entries.flatten() {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                self.found.is_cut = true;
                return;
            }
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) {
                self.ask(&path);
            }
        }
        if depth > 0 {
            folders.sort();
            folders.iter().for_each(|folder| self.look_into(folder, depth - 1));
        }
    }

    /// Asks one backend after the other, until one knows the path.
    fn ask(&mut self, path: &Path) {
        let mut failure = None;
        for backend in self.registry.list() {
            match backend.probe(path) {
                Ok(Some(model)) => return self.found.models.push(model),
                Ok(None) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        // A folder that went away in the meantime is no model.
        if let Some(error) = failure.filter(|error| error.kind() != ErrorKind::NotFound) {
            self.found.failed.push((path.to_owned(), error));
        }
    }
}
