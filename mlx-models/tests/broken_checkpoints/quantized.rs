//! Quantization that is missing, unknown, or contradicts the tensors.

use mlx_core::DType;
use serde_json::json;

use crate::damage::Draft;
use crate::{assert_refused, load};

type Case = (&'static str, fn(&mut Draft), &'static [&'static str]);

const UP: &str = "model.layers.0.mlp.up_proj";

const CASES: &[Case] = &[
    ("no entry", |d| unset(d), &["config.json", "quantization", "embed_tokens"]),
    ("no bits", |d| set(d, json!({"group_size": 64})), &["config.json", "bits null"]),
    ("7 bits", |d| set(d, json!({"group_size": 64, "bits": 7})), &["config.json", "bits 7"]),
    ("bits in words", |d| set(d, json!({"group_size": 64, "bits": "4"})), &["config.json", "bits \"4\""]),
    ("groups of 48", |d| set(d, json!({"group_size": 48, "bits": 4})), &["config.json", "group_size 48"]),
    ("groups of 0", |d| set(d, json!({"group_size": 0, "bits": 4})), &["config.json", "group_size 0"]),
    (
        "negative groups",
        |d| set(d, json!({"group_size": -64, "bits": 4})),
        &["config.json", "group_size -64"],
    ),
    ("huge bits", |d| set(d, json!({"group_size": 64, "bits": u64::MAX})), &["config.json", "bits 1844"]),
    ("mxfp5", |d| set(d, json!({"group_size": 32, "bits": 4, "mode": "mxfp5"})), &["config.json", "mxfp5"]),
    (
        "mxfp4 in groups of 64",
        |d| set(d, json!({"group_size": 64, "bits": 4, "mode": "mxfp4"})),
        &["config.json", "mxfp4", "groups of 32"],
    ),
    (
        "affine called mxfp4",
        |d| set(d, json!({"group_size": 32, "bits": 4, "mode": "mxfp4"})),
        &["embed_tokens.scales", "[96, 1]", "[96, 2]"],
    ),
    (
        "a mode of a megabyte",
        |d| set(d, json!({"group_size": 64, "bits": 4, "mode": "m".repeat(1 << 20)})),
        &["config.json", "mode", "mmm"],
    ),
    (
        "a mode of no text",
        |d| set(d, json!({"group_size": 64, "bits": 4, "mode": 1})),
        &["config.json", "mode 1"],
    ),
    ("a number", |d| set(d, json!(4)), &["config.json", "quantization"]),
    ("8 bits for 4", |d| set(d, json!({"group_size": 64, "bits": 8})), &["embed_tokens.weight", "[96, 8]"]),
    (
        "groups too wide",
        |d| set(d, json!({"group_size": 128, "bits": 4})),
        &["config.json", "128", "64 columns"],
    ),
    (
        "an override of 7 bits",
        |d| own(d, json!({"group_size": 64, "bits": 7})),
        &["config.json", UP, "bits 7"],
    ),
    (
        "an override that lies",
        |d| own(d, json!({"group_size": 64, "bits": 8})),
        &[UP, "[192, 8]", "[192, 16]"],
    ),
    (
        "an override of mxfp4",
        |d| own(d, json!({"group_size": 32, "bits": 4, "mode": "mxfp4"})),
        &[UP, "scales", "[192, 2]"],
    ),
    ("an override that denies", |d| own(d, json!(false)), &["config.json", UP, "false", "scales exists"]),
    ("no scales", |d| remove(d, "scales"), &[UP, "shape [192, 8]"]),
    ("no biases", |d| remove(d, "biases"), &[UP, "biases", "missing"]),
    ("no weight", |d| remove(d, "weight"), &[UP, "weight", "missing"]),
    ("scales transposed", |d| part(d, "scales").shape.reverse(), &[UP, "scales", "[1, 192]"]),
    ("flat biases", |d| part(d, "biases").shape = vec![192], &[UP, "biases", "[192]"]),
    ("scales of integers", |d| part(d, "scales").dtype = DType::I32, &[UP, "scales", "int32"]),
    ("packed as int32", |d| part(d, "weight").dtype = DType::I32, &[UP, "int32", "uint32"]),
    ("packed as floats", |d| part(d, "weight").dtype = DType::F32, &[UP, "float32", "uint32"]),
    ("packed with three axes", |d| part(d, "weight").shape = vec![192, 8, 1], &[UP, "[192, 8, 1]"]),
    ("surplus scales", |d| stray(d, "model.norm.scales"), &["model.norm.scales", "no place"]),
];

fn set(draft: &mut Draft, quantization: serde_json::Value) {
    unset(draft);
    draft.config["quantization"] = quantization;
}

fn unset(draft: &mut Draft) {
    let config = draft.config.as_object_mut().unwrap();
    config.remove("quantization");
    config.remove("quantization_config");
}

fn own(draft: &mut Draft, entry: serde_json::Value) {
    draft.config["quantization"][UP] = entry;
}

fn part<'d>(draft: &'d mut Draft, suffix: &str) -> &'d mut crate::damage::Tensor {
    draft.tensor(&format!("{UP}.{suffix}"))
}

fn remove(draft: &mut Draft, suffix: &str) {
    draft.tensors.remove(&format!("{UP}.{suffix}")).unwrap();
}

fn stray(draft: &mut Draft, name: &str) {
    let tensor = draft.tensor(&format!("{UP}.scales")).clone();
    draft.tensors.insert(name.to_owned(), tensor);
}

#[test]
fn damaged_quantization_is_named() {
    for (case, damage, words) in CASES {
        let mut draft = Draft::of("gemma3-mlx-q4");
        damage(&mut draft);
        assert_refused(case, draft.write().path(), words);
    }
}

#[test]
fn an_override_is_what_makes_its_layer_load() {
    let mut draft = Draft::of("gemma3-mlx-q4");
    load(draft.write().path()).unwrap();
    for key in ["quantization", "quantization_config"] {
        draft.config[key].as_object_mut().unwrap().remove("model.layers.1.mlp.down_proj").unwrap();
    }
    assert_refused("without it", draft.write().path(), &["model.layers.1.mlp.down_proj.weight", "shape"]);
}

#[test]
fn either_key_may_hold_the_quantization() {
    for gone in ["quantization", "quantization_config"] {
        let mut draft = Draft::of("gemma3-mlx-q4");
        draft.config.as_object_mut().unwrap().remove(gone).unwrap();
        load(draft.write().path()).unwrap();
    }
}
