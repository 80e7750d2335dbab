//! The packaged models from their GGUF files, against transformers in float32 on the same dequantized weights.
//!
//! `data/make_gemma3_270m.py` and `data/make_smollm2_135m.py` made the expected values, and
//! `data/make_llama_cpp_perplexity.py` those of llama.cpp. One prompt of Gemma's is longer than
//! its window of 512 tokens, and what it asks for stands outside the window of its last token.

mod real;

use mlx_core::kernels::{self, Mode};
use mlx_core::{Array, DType, Quantization};
use mlx_models::sampling::{Sampler, SamplingConfig};
use mlx_models::{CacheConfig, LoadedModel, Sequence};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    prompts: Vec<Prompt>,
    perplexity: Perplexity,
}

#[derive(Deserialize)]
struct Prompt {
    name: String,
    text: String,
    ids: Vec<u32>,
    expected_text: String,
    expected_ids: Vec<u32>,
    last_top5_ids: Vec<usize>,
    last_top5_logits: Vec<f32>,
}

#[derive(Deserialize)]
struct Perplexity {
    text: String,
    ids: Vec<u32>,
    mean_nll: f64,
}

/// A packaged model by its name, and what is expected of it.
const GEMMA: (&str, &str) = ("gemma-3-270m", include_str!("data/gemma3_270m_expected.json"));
const SMOLLM: (&str, &str) = ("smollm2-135m-instruct", include_str!("data/smollm2_135m_expected.json"));

fn load((name, expected): (&str, &str)) -> (LoadedModel, Expected) {
    (mlx_models::load(&real::fetch(name), None).unwrap(), serde_json::from_str(expected).unwrap())
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    for (mode, bound) in [(Mode::Exact, 2e-3), (Mode::Fast, 1e-2)] {
        kernels::with(mode, || {
            compare_greedy(GEMMA, bound);
            compare_greedy(SMOLLM, 2.0 * bound);
        });
    }
}

/// Token ids must be equal, and the largest logits within `bound`.
fn compare_greedy(which: (&str, &str), bound: f32) {
    let (model, expected) = load(which);
    let tokenizer = model.text.tokenizer().unwrap();
    for prompt in expected.prompts {
        assert_eq!(tokenizer.encode(&prompt.text, true, true).unwrap(), prompt.ids, "{}", prompt.name);
        let mut sequence = Sequence::new(&*model.model, Sampler::new(SamplingConfig::default(), 0).unwrap());
        assert!(sequence.prefill(&prompt.ids, || true).unwrap());
        for (id, expected) in prompt.last_top5_ids.iter().zip(&prompt.last_top5_logits) {
            let logit = sequence.logits()[*id];
            assert!(
                (logit - expected).abs() < bound,
                "{}: logit of {id} is {logit}, not {expected}",
                prompt.name
            );
        }
        let mut text = tokenizer.detokenizer(false);
        let (mut ids, mut pieces) = (Vec::new(), String::new());
        for _ in 0..prompt.expected_ids.len() {
            let token = sequence.sample().unwrap().token;
            ids.push(token);
            pieces += &text.push(token).unwrap();
            sequence.advance(token).unwrap();
        }
        assert_eq!(ids, prompt.expected_ids, "{}", prompt.name);
        assert_eq!(pieces + &text.finish(), prompt.expected_text, "{}", prompt.name);
    }
}

#[test]
fn perplexity_is_that_of_transformers() {
    for which in [GEMMA, SMOLLM] {
        let (model, Expected { perplexity: Perplexity { text, ids, mean_nll }, .. }) = load(which);
        assert_eq!(model.text.tokenizer().unwrap().encode(&text, true, false).unwrap(), ids);
        let found = kernels::exactly(|| mlx_models::perplexity(&*model.model, &ids)).unwrap();
        let found = found.ln();
        let name = which.0;
        assert!(
            (found - mean_nll).abs() < 1e-4,
            "{name}: mean negative log-likelihood {found}, not {mean_nll}"
        );
    }
}

/// What llama.cpp gives for the same ids.
#[derive(Deserialize)]
struct LlamaCpp {
    tokens: usize,
    /// From the file's weights, unpacked.
    mean_nll: f64,
}

