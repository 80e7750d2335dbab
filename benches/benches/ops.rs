//! Single operations at the 29 names and shapes of go-mlx's `internal/metal/bench_test.go`, so that the two can be held
//! side by side on a machine that runs both.
//!
//! ```console
//! cargo bench -p benches --bench ops                    # all of them
//! cargo bench -p benches --bench ops -- --quick         # each a few times: two minutes where the above takes fifteen
//! cargo bench -p benches --bench ops -- 'SDPA|RoPE'     # those whose name matches
//! ```
//!
//! Everything is float32. Inputs are made and evaluated outside the clock, the result is evaluated inside it. Throughput is
//! in floating-point operations (shown as elements) for products, in bytes read and written for what only passes over
//! memory, and in logits for sampling, which starts from an evaluated row and ends with the token on the CPU.
//!
//! Products of more than a billion operations are sampled ten times, whatever that takes: MLX's CPU build for Linux
//! computes a few of them in a nanosecond, and the largest product here has 137 billion.

use std::time::Duration;

use Op::*;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use mlx_core::nn::{Embedding, Linear, Weight};
use mlx_core::{Array, AttentionMask, DType, Frequencies, scaled_dot_product_attention};
use mlx_models::sampling::{Sampler, SamplingConfig};

const CASES: [(&str, Op); 29] = [
    ("MatMul_128x128", MatMul { rows: 128, inner: 128, columns: 128 }),
    ("MatMul_512x512", MatMul { rows: 512, inner: 512, columns: 512 }),
    ("MatMul_1024x1024", MatMul { rows: 1024, inner: 1024, columns: 1024 }),
    ("MatMul_2048x2048", MatMul { rows: 2048, inner: 2048, columns: 2048 }),
    ("MatMul_4096x4096", MatMul { rows: 4096, inner: 4096, columns: 4096 }),
    ("MatMul_1x2048_x_2048x32000", MatMul { rows: 1, inner: 2048, columns: 32_000 }),
    ("Softmax_1x1024", Softmax { rows: 1, columns: 1024 }),
    ("Softmax_32x32000", Softmax { rows: 32, columns: 32_000 }),
    ("Softmax_1x128000", Softmax { rows: 1, columns: 128_000 }),
    ("Add_1M", Add { size: 1_000_000 }),
    ("Mul_1M", Mul { size: 1_000_000 }),
    ("SiLU_1M", Silu { size: 1_000_000 }),
    ("RMSNorm_1x2048", RmsNorm { rows: 1, columns: 2048 }),
    ("RMSNorm_32x2048", RmsNorm { rows: 32, columns: 2048 }),
    ("LayerNorm_32x2048", LayerNorm { rows: 32, columns: 2048 }),
    ("RoPE_1x1x32x128", Rope { heads: 1, length: 32 }),
    ("RoPE_1x32x512x128", Rope { heads: 32, length: 512 }),
    ("SDPA_1head_seq32", Attention { heads: 1, length: 32 }),
    ("SDPA_32head_seq128", Attention { heads: 32, length: 128 }),
    ("SDPA_32head_seq512", Attention { heads: 32, length: 512 }),
    ("Linear_1x2048_to_2048", Project { rows: 1, inputs: 2048, outputs: 2048 }),
    ("Linear_32x2048_to_8192", Project { rows: 32, inputs: 2048, outputs: 8192 }),
    ("Embedding_32tokens_vocab32000_dim2048", Embed { tokens: 32, vocabulary: 32_000, width: 2048 }),
    ("Sum_1M", Sum { size: 1_000_000 }),
    ("Argmax_1x32000", Argmax { columns: 32_000 }),
    ("Sampler_Greedy", Sample { temperature: 0.0, top_p: 1.0, min_p: 0.0, top_k: 0 }),
    ("Sampler_TopK50_Temp1", Sample { temperature: 1.0, top_p: 1.0, min_p: 0.0, top_k: 50 }),
    ("Sampler_TopP09_Temp1", Sample { temperature: 1.0, top_p: 0.9, min_p: 0.0, top_k: 0 }),
    ("Sampler_Full_TopP09_MinP01_TopK50", Sample { temperature: 0.8, top_p: 0.9, min_p: 0.1, top_k: 50 }),
];

