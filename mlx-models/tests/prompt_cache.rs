//! Prompt caches in files: what comes back, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mlx_core::io::{load_safetensors, save_safetensors};
use mlx_core::{Array, DType, Quantization, kernels};
use mlx_models::cache::{load_prompt, save_prompt, truncate};
use mlx_models::{CacheConfig, Checkpoint, KvCache, LanguageModel, models};
use serde_json::{Value, json};

const KEY: &str = "0.rust_mlx_prompt_cache";

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn model_at(path: &Path, dtype: DType) -> Box<dyn LanguageModel> {
    models::load(&Checkpoint::open(path).unwrap(), Some(dtype)).unwrap()
}

fn model(name: &str) -> Box<dyn LanguageModel> {
    model_at(&folder(name), DType::F32)
}

fn run(model: &dyn LanguageModel, tokens: &[u32], caches: &mut [KvCache]) -> Vec<f32> {
    kernels::exactly(|| {
        let tokens = Array::from_slice(tokens, &[1, tokens.len() as i32]).unwrap();
        let hidden = model.forward(&tokens, caches).unwrap();
        model.logits(&hidden).unwrap().to_vec::<f32>().unwrap()
    })
}

/// Ids of a prompt.
fn prompt(length: usize) -> Vec<u32> {
    (0..length as u32).map(|i| (i * 29 + 3) % 96).collect()
}

#[test]
fn going_on_from_a_file_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prompt.safetensors");
    let packed =
        |bits, start| CacheConfig { start, ..CacheConfig::quantized(Quantization::affine(32, bits)) };
    let configs = [CacheConfig::default(), packed(8, 0), packed(4, 0), packed(8, 1000), packed(8, 320)];
    for name in ["gemma3-classic", "gemma3-multimodal", "gemma3-mlx-q4"] {
        let configs = if name == "gemma3-mlx-q4" { &configs[..] } else { &configs[..1] };
        for config in configs {
            // Within the window of 8, at it, past it, past a move of the buffers; and with tokens taken back, so that
            // nothing spare is held.
            for (length, back) in [(1, 0), (7, 0), (8, 0), (9, 0), (30, 3), (310, 0), (310, 64), (335, 63)] {
                let model = model(name);
                let mut caches = model.make_caches_with(*config).unwrap();
                let mut tokens = prompt(length);
                for chunk in tokens.chunks(300) {
                    run(&*model, chunk, &mut caches);
                }
                if back > 0 {
                    tokens.truncate(length - back);
                    truncate(&mut caches, tokens.len()).unwrap();
                }
                save_prompt(&path, &*model, &tokens, &caches).unwrap();
                let (loaded_tokens, mut loaded) = load_prompt(&path, &*model).unwrap();
                assert_eq!(loaded_tokens, tokens);
                for (a, b) in caches.iter().zip(&loaded) {
                    assert_eq!((a.offset(), a.window(), a.config()), (b.offset(), b.window(), b.config()));
                    assert_eq!(a.shortest_prefix(), b.shortest_prefix());
                }
                for step in [&[5, 6, 7][..], &[8], &[9; 12], &[10]] {
                    assert!(
                        run(&*model, step, &mut caches) == run(&*model, step, &mut loaded),
                        "{name}, {config:?}, {length} tokens less {back}, a step of {}",
                        step.len()
                    );
                }
            }
        }
    }
}

/// For `tests/data/check_prompt_cache.py`, which has mlx-lm read the files.
#[test]
fn files_can_be_kept_for_a_look_by_others() {
    let Some(kept) = std::env::var_os("KEEP_PROMPT_CACHES") else { return };
    let model = model("gemma3-classic");
    for (length, back) in [(5, 0), (8, 0), (30, 0), (310, 64), (310, 20)] {
        let mut caches = model.make_caches();
        let mut tokens = prompt(length);
        run(&*model, &tokens, &mut caches);
        tokens.truncate(length - back);
        truncate(&mut caches, tokens.len()).unwrap();
        let path = Path::new(&kept).join(format!("prompt-{length}-{back}.safetensors"));
        save_prompt(path, &*model, &tokens, &caches).unwrap();
    }
}

