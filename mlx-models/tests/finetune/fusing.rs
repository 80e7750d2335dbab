//! Checkpoints of model and adapter.

use std::fs;

use mlx_core::DType;
use mlx_models::adapter::{self, FuseOptions};
use tempfile::TempDir;

use crate::{data, difference, expected_logits, load, logits, on_cpu};

#[test]
fn fused_checkpoints_give_the_logits_of_model_and_adapter() {
    on_cpu(|| {
        for (model, name, dequantize, tolerance, loses) in [
            ("gemma3-classic", "gemma3-classic", false, 1e-5, false),
            // Its weights are bfloat16.
            ("tiny/llama3", "llama3", false, 2e-2, false),
            ("tiny/llama3", "llama3-dora", false, 2e-2, false),
            ("tiny/llama3", "peft-rslora", false, 2e-2, false),
            ("tiny/qwen2-mlx-mixed", "qwen2-packed", true, 2e-2, false),
            ("tiny/qwen2-mlx-mixed", "qwen2-packed", false, 0.6, true),
        ] {
            let folder = TempDir::new().unwrap();
            let out = folder.path().join("fused");
            let from = data("finetune").join(name);
            let fused = adapter::fuse(&data(model), &from, &out, &FuseOptions { dequantize }).unwrap();
            assert_eq!(fused.loss_of_effect.is_some(), loses, "{name}");
            assert!(fused.loss_of_effect.is_none_or(|loss| (0.001..2.0).contains(&loss)), "{fused:?}");

            let (tokens, _) = expected_logits(name);
            let mut beside = load(model);
            let adapter = adapter::load(&mut *beside.model, &from).unwrap();
            assert_eq!(fused.changed, adapter.names.len());
            let whole = mlx_models::load(&out, Some(DType::F32)).unwrap();
            let off = difference(&logits(&*whole.model, &tokens), &logits(&*beside.model, &tokens));
            assert!(off < tolerance, "{model} with {name}: {off}");
        }
    });
}

#[test]
fn an_adapter_of_another_model_leaves_nothing_behind() {
    on_cpu(|| {
        let folder = TempDir::new().unwrap();
        let out = folder.path().join("fused");
        for (model, name) in [("tiny/llama3", "gemma3-classic"), ("gemma3-classic", "llama3")] {
            let from = data("finetune").join(name);
            let error = adapter::fuse(&data(model), &from, &out, &FuseOptions::default()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    });
}
