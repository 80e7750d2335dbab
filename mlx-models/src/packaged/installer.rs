//! Python's installer as a child process: finding one, running it, watching it, and reading what went wrong.
//!
//! Errors here are plain sentences; [`fetch`](super::fetch) puts the model's name in front.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::Wheel;

/// How often a running child is looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long an installer may take to say its version.
const PROBE: Duration = Duration::from_secs(60);

/// How long to wait for the end of an ended child's error stream.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The most bytes that are kept of what an installer says; its last words count.
const WORDS: usize = 1 << 16;

/// A program that installs wheels.
#[derive(Debug)]
pub(super) struct Installer {
    program: OsString,
    /// Arguments before `install`.
    first: &'static [&'static str],
    is_uv: bool,
}

impl Installer {
    /// Finds an installer: the pip of `python` when given, else that of `python3`, else `uv`, else `pip3`.
    ///
    /// `scratch` is a folder that the search may write into.
    pub(super) fn find(python: Option<&OsStr>, scratch: &Path) -> Result<Self, String> {
        let with = |program: &OsStr, first, is_uv| Self { program: program.to_owned(), first, is_uv };
        let candidates = match python {
            Some(python) => vec![with(&rooted(python), &["-m", "pip"], false)],
            None => vec![
                with("python3".as_ref(), &["-m", "pip"], false),
                with("uv".as_ref(), &["pip"], true),
                with("pip3".as_ref(), &[], false),
            ],
        };
        let mut reasons = Vec::new();
        for candidate in candidates {
            match candidate.probe(scratch) {
                Ok(()) => return Ok(candidate),
                Err(reason) => reasons.push(format!("{}: {reason}", candidate.command_line())),
            }
        }
        let help = match python {
            Some(_) => "let RUST_MLX_PYTHON name a Python 3 that has pip, or unset it",
            None => "install Python 3 with pip, or let RUST_MLX_PYTHON name an interpreter that has it",
        };
        Err(format!("found no pip to fetch with ({}); {help}", reasons.join("; ")))
    }

    /// Asks the program for its version, to see whether it is there and works.
    fn probe(&self, scratch: &Path) -> Result<(), String> {
        let first = if self.is_uv { &[] } else { self.first };
        let mut command = self.command(first, scratch);
        let (status, words) = run(command.arg("--version"), PROBE, &mut || 0)?;
        if status.success() { Ok(()) } else { Err(last_words(&words).unwrap_or_else(|| status.to_string())) }
    }

    /// Installs one wheel, pinned by its hash, and returns the folder with its files, which lies in `work`.
    ///
    /// `watch` is called with the bytes that have arrived so far. The child is stopped when nothing is written for
    /// `patience`, and when this call ends early in any way.
    pub(super) fn install(
        &self,
        wheel: &Wheel,
        work: &Path,
        patience: Duration,
        watch: &mut dyn FnMut(u64),
    ) -> Result<PathBuf, String> {
        let (arriving, target) = (work.join("tmp"), work.join("files"));
        let requirements = work.join("requirements.txt");
        let Wheel { package, version, sha256, size, .. } = *wheel;
        fs::create_dir_all(&arriving)
            .and_then(|()| fs::write(&requirements, format!("{package}=={version} --hash=sha256:{sha256}\n")))
            .map_err(|e| format!("{}: {e}", work.display()))?;

        let mut command = self.command(self.first, work);
        command.arg("install").args(["--no-deps", "--only-binary", ":all:", "--require-hashes"]);
        if self.is_uv {
            command.args(["--no-progress", "--cache-dir"]).arg(arriving.join("uv"));
        } else {
            command.args(["--no-compile", "--no-cache-dir", "--progress-bar", "off"]);
        }
        command.arg("--target").arg(&target).arg("-r").arg(&requirements);
        // Unpacking moves and deletes files, so the highest count is how much has arrived.
        let mut arrived = 0;
        let (status, words) = run(&mut command, patience, &mut || {
            let present = bytes_below(&arriving);
            arrived = present.min(size).max(arrived);
            watch(arrived);
            present + bytes_below(&target)
        })
        .map_err(|reason| format!("{} for {package} {version}: {reason}", self.command_line()))?;
        if status.success() {
            return Ok(target);
        }
        let reason = last_words(&words).unwrap_or_else(|| status.to_string());
        Err(format!(
            "{} could not get {package} {version}: {reason}; {}",
            self.command_line(),
            advice(&words)
        ))
    }

    /// The program, ready for its arguments, shielded from settings that would send files elsewhere.
    fn command(&self, first: &[&str], work: &Path) -> Command {
        let mut command = Command::new(&self.program);
        // `python -m pip` looks for pip in the current folder first; ours holds none.
        command.args(first).current_dir(work);
        for name in ["TMPDIR", "TEMP", "TMP"] {
            command.env(name, work.join("tmp"));
        }
        for name in [
            "PIP_TARGET",
            "PIP_PREFIX",
            "PIP_ROOT",
            "PIP_DRY_RUN",
            "PIP_REQUIREMENT",
            "PIP_CONSTRAINT",
            "PIP_LOG",
        ] {
            command.env_remove(name);
        }
        command.envs([
            ("PIP_USER", "0"),
            ("PIP_REQUIRE_VIRTUALENV", "0"),
            ("PIP_NO_INPUT", "1"),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
        ]);
        command
    }