#[test]
fn what_cannot_be_saved_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prompt.safetensors");
    let (classic, q4) = (model("gemma3-classic"), model("gemma3-mlx-q4"));
    let mut caches = classic.make_caches();
    let refused = |tokens: &[u32], model: &dyn LanguageModel, caches: &[KvCache], part: &str| {
        let error = save_prompt(&path, model, tokens, caches).unwrap_err().to_string();
        assert!(error.contains("prompt.safetensors") && error.contains(part), "{error}");
        assert!(!path.exists());
    };
    refused(&[], &*classic, &caches, "read 0 tokens");
    run(&*classic, &prompt(9), &mut caches);
    refused(&prompt(8), &*classic, &caches, "read 9 tokens; 8 were given");
    refused(&prompt(9), &*classic, &caches[1..], "7 caches");
    let mut others = q4.make_caches();
    run(&*q4, &prompt(9), &mut others);
    others.push(caches.remove(0));
    refused(&prompt(9), &*classic, &others, "layer 0");
    let mut batch = classic.make_caches();
    let two = Array::from_slice(&prompt(18), &[2, 9]).unwrap();
    classic.forward(&two, &mut batch).unwrap();
    refused(&prompt(9), &*classic, &batch, "one sequence");
}

#[test]
fn files_of_another_model_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prompt.safetensors");
    let classic = model("gemma3-classic");
    let mut caches = classic.make_caches();
    run(&*classic, &prompt(9), &mut caches);
    save_prompt(&path, &*classic, &prompt(9), &caches).unwrap();
    let refused = |model: &dyn LanguageModel, part: &str| {
        let error = load_prompt(&path, model).unwrap_err().to_string();
        assert!(error.contains("another model") && error.contains(part), "{error}");
    };
    refused(&*model("gemma3-new"), "hidden_size is 32, this model's is 40");
    refused(&*model_at(&folder("gemma3-classic"), DType::BF16), "dtype");
    // Copies with one matrix changed a little: queries, which matter only where there is something to look at, too.
    for tensor in
        ["layers.0.self_attn.q_proj", "layers.7.mlp.down_proj", "layers.3.self_attn.v_proj", "embed_tokens"]
    {
        let changed = dir.path().join(tensor);
        fs::create_dir(&changed).unwrap();
        fs::copy(folder("gemma3-classic").join("config.json"), changed.join("config.json")).unwrap();
        let (mut arrays, metadata) =
            load_safetensors(folder("gemma3-classic").join("model.safetensors")).unwrap();
        let weight = arrays.get_mut(&format!("model.{tensor}.weight")).unwrap();
        *weight = weight.flip_rows();
        save_safetensors(changed.join("model.safetensors"), &arrays, &metadata).unwrap();
        refused(&*model_at(&changed, DType::F32), "weights");
    }
}

trait FlipRows {
    fn flip_rows(&self) -> Array;
}

impl FlipRows for Array {
    /// The rows of a matrix in the opposite order: the same numbers in other places.
    fn flip_rows(&self) -> Array {
        let rows = self.shape()[0];
        let backwards = Array::arange(f64::from(rows - 1), -1.0, -1.0, DType::I32).unwrap();
        self.take(&backwards, 0).unwrap()
    }
}

/// A good file, and what to compare others with.
struct Good {
    model: Box<dyn LanguageModel>,
    folder: tempfile::TempDir,
    arrays: BTreeMap<String, Array>,
    metadata: BTreeMap<String, String>,
}

impl Good {
    fn new(config: CacheConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("good.safetensors");
        let model = model("gemma3-mlx-q4");
        let mut caches = model.make_caches_with(config).unwrap();
        run(&*model, &prompt(20), &mut caches);
        save_prompt(&path, &*model, &prompt(20), &caches).unwrap();
        let (arrays, metadata) = load_safetensors(&path).unwrap();
        Good { model, folder, arrays, metadata }
    }

