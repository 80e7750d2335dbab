//! Bytes flipped at random, the same ones each time: whatever comes of it, it is a model or an error, and comes soon.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::damage::{Draft, data};
use crate::gguf_file::GgufDraft;
use crate::load;

/// For one file; loading a tiny checkpoint takes some milliseconds.
const LIMIT: Duration = Duration::from_secs(2);

/// Steele and Vigna's SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % below as u64) as usize
    }
}

/// Characters that mean something in JSON, and digits: more telling than any byte.
const TELLING: &[u8] = b"{}[]\":,.-+eE0123456789ntfu\\\0\n\xff ";

/// Loads `path` with up to three of the first `length` bytes of `file` changed, `rounds` times.
fn mutate(path: &Path, file: &Path, length: usize, rounds: usize) {
    let mut random = Random(length as u64);
    let original = fs::read(file).unwrap();
    let handle = File::options().write(true).open(file).unwrap();
    let mut refused = 0;
    for round in 0..rounds {
        let mut changed = Vec::new();
        for _ in 0..=random.next(3) {
            let at = random.next(length);
            let byte = match random.next(3) {
                0 => original[at] ^ (1 << random.next(8)),
                1 => TELLING[random.next(TELLING.len())],
                _ => random.next(256) as u8,
            };
            handle.write_all_at(&[byte], at as u64).unwrap();
            changed.push((at, byte));
        }
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| load(path)));
        assert!(start.elapsed() < LIMIT, "round {round}: {changed:?} took {:?}", start.elapsed());
        match result.unwrap_or_else(|_| panic!("round {round}: {changed:?} panics")) {
            Ok(()) => {}
            Err(message) => {
                refused += 1;
                let plain = !message.chars().any(char::is_control) && message.len() < 2000;
                assert!(plain, "round {round}: {changed:?}: {message:?}");
                let folder = path.to_str().unwrap();
                assert!(message.contains(folder), "round {round}: {changed:?}: {message}");
            }
        }
        for (at, _) in changed {
            handle.write_all_at(&original[at..=at], at as u64).unwrap();
        }
    }
    assert!(refused * 2 > rounds, "only {refused} of {rounds} are refused");
    load(path).unwrap();
}

fn header_length(file: &Path) -> usize {
    let bytes = fs::read(file).unwrap();
    8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize
}

#[test]
fn configurations() {
    for name in ["gemma3-classic", "gemma3-mlx-q4", "gemma3-multimodal"] {
        let folder = Draft::of(name).write();
        let file = folder.path().join("config.json");
        let length = fs::read(&file).unwrap().len();
        mutate(folder.path(), &file, length, 1000);
    }
}

#[test]
fn safetensors_headers() {
    for name in ["gemma3-classic", "gemma3-mlx-q4"] {
        let folder = Draft::of(name).write();
        let file = folder.path().join("model.safetensors");
        mutate(folder.path(), &file, header_length(&file), 2000);
    }
}

#[test]
fn indices() {
    let folder = TempDir::new().unwrap();
    for entry in fs::read_dir(data("gemma3-new")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let file = folder.path().join("model.safetensors.index.json");
    mutate(folder.path(), &file, 600, 500);
}

#[test]
fn gguf_headers() {
    let (_folder, path) = GgufDraft::classic().write();
    let data: usize = GgufDraft::classic().tensors.values().map(|tensor| tensor.2.len()).sum();
    mutate(&path, &path, fs::read(&path).unwrap().len() - data, 2000);
}
