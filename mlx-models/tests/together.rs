//! Sequences that are read together compute bit for bit what each computes alone, whatever joins and leaves.

use std::path::PathBuf;

use mlx_core::kernels::{self, Mode};
use mlx_models::sampling::{Sampler, SamplingConfig};
use mlx_models::{LanguageModel, Reading, Sequence, read_together};

/// The checkpoints: sliding and full layers, heads in groups, biases, experts, packed weights.
const CHECKPOINTS: [&str; 6] = [
    "gemma3-classic",
    "gemma3-mlx-q4",
    "tiny/llama.gguf",
    "tiny/qwen2-mlx-mixed",
    "tiny/qwen3",
    "tiny/qwen3-moe-mlx-q4",
];

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Numbers that look random; splitmix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

fn sequence(model: &dyn LanguageModel) -> Sequence<'_> {
    Sequence::new(model, Sampler::new(SamplingConfig::default(), 0).unwrap())
}

/// Reads what a sequence read, in the same pieces, with nobody beside it.
fn alone(model: &dyn LanguageModel, pieces: &[Vec<u32>]) -> Vec<f32> {
    let mut sequence = sequence(model);
    for tokens in pieces {
        read_together(&mut [Reading { sequence: &mut sequence, tokens, wants_logits: true }]).unwrap();
    }
    sequence.logits().to_vec()
}

#[test]
fn company_changes_no_bit() {
    for name in CHECKPOINTS {
        let model = kernels::exactly(|| mlx_models::load(&data(name), None)).unwrap().model;
        let vocabulary = model.shape().vocab_size;
        for mode in [Mode::Exact, Mode::Fast] {
            kernels::with(mode, || {
                let mut numbers = Numbers(7);
                let mut running: Vec<(Sequence<'_>, Vec<Vec<u32>>)> = Vec::new();
                for step in 0..24 {
                    while running.len() < 1 + numbers.below(5) {
                        running.push((sequence(&*model), Vec::new()));
                    }
                    // Some read one token, as in decoding, some a piece of a prompt, and some nothing at all.
                    let mut readings = Vec::new();
                    let mut expected = Vec::new();
                    for (sequence, pieces) in &mut running {
                        let length = match numbers.below(4) {
                            0 => continue,
                            1 => 1 + numbers.below(20),
                            _ => 1,
                        };
                        pieces.push((0..length).map(|_| numbers.below(vocabulary) as u32).collect());
                        let wants_logits = numbers.below(3) > 0;
                        expected.push(wants_logits.then(|| alone(&*model, pieces)));
                        let tokens = pieces.last().unwrap();
                        readings.push(Reading { sequence, tokens, wants_logits });
                    }
                    read_together(&mut readings).unwrap();
                    for (reading, expected) in readings.iter().zip(expected) {
                        let expected = expected.unwrap_or_default();
                        assert!(reading.sequence.logits() == expected, "{name}, {mode:?}, step {step}");
                    }
                    drop(readings);
                    if running.len() > 3 {
                        running.remove(numbers.below(running.len()));
                    }
                }
            });
        }
    }
}

#[test]
fn a_sequence_that_cannot_go_on_leaves_the_others_alone() {
    let model = mlx_models::load(&data("gemma3-classic"), None).unwrap().model;
    let (mut good, mut broken) = (sequence(&*model), sequence(&*model));
    assert!(broken.advance(u32::MAX).is_err());
    for (tokens, named) in [(&[3, 4][..], "earlier error"), (&[][..], "no tokens")] {
        let mut other = sequence(&*model);
        let second = if tokens.is_empty() { &mut other } else { &mut broken };
        let error = read_together(&mut [
            Reading { sequence: &mut good, tokens: &[2, 5], wants_logits: true },
            Reading { sequence: second, tokens, wants_logits: true },
        ]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    read_together(&mut [Reading { sequence: &mut good, tokens: &[2, 5], wants_logits: true }]).unwrap();
    assert_eq!(good.logits(), alone(&*model, &[vec![2, 5]]));
}
