//! Products of `cpu-kernels` by layout: a row of activations against a matrix in memory (GB/s), and a prompt (GFLOP/s).

use std::hint::black_box;
use std::time::Instant;

use cpu_kernels::blocks::BlockFormat;
use cpu_kernels::product::{Affine, Dense, Matrix, Output, Precision, Rows, Values, product};
use cpu_kernels::{Isa, threads};
use half::bf16;

/// Columns of the matrices, as wide as a small model.
const K: usize = 2048;
/// Rows, so many that no layout stays in a cache.
const N: usize = 65536;
/// Rows for a prompt, whose weights may stay in a cache as a layer's do.
const PROMPT_N: usize = 2048;

fn main() {
    let words: Vec<u32> = (0..N * K / 4).map(|i| (i as u32).wrapping_mul(2_654_435_761)).collect();
    let (scales, values) = (vec![bf16::ONE; N * K / 32], vec![1.0f32; N * K / 4]);
    let bytes: Vec<u8> = words.iter().flat_map(|word| (word & 0x1f1f_1f1f).to_le_bytes()).collect();
    println!("{} threads, {}", threads::threads(), Isa::best());
    println!("{:<14}{:>20}{:>20}{:>20}{:>12}", "", "1 row", "1 row", "8 rows", "512 rows");
    println!("{:<14}{:>20}{:>20}{:>20}{:>12}", "", "GB/s", "G weights/s", "G w x rows/s", "GFLOP/s");
    let pair = format!("{:>10}{:>10}", "exact", "rounded");
    println!("{:<14}{pair}{pair}{pair}{:>12}", "layout", "exact");

    let report = |name: &str, bits: f64, matrix: &dyn Fn(usize) -> Matrix<'static>| {
        let run = |n: usize, rows: Rows, rounded: bool| {
            let x = vec![0.5f32; rows.count() * K];
            let mut out = vec![0.0; rows.count() * n];
            let precision = if rounded { Precision::Rounded } else { Precision::Exact };
            let mut times: Vec<f64> = (0..7)
                .map(|_| {
                    let start = Instant::now();
                    product(
                        Isa::best(),
                        &x,
                        rows,
                        &mut [Output { weights: matrix(n), out: black_box(&mut out) }],
                        precision,
                    );
                    start.elapsed().as_secs_f64()
                })
                .collect();
            times.sort_by(f64::total_cmp);
            (n * K * rows.count()) as f64 / times[times.len() / 2] / 1e9
        };
        let rows = matrix(N).rows();
        let (one, eight) = (Rows::of_one(1), Rows { sequences: 8, length: 1 });
        let [exact, rounded] = [false, true].map(|rounded| run(rows, one, rounded));
        let [exact8, rounded8] = [false, true].map(|rounded| run(rows, eight, rounded));
        let many = run(PROMPT_N, Rows::of_one(512), false) * 2.0;
        let bytes = bits / 8.0;
        println!(
            "{name:<14}{:>10.1}{:>10.1}{exact:>10.1}{rounded:>10.1}{exact8:>10.1}{rounded8:>10.1}{many:>12.1}",
            exact * bytes,
            rounded * bytes
        );
    };

    // The memory lives as long as the program.
    let (words, scales, values, bytes): (&[u32], &[bf16], &[f32], &[u8]) =
        (words.leak(), scales.leak(), values.leak(), bytes.leak());
    report("float32", 32.0, &|n| {
        let n = n.min(N / 4);
        let dense = Dense { values: Values::F32(values), row_stride: K, column_stride: 1 };
        Matrix::dense([n, K], dense).unwrap()
    });
    for (bits, group_size) in [(4, 32), (4, 64), (8, 64), (2, 64), (3, 64), (5, 64), (6, 64)] {
        let scales_bits = 32.0 / group_size as f64;
        report(&format!("{bits} bits / {group_size}"), bits as f64 + scales_bits, &|n| {
            let scales = &scales[..n * K / group_size];
            let parts = Affine {
                codes: &words[..n * K * bits / 32],
                scales: Values::Bf16(scales),
                biases: Values::Bf16(scales),
                group_size,
                bits,
            };
            Matrix::affine([n, K], parts).unwrap()
        });
    }
    for format in BlockFormat::ALL {
        let (length, size) = (format.block_len(), format.block_bytes());
        report(format.name(), (size * 8) as f64 / length as f64, &|n| {
            let n = n.min(bytes.len() / (K / length * size));
            Matrix::blocks([n, K], format, &bytes[..n * K / length * size]).unwrap()
        });
    }
}
