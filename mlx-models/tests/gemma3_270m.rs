//! The real Gemma 3 270M from its GGUF file, against transformers in float32 on the same dequantized weights.
//!
//! `data/make_gemma3_270m.py` made the expected values. One prompt is longer than the 512-token window, and what it asks
//! for stands outside the window of its last token.

mod real;

use mlx_core::kernels::{self, Mode};
use mlx_models::sampling::{Sampler, SamplingConfig};
use mlx_models::{LoadedModel, Sequence, for_each_logits};
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

fn expected() -> Expected {
    serde_json::from_str(include_str!("data/gemma3_270m_expected.json")).unwrap()
}

fn load() -> LoadedModel {
    mlx_models::load(&real::fetch("gemma-3-270m"), None).unwrap()
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    for (mode, bound) in [(Mode::Exact, 2e-3), (Mode::Fast, 1e-2)] {
        kernels::with(mode, || compare_greedy(bound));
    }
}

/// Token ids must be equal, and the largest logits within `bound`.
fn compare_greedy(bound: f32) {
    let model = load();
    let tokenizer = model.text.tokenizer().unwrap();
    for prompt in expected().prompts {
        assert_eq!(tokenizer.encode(&prompt.text, true, false).unwrap(), prompt.ids, "{}", prompt.name);
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
        let mut text = tokenizer.detokenizer(true);
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
    let model = load();
    let Perplexity { text, ids, mean_nll } = expected().perplexity;
    assert_eq!(model.text.tokenizer().unwrap().encode(&text, true, false).unwrap(), ids);
    let vocab = model.model.shape().vocab_size;
    let (mut position, mut total) = (0, 0.0);
    for_each_logits(&*model.model, &ids, |rows| {
        for row in rows.chunks(vocab) {
            position += 1;
            total += ids.get(position).map_or(0.0, |next| nll(row, *next));
        }
        Ok(())
    })
    .unwrap();
    let found = total / (ids.len() - 1) as f64;
    assert!((found - mean_nll).abs() < 1e-4, "mean negative log-likelihood {found}, not {mean_nll}");
}

/// Negative log-likelihood of the next token.
fn nll(logits: &[f32], next: u32) -> f64 {
    let largest = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    sum.ln() + f64::from(largest) - f64::from(logits[next as usize])
}

#[test]
fn decoding_fast_keeps_the_perplexity_and_the_logits() {
    let model = load();
    let Perplexity { ids, mean_nll, .. } = expected().perplexity;
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
    println!("mean negative log-likelihood: exact {exact}, fast {fast}; a logit differs by {worst} at most");
    assert!((exact - mean_nll).abs() < 1e-4, "exact: {exact}, not {mean_nll}");
    assert!((fast - exact).abs() < 1e-4, "fast: {fast}, not {exact}");
    assert!(worst > 0.0 && worst < 1e-2, "a logit differs by {worst}");
}
