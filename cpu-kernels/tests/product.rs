//! Products with matrices in every layout, against sums in float64 over the weights that the layout stands for.

use cpu_kernels::blocks::{self, BlockFormat};
use cpu_kernels::product::{
    Affine, Dense, Matrix, Output, Precision, Rows, Values, product, product_transposed, unpack,
};
use cpu_kernels::{Isa, threads};
use half::{bf16, f16};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Numbers between -1 and 1, from a seed.
struct Numbers(ChaCha8Rng);

impl Numbers {
    fn new(seed: u64) -> Self {
        Numbers(ChaCha8Rng::seed_from_u64(seed))
    }

    fn word(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn float(&mut self) -> f32 {
        self.word() as f32 / u32::MAX as f32 * 2.0 - 1.0
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }
}

/// A matrix in memory of its own, and the weights that it stands for.
struct Case {
    name: String,
    shape: [usize; 2],
    memory: Memory,
    weights: Vec<f32>,
}

enum Memory {
    F32(Vec<f32>),
    Transposed(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    Affine { codes: Vec<u32>, scales: Vec<bf16>, biases: Vec<bf16>, group_size: usize, bits: usize },
    Blocks(BlockFormat, Vec<u8>),
}

impl Case {
    fn matrix(&self) -> Matrix<'_> {
        let [rows, columns] = self.shape;
        let side_by_side = |values| Dense { values, row_stride: columns, column_stride: 1 };
        let matrix = match &self.memory {
            Memory::F32(values) => Matrix::dense(self.shape, side_by_side(Values::F32(values))),
            Memory::F16(values) => Matrix::dense(self.shape, side_by_side(Values::F16(values))),
            Memory::Bf16(values) => Matrix::dense(self.shape, side_by_side(Values::Bf16(values))),
            Memory::Transposed(values) => Matrix::dense(
                self.shape,
                Dense { values: Values::F32(values), row_stride: 1, column_stride: rows },
            ),
            Memory::Affine { codes, scales, biases, group_size, bits } => Matrix::affine(
                self.shape,
                Affine {
                    codes,
                    scales: Values::Bf16(scales),
                    biases: Values::Bf16(biases),
                    group_size: *group_size,
                    bits: *bits,
                },
            ),
            Memory::Blocks(format, bytes) => Matrix::blocks(self.shape, *format, bytes),
        };
        matrix.unwrap()
    }
}

fn dense(shape: [usize; 2]) -> Vec<Case> {
    let [rows, columns] = shape;
    let weights = Numbers::new(1).floats(rows * columns);
    let rounded: Vec<f32> = weights.iter().map(|w| bf16::from_f32(*w).to_f32()).collect();
    let transposed = (0..columns).flat_map(|k| (0..rows).map(move |n| n * columns + k));
    let case = |name: &str, memory, weights: &[f32]| Case {
        name: format!("{name} {shape:?}"),
        shape,
        memory,
        weights: weights.to_vec(),
    };
    vec![
        case("float32", Memory::F32(weights.clone()), &weights),
        case("transposed", Memory::Transposed(transposed.map(|i| weights[i]).collect()), &weights),
        case("bfloat16", Memory::Bf16(rounded.iter().map(|w| bf16::from_f32(*w)).collect()), &rounded),
        case("float16", Memory::F16(rounded.iter().map(|w| f16::from_f32(*w)).collect()), &{
            rounded.iter().map(|w| f16::from_f32(*w).to_f32()).collect::<Vec<_>>()
        }),
    ]
}

fn affine(shape: [usize; 2], group_size: usize, bits: usize) -> Case {
    let [rows, columns] = shape;
    let mut numbers = Numbers::new(2);
    let codes: Vec<u32> = (0..rows * columns * bits / 32).map(|_| numbers.word()).collect();
    let mut halves = |count| numbers.floats(count).into_iter().map(bf16::from_f32).collect::<Vec<_>>();
    let (scales, biases) = (halves(rows * columns / group_size), halves(rows * columns / group_size));
    let weights = (0..rows * columns).map(|i| {
        let code = (0..bits).map(|bit| (codes[(i * bits + bit) / 32] >> ((i * bits + bit) % 32) & 1) << bit);
        scales[i / group_size].to_f32() * code.sum::<u32>() as f32 + biases[i / group_size].to_f32()
    });
    let weights = weights.collect();
    let name = format!("{bits} bits in groups of {group_size} {shape:?}");
    Case { name, shape, memory: Memory::Affine { codes, scales, biases, group_size, bits }, weights }
}

/// Blocks of random bytes, but with scales that are numbers.
fn blocks(shape: [usize; 2], format: BlockFormat) -> Case {
    let mut numbers = Numbers::new(3);
    let count = shape[0] * shape[1] / format.block_len();
    let mut bytes: Vec<u8> = (0..count * format.block_bytes()).map(|_| numbers.word() as u8).collect();
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        for at in format.scales() {
            block[*at..at + 2].copy_from_slice(&f16::from_f32(numbers.float()).to_le_bytes());
        }
    }
    let mut weights = vec![0.0; shape[0] * shape[1]];
    blocks::dequantize(format, &bytes, &mut weights).unwrap();
    Case { name: format!("{format} {shape:?}"), shape, memory: Memory::Blocks(format, bytes), weights }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [[1, 1], [3, 31], [7, 33], [50, 64], [97, 130]] {
        cases.extend(dense(shape));
    }
    for group_size in [32, 64, 128] {
        for bits in [2, 3, 4, 5, 6, 8] {
            cases.push(affine([53, group_size * 3], group_size, bits));
        }
    }
    cases.extend(BlockFormat::ALL.map(|format| blocks([53, 512], format)));
    cases
}