#[test]
fn perplexity_is_that_of_llama_cpp() {
    let all: serde_json::Value =
        serde_json::from_str(include_str!("data/llama_cpp_perplexity.json")).unwrap();
    for which in [GEMMA, SMOLLM] {
        let (model, Expected { perplexity: Perplexity { ids, .. }, .. }) = load(which);
        let LlamaCpp { tokens, mean_nll } = LlamaCpp::deserialize(&all[which.0]).unwrap();
        assert_eq!(ids.len(), tokens);
        let found = kernels::exactly(|| mlx_models::perplexity(&*model.model, &ids)).unwrap();
        let share = found / mean_nll.exp() - 1.0;
        println!("{}: perplexity {found}, {share:e} above llama.cpp's", which.0);
        assert!(share.abs() < 5e-4, "{}: perplexity {found}, not {}", which.0, mean_nll.exp());
    }
}

/// Negative log-likelihood of the next token.
fn nll(logits: &[f32], next: u32) -> f64 {
    let largest = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    sum.ln() + f64::from(largest) - f64::from(logits[next as usize])
}

#[test]
fn decoding_fast_keeps_the_perplexity_and_the_logits() {
    compare_fast(GEMMA, 1e-2);
    compare_fast(SMOLLM, 2e-2);
}

/// Logits of single steps must lie within `bound`, and the mean negative log-likelihood within 1e-4.
fn compare_fast(which: (&str, &str), bound: f32) {
    let (model, Expected { perplexity: Perplexity { ids, mean_nll, .. }, .. }) = load(which);
    // Token by token, as decoding goes: logits before each token.
    let decode = |mode| {
        let mut sequence = Sequence::new(&*model.model, Sampler::new(SamplingConfig::default(), 0).unwrap());
        let mut step = |id| {
            kernels::with(mode, || sequence.advance(id)).unwrap();
            sequence.logits().to_vec()
        };
        ids[..ids.len() - 1].iter().map(|id| step(*id)).collect::<Vec<_>>()
    };
    let (exact, fast) = (decode(Mode::Exact), decode(Mode::Fast));
    let mean = |rows: &[Vec<f32>]| {
        let sum: f64 = rows.iter().zip(&ids[1..]).map(|(row, next)| nll(row, *next)).sum();
        sum / rows.len() as f64
    };
    let worst = |rows: (&Vec<f32>, &Vec<f32>)| {
        rows.0.iter().zip(rows.1).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let worst = exact.iter().zip(&fast).map(worst).fold(0.0, f32::max);
    let (exact, fast) = (mean(&exact), mean(&fast));
    println!(
        "{}: mean negative log-likelihood: exact {exact}, fast {fast}; a logit differs by {worst} at most",
        which.0
    );
    assert!((exact - mean_nll).abs() < 1e-4, "exact: {exact}, not {mean_nll}");
    assert!((fast - exact).abs() < 1e-4, "fast: {fast}, not {exact}");
    assert!(worst > 0.0 && worst < bound, "a logit differs by {worst}");
}

/// The means found are 3.789 and 3.892, where unpacked caches give 3.795; over so few tokens the first may as well be above.
#[test]
fn packed_caches_keep_the_perplexity() {
    let (model, Expected { perplexity: Perplexity { ids, mean_nll, .. }, .. }) = load(GEMMA);
    for (bits, group_size, allowed) in [(8, 64, 0.01), (4, 32, 0.15)] {
        let config = CacheConfig::quantized(Quantization::affine(group_size, bits));
        let mut caches = model.model.make_caches_with(config).unwrap();
        let mut total = 0.0;
        // A prompt, and then token by token.
        for chunk in [&ids[..101]].into_iter().chain(ids[101..ids.len() - 1].chunks(1)) {
            let first = caches[0].offset() as usize;
            let tokens = Array::from_slice(chunk, &[1, chunk.len() as i32]).unwrap();
            let hidden = model.model.forward(&tokens, &mut caches).unwrap();
            let rows = model.model.logits(&hidden).unwrap().as_type(DType::F32).unwrap();
            let rows = rows.to_vec::<f32>().unwrap();
            for (row, next) in rows.chunks(model.model.shape().vocab_size).zip(&ids[first + 1..]) {
                total += nll(row, *next);
            }
        }
        let mean = total / (ids.len() - 1) as f64;
        println!("{bits} bits in {group_size}: mean negative log-likelihood {mean}, unpacked {mean_nll}");
        assert!((mean - mean_nll).abs() < allowed, "{bits} bits: {mean}, not {mean_nll}");
    }
}
