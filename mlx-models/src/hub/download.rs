//! One file, from wherever an earlier run left it to a checked blob.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::HubId;
use super::client::{Client, RemoteFile};
use super::failure::{Failure, io_at};
use super::layout::RepoCache;
use crate::packaged::hex;

/// Bytes read at a time.
const CHUNK: usize = 1 << 18;

/// What a download tells while it runs.
pub(super) enum Event {
    /// Another process downloads the same file.
    Waiting,
    /// So many bytes of the file are here.
    Bytes(u64),
}

/// Where one file of a repository comes from and goes to.
pub(super) struct Download<'d> {
    pub(super) client: &'d Client<'d>,
    pub(super) cache: &'d RepoCache,
    pub(super) id: &'d HubId,
    pub(super) commit: &'d str,
    pub(super) file: &'d RemoteFile,
    /// Breaks in a row without a byte gained that are put up with.
    pub(super) retries: u32,
}

/// A file as it arrives: its bytes lie on the disk, and go into the hash on the way.
///
/// Bytes are written at their places and not at the end of the file: where locks do not work, two processes that write
/// the same file then write the same bytes to the same places.
struct Arriving {
    out: File,
    hash: Sha256,
    done: u64,
}

impl Arriving {
    /// Opens what an earlier run left, or a new file.
    fn open(path: &Path, size: u64) -> io::Result<Self> {
        let out = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut arriving = Arriving { out, hash: Sha256::new(), done: 0 };
        if arriving.out.metadata()?.len() > size {
            arriving.restart()?;
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            match arriving.out.read(&mut chunk) {
                Ok(0) => return Ok(arriving),
                Ok(read) => {
                    arriving.hash.update(&chunk[..read]);
                    arriving.done += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn restart(&mut self) -> io::Result<()> {
        self.out.set_len(0)?;
        self.out.seek(SeekFrom::Start(0))?;
        (self.hash, self.done) = (Sha256::new(), 0);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hash.update(bytes);
        self.done += bytes.len() as u64;
        Ok(())
    }
}

impl Download<'_> {
    /// Whether the commit's snapshot has the file.
    pub(super) fn is_in_place(&self) -> bool {
        self.is_whole(&self.cache.snapshot(self.commit).join(&self.file.path))
    }

    /// Whether the blob is here already.
    pub(super) fn is_done(&self) -> bool {
        self.is_whole(&self.cache.blob(&self.file.etag))
    }

    /// A file under its final name was checked when it got it.
    fn is_whole(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == self.file.size)
    }

    /// Brings the file and checks it. Its blob appears by a rename, whole and checked.
    pub(super) fn run(&self, report: &mut dyn FnMut(Event)) -> Result<(), Failure> {
        if self.is_done() {
            return Ok(());
        }
        let lock = self.lock(report)?;
        // Another process may have finished while this one waited.
        if !self.is_done() {
            self.bring(report)?;
        }
        drop(lock);
        Ok(())
    }

    /// Waits until nobody else downloads this file. The lock goes with the returned file, or with this process.
    fn lock(&self, report: &mut dyn FnMut(Event)) -> Result<File, Failure> {
        let path = self.cache.lock(&self.file.etag);
        for folder in [&path, &self.cache.blob(&self.file.etag)].iter().filter_map(|path| path.parent()) {
            fs::create_dir_all(folder).map_err(io_at(folder))?;
        }
        let open = File::options().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(io_at(&path))?;
        let locked = match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                report(Event::Waiting);
                file.lock()
            }
            Err(TryLockError::Error(error)) => Err(error),
        };
        match locked {
            // Some network file systems have no locks. The rename still keeps every file whole.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
            locked => locked.map(|()| file).map_err(io_at(&path)),
        }
    }

