//! Formats.

use std::fs;
use std::path::Path;

use mlx_core::DType;
use mlx_core::io::{load_safetensors, save_safetensors};
use mlx_models::adapter::{self, AdapterKind, AdapterOptions};
use mlx_models::load_with_adapter;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{bytes, data, difference, expected_logits, load, logits, on_cpu};

/// Model, adapter, kind, and the difference that its reference has from float32: mlx-lm rounds Gemma's embedding scale.
const ADAPTERS: [(&str, &str, AdapterKind, f32); 7] = [
    ("gemma3-classic", "gemma3-classic", AdapterKind::Lora, 1e-2),
    ("tiny/llama3", "llama3", AdapterKind::Lora, 1e-5),
    ("tiny/llama3", "llama3-dora", AdapterKind::Dora, 1e-5),
    ("tiny/qwen2-mlx-mixed", "qwen2-packed", AdapterKind::Lora, 1e-5),
    ("tiny/llama3", "peft-lora", AdapterKind::Lora, 1e-5),
    ("tiny/llama3", "peft-rslora", AdapterKind::Lora, 1e-5),
    ("tiny/llama3", "peft-dora", AdapterKind::Dora, 1e-5),
];

#[test]
fn adapters_of_mlx_lm_and_peft_give_the_logits_that_they_give_there() {
    on_cpu(|| {
        for (model, name, kind, tolerance) in ADAPTERS {
            let (tokens, expected) = expected_logits(name);
            let mut loaded = load(model);
            let plain = logits(&*loaded.model, &tokens);
            let adapter = adapter::load(&mut *loaded.model, &data("finetune").join(name)).unwrap();
            assert_eq!(adapter.kind, kind, "{name}");
            let found = logits(&*loaded.model, &tokens);
            let off = difference(&found, &expected);
            assert!(off < tolerance, "{name}: {off}");
            assert!(difference(&plain, &expected) > 20.0 * tolerance, "{name} changes too little to be seen");
            adapter::detach(&mut *loaded.model);
            assert_eq!(logits(&*loaded.model, &tokens), plain, "{name}");
        }
    });
}

#[test]
fn what_is_saved_is_what_is_loaded_bit_for_bit() {
    on_cpu(|| {
        for (model, name, _, _) in ADAPTERS {
            let folder = TempDir::new().unwrap();
            let mut loaded = load(model);
            let adapter = adapter::load(&mut *loaded.model, &data("finetune").join(name)).unwrap();
            adapter.save(&*loaded.model, folder.path(), "a model").unwrap();

            let again = load_with_adapter(&data(model), Some(DType::F32), Some(folder.path())).unwrap();
            let (tokens, _) = expected_logits(name);
            assert_eq!(logits(&*again.model, &tokens), logits(&*loaded.model, &tokens), "{name}");
            if !name.starts_with("peft") {
                let read = |folder: &Path| load_safetensors(folder.join("adapters.safetensors")).unwrap().0;
                assert_eq!(bytes(&read(folder.path())), bytes(&read(&data("finetune").join(name))), "{name}");
                let config = |folder: &Path| -> Value {
                    let text = fs::read_to_string(folder.join("adapter_config.json")).unwrap();
                    serde_json::from_str(&text).unwrap()
                };
                let (ours, theirs) = (config(folder.path()), config(&data("finetune").join(name)));
                for field in ["fine_tune_type", "num_layers"] {
                    assert_eq!(ours[field], theirs[field], "{name}");
                }
                for field in ["rank", "scale", "dropout"] {
                    assert_eq!(ours["lora_parameters"][field], theirs["lora_parameters"][field], "{name}");
                }
                let keys = |config: &Value| -> std::collections::BTreeSet<String> {
                    serde_json::from_value(config["lora_parameters"]["keys"].clone()).unwrap()
                };
                assert_eq!(keys(&ours), keys(&theirs), "{name}");
            }
        }
    });
}

#[test]
fn fresh_adapters_change_nothing_and_follow_from_the_seed() {
    on_cpu(|| {
        let tokens = [5, 9, 33, 12];
        let mut loaded = load("tiny/llama3");
        let plain = logits(&*loaded.model, &tokens);
        let cases = [
            (AdapterOptions::default(), 21, AdapterKind::Lora),
            (
                AdapterOptions { kind: AdapterKind::Dora, rank: 2, ..Default::default() },
                21,
                AdapterKind::Dora,
            ),
            (AdapterOptions { layers: Some(1), ..Default::default() }, 7, AdapterKind::Lora),
            (
                AdapterOptions { targets: vec!["q_proj".into(), "mlp.up_proj".into()], ..Default::default() },
                6,
                AdapterKind::Lora,
            ),
            (
                AdapterOptions { dtype: DType::BF16, dropout: 0.5, ..Default::default() },
                21,
                AdapterKind::Lora,
            ),
        ];
        for (options, maps, kind) in cases {
            let adapter = adapter::attach(&mut *loaded.model, &options, 7).unwrap();
            assert_eq!((adapter.names.len(), adapter.kind), (maps, kind), "{options:?}");
            assert!(difference(&logits(&*loaded.model, &tokens), &plain) < 1e-6, "{options:?}");
            let parameters = adapter.parameters(&*loaded.model).unwrap();
            let each = if kind == AdapterKind::Dora { 3 } else { 2 };
            assert_eq!(parameters.len(), each * maps);
            adapter::attach(&mut *loaded.model, &options, 7).unwrap();
            assert_eq!(
                bytes(&adapter.parameters(&*loaded.model).unwrap()),
                bytes(&parameters),
                "{options:?}"
            );
            adapter::attach(&mut *loaded.model, &options, 8).unwrap();
            assert_ne!(
                bytes(&adapter.parameters(&*loaded.model).unwrap()),
                bytes(&parameters),
                "{options:?}"
            );
        }
    });
}