const BATCHES: [Rows; 9] = [
    Rows { sequences: 1, length: 0 },
    Rows { sequences: 1, length: 1 },
    Rows { sequences: 1, length: 2 },
    Rows { sequences: 3, length: 1 },
    Rows { sequences: 9, length: 1 },
    Rows { sequences: 1, length: 6 },
    Rows { sequences: 1, length: 16 },
    Rows { sequences: 2, length: 17 },
    Rows { sequences: 1, length: 133 },
];

/// Sums in float64, and the sums of the terms' magnitudes, which rounding errors are proportional to.
fn reference(
    x: &[f32],
    weights: &[f32],
    inner: usize,
    at: impl Fn(usize, usize) -> usize,
) -> Vec<(f64, f64)> {
    let outer = weights.len() / inner;
    let term = |m: usize, o: usize, i: usize| f64::from(x[m * inner + i]) * f64::from(weights[at(o, i)]);
    let sums = |m, o| (0..inner).fold((0.0, 0.0), |(a, b), i| (a + term(m, o, i), b + term(m, o, i).abs()));
    (0..x.len() / inner).flat_map(|m| (0..outer).map(move |o| (m, o))).map(|(m, o)| sums(m, o)).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[(f64, f64)], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, (expected, magnitude))) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= 2e-6 * magnitude + 1e-12, "{what}, element {i}: {found}, not {expected}");
    }
}

#[test]
fn every_layout_gives_the_sums_of_its_weights_on_every_processor() {
    for case in cases() {
        let [n, k] = case.shape;
        for rows in BATCHES {
            let x = Numbers::new(4).floats(rows.count() * k);
            let expected = reference(&x, &case.weights, k, |n, k_| n * k + k_);
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; rows.count() * n];
                product(
                    isa,
                    &x,
                    rows,
                    &mut [Output { weights: case.matrix(), out: &mut out }],
                    Precision::Exact,
                );
                assert_close(&out, &expected, &format!("{} {rows:?} {isa}", case.name));
            }
        }
    }
}

#[test]
fn transposed_products_are_sums_over_the_rows() {
    for case in cases() {
        let [n, k] = case.shape;
        for rows in BATCHES {
            let x = Numbers::new(5).floats(rows.count() * n);
            let expected = reference(&x, &case.weights, n, |k_, n| n * k + k_);
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; rows.count() * k];
                product_transposed(isa, &x, rows, case.matrix(), &mut out);
                assert_close(&out, &expected, &format!("{} {rows:?} {isa}", case.name));
            }
        }
    }
}

#[test]
fn a_matrix_is_unpacked_to_the_bits_of_its_weights() {
    for case in cases() {
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; case.weights.len()];
            unpack(isa, case.matrix(), &mut out);
            assert_eq!(out, case.weights, "{} {isa}", case.name);
        }
    }
}

