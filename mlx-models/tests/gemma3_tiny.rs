//! Gemma 3 on tiny random checkpoints, against the float32 logits of transformers.
//!
//! `tests/data/make_gemma3_tiny.py` made the checkpoints and the expected values: every norm and scale away from its
//! initial value, a window of 8 crossed several times, grouped heads, both configuration layouts, shards, a multimodal
//! wrapper, MLX quantization with a per-layer override.

mod reference;

use std::path::PathBuf;

use mlx_core::{Array, DType, eval};
use mlx_models::sampling::{Sampler, SamplingConfig};
use mlx_models::{Checkpoint, KvCache, LanguageModel, Sequence, models};
use reference::{Reference, run};

const CHECKPOINTS: [&str; 4] = ["gemma3-classic", "gemma3-new", "gemma3-multimodal", "gemma3-mlx-q4"];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn reference(name: &'static str) -> Reference {
    Reference::new(name, name, &format!("{name}/expected.safetensors"))
}

fn model(name: &'static str) -> Box<dyn LanguageModel> {
    reference(name).model()
}

fn ids(name: &'static str, tensor: &str) -> Vec<i32> {
    reference(name).ids(tensor)
}

#[test]
fn each_checkpoint_gives_the_logits_of_the_reference() {
    for name in CHECKPOINTS {
        reference(name).check();
    }
}

#[test]
fn greedy_continuation_is_that_of_the_reference() {
    let name = "gemma3-classic";
    let model = model(name);
    let mut caches = model.make_caches();
    let mut next = ids(name, "generate_prompt");
    let mut generated = Vec::new();
    for _ in 0..30 {
        let logits = run(&*model, &next, &mut caches);
        let last = &logits[logits.len() - model.shape().vocab_size..];
        let best = (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap() as i32;
        generated.push(best);
        next = vec![best];
    }
    assert_eq!(generated, ids(name, "expected_generate"));
}

#[test]
fn sixteen_bit_checkpoints_compute_in_their_own_dtype() {
    let checkpoint = Checkpoint::open(&folder("gemma3-multimodal")).unwrap();
    let model = models::load(&checkpoint, None).unwrap();
    assert_eq!(model.shape().dtype, DType::BF16);
    let tokens = ids("gemma3-multimodal", "tokens");
    let tokens = Array::from_slice(&tokens, &[1, 40]).unwrap();
    let hidden = model.forward(&tokens, &mut model.make_caches()).unwrap();
    let logits_bf16 = model.logits(&hidden).unwrap();
    assert_eq!(logits_bf16.dtype(), DType::BF16);
    // 8 significant bits through 7 layers; the logits' own deviation is 1.5.
    let logits_bf16 = logits_bf16.as_type(DType::F32).unwrap().to_vec::<f32>().unwrap();
    let expected = reference("gemma3-multimodal").logits();
    let square = |(a, e): (&f32, &f32)| f64::from(a - e).powi(2);
    let rms = (logits_bf16.iter().zip(&expected).map(square).sum::<f64>() / expected.len() as f64).sqrt();
    assert!(rms < 0.1, "root mean square difference {rms}");
}

#[test]
fn ids_outside_the_vocabulary_are_errors() {
    let model = model("gemma3-classic");
    for id in [96, i32::MAX, -97] {
        let tokens = Array::from_slice(&[2, id], &[1, 2]).unwrap();
        assert!(model.forward(&tokens, &mut model.make_caches()).is_err(), "{id}");
    }
}

#[test]
fn caches_of_another_model_are_an_error() {
    let (classic, new) = (model("gemma3-classic"), model("gemma3-new"));
    let tokens = Array::from_slice(&[2], &[1, 1]).unwrap();
    assert!(classic.forward(&tokens, &mut new.make_caches()).is_err());
    assert!(classic.forward(&tokens, &mut []).is_err());
}

#[test]
fn caches_at_different_positions_are_an_error() {
    let model = model("gemma3-classic");
    let mut caches = model.make_caches();
    run(&*model, &[2, 3], &mut caches);
    caches[1] = model.make_caches().swap_remove(1);
    let tokens = Array::from_slice(&[2], &[1, 1]).unwrap();
    let message = model.forward(&tokens, &mut caches).unwrap_err().to_string();
    assert!(message.contains("positions 2 and 0"), "{message}");
}

#[test]
fn a_sequence_ends_with_its_first_error() {
    let model = model("gemma3-classic");
    let mut sequence = Sequence::new(&*model, Sampler::new(SamplingConfig::default(), 0).unwrap());
    sequence.prefill(&[2, 3], || true).unwrap();
    sequence.sample().unwrap();
    let first = sequence.advance(96).unwrap_err().to_string();
    let later = [
        sequence.advance(2).unwrap_err(),
        sequence.sample().map(|_| ()).unwrap_err(),
        sequence.prefill(&[2], || true).unwrap_err(),
    ];
    for error in later.map(|error| error.to_string()) {
        assert!(error.contains("earlier error") && error.contains(&first), "{error}");
    }
}

#[test]
fn models_compute_in_floats_of_16_or_32_bits() {
    let checkpoint = Checkpoint::open(&folder("gemma3-classic")).unwrap();
    for dtype in [DType::I32, DType::U8, DType::Bool, DType::F64] {
        let Err(error) = models::load(&checkpoint, Some(dtype)) else { panic!("{dtype}: loaded") };
        assert!(error.to_string().contains(dtype.name()), "{error}");
    }
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        models::load(&checkpoint, Some(dtype)).unwrap();
    }
}

#[test]
fn decoding_and_reloading_keep_arrays_and_memory_flat() {
    let measure = || (mlx_core::memory::live_arrays(), mlx_core::memory::active_memory().unwrap());
    let decode = |model: &dyn LanguageModel, caches: &mut Vec<KvCache>, steps: i32| {
        for step in 0..steps {
            let token = Array::from_slice(&[step % 90], &[1, 1]).unwrap();
            let hidden = model.forward(&token, caches).unwrap();
            let logits = model.logits(&hidden).unwrap();
            let all: Vec<&Array> = caches.iter().flat_map(KvCache::arrays).chain([&logits]).collect();
            eval(&all).unwrap();
        }
    };
    // Other tests of this process hold arrays too, so this one runs in a process of its own.
    if std::env::var_os("FLAT_MEMORY").is_none() {
        let test = "decoding_and_reloading_keep_arrays_and_memory_flat";
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--test-threads=1"])
            .env("FLAT_MEMORY", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let before = {
        let model = model("gemma3-classic");
        let mut caches = model.make_caches();
        // From the 139th token on there is room for 278 in the layers without a window.
        decode(&*model, &mut caches, 150);
        let early = measure();
        decode(&*model, &mut caches, 100);
        let late = measure();
        assert_eq!(early.0, late.0, "live arrays grow with the steps");
        assert_eq!(early.1, late.1, "active memory grows inside one buffer of the cache");
        drop(model);
        drop(caches);
        measure()
    };
    for round in 0..20 {
        let model = model(CHECKPOINTS[round % 4]);
        decode(&*model, &mut model.make_caches(), 3);
    }
    assert_eq!(measure(), before, "loading and closing models leaves something behind");
}
