//! Gemma 3 on tiny random checkpoints with caches that pack, start to pack, and go back to a prefix.

use std::path::PathBuf;

use mlx_core::io::SafetensorsFile;
use mlx_core::kernels::{self, Mode};
use mlx_core::{Array, DType, Quantization};
use mlx_models::sampling::{Sampler, SamplingConfig};
use mlx_models::{CacheConfig, Checkpoint, KvCache, LanguageModel, Sequence, cache, models};

/// As in `gemma3_tiny.rs`.
const F32_TIGHT: f32 = 2e-4;
const CHECKPOINTS: [&str; 4] = ["gemma3-classic", "gemma3-new", "gemma3-multimodal", "gemma3-mlx-q4"];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn model(name: &str) -> Box<dyn LanguageModel> {
    models::load(&Checkpoint::open(&folder(name)).unwrap(), Some(DType::F32)).unwrap()
}

fn expected(name: &str, tensor: &str) -> Vec<u8> {
    SafetensorsFile::open(folder(name).join("expected.safetensors")).unwrap().read(tensor).unwrap()
}

fn ids(name: &str, tensor: &str) -> Vec<i32> {
    expected(name, tensor).chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn logits(name: &str) -> Vec<f32> {
    expected(name, "logits").chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn run(model: &dyn LanguageModel, tokens: &[i32], caches: &mut [KvCache]) -> Vec<f32> {
    // The reference does not round for speed.
    kernels::exactly(|| {
        let tokens = Array::from_slice(tokens, &[1, tokens.len() as i32]).unwrap();
        let hidden = model.forward(&tokens, caches).unwrap();
        model.logits(&hidden).unwrap().to_vec::<f32>().unwrap()
    })
}

#[track_caller]
fn assert_close(actual: &[f32], expected: &[f32], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let worst = actual.iter().zip(expected).map(|(a, e)| (a - e).abs()).fold(0.0, f32::max);
    assert!(worst <= F32_TIGHT, "{what}: a logit differs by {worst}");
}

/// `tests/data/make_packed_caches.py` made the expected values, by mlx-lm. Packing moves logits by 3.5e-2 with 8 bits and
/// 0.52 with 4 (root mean square; their own is 1.5). A sum in another order may land a number on the next code.
#[test]
fn packed_caches_give_the_logits_of_packed_and_unpacked_rows() {
    // The one checkpoint whose heads are as wide as a group.
    let name = "gemma3-mlx-q4";
    let model = model(name);
    let tokens = ids(name, "tokens");
    let file = SafetensorsFile::open(folder(name).join("expected_packed_caches.safetensors")).unwrap();
    let floats = |bytes: Vec<u8>| -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    for (bits, next_code) in [(8, 3e-3), (4, 3e-2)] {
        let expected = floats(file.read(&format!("logits_{bits}")).unwrap());
        let config = CacheConfig::quantized(Quantization::affine(32, bits));
        for chunks in [vec![40], vec![12, 1, 1, 1, 25], vec![1; 40]] {
            for mode in [Mode::Off, Mode::Exact] {
                let mut caches = model.make_caches_with(config).unwrap();
                let (mut all, mut from) = (Vec::new(), 0);
                for length in &chunks {
                    let chunk = &tokens[from..from + length];
                    all.extend(kernels::with(mode, || run(&*model, chunk, &mut caches)));
                    from += length;
                }
                let worst = all.iter().zip(&expected).map(|(a, e)| (a - e).abs()).fold(0.0, f32::max);
                assert!(
                    worst <= next_code,
                    "{bits} bits in {chunks:?}, {mode:?}: a logit differs by {worst}"
                );
            }
        }
    }
}

#[test]
fn packing_starts_when_it_is_told_to() {
    let name = "gemma3-mlx-q4";
    let model = model(name);
    let tokens = ids(name, "tokens");
    let config = CacheConfig { start: 20, ..CacheConfig::quantized(Quantization::affine(32, 8)) };
    let mut caches = model.make_caches_with(config).unwrap();
    let before = run(&*model, &tokens[..20], &mut caches);
    assert_close(&before, &logits(name)[..before.len()], "nothing is packed yet");
    let after = run(&*model, &tokens[20..], &mut caches);
    let worst =
        after.iter().zip(&logits(name)[before.len()..]).map(|(a, e)| (a - e).abs()).fold(0.0, f32::max);
    assert!((1e-3..0.2).contains(&worst), "{worst}");
}

#[test]
fn heads_that_cannot_be_packed_are_refused_before_anything_is_read() {
    let config = CacheConfig::quantized(Quantization::affine(32, 8));
    let error = model("gemma3-classic").make_caches_with(config).unwrap_err().to_string();
    assert!(error.contains("heads of 16") && error.contains("groups of 32"), "{error}");
}

#[test]
fn tokens_that_were_taken_back_leave_no_trace() {
    let packed = CacheConfig::quantized(Quantization::affine(32, 8));
    for (name, config) in CHECKPOINTS
        .map(|name| (name, CacheConfig::default()))
        .into_iter()
        .chain([("gemma3-mlx-q4", packed), ("gemma3-mlx-q4", CacheConfig { start: 18, ..packed })])
    {
        let model = model(name);
        let tokens = ids(name, "tokens");
        let (prefix, rest) = tokens.split_at(19);
        let other: Vec<i32> = rest.iter().rev().copied().collect();
        let go_on = |caches: &mut Vec<KvCache>| {
            [run(&*model, &rest[..9], caches), run(&*model, &rest[9..10], caches)]
        };

        let mut caches = model.make_caches_with(config).unwrap();
        run(&*model, prefix, &mut caches);
        let expected = go_on(&mut caches);

        let mut caches = model.make_caches_with(config).unwrap();
        run(&*model, prefix, &mut caches);
        for chunk in other.chunks(8) {
            run(&*model, chunk, &mut caches);
        }
        cache::truncate(&mut caches, prefix.len()).unwrap();
        let start = config.start;
        assert!(
            go_on(&mut caches) == expected,
            "{name}, from {start}: the logits are not the same, bit for bit"
        );
    }
}

#[test]
fn a_sequence_goes_on_from_a_prefix() {
    let model = model("gemma3-classic");
    let sequence = || Sequence::new(&*model, Sampler::new(SamplingConfig::default(), 0).unwrap());
    let (first, second, third): ([u32; 12], [u32; 9], [u32; 3]) = ([7; 12], [8; 9], [9; 3]);
    let mut plain = sequence();
    plain.prefill(&first, || true).unwrap();
    plain.prefill(&third, || true).unwrap();

    let mut taken_back = sequence();
    taken_back.prefill(&first, || true).unwrap();
    taken_back.prefill(&second, || true).unwrap();
    assert!(taken_back.truncate(22).is_err());
    taken_back.truncate(12).unwrap();
    assert!(taken_back.sample().is_err(), "there are no logits");
    taken_back.prefill(&third, || true).unwrap();
    assert_eq!(taken_back.logits(), plain.logits());

    let (tokens, mut caches) = taken_back.into_parts().unwrap();
    assert_eq!(tokens, [&first[..], &third].concat());
    let sampler = || Sampler::new(SamplingConfig::default(), 0).unwrap();
    assert!(Sequence::resume(&*model, sampler(), tokens[1..].to_vec(), model.make_caches()).is_err());
    cache::truncate(&mut caches, 12).unwrap();
    let mut resumed = Sequence::resume(&*model, sampler(), first.to_vec(), caches).unwrap();
    resumed.prefill(&third, || true).unwrap();
    assert_eq!(resumed.logits(), plain.logits());
}