    fn bring(&self, report: &mut dyn FnMut(Event)) -> Result<(), Failure> {
        let (part, size) = (self.cache.incomplete(&self.file.etag), self.file.size);
        let mut arriving = Arriving::open(&part, size).map_err(io_at(&part))?;
        let mut is_resumed = arriving.done > 0;
        let mut breaks = 0;
        loop {
            let before = arriving.done;
            let transferred = match before == size {
                true => Ok(()),
                false => self.transfer(&mut arriving, &part, report),
            };
            match transferred {
                Err(failure) if failure.is_transient() => {
                    breaks = if arriving.done > before { 1 } else { breaks + 1 };
                    if breaks > self.retries {
                        return Err(failure);
                    }
                    self.client.pause(breaks);
                    continue;
                }
                Err(failure) => return Err(failure),
                Ok(()) => {}
            }
            let found = hex(std::mem::take(&mut arriving.hash));
            if self.file.sha256().is_none_or(|sha256| sha256 == found) {
                break;
            }
            if std::mem::take(&mut is_resumed) {
                // What an earlier run left may be to blame, so one whole download decides.
                arriving.restart().map_err(io_at(&part))?;
                continue;
            }
            // Nobody should go on from these bytes.
            let _ = fs::remove_file(&part);
            return Err(Failure::Refused(format!(
                "{} has sha256 {found}, not {}; what arrived is deleted: run again, and if it stays so, look what is \
                 between here and the Hub",
                self.file.path, self.file.etag
            )));
        }
        let blob = self.cache.blob(&self.file.etag);
        arriving.out.sync_all().map_err(io_at(&part))?;
        fs::rename(&part, &blob).map_err(io_at(&blob))
    }

    /// Takes what one connection gives.
    fn transfer(
        &self,
        arriving: &mut Arriving,
        part: &Path,
        report: &mut dyn FnMut(Event),
    ) -> Result<(), Failure> {
        let size = self.file.size;
        let opened = self.client.open(self.id, self.commit, self.file, arriving.done);
        let response = match opened {
            // The server cannot go on from here; the next try starts anew.
            Err(failure @ Failure::Status { code: 416, .. }) if arriving.done > 0 => {
                arriving.restart().map_err(io_at(part))?;
                let Failure::Status { host, .. } = failure else { return Err(failure) };
                let message = format!("{host} cannot go on with a file that was begun");
                return Err(Failure::Network { message, at_once: false });
            }
            opened => opened?,
        };
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let promised = if response.status().as_u16() == 206 {
            let range = header("content-range").and_then(parse_range);
            let Some((_, whole)) = range.filter(|(start, _)| *start == arriving.done) else {
                let message = format!("{} comes from another place than was asked for", self.file.path);
                return Err(Failure::Refused(message));
            };
            whole
        } else {
            if arriving.done > 0 {
                arriving.restart().map_err(io_at(part))?;
            }
            header("content-length").and_then(|length| length.parse().ok())
        };
        if let Some(other) = promised.filter(|length| *length != size) {
            return Err(self.wrong_length(&other.to_string()));
        }
        let mut body = response.into_body().into_reader();
        let mut chunk = vec![0; CHUNK];
        report(Event::Bytes(arriving.done));
        loop {
            let read = match body.read(&mut chunk) {
                Ok(0) if arriving.done == size => return Ok(()),
                Ok(0) => {
                    let message = format!("{} ended after {} of {size} bytes", self.file.path, arriving.done);
                    return Err(Failure::Network { message, at_once: false });
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.client.interrupted(error)),
            };
            if read as u64 > size - arriving.done {
                arriving.restart().map_err(io_at(part))?;
                return Err(self.wrong_length("more"));
            }
            arriving.append(&chunk[..read]).map_err(io_at(part))?;
            report(Event::Bytes(arriving.done));
        }
    }

    fn wrong_length(&self, found: &str) -> Failure {
        Failure::Refused(format!(
            "{} has {found} bytes, and the Hub says {}; run again, and if it stays so, look what is between here and \
             the Hub",
            self.file.path, self.file.size
        ))
    }
}

/// The first byte and the whole length in `bytes 5-9/10`; the length may be unknown, as in `bytes 5-9/*`.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.parse().ok()?;
    match whole {
        "*" => Some((start, None)),
        whole => Some((start, Some(whole.parse().ok()?))),
    }
}