/// An operation and the shape of its operands.
#[derive(Clone, Copy)]
enum Op {
    MatMul {
        rows: i32,
        inner: i32,
        columns: i32,
    },
    Softmax {
        rows: i32,
        columns: i32,
    },
    Add {
        size: i32,
    },
    Mul {
        size: i32,
    },
    /// Composed of a sigmoid and a product, as in the original.
    Silu {
        size: i32,
    },
    RmsNorm {
        rows: i32,
        columns: i32,
    },
    /// With weight and bias.
    LayerNorm {
        rows: i32,
        columns: i32,
    },
    Rope {
        heads: i32,
        length: i32,
    },
    /// Causal, with as many keys as queries.
    Attention {
        heads: i32,
        length: i32,
    },
    Project {
        rows: i32,
        inputs: i32,
        outputs: i32,
    },
    Embed {
        tokens: i32,
        vocabulary: i32,
        width: i32,
    },
    Sum {
        size: i32,
    },
    Argmax {
        columns: i32,
    },
    /// Over [`VOCABULARY`] logits between -5 and 5.
    Sample {
        temperature: f32,
        top_p: f32,
        min_p: f32,
        top_k: usize,
    },
}

/// Width of an attention head.
const HEAD: i32 = 128;
const VOCABULARY: i32 = 32_000;
const EPS: f32 = 1e-5;
/// Products of more operations than this are given all the time they need.
const LONG: u64 = 1_000_000_000;

/// One run of a case, with the result evaluated.
type Run = Box<dyn FnMut() -> anyhow::Result<()>>;

impl Op {
    /// Makes the inputs.
    fn prepare(self) -> anyhow::Result<Run> {
        Ok(match self {
            MatMul { rows, inner, columns } => {
                let (a, b) = (uniform(&[rows, inner])?, uniform(&[inner, columns])?);
                Box::new(move || Ok(a.matmul(&b)?.eval()?))
            }
            Softmax { rows, columns } => {
                let x = uniform(&[rows, columns])?;
                Box::new(move || Ok(x.softmax(-1, false)?.eval()?))
            }
            Add { size } => {
                let (a, b) = (uniform(&[size])?, uniform(&[size])?);
                Box::new(move || Ok(a.add(&b)?.eval()?))
            }
            Mul { size } => {
                let (a, b) = (uniform(&[size])?, uniform(&[size])?);
                Box::new(move || Ok(a.multiply(&b)?.eval()?))
            }
            Silu { size } => {
                let x = between(-3.0, 3.0, &[size])?;
                Box::new(move || Ok(x.multiply(&x.sigmoid()?)?.eval()?))
            }
            RmsNorm { rows, columns } => {
                let (x, weight) = (uniform(&[rows, columns])?, uniform(&[columns])?);
                Box::new(move || Ok(x.rms_norm(Some(&weight), EPS)?.eval()?))
            }
            LayerNorm { rows, columns } => {
                let (x, weight, bias) =
                    (uniform(&[rows, columns])?, uniform(&[columns])?, uniform(&[columns])?);
                Box::new(move || Ok(x.layer_norm(Some(&weight), Some(&bias), EPS)?.eval()?))
            }
            Rope { heads, length } => {
                let x = uniform(&[1, heads, length, HEAD])?;
                Box::new(move || Ok(x.rope(HEAD, false, Frequencies::Base(10_000.0), 1.0, 0)?.eval()?))
            }
            Attention { heads, length } => {
                let part = || uniform(&[1, heads, length, HEAD]);
                let (q, k, v) = (part()?, part()?, part()?);
                let scale = 1.0 / (HEAD as f32).sqrt();
                Box::new(move || {
                    Ok(scaled_dot_product_attention(&q, &k, &v, scale, AttentionMask::Causal)?.eval()?)
                })
            }
            Project { rows, inputs, outputs } => {
                let x = uniform(&[rows, inputs])?;
                let linear = Linear::new(Weight::Dense(uniform(&[outputs, inputs])?), None);
                Box::new(move || Ok(linear.forward(&x)?.eval()?))
            }
            Embed { tokens, vocabulary, width } => {
                let embedding = Embedding { weight: Weight::Dense(uniform(&[vocabulary, width])?) };
                let ids = between(0.0, vocabulary as f32 - 1.0, &[tokens])?.as_type(DType::I32)?;
                ids.eval()?;
                Box::new(move || Ok(embedding.forward(&ids)?.eval()?))
            }
            Sum { size } => {
                let x = uniform(&[size])?;
                Box::new(move || Ok(x.sum(0, false)?.eval()?))
            }
            Argmax { columns } => {
                let x = uniform(&[1, columns])?;
                Box::new(move || Ok(x.argmax(-1, false)?.eval()?))
            }
            Sample { temperature, top_p, min_p, top_k } => {
                let logits = between(-5.0, 5.0, &[1, VOCABULARY])?;
                let config = SamplingConfig { temperature, top_p, min_p, top_k, ..SamplingConfig::default() };
                let mut sampler = Sampler::new(config, 0)?;
                Box::new(move || {
                    std::hint::black_box(sampler.sample(&mut logits.to_vec()?, &[])?);
                    Ok(())
                })
            }
        })
    }

