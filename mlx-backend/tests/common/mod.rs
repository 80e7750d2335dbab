//! The tiny checkpoints of mlx-models, as they are and with a tokenizer, loaded through the registry.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use inference_api::{GenerateOptions, LoadOptions, TextModel};
use serde_json::{Value, json};

/// Ids of the tokenizer that [`Folder::with_text`] writes; the checkpoint's configuration has them too.
pub(crate) const EOS: u32 = 1;
pub(crate) const BOS: u32 = 2;

/// `generate_prompt` of `gemma3-classic/expected.safetensors` begins with the BOS token.
pub(crate) const PROMPT: [u32; 4] = [BOS, 54, 61, 27];

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../mlx-models/tests/data").join(name)
}

/// A tensor of int32 in the expected values of a checkpoint.
pub(crate) fn expected_ids(name: &str, tensor: &str) -> Vec<u32> {
    let file = mlx_core::io::SafetensorsFile::open(data(name).join("expected.safetensors")).unwrap();
    let bytes = file.read(tensor).unwrap();
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

pub(crate) fn load_with(path: &Path, options: &LoadOptions) -> inference_api::Result<Box<dyn TextModel>> {
    mlx_backend::register().unwrap();
    let options = LoadOptions { backend: Some("cpu".to_owned()), ..options.clone() };
    inference_api::load_model(path.to_str().unwrap(), &options)
}

pub(crate) fn load(path: &Path) -> Box<dyn TextModel> {
    load_with(path, &LoadOptions::default()).unwrap()
}

pub(crate) fn tokens(max: usize) -> GenerateOptions {
    GenerateOptions::default().with_max_tokens(max).with_ignore_eos(true)
}

/// A copy of `gemma3-classic` with changes.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(data("gemma3-classic").join(name), folder.path().join(name)).unwrap();
        }
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves the folder for the system to clean up.
    pub(crate) fn keep(self) -> PathBuf {
        self.0.keep()
    }

    pub(crate) fn write(self, name: &str, text: &str) -> Self {
        std::fs::write(self.path().join(name), text).unwrap();
        self
    }

    /// Changes a field of `config.json`.
    pub(crate) fn with_config(self, field: &str, value: impl Into<Value>) -> Self {
        let path = self.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config[field] = value.into();
        self.write("config.json", &config.to_string())
    }

    /// Room for more tokens than a test ever makes, so that a generation ends only when something ends it.
    pub(crate) fn endless() -> Self {
        Folder::new().with_config("max_position_embeddings", 1 << 20)
    }

    /// Adds a tokenizer of 90 tokens: the model's ids from 90 to 95 spell nothing.
    ///
    /// Letters, pieces of several letters, wide characters, and byte tokens that make characters in runs, or do not.
    pub(crate) fn with_text(self) -> Self {
        let mut pieces: Vec<String> = ["<pad>", "<eos>", "<bos>", "<unk>", "▁"].map(String::from).to_vec();
        pieces.extend(('a'..='z').map(String::from));
        pieces.extend(
            ["ab", "ba", "abc", "▁a", "▁b", "é", "好", "👩\u{200d}👩", "\u{301}", "\n"].map(String::from),
        );
        let bytes = [0xC3, 0xA9, 0xE5, 0xA5, 0xBD, 0xF0, 0x9F, 0x98, 0x80, 0x41, 0x0A, 0xFF];
        pieces.extend(bytes.map(|byte| format!("<0x{byte:02X}>")));
        pieces.extend(('A'..='Z').chain('0'..='9').map(String::from));
        pieces.push("yz".to_owned());
        assert_eq!(pieces.len(), 90);
        let added: Vec<Value> = (0..4)
            .map(|id| {
                json!({
                    "id": id, "content": pieces[id], "special": true,
                    "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                })
            })
            .collect();
        let vocab: serde_json::Map<String, Value> =
            pieces.iter().enumerate().map(|(id, piece)| (piece.clone(), id.into())).collect();
        let replace =
            |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
        let tokenizer = json!({
            "version": "1.0",
            "added_tokens": added,
            "normalizer": replace(" ", "▁"),
            "pre_tokenizer": null,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [],
                "special_tokens": {"<bos>": {"id": "<bos>", "ids": [BOS], "tokens": ["<bos>"]}},
            },
            "decoder": {"type": "Sequence", "decoders": [
                replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
            ]},
            "model": {
                "type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
                "vocab": vocab, "merges": [["a", "b"], ["b", "a"], ["ab", "c"], ["▁", "a"], ["▁", "b"]],
            },
        });
        self.write("tokenizer.json", &tokenizer.to_string())
    }
}
