//! Running the binary, and the files that it runs on.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mlx_core::io::SafetensorsFile;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A checkpoint without a tokenizer.
pub(crate) fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../mlx-models/tests/data/gemma3-classic")
}

/// A tensor of four-byte elements that transformers computed for [`tiny`].
pub(crate) fn expected<T>(name: &str, element: fn([u8; 4]) -> T) -> Vec<T> {
    read(&tiny().join("expected.safetensors"), name, element)
}

pub(crate) fn read<T>(file: &Path, name: &str, element: fn([u8; 4]) -> T) -> Vec<T> {
    let bytes = SafetensorsFile::open(file).unwrap().read(name).unwrap();
    bytes.chunks_exact(4).map(|bytes| element(bytes.try_into().unwrap())).collect()
}

/// What a run of the binary left.
#[derive(Debug)]
pub(crate) struct Run {
    /// `None` when a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Standard output of a run that succeeded.
    #[track_caller]
    pub(crate) fn text(self) -> String {
        assert_eq!(self.status, Some(0), "{self:?}");
        self.stdout
    }

    /// The one JSON value that a run printed.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlx"));
    // No test may fetch a model, not even the default one.
    command.args(args).env("RUST_MLX_CACHE", "/nonexistent").env("HF_HUB_OFFLINE", "1");
    command
}

/// Runs the binary to its end. Its input is small enough for a pipe.
pub(crate) fn mlx(args: &[&str], stdin: impl AsRef<[u8]>) -> Run {
    let mut command = command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads nothing may be gone by now.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_ref());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Checks a failure that is the user's to mend: exit status 1 and one line that holds all of `parts`.
#[track_caller]
pub(crate) fn assert_refused(run: &Run, parts: &[&str]) {
    assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""), "{run:?}");
    assert!(run.stderr.starts_with("mlx: ") && run.stderr.ends_with('\n'), "{run:?}");
    assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    for part in parts {
        assert_eq!(run.stderr.matches(part).count(), 1, "{part:?} in {run:?}");
    }
}

/// Token ids as an argument.
pub(crate) fn list(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// Token ids in an answer.
pub(crate) fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

/// A copy of [`tiny`] with a tokenizer.
pub(crate) fn with_tokenizer() -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(tiny().join(file), folder.path().join(file)).unwrap();
    }
    fs::write(folder.path().join("tokenizer.json"), tokenizer().to_string()).unwrap();
    folder
}

pub(crate) const BOS: u32 = 2;
pub(crate) const TURN: u32 = 3;
const SPECIAL: [&str; 4] = ["<pad>", "<eos>", "<bos>", "<turn>"];
const PUNCTUATION: &str = ".,:;!?-_<>/()[]{}=+*#%&@|~^";

/// The pieces by their ids: control tokens, characters, two merges, and then one for each byte. The head of the model
/// is as wide as the part before the bytes.
pub(crate) fn pieces() -> Vec<String> {
    let special = SPECIAL.map(str::to_owned);
    let characters = ['▁'].into_iter().chain('a'..='z').chain('A'..='Z').chain('0'..='9').map(String::from);
    let merged = ["ab", "abc"].map(str::to_owned);
    let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
    let punctuation = PUNCTUATION.chars().map(String::from);
    special.into_iter().chain(characters).chain(merged).chain(punctuation).chain(bytes).collect()
}

/// The id of a piece.
pub(crate) fn id(piece: &str) -> u32 {
    pieces().iter().position(|other| other == piece).unwrap() as u32
}

fn tokenizer() -> Value {
    let pieces = pieces();
    assert_eq!(pieces.len(), 96 + 256);
    let vocabulary: serde_json::Map<_, _> =
        pieces.iter().enumerate().map(|(id, piece)| (piece.clone(), id.into())).collect();
    let added = SPECIAL.iter().enumerate().map(|(id, content)| {
        json!({"id": id, "content": content, "special": true, "normalized": false, "single_word": false,
               "lstrip": false, "rstrip": false})
    });
    json!({
        "version": "1.0",
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [BOS], "tokens": ["<bos>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE", "unk_token": null, "fuse_unk": false, "byte_fallback": true,
            "vocab": vocabulary, "merges": [["a", "b"], ["ab", "c"]],
        },
    })
}