    fn throughput(self) -> Throughput {
        let product = |factors: &[i32]| factors.iter().map(|n| *n as u64).product::<u64>();
        let flops = |factors: &[i32]| Throughput::Elements(2 * product(factors));
        let floats = |factors: &[i32], passes: u64| Throughput::Bytes(4 * passes * product(factors));
        match self {
            MatMul { rows, inner, columns } => flops(&[rows, inner, columns]),
            Project { rows, inputs, outputs } => flops(&[rows, inputs, outputs]),
            // Two products; what the mask hides is computed all the same.
            Attention { heads, length } => flops(&[2, heads, length, length, HEAD]),
            Softmax { rows, columns } | RmsNorm { rows, columns } | LayerNorm { rows, columns } => {
                floats(&[rows, columns], 2)
            }
            Add { size } | Mul { size } => floats(&[size], 3),
            Silu { size } => floats(&[size], 2),
            Rope { heads, length } => floats(&[heads, length, HEAD], 2),
            Embed { tokens, width, .. } => floats(&[tokens, width], 2),
            Sum { size } => floats(&[size], 1),
            Argmax { columns } => floats(&[columns], 1),
            Sample { .. } => Throughput::Elements(VOCABULARY as u64),
        }
    }

    fn is_long(self) -> bool {
        matches!(self.throughput(), Throughput::Elements(operations) if operations > LONG)
    }
}

/// Evaluated numbers that look evenly drawn from 0 to 1, the same ones each time.
fn uniform(shape: &[i32]) -> mlx_core::Result<Array> {
    between(0.0, 1.0, shape)
}

fn between(low: f32, high: f32, shape: &[i32]) -> mlx_core::Result<Array> {
    let size = shape.iter().map(|n| *n as u64).product::<u64>();
    let number = |index: u64| {
        let mixed = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        low + (high - low) * ((mixed >> 40) as f32 / (1 << 24) as f32)
    };
    Array::from_slice(&(0..size).map(number).collect::<Vec<f32>>(), shape)
}

fn ops(criterion: &mut Criterion) {
    for (name, op) in CASES {
        let mut group = criterion.benchmark_group(name);
        group.throughput(op.throughput()).warm_up_time(Duration::from_secs(1));
        if op.is_long() {
            group.sample_size(10).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(1));
            group.warm_up_time(Duration::from_millis(1));
        }
        // Made when the filter lets the case through, and once: criterion calls the closure again for each phase.
        let mut run = None;
        group.bench_function("f32", |bencher| {
            let run = run.get_or_insert_with(|| op.prepare().expect("the shapes above are sound"));
            bencher.iter(|| run().expect("a sound operation is computed"));
        });
        group.finish();
    }
}

criterion_group!(benches, ops);
criterion_main!(benches);
