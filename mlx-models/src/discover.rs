//! Which models lie in a folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Checkpoint, Description, Error, Result};

/// Folders inside folders that are looked into.
const MAX_DEPTH: usize = 8;

/// Files and folders that are looked at. A home folder with a few model caches in it has fewer.
const MAX_ENTRIES: usize = 200_000;

/// Endings of files with weights. With one of the latter a folder is a model that cannot be read, and says why.
const WEIGHTS: [&str; 5] = ["safetensors", "bin", "pt", "pth", "ckpt"];

/// What a search found.
#[derive(Debug)]
pub struct Discovery {
    /// Models in the order of their paths, the broken ones too.
    pub found: Vec<Found>,
    /// Whether the search ended before everything was looked at.
    pub is_cut: bool,
}

/// A model folder, a `.gguf` file, or a folder that could not be looked into.
#[derive(Debug)]
pub struct Found {
    /// Where it is, below the folder that was searched.
    pub path: PathBuf,
    /// What it is, or why that cannot be told.
    pub what: Result<Description>,
}

/// Finds the models in `folder` and in the folders below it: those with a `config.json` and weights, and `.gguf` files.
///
/// Only headers are read. Folders are followed eight deep, through links too but none of them twice; those whose name
/// begins with a dot are left out. What is broken or may not be read is found as well, with the reason.
///
/// # Errors
/// When `folder` itself cannot be read.
pub fn discover(folder: &Path) -> Result<Discovery> {
    fs::read_dir(folder).map_err(|source| Error::Io { path: folder.to_owned(), source })?;
    let mut search = Search { found: Vec::new(), seen: BTreeSet::new(), entries: 0 };
    search.look_into(folder, MAX_DEPTH);
    search.found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Discovery { found: search.found, is_cut: search.entries > MAX_ENTRIES })
}

struct Search {
    found: Vec<Found>,
    /// Folders by their true paths.
    seen: BTreeSet<PathBuf>,
    entries: usize,
}

impl Search {
    fn look_into(&mut self, folder: &Path, depth: usize) {
        let refused = |source| Found {
            path: folder.to_owned(),
            what: Err(Error::Io { path: folder.to_owned(), source }),
        };
        let read = fs::canonicalize(folder).and_then(|path| Ok((path, fs::read_dir(folder)?)));
        let entries = match read {
            Ok((path, entries)) if self.seen.insert(path.clone()) => entries,
            Ok(_) => return,
            Err(error) => return self.found.push(refused(error)),
        };
        let (mut folders, mut has_config, mut has_weights) = (Vec::new(), false, false);
        for entry in entries.flatten() {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return;
            }
            let (path, name) = (entry.path(), entry.file_name());
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_dir() {
                if !is_hidden {
                    folders.push(path);
                }
                continue;
            }
            // A pipe has no header, and waits for someone to write one.
            if !metadata.is_file() {
                continue;
            }
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            has_config |= name == "config.json";
            has_weights |= WEIGHTS.contains(&extension) || name == "model.safetensors.index.json";
            if extension.eq_ignore_ascii_case("gguf") && !is_hidden {
                self.found.push(Found::open(path));
            }
        }
        if has_config && has_weights {
            self.found.push(Found::open(folder.to_owned()));
        }
        if depth > 0 {
            folders.sort();
            folders.iter().for_each(|folder| self.look_into(folder, depth - 1));
        }
    }
}

impl Found {
    /// Describes what is at a path.
    pub fn open(path: PathBuf) -> Self {
        let what = Checkpoint::open(&path).map(|checkpoint| Description::of(&checkpoint));
        Found { path, what }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn models_are_found_once_and_broken_ones_with_the_reason() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let root = TempDir::new().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["a/deep/down", "broken", "pickled", "node", "empty", ".hidden"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        let good = data.join("gemma3-classic");
        for (from, to) in [
            ("config.json", "a/deep/down/config.json"),
            ("model.safetensors", "a/deep/down/model.safetensors"),
            ("config.json", ".hidden/config.json"),
            ("model.safetensors", ".hidden/model.safetensors"),
            ("config.json", "pickled/config.json"),
            ("model.safetensors", "broken/model.safetensors"),
        ] {
            fs::copy(good.join(from), at(to)).unwrap();
        }
        fs::write(at("broken/config.json"), "{").unwrap();
        fs::write(at("pickled/pytorch_model.bin"), "").unwrap();
        fs::write(at("node/config.json"), "{}").unwrap();
        fs::write(at("a/m.gguf"), "GGUF, and no more").unwrap();
        symlink(root.path(), at("a/deep/loop")).unwrap();
        symlink(at("a/deep/down"), at("again")).unwrap();
        symlink(at("nowhere"), at("a/dangling.gguf")).unwrap();

        let discovery = discover(root.path()).unwrap();
        assert!(!discovery.is_cut);
        let found: Vec<(String, Option<String>)> = discovery
            .found
            .iter()
            .map(|found| {
                let path = found.path.strip_prefix(root.path()).unwrap().display().to_string();
                (path, found.what.as_ref().err().map(ToString::to_string))
            })
            .collect();
        let names: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(names, ["a/deep/down", "a/m.gguf", "broken", "pickled"]);
        for (name, reason) in &found {
            match name.as_str() {
                "a/deep/down" => assert_eq!(*reason, None),
                "a/m.gguf" => assert!(reason.as_ref().unwrap().contains("m.gguf: "), "{reason:?}"),
                "broken" => assert!(reason.as_ref().unwrap().contains("not JSON"), "{reason:?}"),
                _ => assert!(reason.as_ref().unwrap().contains("pickle"), "{reason:?}"),
            }
        }
        assert!(discover(&at("nowhere")).is_err());
        assert!(discover(&at("a/m.gguf")).is_err());
        assert!(discover(&at("empty")).unwrap().found.is_empty());
    }
}