#[test]
fn several_matrices_at_once_give_what_each_gives() {
    let (a, b) = (affine([53, 128], 64, 4), blocks([20, 128], BlockFormat::Q8_0));
    for rows in BATCHES {
        let x = Numbers::new(6).floats(rows.count() * 128);
        let run = |case: &Case| {
            let mut out = vec![0.0; rows.count() * case.shape[0]];
            product(
                Isa::best(),
                &x,
                rows,
                &mut [Output { weights: case.matrix(), out: &mut out }],
                Precision::Exact,
            );
            out
        };
        let (mut left, mut right) = (vec![0.0; rows.count() * 53], vec![0.0; rows.count() * 20]);
        let outputs = &mut [
            Output { weights: a.matrix(), out: &mut left },
            Output { weights: b.matrix(), out: &mut right },
        ];
        product(Isa::best(), &x, rows, outputs, Precision::Exact);
        assert_eq!((left, right), (run(&a), run(&b)), "{rows:?}");
    }
}

#[test]
fn a_row_is_the_same_whatever_the_batch_and_the_threads() {
    let case = affine([301, 192], 64, 4);
    for length in [1, 3, 6, 40] {
        let x = Numbers::new(7).floats(11 * length * 192);
        let run = |sequences: usize, x: &[f32]| {
            let mut out = vec![0.0; sequences * length * 301];
            let rows = Rows { sequences, length };
            product(
                Isa::best(),
                x,
                rows,
                &mut [Output { weights: case.matrix(), out: &mut out }],
                Precision::Exact,
            );
            out
        };
        let together = run(11, &x);
        for (alone, together) in x.chunks(length * 192).zip(together.chunks(length * 301)) {
            assert_eq!(run(1, alone), together);
        }
        for count in [1, 2, 3, 5] {
            threads::set_threads(count);
            assert_eq!(run(11, &x), together, "{count} threads");
        }
        threads::set_threads(threads::default_threads());
    }
}

#[test]
fn rounded_products_are_those_of_rounded_activations() {
    for case in cases() {
        let [n, k] = case.shape;
        let packed = match case.memory {
            Memory::Affine { bits, .. } => matches!(bits, 2 | 4 | 8),
            Memory::Blocks(..) => true,
            _ => false,
        };
        for rows in BATCHES {
            let mut x = Numbers::new(9).floats(rows.count() * k);
            // A chunk of zeros, and one of very different magnitudes.
            x.iter_mut().take(32).for_each(|x| *x = 0.0);
            x.iter_mut().skip(32).take(32).step_by(3).for_each(|x| *x *= 1e-6);
            let mut round = x.clone();
            if packed && rows.length < 6 {
                for chunk in round.chunks_mut(32) {
                    let scale = chunk.iter().fold(0.0f32, |m, x| m.max(x.abs())) / 32767.0;
                    chunk.iter_mut().filter(|_| scale > 0.0).for_each(|x| *x = (*x / scale).round() * scale);
                }
            }
            let expected = reference(&round, &case.weights, k, |n, k_| n * k + k_);
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; rows.count() * n];
                let outputs = &mut [Output { weights: case.matrix(), out: &mut out }];
                product(isa, &x, rows, outputs, Precision::Rounded);
                // Where a quotient lies between two integers, either is right; levels and minima may be large and cancel.
                let off: Vec<f64> = out
                    .iter()
                    .zip(&expected)
                    .map(|(a, b)| (f64::from(*a) - b.0).abs() / b.1.max(1e-9))
                    .collect();
                let worst = off.iter().cloned().fold(0.0, f64::max);
                assert!(worst < 3e-5, "{} {rows:?} {isa}: {worst}", case.name);
            }
        }
    }
}

