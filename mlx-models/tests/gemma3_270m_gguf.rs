//! A real file against the Python package `gguf`: every tensor's name, type, shape and values, bit for bit.
//!
//! The expected sums were written by `data/make_gguf_sums.py`.

mod real;

use mlx_models::gguf::GgufFile;
use serde_json::Value;
use sha2::{Digest, Sha256};

const EXPECTED: &str = include_str!("data/gemma3_270m_gguf_values.json");

fn sha256(values: &[f32]) -> String {
    let mut hash = Sha256::new();
    for chunk in values.chunks(1 << 16) {
        hash.update(chunk.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_tensor_equals_gguf_py() {
    let file = GgufFile::open(real::fetch("gemma-3-270m")).unwrap();
    let expected: Vec<Value> = serde_json::from_str(EXPECTED).unwrap();
    assert_eq!(file.tensors().len(), expected.len());
    for (tensor, expected) in file.tensors().zip(&expected) {
        assert_eq!(tensor.name, expected["name"]);
        assert_eq!(tensor.ty.name(), expected["type"], "{}", tensor.name);
        assert_eq!(serde_json::json!(tensor.shape), expected["shape"], "{}", tensor.name);
        assert_eq!(sha256(&file.dequantize(&tensor.name).unwrap()), expected["sha256"], "{}", tensor.name);
    }

    let meta = file.metadata();
    assert_eq!(meta.str("general.architecture").unwrap(), "gemma3");
    assert_eq!(meta.u32("gemma3.block_count").unwrap(), 18);
    assert_eq!(meta.string_array("tokenizer.ggml.tokens").unwrap().len(), 262_144);
    assert_eq!(meta.f32_array("tokenizer.ggml.scores").unwrap().len(), 262_144);
}
