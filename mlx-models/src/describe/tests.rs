use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn describe(path: &Path) -> Description {
    Description::of(&Checkpoint::open(path).unwrap())
}

/// A copy of a checkpoint with another configuration.
fn with_config(name: &str, change: impl FnOnce(&mut Value)) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut config: Value =
        serde_json::from_slice(&fs::read(data(name).join("config.json")).unwrap()).unwrap();
    change(&mut config);
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    fs::copy(data(name).join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    folder
}

/// The checkpoints among the test data: folders with a configuration, and GGUF files.
fn checkpoints() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![data("")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "gguf")
                || path.join("config.json").exists()
            {
                found.push(path);
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[test]
fn the_numbers_are_those_of_the_loaded_model() {
    let mut compared = 0;
    for path in checkpoints() {
        let described = describe(&path);
        let checkpoint = Checkpoint::open(&path).unwrap();
        // Some are there to be refused.
        let Ok(model) = models::load(&checkpoint, None) else { continue };
        compared += 1;
        let (name, shape) = (path.display(), model.shape());
        assert_eq!(described.parameters, shape.parameters as u64, "{name}");
        assert_eq!(described.load_bytes, shape.weight_bytes as u64, "{name}");
        assert_eq!(described.vocab_size, Some(shape.vocab_size as u64), "{name}");
        assert_eq!(described.hidden_size, Some(shape.hidden_size as u64), "{name}");
        assert_eq!(described.layers, Some(shape.num_hidden_layers as u64), "{name}");
        // The multimodal one has the architecture's default, which no file says.
        let said = (!path.ends_with("gemma3-multimodal")).then_some(shape.context_len as u64);
        assert_eq!(described.context_len, said, "{name}");
        assert_eq!(described.dtype, Some(shape.dtype), "{name}");
        assert_eq!(
            (described.unsupported, described.quantization),
            (None, checkpoint.quantization()),
            "{name}"
        );
    }
    assert!(compared >= 4, "{compared}");
}

#[test]
fn keys_and_values_take_what_the_caches_take() {
    // 8 layers with 2 heads of 16 in float32; all but the sixth have a window of 8.
    let described = describe(&data("gemma3-classic"));
    let of_layer = 2 * 2 * 16 * 4;
    assert_eq!(described.kv_bytes_per_token, Some(8 * of_layer));
    assert_eq!(described.kv_bytes_at_context, Some(512 * of_layer + 7 * 8 * of_layer));
    assert_eq!(described.sliding_window, Some((8, 7)));

    let everything = with_config("gemma3-classic", |config| config["sliding_window"] = Value::Null);
    let described = describe(everything.path());
    assert_eq!(described.kv_bytes_at_context, Some(512 * 8 * of_layer));
    assert_eq!(described.sliding_window, None);
}

#[test]
fn each_kind_of_storage_is_counted() {
    let described = describe(&data("gemma3-mlx-q4"));
    let tensors: u64 = described.stored_as.iter().map(|stored| stored.tensors).sum();
    let bytes: u64 = described.stored_as.iter().map(|stored| stored.bytes).sum();
    assert!(
        described.stored_as.iter().any(|stored| stored.name.contains(" bits, groups of ")),
        "{described:?}"
    );
    let checkpoint = Checkpoint::open(&data("gemma3-mlx-q4")).unwrap();
    assert_eq!(bytes, checkpoint.stored_bytes());
    let Checkpoint::Folder(folder) = &checkpoint else { panic!("a folder") };
    let scales = folder.files().iter().flat_map(|file| file.names());
    let scales = scales.filter(|name| name.ends_with(".scales") || name.ends_with(".biases")).count();
    let all: usize = folder.files().iter().map(|file| file.names().len()).sum();
    assert_eq!(tensors as usize, all - scales);
}

#[test]
fn an_unknown_architecture_is_described_all_the_same() {
    let folder = with_config("gemma3-classic", |config| {
        *config =
            json!({"model_type": "mamba9", "n_head": 4, "n_positions": 512, "tie_word_embeddings": false});
    });
    let described = describe(folder.path());
    assert_eq!(described.model_type.as_deref(), Some("mamba9"));
    let reason = described.unsupported.unwrap();
    assert!(reason.contains("\"mamba9\" is not supported"), "{reason}");
    assert_eq!(
        (described.layers, described.hidden_size, described.vocab_size),
        (Some(8), Some(32), Some(96))
    );
    assert_eq!((described.attention_heads, described.context_len), (Some(4), Some(512)));
    assert_eq!(described.head, Some(Head::Tied), "there is no other");
    assert_eq!(described.kv_bytes_per_token, Some(8 * 2 * 2 * 16 * 4), "the projections tell");

    let nothing = with_config("gemma3-classic", |config| *config = json!({}));
    let described = describe(nothing.path());
    assert_eq!((described.model_type, described.context_len), (None, None));
    assert!(described.unsupported.unwrap().contains("model_type is missing"));
}

#[test]
fn hostile_numbers_end_in_nothing_said() {
    for (key, value) in [
        ("num_hidden_layers", json!(u64::MAX)),
        ("num_hidden_layers", json!(-1)),
        ("max_position_embeddings", json!(u64::MAX)),
        ("sliding_window", json!("8")),
        ("sliding_window_pattern", json!(u64::MAX)),
        ("layer_types", json!([1, 2])),
        ("head_dim", json!(1e300)),
        ("text_config", json!([])),
        ("quantization", json!({"group_size": u64::MAX})),
    ] {
        let folder = with_config("gemma3-classic", |config| config[key] = value.clone());
        let described = describe(folder.path());
        assert_eq!(described.vocab_size, Some(96), "{key} {value}");
        if key == "max_position_embeddings" {
            assert_eq!(described.kv_bytes_at_context, None, "{value}");
        }
    }
}