    /// Loads a file of these arrays and this metadata, which must be refused in one line that names the file.
    #[track_caller]
    fn refused(&self, arrays: &BTreeMap<String, Array>, metadata: &BTreeMap<String, String>, part: &str) {
        let path = self.folder.path().join("bad.safetensors");
        save_safetensors(&path, arrays, metadata).unwrap();
        let error = load_prompt(&path, &*self.model).unwrap_err().to_string();
        assert!(error.contains("bad.safetensors") && error.contains(part), "{part}: {error}");
        assert!(error.lines().count() == 1 && error.len() < 600, "{error}");
    }

    /// The same with something changed in the description.
    #[track_caller]
    fn refused_description(&self, change: impl FnOnce(&mut Value), part: &str) {
        let mut description = serde_json::from_str(&self.metadata[KEY]).unwrap();
        change(&mut description);
        let mut metadata = self.metadata.clone();
        metadata.insert(KEY.to_owned(), description.to_string());
        self.refused(&self.arrays, &metadata, part);
    }
}

#[test]
fn a_description_that_lies_is_refused() {
    let good = Good::new(CacheConfig::quantized(Quantization::affine(32, 8)));
    let set = |path: &'static str, value: Value| {
        move |d: &mut Value| *d.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value
    };
    // The first layer slides and has read 20 tokens, with a window of 8.
    let cases = [
        ("/version", json!(2), "version 2"),
        ("/version", json!("1"), "invalid type"),
        ("/version", json!(-1), "invalid value"),
        ("/model/model_type", json!("llama\nllama"), "llama llama"),
        ("/model/vocab_size", json!(97), "vocab_size is 97"),
        ("/model/num_hidden_layers", json!(6), "num_hidden_layers is 6"),
        ("/model/head_dim", json!(64), "head_dim is 64"),
        ("/model/parameters", json!(1), "parameters is 1"),
        ("/model/probe", json!([]), "weights"),
        ("/model/probe/0", json!(1e30), "weights"),
        ("/tokens", json!([]), "0 tokens"),
        ("/tokens", json!([1, 2]), "layer 0"),
        ("/tokens/3", json!(96), "token 96"),
        ("/tokens/3", json!(-1), "invalid value"),
        ("/tokens/3", json!(4294967296u64), "invalid value"),
        ("/layers", json!([]), "0 layers for a model of 7"),
        ("/layers/0/window", json!(null), "window is none, the model's is 8"),
        ("/layers/0/window", json!(i32::MIN), "window is -2147483648"),
        ("/layers/0/held", json!(6), "6 positions held of 20; 7 are needed"),
        ("/layers/0/held", json!(21), "21 positions held"),
        ("/layers/0/held", json!(-1), "-1 positions held"),
        ("/layers/0/held", json!(i32::MAX), "2147483647 positions held"),
        ("/layers/0/held", json!(i64::MAX), "invalid value"),
        ("/layers/0/held", json!(7), "tensor 0.0.0 is"),
        ("/layers/0/packed", json!(false), "tensor 0.0 is missing"),
        ("/layers/0/quantization", json!(null), "packed without saying how"),
        ("/layers/0/quantization/bits", json!(4), "tensor 0.0.0 is"),
        ("/layers/0/quantization/bits", json!(0), "layer 0"),
        ("/layers/0/quantization/bits", json!(i32::MIN), "layer 0"),
        ("/layers/0/quantization/group_size", json!(64), "groups of 64"),
        ("/layers/0/quantization/group_size", json!(-32), "layer 0"),
        ("/layers/0/quantization/start", json!(-1), "invalid value"),
    ];
    for (path, value, part) in cases {
        good.refused_description(set(path, value), part);
    }
    good.refused_description(|d| d["more"] = json!(1), "unknown field");
    good.refused_description(|d| drop(d.as_object_mut().unwrap().remove("tokens")), "missing field");
    good.refused_description(|d| d["layers"][1]["more"] = json!("x".repeat(5000)), "unknown field");
    let text = |text: String| {
        let mut metadata = good.metadata.clone();
        metadata.insert(KEY.to_owned(), text);
        metadata
    };
    good.refused(&good.arrays, &text(String::new()), KEY);
    good.refused(&good.arrays, &text("[".repeat(100_000)), KEY);
    good.refused(&good.arrays, &text(format!("\"{}\"", "y".repeat(100_000))), KEY);
    let mut without = good.metadata.clone();
    without.remove(KEY);
    good.refused(&good.arrays, &without, "not a prompt cache");
}