    fn command_line(&self) -> String {
        let mut line = self.program.to_string_lossy().into_owned();
        for word in self.first {
            line.push(' ');
            line.push_str(word);
        }
        line
    }
}

/// A child that does not outlive this value.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // Both fail only for a child that has ended and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command` to its end, calling `written` at every tick, and returns its status and what it said on stderr.
///
/// `written` says how much the child has written; when that stands still for `patience`, the child is stopped.
fn run(
    command: &mut Command,
    patience: Duration,
    written: &mut dyn FnMut() -> u64,
) -> Result<(ExitStatus, String), String> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = Guarded(child.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => "not installed".to_owned(),
        _ => format!("cannot be started: {e}"),
    })?);
    let words = child.0.stderr.take().map(listen);
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        if let Some(status) = child.0.try_wait().map_err(|e| format!("cannot be waited for: {e}"))? {
            // The stream ends with the child, unless a grandchild holds it open: then only words are lost.
            let words = words.and_then(|words| words.recv_timeout(LAST_WORDS).ok()).unwrap_or_default();
            return Ok((status, words));
        }
        let now = written();
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > patience {
            let seconds = patience.as_secs_f32();
            return Err(format!(
                "wrote nothing for {seconds} s and was stopped; look at the network and run again"
            ));
        }
        thread::sleep(TICK);
    }
}

/// Reads a stream to its end on a thread of its own and sends its last [`WORDS`] bytes.
///
/// A pipe and not a file, since a full disk is one of the things to hear about.
fn listen(mut stream: ChildStderr) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (mut said, mut chunk) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = stream.read(&mut chunk) {
            said.extend_from_slice(&chunk[..n]);
            said.drain(..said.len().saturating_sub(WORDS));
        }
        // No one listens any more when the fetch was given up.
        let _ = sender.send(String::from_utf8_lossy(&said).into_owned());
    });
    receiver
}

/// Bytes of all files below `folder`; a file that vanishes meanwhile counts as nothing.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// The line of an installer's error stream that says most: its last `ERROR:` line, else its last line.
fn last_words(text: &str) -> Option<String> {
    let lines = || text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("[notice]"));
    let line = lines()
        .rfind(|l| l.starts_with("ERROR:"))
        .or_else(|| lines().rfind(|l| !l.starts_with("WARNING:")))?;
    Some(line.trim_start_matches("ERROR:").trim().chars().filter(|c| !c.is_control()).take(300).collect())
}

/// What to do about a failure, from all that the installer said.
fn advice(words: &str) -> &'static str {
    let says = |marks: &[&str]| marks.iter().any(|mark| words.contains(mark));
    if says(&["No space left", "Disk quota"]) {
        "free some disk space, or set RUST_MLX_CACHE to a folder on another disk, and run again"
    } else if says(&["DO NOT MATCH THE HASHES", "Hash mismatch"]) {
        "the index gave other bytes than the ones pinned here; see which index pip uses with `pip config list`"
    } else if says(&[
        "NewConnectionError",
        "name resolution",
        "Name or service not known",
        "ConnectTimeout",
        "ReadTimeout",
        "ProxyError",
        "dns error",
    ]) {
        "look at the network and the proxy settings, and run again: finished parts are kept"
    } else if says(&["SSLError", "CERTIFICATE_VERIFY_FAILED", "certificate"]) {
        "let PIP_CERT name the certificates that your network needs, and run again"
    } else if says(&["Permission denied"]) {
        "set RUST_MLX_CACHE to a folder that you may write to, and run again"
    } else {
        "look at the network and at `pip config list`, and run again: finished parts are kept"
    }
}

/// A program given by a relative path, made absolute, since the child runs in another folder.
fn rooted(program: &OsStr) -> OsString {
    let path = Path::new(program);
    if path.components().count() < 2 {
        return program.to_owned();
    }
    std::path::absolute(path).map_or_else(|_| program.to_owned(), PathBuf::into_os_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_most_is_found() {
        let cases = [
            (
                "WARNING: root\nERROR: no such version\nERROR: No matching distribution\n[notice] new pip\n",
                Some("No matching distribution"),
            ),
            (
                "Traceback:\n  x\nOSError: [Errno 28] No space left on device\n\n",
                Some("OSError: [Errno 28] No space left on device"),
            ),
            ("/usr/bin/python3: No module named pip\n", Some("/usr/bin/python3: No module named pip")),
            ("WARNING: Retrying\n\n", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(last_words(text).as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn advice_fits_the_failure() {
        assert!(advice("OSError: [Errno 28] No space left on device").contains("RUST_MLX_CACHE"));
        assert!(advice("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM").contains("index"));
        assert!(advice("Temporary failure in name resolution").contains("network"));
        assert!(advice("SSLError(SSLCertVerificationError").contains("PIP_CERT"));
        assert!(advice("").contains("run again"));
    }

    #[test]
    fn only_paths_are_made_absolute() {
        assert_eq!(rooted("python3".as_ref()), "python3");
        assert_eq!(rooted("/usr/bin/python3".as_ref()), "/usr/bin/python3");
        assert!(Path::new(&rooted("venv/bin/python".as_ref())).is_absolute());
    }
}
