//! Folders whose files are missing, of another kind, or lead elsewhere.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::damage::{Draft, data};
use crate::{assert_refused, load};

type Case = (&'static str, fn(&Path), &'static [&'static str]);

const MODEL: &str = "model.safetensors";

const CASES: &[Case] = &[
    ("no config.json", |f| remove(f, "config.json"), &["config.json", "No such file"]),
    ("no weights", |f| remove(f, MODEL), &["no model*.safetensors"]),
    (
        "pickled weights",
        |f| fs::rename(f.join(MODEL), f.join("pytorch_model.bin")).unwrap(),
        &["pytorch_model.bin", "pickle"],
    ),
    (
        "a pickle of another name",
        |f| fs::rename(f.join(MODEL), f.join("consolidated.00.pth")).unwrap(),
        &["consolidated.00.pth", "pickle"],
    ),
    (
        "weights are a folder",
        |f| instead(f, MODEL, |p| fs::create_dir(p).unwrap()),
        &[MODEL, "not a regular file"],
    ),
    ("weights are a pipe", |f| instead(f, MODEL, pipe), &[MODEL, "not a regular file"]),
    (
        "weights are a device",
        |f| instead(f, MODEL, |p| symlink("/dev/zero", p).unwrap()),
        &[MODEL, "not a regular file"],
    ),
    ("weights are a loop", |f| instead(f, MODEL, |p| symlink(p, p).unwrap()), &[MODEL, "symbolic links"]),
    ("weights are nowhere", |f| instead(f, MODEL, |p| symlink("gone", p).unwrap()), &[MODEL, "No such file"]),
    ("weights are empty", |f| fs::write(f.join(MODEL), "").unwrap(), &[MODEL]),
    (
        "weights are text",
        |f| fs::write(f.join(MODEL), "version https://git-lfs.github.com/spec/v1\n").unwrap(),
        &[MODEL, "git lfs pull"],
    ),
    ("a header of 8 EiB", |f| fs::write(f.join(MODEL), [0xff; 16]).unwrap(), &[MODEL, "header"]),
    ("weights cut short", |f| resize(f, 421_703), &[MODEL]),
    ("weights with more behind", |f| resize(f, 421_705), &[MODEL]),
    ("weights of a terabyte", |f| resize(f, 1 << 40), &[MODEL]),
    (
        "a copy beside it",
        |f| {
            fs::copy(f.join(MODEL), f.join("model-2.safetensors")).unwrap();
        },
        &["model-2.safetensors", "model.embed_tokens.weight", "also in"],
    ),
    (
        "config.json is a folder",
        |f| instead(f, "config.json", |p| fs::create_dir(p).unwrap()),
        &["config.json", "not a regular file"],
    ),
    ("config.json is a pipe", |f| instead(f, "config.json", pipe), &["config.json", "not a regular file"]),
    ("config.json is a loop", |f| instead(f, "config.json", looped), &["config.json", "symbolic links"]),
    (
        "an index that is a loop",
        |f| looped(&f.join("model.safetensors.index.json")),
        &["model.safetensors.index.json", "symbolic links"],
    ),
    (
        "a tokenizer that is a loop",
        |f| looped(&f.join("tokenizer.json")),
        &["tokenizer.json", "symbolic links"],
    ),
    (
        "a generation_config.json that is a loop",
        |f| looped(&f.join("generation_config.json")),
        &["generation_config.json", "symbolic links"],
    ),
    (
        "a broken tokenizer beside weights that are missing",
        |f| {
            fs::write(f.join("tokenizer.json"), "{}").unwrap();
            fs::write(f.join("config.json"), r#"{"model_type": "gemma3_text"}"#).unwrap();
        },
        &["tokenizer.json"],
    ),
    ("config.json of 100 MB", |f| sparse(f, "config.json"), &["config.json", "MiB"]),
    (
        "an index of 100 MB",
        |f| sparse(f, "model.safetensors.index.json"),
        &["model.safetensors.index.json", "MiB"],
    ),
    (
        "a tokenizer that is a pipe",
        |f| pipe(&f.join("tokenizer.json")),
        &["tokenizer.json", "not a regular file"],
    ),
    (
        "a tokenizer of 10 GB",
        |f| File::create(f.join("tokenizer.json")).unwrap().set_len(10 << 30).unwrap(),
        &["tokenizer.json", "MiB"],
    ),
    (
        "a tokenizer of other bytes",
        |f| fs::write(f.join("tokenizer.json"), [0xff; 9]).unwrap(),
        &["tokenizer.json", "UTF-8"],
    ),
    ("an empty tokenizer", |f| fs::write(f.join("tokenizer.json"), "{}").unwrap(), &["tokenizer.json"]),
    (
        "a template that is a pipe",
        |f| pipe(&f.join("chat_template.jinja")),
        &["chat_template.jinja", "not a regular file"],
    ),
    (
        "a template that does not parse",
        |f| fs::write(f.join("chat_template.jinja"), "{% if %}").unwrap(),
        &["chat_template.jinja:1"],
    ),
    (
        "a broken tokenizer_config.json",
        |f| fs::write(f.join("tokenizer_config.json"), "{").unwrap(),
        &["tokenizer_config.json"],
    ),
    (
        "a broken generation_config.json",
        |f| fs::write(f.join("generation_config.json"), "{").unwrap(),
        &["generation_config.json"],
    ),
];

fn remove(folder: &Path, name: &str) {
    fs::remove_file(folder.join(name)).unwrap();
}

fn instead(folder: &Path, name: &str, make: fn(&Path)) {
    remove(folder, name);
    make(&folder.join(name));
}

fn looped(path: &Path) {
    symlink(path, path).unwrap();
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn resize(folder: &Path, length: u64) {
    File::options().write(true).open(folder.join(MODEL)).unwrap().set_len(length).unwrap();
}

/// 100 MB that take no room on the disk.
fn sparse(folder: &Path, name: &str) {
    File::create(folder.join(name)).unwrap().set_len(100_000_000).unwrap();
}

#[test]
fn a_bad_file_is_named() {
    for (case, damage, words) in CASES {
        let folder = Draft::of("gemma3-classic").write();
        damage(folder.path());
        assert_refused(case, folder.path(), words);
    }
}

#[test]
fn a_tensor_of_100_gb_is_refused_by_its_shape() {
    for (dtype, shape) in [("F32", "[96,268435456]"), ("F32", "[25769803776]"), ("I32", "[96,268435456]")] {
        let folder = Draft::of("gemma3-classic").write();
        let length = 96_u64 << 30;
        let header = format!(
            r#"{{"model.embed_tokens.weight":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{length}]}}}}"#
        );
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        fs::write(folder.path().join(MODEL), &bytes).unwrap();
        resize(folder.path(), bytes.len() as u64 + length);
        assert_refused(shape, folder.path(), &[MODEL, "model.embed_tokens.weight"]);
    }
}

#[test]
fn a_path_that_is_no_checkpoint_is_named() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    symlink(at("loop"), at("loop")).unwrap();
    pipe(&at("pipe"));
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("text.gguf"), "not a model").unwrap();
    assert_refused("nothing", &at("nothing"), &["No such file"]);
    assert_refused("a loop", &at("loop"), &["symbolic links"]);
    assert_refused("a pipe", &at("pipe"), &["not a regular file"]);
    assert_refused("an empty folder", &at("empty"), &["config.json"]);
    assert_refused("a text", &at("text.gguf"), &["not a GGUF file"]);
}

/// The sharded checkpoint, with another index.
fn sharded(index: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for entry in fs::read_dir(data("gemma3-new")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    fs::write(folder.path().join(INDEX), index).unwrap();
    folder
}

const INDEX: &str = "model.safetensors.index.json";

fn index() -> Value {
    serde_json::from_slice(&fs::read(data("gemma3-new").join(INDEX)).unwrap()).unwrap()
}

#[test]
fn a_bad_index_is_named() {
    load(sharded(&index().to_string()).path()).unwrap();
    let shard = |name: Value| {
        let mut index = index();
        index["weight_map"]["model.norm.weight"] = name;
        index.to_string()
    };
    let one = json!({"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}});
    let cases: [(&str, String, &[&str]); 15] = [
        ("not JSON", "{".into(), &[INDEX, "not JSON"]),
        ("a list", "[]".into(), &[INDEX]),
        ("no map", "{}".into(), &[INDEX, "weight_map"]),
        ("a map of another type", json!({"weight_map": 7}).to_string(), &[INDEX, "7"]),
        ("an empty map", json!({"weight_map": {}}).to_string(), &["embed_tokens", "missing"]),
        ("one shard of two", one.to_string(), &["tensor", "missing"]),
        (
            "a shard that is not there",
            shard(json!("model-00003-of-00002.safetensors")),
            &["model-00003", "No such file"],
        ),
        ("a shard above", shard(json!("../model.safetensors")), &[INDEX, "../model.safetensors"]),
        ("a shard below", shard(json!("a/model.safetensors")), &[INDEX, "a/model.safetensors"]),
        ("a shard elsewhere", shard(json!("/etc/passwd")), &[INDEX, "/etc/passwd"]),
        ("the folder itself", shard(json!(".")), &[INDEX, "\".\""]),
        ("no name", shard(json!("")), &[INDEX, "\"\""]),
        ("a name with NUL", shard(json!("model\0.safetensors")), &[INDEX, "model"]),
        ("a name of two lines", shard(json!("a\n../b")), &[INDEX, "b"]),
        ("a shard that is a number", shard(json!(1)), &[INDEX, "1"]),
    ];
    for (case, text, words) in cases {
        assert_refused(case, sharded(&text).path(), words);
    }
}

#[test]
fn a_tensor_in_two_shards_names_both() {
    let draft = Draft::of("gemma3-new");
    let folder = sharded(&index().to_string());
    for (shard, first) in
        [("model-00001-of-00002.safetensors", true), ("model-00002-of-00002.safetensors", false)]
    {
        let belongs = |name: &str| name == "model.norm.weight" || (name < "model.layers.3") == first;
        draft.write_shard(&folder.path().join(shard), belongs);
    }
    let both = ["model.norm.weight", "model-00001-of-00002", "model-00002-of-00002"];
    assert_refused("twice", folder.path(), &both);
}