#[test]
fn rounded_rows_are_the_same_whatever_the_batch_and_nan_shows() {
    let case = blocks([301, 256], BlockFormat::Q4K);
    let x = Numbers::new(10).floats(7 * 256);
    let run = |sequences: usize, x: &[f32]| {
        let mut out = vec![0.0; sequences * 301];
        let rows = Rows { sequences, length: 1 };
        let outputs = &mut [Output { weights: case.matrix(), out: &mut out }];
        product(Isa::best(), x, rows, outputs, Precision::Rounded);
        out
    };
    let together = run(7, &x);
    for (alone, together) in x.chunks(256).zip(together.chunks(301)) {
        assert_eq!(run(1, alone), together);
    }
    for odd in [f32::NAN, f32::INFINITY] {
        let mut x = x[..256].to_vec();
        x[100] = odd;
        assert!(run(1, &x).iter().all(|y| y.is_nan()), "{odd}");
    }
}

#[test]
fn sixteen_bit_outputs_are_the_rounded_sums() {
    let case = &dense([7, 33])[2];
    for length in [1, 20] {
        let exact = Numbers::new(8).floats(length * 33);
        let x: Vec<bf16> = exact.iter().map(|x| bf16::from_f32(*x)).collect();
        let wide: Vec<f32> = x.iter().map(|x| x.to_f32()).collect();
        let (mut narrow, mut sums) = (vec![bf16::ZERO; length * 7], vec![0.0; length * 7]);
        let rows = Rows::of_one(length);
        product(
            Isa::best(),
            &x,
            rows,
            &mut [Output { weights: case.matrix(), out: &mut narrow }],
            Precision::Exact,
        );
        product(
            Isa::best(),
            &wide,
            rows,
            &mut [Output { weights: case.matrix(), out: &mut sums }],
            Precision::Exact,
        );
        assert_eq!(narrow, sums.iter().map(|sum| bf16::from_f32(*sum)).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_not_finite_stays_so_and_tiny_numbers_are_not_lost() {
    let weights = [f32::INFINITY, 1.0, f32::NAN, 1.0, 1e-40, 1.0];
    let dense = Dense { values: Values::F32(&weights), row_stride: 2, column_stride: 1 };
    for isa in Isa::available() {
        for length in [1, 8] {
            let mut out = vec![0.0; length * 3];
            let rows = Rows::of_one(length);
            let matrix = Matrix::dense([3, 2], dense).unwrap();
            product(
                isa,
                &[1.0f32, 0.0].repeat(length),
                rows,
                &mut [Output { weights: matrix, out: &mut out }],
                Precision::Exact,
            );
            assert!(out[0] == f32::INFINITY && out[1].is_nan() && out[2] == 1e-40, "{isa}: {out:?}");
        }
    }
}

#[test]
fn memory_of_another_size_is_refused() {
    let values = [0.0f32; 12];
    let dense = |row_stride, column_stride| Dense { values: Values::F32(&values), row_stride, column_stride };
    assert!(Matrix::dense([3, 4], dense(4, 1)).is_ok());
    assert!(Matrix::dense([3, 4], dense(1, 3)).is_ok());
    assert!(Matrix::dense([3, 4], dense(5, 1)).is_err());
    assert!(Matrix::dense([usize::MAX, 4], dense(usize::MAX, 1)).is_err());
    assert!(Matrix::dense([0, usize::MAX], dense(1, 1)).is_ok());
    assert!(Matrix::blocks([2, 32], BlockFormat::Q8_0, &[0; 68]).is_ok());
    assert!(Matrix::blocks([2, 33], BlockFormat::Q8_0, &[0; 68]).is_err());
    assert!(Matrix::blocks([2, 64], BlockFormat::Q8_0, &[0; 68]).is_err());
    let halves = [bf16::ZERO; 2];
    let parts = |codes, group_size, bits| Affine {
        codes,
        scales: Values::Bf16(&halves),
        biases: Values::Bf16(&halves),
        group_size,
        bits,
    };
    assert!(Matrix::affine([2, 32], parts(&[0; 8], 32, 4)).is_ok());
    assert!(Matrix::affine([2, 32], parts(&[0; 7], 32, 4)).is_err());
    assert!(Matrix::affine([2, 64], parts(&[0; 16], 32, 4)).is_err());
    assert!(Matrix::affine([2, 32], parts(&[0; 14], 32, 7)).is_err());
    let mixed = Affine { biases: Values::F32(&values[..2]), ..parts(&[0; 8], 32, 4) };
    assert!(Matrix::affine([2, 32], mixed).is_err());
}
