//! One decode step's matrix products, at the shapes of Gemma 3 270M: one row times each kind of weight.
//!
//! ```console
//! cargo bench -p benches --bench decode_row
//! ```
//!
//! Throughput is in bytes of weights read, to be held against the memory's bandwidth. Inputs are made outside the clock;
//! the result is evaluated inside it, since MLX computes nothing before.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mlx_core::nn::Weight;
use mlx_core::{Array, DType, Quantization, Result};

/// Name, output rows, input columns.
const SHAPES: [(&str, i32, i32); 4] =
    [("q_proj", 1024, 640), ("gate_proj", 2048, 640), ("down_proj", 640, 2048), ("head", 262_144, 640)];

/// Name, and the bits of quantized weights; `None` is dense float32.
const FORMATS: [(&str, Option<i32>); 4] =
    [("f32", None), ("4 bits", Some(4)), ("5 bits", Some(5)), ("8 bits", Some(8))];

fn weight(rows: i32, columns: i32, bits: Option<i32>) -> Result<Weight> {
    let dense = Array::arange(0.0, f64::from(rows) * f64::from(columns), 1.0, DType::F32)?.sin()?;
    let dense = dense.reshape(&[rows, columns])?;
    let weight = match bits {
        None => Weight::Dense(dense),
        Some(bits) => Weight::quantize(&dense, Quantization::affine(32, bits))?,
    };
    mlx_core::eval(&weight.arrays())?;
    Ok(weight)
}

fn decode_row(criterion: &mut Criterion) {
    for (name, rows, columns) in SHAPES {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for (format, bits) in FORMATS {
            let weight = weight(rows, columns, bits).expect("the shapes above are sound");
            let x = Array::full(&[1, columns], 0.5f32).expect("a row fits in memory");
            let bytes: usize = weight.arrays().iter().map(|array| array.nbytes()).sum();
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(BenchmarkId::from_parameter(format), |bencher| {
                bencher.iter(|| weight.project(&x).and_then(|y| y.eval()));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decode_row);
criterion_main!(benches);