#[test]
fn options_that_make_no_sense_name_themselves_and_leave_the_model_alone() {
    on_cpu(|| {
        let mut loaded = load("tiny/qwen2-mlx-mixed");
        let options = |change: fn(&mut AdapterOptions)| {
            let mut options = AdapterOptions::default();
            change(&mut options);
            options
        };
        let cases = [
            (options(|o| o.rank = 0), "lora rank: 0 for model.layers.0"),
            (options(|o| o.rank = 1 << 30), "lora rank: 1073741824 for model.layers.0"),
            (
                options(|o| o.targets = vec!["qproj".into()]),
                "no linear map that can be trained is named \"qproj\"",
            ),
            (options(|o| o.layers = Some(3)), "lora layers: 3 of a model of 2 layers"),
            (options(|o| o.dropout = 1.0), "dropout"),
            (options(|o| o.scale = f32::NAN), "scale"),
            (options(|o| o.kind = AdapterKind::Full), "is packed; make a dense checkpoint"),
            (options(|o| o.dtype = DType::I32), "adapter dtype: int32"),
        ];
        for (options, part) in cases {
            let error = adapter::attach(&mut *loaded.model, &options, 0).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            let has = mlx_core::nn::find::<mlx_core::nn::Lora>(&*loaded.model);
            assert!(has.is_empty(), "{options:?}");
        }
    });
}

/// Edits the configuration, and the tensors.
type Damage = fn(&mut Value, &mut std::collections::BTreeMap<String, mlx_core::Array>);

#[test]
fn folders_that_are_no_adapter_of_the_model_name_file_and_place() {
    on_cpu(|| {
        let cases: [(&str, Damage, &[&str]); 12] = [
            (
                "llama3",
                |config, _| config["fine_tune_type"] = json!("prefix"),
                &["adapter_config.json", "\"prefix\""],
            ),
            ("llama3", |config, _| config["lora_parameters"] = json!({"alpha": 1}), &["alpha and no scale"]),
            ("llama3", |config, _| config["lora_parameters"]["scale"] = json!("2"), &["scale is no number"]),
            (
                "llama3",
                |_, arrays| drop(arrays.remove("model.layers.1.self_attn.q_proj.lora_b")),
                &["adapters.safetensors", "q_proj.lora_b is not"],
            ),
            (
                "llama3",
                |_, arrays| {
                    let b = arrays["model.layers.1.mlp.up_proj.lora_b"].clone();
                    arrays.insert("model.layers.1.self_attn.q_proj.lora_b".into(), b);
                },
                &["q_proj.lora_b is float32[4, 48]", "takes [4, 64]"],
            ),
            (
                "llama3",
                |_, arrays| {
                    for part in ["lora_a", "lora_b"] {
                        let array =
                            arrays.remove(&format!("model.layers.1.self_attn.q_proj.{part}")).unwrap();
                        arrays.insert(format!("model.layers.9.self_attn.q_proj.{part}"), array);
                    }
                },
                &["model.layers.9.self_attn.q_proj.lora_a: the model has no linear map"],
            ),
            (
                "llama3",
                |_, arrays| {
                    let array = arrays["model.layers.1.self_attn.q_proj.lora_a"].clone();
                    arrays.insert("model.norm.weight".into(), array);
                },
                &["tensor model.norm.weight is no part of an adapter"],
            ),
            ("llama3-dora", |config, _| config["fine_tune_type"] = json!("lora"), &["has the lengths m"]),
            (
                "peft-lora",
                |config, _| config["peft_type"] = json!("IA3"),
                &["peft_type \"IA3\" is not supported"],
            ),
            ("peft-lora", |config, _| config["bias"] = json!("all"), &["bias \"all\" is not supported"]),
            (
                "peft-lora",
                |config, _| config["modules_to_save"] = json!(["lm_head"]),
                &["modules_to_save [\"lm_head\"] is not supported"],
            ),
            (
                "peft-lora",
                |_, arrays| {
                    let (_, array) = arrays.pop_first().unwrap();
                    arrays.insert("base_model.model.model.embed_tokens.lora_embedding_A".into(), array);
                },
                &["lora_embedding_A is not supported"],
            ),
        ];
        let mut loaded = load("tiny/llama3");
        for (name, damage, parts) in cases {
            let from = data("finetune").join(name);
            let file =
                if name.starts_with("peft") { "adapter_model.safetensors" } else { "adapters.safetensors" };
            let text = fs::read_to_string(from.join("adapter_config.json")).unwrap();
            let mut config = serde_json::from_str(&text).unwrap();
            let mut arrays = load_safetensors(from.join(file)).unwrap().0;
            damage(&mut config, &mut arrays);
            let folder = TempDir::new().unwrap();
            fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
            save_safetensors(folder.path().join(file), &arrays, &Default::default()).unwrap();
            let error = adapter::load(&mut *loaded.model, folder.path()).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{part}: {error}");
            }
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let error = adapter::load(&mut *loaded.model, Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere: no such folder; an adapter is a folder"), "{error}");
    });
}