#[test]
fn tensors_that_do_not_belong_are_refused() {
    let plain = Good::new(CacheConfig::default());
    let packed = Good::new(CacheConfig::quantized(Quantization::affine(32, 8)));
    for (good, names) in [(&plain, ["0.0", "6.1"]), (&packed, ["0.0.0", "6.1.2"])] {
        let changed = |name: &str, array: Array, part: &str| {
            let mut arrays = good.arrays.clone();
            arrays.insert(name.to_owned(), array);
            good.refused(&arrays, &good.metadata, part);
        };
        for name in names {
            let tensor = &good.arrays[name];
            let (shape, dtype) = (tensor.shape().to_vec(), tensor.dtype());
            for axis in 0..4 {
                for length in [0, shape[axis] + 1] {
                    let mut shape = shape.clone();
                    shape[axis] = length;
                    changed(name, Array::zeros(&shape, dtype).unwrap(), &format!("tensor {name} is"));
                }
            }
            changed(name, Array::zeros(&shape[1..], dtype).unwrap(), &format!("tensor {name} is"));
            for other in [DType::F16, DType::I32, DType::U8] {
                changed(name, Array::zeros(&shape, other).unwrap(), &format!("tensor {name} is"));
            }
            let mut arrays = good.arrays.clone();
            arrays.remove(name);
            good.refused(&arrays, &good.metadata, &format!("tensor {name} is missing"));
        }
        changed("0.2", Array::scalar(21i32).unwrap(), "tensor 0.2 is not 20");
        changed("0.2", Array::scalar(20.0f32).unwrap(), "tensor 0.2");
        changed("0.2", Array::zeros(&[1], DType::I32).unwrap(), "tensor 0.2");
        changed("9.0", Array::scalar(20i32).unwrap(), "tensor 9.0 belongs to no layer");
        changed(&"z\n".repeat(5000), Array::scalar(20i32).unwrap(), "belongs to no layer");
    }
}

#[test]
fn broken_files_are_errors_whatever_the_damage() {
    let good = Good::new(CacheConfig::default());
    let bytes = fs::read(good.folder.path().join("good.safetensors")).unwrap();
    let path = good.folder.path().join("bad.safetensors");
    let load = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        load_prompt(&path, &*good.model).map(|(tokens, mut caches)| {
            // What is accepted can be used.
            assert_eq!(run(&*good.model, &[1, 2], &mut caches).len(), 2 * 96);
            tokens.len()
        })
    };
    assert_eq!(load(&bytes).unwrap(), 20);
    for length in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        let error = load(&bytes[..length]).unwrap_err().to_string();
        assert!(error.contains("bad.safetensors") && error.lines().count() == 1, "{length}: {error}");
    }
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut state = 1u64;
    for _ in 0..400 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (at, bit) = ((state >> 33) as usize % header, (state >> 20) % 8);
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << bit;
        if let Err(error) = load(&damaged) {
            let error = error.to_string();
            assert!(error.contains("bad.safetensors") && error.lines().count() == 1, "byte {at}: {error}");
        }
    }
    assert!(load_prompt(good.folder.path(), &*good.model).is_err());
    let missing = load_prompt(good.folder.path().join("none.safetensors"), &*good.model).unwrap_err();
    assert!(missing.to_string().contains("none.safetensors"), "{missing}");
}
