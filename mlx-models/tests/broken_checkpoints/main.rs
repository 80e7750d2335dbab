//! Checkpoints that are broken or lie: each gets an error of one line that names the file and what is wrong in it, soon
//! and without much memory. None gets a panic, a wait, or a model that computes something else.
//!
//! The bases are the tiny checkpoints of `tests/data`, damaged in one place at a time.

mod config;
mod damage;
mod decoders;
mod files;
mod fp8;
mod gguf;
mod gguf_file;
mod mutations;
mod quantized;
mod tensors;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// Much longer than any of these takes, much shorter than waiting for a pipe or reading what a header promises.
const LIMIT: Duration = Duration::from_secs(20);
/// The tiny checkpoints take 0.5 MB.
const MEMORY: usize = 64 << 20;

/// Loads a checkpoint as programs do; gives the error's text.
fn load(path: &Path) -> Result<(), String> {
    mlx_models::load(path, None).map(|_| ()).map_err(|error| error.to_string())
}

/// Asserts that loading fails as it should, with all of `words` in the message.
#[track_caller]
fn assert_refused(case: &str, path: &Path, words: &[&str]) {
    let before = peak_memory();
    let (sender, receiver) = mpsc::channel();
    let owned = path.to_owned();
    std::thread::spawn(move || sender.send(load(&owned)));
    let result = receiver.recv_timeout(LIMIT).unwrap_or_else(|e| panic!("{case}: no answer: {e}"));
    let Err(message) = result else { panic!("{case}: loaded") };
    if std::env::var_os("SHOW_MESSAGES").is_some() {
        println!("{case}: {message}");
    }
    assert!(!message.chars().any(char::is_control), "{case}: not one line: {message:?}");
    assert!(message.len() < 2000, "{case}: {} bytes: {message}", message.len());
    let place = path.file_name().unwrap().to_str().unwrap();
    for word in words.iter().chain([&place]) {
        assert!(message.contains(word), "{case}: {word:?} is not in: {message}");
    }
    let grown = peak_memory().saturating_sub(before);
    assert!(grown < MEMORY, "{case}: took {grown} bytes");
}

/// The most memory that this process has held so far; 0 where the system does not say.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10)
}
