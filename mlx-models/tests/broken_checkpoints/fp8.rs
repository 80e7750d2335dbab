//! Scales of 8-bit floats whose shapes, dtypes or names are not those of their matrix.
//!
//! The headers are changed in place, since nothing here writes 8-bit floats.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::damage::data;
use crate::{assert_refused, load};

/// A checkpoint, what happens to the header of its weights, words of the error.
type Case = (&'static str, &'static str, fn(&mut Map<String, Value>), &'static [&'static str]);

/// `[48, 32]` in blocks of 20 by 24, so with `[3, 2]` scales.
const BLOCKS: &str = "model.layers.0.mlp.up_proj.weight_scale_inv";
/// `[16, 32]` with a scale for each row.
const ROWS: &str = "model.layers.0.self_attn.k_proj.weight_scale";
/// One scale.
const ONE: &str = "model.layers.0.mlp.up_proj.weight_scale";

const CASES: &[Case] = &[
    ("blocks transposed", "qwen3-fp8", |h| shape(h, BLOCKS, json!([2, 3])), &[BLOCKS, "[2, 3]", "[3, 2]"]),
    ("flat blocks", "qwen3-fp8", |h| shape(h, BLOCKS, json!([6])), &[BLOCKS, "[6]", "[3, 2]"]),
    ("blocks with three axes", "qwen3-fp8", |h| shape(h, BLOCKS, json!([3, 2, 1])), &[BLOCKS, "[3, 2, 1]"]),
    ("blocks of integers", "qwen3-fp8", |h| field(h, BLOCKS, "dtype", json!("I32")), &[BLOCKS, "int32"]),
    (
        "blocks as 8-bit floats of three axes",
        "qwen3-fp8",
        |h| {
            field(h, BLOCKS, "dtype", json!("F8_E4M3"));
            shape(h, BLOCKS, json!([3, 2, 4]));
        },
        &[BLOCKS, "[3, 2, 4]", "[3, 2]"],
    ),
    (
        "blocks of another matrix",
        "qwen3-fp8",
        |h| rename(h, BLOCKS, "model.layers.0.mlp.up.weight_scale_inv"),
        &["model.layers.0.mlp.up.weight_scale_inv", "no place"],
    ),
    ("rows as columns", "llama-fp8", |h| shape(h, ROWS, json!([1, 16])), &[ROWS, "[1, 16]", "[16, 1]"]),
    ("rows as a grid", "llama-fp8", |h| shape(h, ROWS, json!([4, 4])), &[ROWS, "[4, 4]", "[16, 1]"]),
    ("one scale with three axes", "llama-fp8", |h| shape(h, ONE, json!([1, 1, 1])), &[ONE, "[1, 1, 1]"]),
    ("rows of integers", "llama-fp8", |h| field(h, ROWS, "dtype", json!("I32")), &[ROWS, "int32"]),
    (
        "codes that are bytes",
        "llama-fp8",
        |h| field(h, "model.layers.0.self_attn.k_proj.weight", "dtype", json!("I8")),
        &["k_proj.weight holds int8", ROWS],
    ),
    (
        "codes of another shape",
        "llama-fp8",
        |h| shape(h, "model.layers.0.self_attn.k_proj.weight", json!([32, 16])),
        &["k_proj.weight", "[32, 16]", "[16, 32]"],
    ),
];

fn field(header: &mut Map<String, Value>, tensor: &str, field: &str, value: Value) {
    header[tensor][field] = value;
}

fn shape(header: &mut Map<String, Value>, tensor: &str, value: Value) {
    field(header, tensor, "shape", value);
}

fn rename(header: &mut Map<String, Value>, tensor: &str, name: &str) {
    let entry = header.remove(tensor).unwrap();
    header.insert(name.to_owned(), entry);
}

/// The checkpoint with its header, and its configuration, changed.
fn changed(name: &str, header: impl Fn(&mut Map<String, Value>), config: impl Fn(&mut Value)) -> TempDir {
    let (from, folder) = (data("tiny").join(name), TempDir::new().unwrap());
    let mut json: Value = serde_json::from_slice(&fs::read(from.join("config.json")).unwrap()).unwrap();
    config(&mut json);
    fs::write(folder.path().join("config.json"), json.to_string()).unwrap();
    rewrite(&from.join("model.safetensors"), &folder.path().join("model.safetensors"), header);
    folder
}

fn rewrite(from: &Path, to: &Path, change: impl Fn(&mut Map<String, Value>)) {
    let bytes = fs::read(from).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, tensors) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    fs::write(to, [&(header.len() as u64).to_le_bytes()[..], &header, tensors].concat()).unwrap();
}

#[test]
fn damaged_scales_of_8_bit_floats_are_named() {
    for (case, name, damage, words) in CASES {
        assert_refused(case, changed(name, damage, |_| ()).path(), words);
    }
}

#[test]
fn a_scale_for_all_may_have_no_axis_and_scales_of_rows_one() {
    let header = |header: &mut Map<String, Value>| {
        shape(header, ONE, json!([]));
        shape(header, ROWS, json!([16]));
    };
    load(changed("llama-fp8", header, |_| ()).path()).unwrap();
}

#[test]
fn models_whose_activations_are_turned_are_refused() {
    let config = |config: &mut Value| {
        config["quantization_config"]["transform_config"] =
            json!({"config_groups": {"R3": {"type": "hadamard"}}});
    };
    assert_refused(
        "turned",
        changed("llama-fp8", |_| (), config).path(),
        &["config.json", "transform_config"],
    );
    // None are listed.
    let config = |config: &mut Value| config["quantization_config"]["transform_config"] = json!({});
    load(changed("llama-fp8", |_| (), config).path()).unwrap();
}

#[test]
fn scales_of_what_is_not_rounded_here_are_left_alone() {
    let header = |header: &mut Map<String, Value>| {
        rename(header, "model.layers.0.mlp.up_proj.input_scale", "model.layers.0.self_attn.k_scale");
        rename(header, "model.layers.1.mlp.up_proj.input_scale", "model.layers.0.self_attn.v_proj.v_scale");
        rename(header, "model.layers.2.mlp.up_proj.input_scale", "model.layers.2.mlp.up_proj.input_scale_ub");
    };
    load(changed("llama-fp8", header, |_| ()).path()).unwrap();
}
