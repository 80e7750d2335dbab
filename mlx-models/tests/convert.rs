//! Converted checkpoints: the same numbers in MLX's layout.
//!
//! `tests/data/check_converted.py` has mlx-lm and transformers read what is written.

mod real;
mod reference;

use std::fs;
use std::path::{Path, PathBuf};

use mlx_core::{DType, Quantization};
use mlx_models::gguf::GgufFile;
use mlx_models::{Checkpoint, ConvertOptions, Converted, TextTools, Tokenizer, Vocabulary, convert};
use reference::Reference;
use serde_json::Value;
use tempfile::TempDir;

fn data(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

fn options(dtype: Option<DType>, quantization: Option<Quantization>) -> ConvertOptions {
    ConvertOptions { dtype, quantization }
}

fn config(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

/// Converts a checkpoint of `tests/data` into a new folder.
fn converted(checkpoint: &str, options: ConvertOptions) -> (TempDir, PathBuf, Converted) {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let made = convert(&data(checkpoint), &out, &options).unwrap();
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["out"], "something else stayed behind");
    (folder, out, made)
}

#[test]
fn a_dense_copy_has_the_logits_of_the_reference_from_every_layout() {
    for (checkpoint, expected) in [
        ("gemma3-classic", "gemma3-classic/expected.safetensors"),
        ("gemma3-new", "gemma3-new/expected.safetensors"),
        ("gemma3-multimodal", "gemma3-multimodal/expected.safetensors"),
        ("gemma3-mlx-q4", "gemma3-mlx-q4/expected.safetensors"),
        ("tiny/llama3", "tiny/llama3.expected.safetensors"),
        ("tiny/llama-biases", "tiny/llama-biases.expected.safetensors"),
        ("tiny/qwen2-yarn", "tiny/qwen2-yarn.expected.safetensors"),
        ("tiny/qwen2-mlx-mixed", "tiny/qwen2-mlx-mixed.expected.safetensors"),
        ("tiny/qwen3", "tiny/qwen3.expected.safetensors"),
        ("tiny/qwen3-moe", "tiny/qwen3-moe.expected.safetensors"),
        ("tiny/qwen3-moe-fused", "tiny/qwen3-moe-fused.expected.safetensors"),
        ("tiny/qwen3-moe-mlx-q4", "tiny/qwen3-moe-mlx-q4.expected.safetensors"),
        ("tiny/llama.gguf", "tiny/llama.expected.safetensors"),
        ("tiny/qwen2.gguf", "tiny/qwen2.expected.safetensors"),
        ("tiny/qwen3moe.gguf", "tiny/qwen3moe.expected.safetensors"),
    ] {
        let (_folder, out, made) = converted(checkpoint, options(Some(DType::F32), None));
        assert!(config(&out).get("quantization").is_none(), "{checkpoint}");
        assert_eq!(made.bits_per_weight(), 32.0, "{checkpoint}");
        Reference::new("converted", out.to_str().unwrap(), expected).check();
    }
}

#[test]
fn what_is_packed_stays_as_it_is_without_options() {
    for (checkpoint, expected, bits) in [
        ("gemma3-mlx-q4", "gemma3-mlx-q4/expected.safetensors", 4),
        ("tiny/qwen2-mlx-mixed", "tiny/qwen2-mlx-mixed.expected.safetensors", 5),
        ("tiny/qwen3-mxfp4", "tiny/qwen3-mxfp4.expected.safetensors", 4),
        ("tiny/qwen3-moe-mlx-q4", "tiny/qwen3-moe-mlx-q4.expected.safetensors", 4),
    ] {
        let (_folder, out, _) = converted(checkpoint, ConvertOptions::default());
        let config = config(&out);
        assert_eq!(config["quantization"]["bits"], bits, "{checkpoint}");
        assert_eq!(config["quantization"], config["quantization_config"], "{checkpoint}");
        Reference::new("copied", out.to_str().unwrap(), expected).check();
    }
}

#[test]
fn matrices_are_packed_where_their_rows_are_whole_groups() {
    let quantization = Quantization::affine(64, 8);
    let (_folder, out, made) = converted("gemma3-multimodal", options(None, Some(quantization)));
    assert_eq!(
        config(&out)["quantization"],
        serde_json::json!({"group_size": 64, "bits": 8, "mode": "affine"})
    );
    // The rows of down_proj have 56 numbers.
    assert_eq!(made.left_dense.len(), 7);
    assert!(made.left_dense[0].ends_with("mlp.down_proj"), "{:?}", made.left_dense);
    let loaded = mlx_models::load(&out, None).unwrap();
    assert_eq!(loaded.quantization.as_deref(), Some("8 bits, groups of 64"));
    assert_eq!(loaded.model.shape().dtype, DType::BF16);
    assert_eq!(loaded.model.shape().parameters, made.parameters);
    assert_eq!(loaded.model.shape().weight_bytes, made.nbytes);
}

#[test]
fn a_tokenizer_written_from_a_gguf_file_gives_the_same_ids() {
    let text = "Grüße, 世界!  def f(x):\n\treturn x*2 🎉 <bos><|im_end|> 12345 it's";
    for name in ["smollm2-135m-instruct", "gemma-3-270m"] {
        let text_tools = TextTools::of(&Checkpoint::open(&real::fetch(name)).unwrap()).unwrap();
        let from_gguf = text_tools.tokenizer().unwrap();
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("tokenizer.json");
        fs::write(
            &file,
            Vocabulary::of(&GgufFile::open(real::fetch(name)).unwrap())
                .unwrap()
                .to_tokenizer_json()
                .unwrap()
                .to_string(),
        )
        .unwrap();
        let from_json = Tokenizer::from_file(&file).unwrap();
        for (special, parse) in [(true, true), (true, false), (false, false)] {
            let ids = from_gguf.encode(text, special, parse).unwrap();
            assert_eq!(from_json.encode(text, special, parse).unwrap(), ids, "{name}");
            assert_eq!(
                from_json.decode(&ids, false).unwrap(),
                from_gguf.decode(&ids, false).unwrap(),
                "{name}"
            );
        }
    }
}

#[test]
fn what_fails_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    // There already.
    fs::create_dir(&out).unwrap();
    fs::write(out.join("kept"), "x").unwrap();
    let error = convert(&data("gemma3-classic"), &out, &ConvertOptions::default()).unwrap_err().to_string();
    assert!(error.contains("is there already"), "{error}");
    assert_eq!(fs::read(out.join("kept")).unwrap(), b"x");
    // A checkpoint that lacks its last tensor.
    let broken = folder.path().join("broken");
    fs::create_dir(&broken).unwrap();
    fs::copy(data("gemma3-classic/model.safetensors"), broken.join("model.safetensors")).unwrap();
    let mut config = config(&data("gemma3-classic"));
    config["num_hidden_layers"] = 9.into();
    fs::write(broken.join("config.json"), config.to_string()).unwrap();
    let second = folder.path().join("second");
    let error = convert(&broken, &second, &ConvertOptions::default()).unwrap_err().to_string();
    assert!(error.contains("layers.8") && error.contains("missing"), "{error}");
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["broken", "out"]);
}
