//! `mlx convert` and `mlx tensor`.

use std::path::Path;

use mlx_core::DType;
use mlx_core::io::SafetensorsFile;
use tempfile::TempDir;

use crate::support::{expected, list, mlx, read, tiny};

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Logits of the tokens that the reference has logits for.
fn logits(model: &Path, folder: &Path) -> Vec<f32> {
    let tokens = list(&expected("tokens", u32::from_le_bytes));
    let out = folder.join("logits.safetensors");
    mlx(&["logits", "--model", path(model), "--tokens", &tokens, "--out", path(&out)], "").text();
    read(&out, "logits", f32::from_le_bytes)
}

#[test]
fn a_copy_computes_the_same() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("copy");
    let run = mlx(&["convert", "--model", path(&tiny()), "--out", path(&out)], "");
    assert!(run.stderr.contains("32.00 bits per weight"), "{run:?}");
    assert_eq!(run.text(), "");
    assert_eq!(logits(&out, folder.path()), logits(&tiny(), folder.path()));
}

#[test]
fn bits_groups_and_dtypes_are_those_asked_for() {
    let folder = TempDir::new().unwrap();
    for (name, options, weight, scales) in [
        ("a", &["--quantize", "8", "--group-size", "32"][..], DType::U32, Some(DType::F32)),
        ("b", &["--quantize", "3", "--group-size", "32", "--dtype", "bf16"], DType::U32, Some(DType::BF16)),
        ("c", &["--dtype", "f16"], DType::F16, None),
    ] {
        let out = folder.path().join(name);
        mlx(&[&["convert", "--model", path(&tiny()), "--out", path(&out)], options].concat(), "").text();
        let file = SafetensorsFile::open(out.join("model.safetensors")).unwrap();
        let dtype = |name: &str| file.info(name).map(|info| info.dtype);
        assert_eq!(dtype("model.layers.0.mlp.up_proj.weight"), Some(weight), "{name}");
        assert_eq!(dtype("model.layers.0.mlp.up_proj.scales"), scales, "{name}");
    }
}

#[test]
fn what_cannot_be_made_is_said() {
    let folder = TempDir::new().unwrap();
    let model = tiny();
    let there =
        mlx(&["convert", "--model", path(&model), "--out", path(folder.path()).trim_end_matches('/')], "");
    // An empty folder may be there; a second time it is not empty any more.
    assert_eq!(there.status, Some(0), "{there:?}");
    let again = mlx(&["convert", "--model", path(&model), "--out", path(folder.path())], "");
    assert_eq!(again.status, Some(1), "{again:?}");
    assert!(again.stderr.contains("is there already"), "{again:?}");
    for options in [&["--quantize", "7"][..], &["--group-size", "48", "--quantize", "4"], &["--dtype", "f64"]]
    {
        let run =
            mlx(&[&["convert", "--model", path(&model), "--out", "/nonexistent/x"], options].concat(), "");
        assert_eq!(run.status, Some(2), "{run:?}");
    }
}

#[test]
fn one_weight_comes_unpacked_and_under_its_name() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("weight.safetensors");
    let data = tiny().join("..");
    for (model, name, shape) in [
        ("gemma3-classic", "model.layers.1.mlp.up_proj.weight", vec![64, 32]),
        ("gemma3-multimodal", "model.norm.weight", vec![64]),
        ("gemma3-mlx-q4", "model.embed_tokens.weight", vec![96, 64]),
        ("tiny/llama.gguf", "model.layers.2.self_attn.q_proj.weight", vec![64, 32]),
        ("tiny/llama.gguf", "blk.2.attn_q.weight", vec![64, 32]),
        ("tiny/qwen3-moe", "model.layers.0.mlp.switch_mlp.up_proj.weight", vec![6, 32, 32]),
    ] {
        let model = data.join(model);
        mlx(&["tensor", "--model", path(&model), "--name", name, "--out", path(&out)], "").text();
        let file = SafetensorsFile::open(&out).unwrap();
        let info = file.info(name).unwrap();
        assert_eq!((info.dtype, &info.shape), (DType::F32, &shape), "{name}");
    }
    let values = read(&out, "model.layers.0.mlp.switch_mlp.up_proj.weight", f32::from_le_bytes);
    let stored = SafetensorsFile::open(data.join("tiny/qwen3-moe/model.safetensors")).unwrap();
    let third = stored.read("model.layers.0.mlp.experts.3.up_proj.weight").unwrap();
    let third: Vec<f32> = third.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(values[3 * 32 * 32..4 * 32 * 32], third);

    let run = mlx(&["tensor", "--model", path(&tiny()), "--name", "q_proj", "--out", path(&out)], "");
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.stderr.contains("no parameter \"q_proj\""), "{run:?}");
}
