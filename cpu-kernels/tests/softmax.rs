//! Softmax of rows against float64.

mod common;

use common::{Element, Noise, assert_close, on_any_threads, wide};
use cpu_kernels::Isa;
use cpu_kernels::softmax::softmax;

fn reference(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x - max).exp()).sum();
    x.iter().map(|x| (x - max).exp() / sum).collect()
}

fn rows<T: Element>() {
    let mut noise = Noise(1);
    for (rows, dims) in [(0, 4), (1, 1), (3, 2), (2, 31), (5, 33), (3, 1000), (1, 70_001), (500, 65)] {
        for scale in [0.0, 1e-3, 5.0, 1e4] {
            let mut x: Vec<T> = noise.values(rows * dims, scale);
            if dims > 30 {
                x.iter_mut().step_by(7).for_each(|x| *x = T::from_f32(f32::NEG_INFINITY));
            }
            let expected: Vec<f64> = wide(&x).chunks(dims).flat_map(reference).collect();
            for isa in Isa::available() {
                let found = on_any_threads(|| {
                    let mut out = vec![T::from_f32(f32::NAN); x.len()];
                    softmax(isa, &x, dims, &mut out);
                    out
                });
                let what = format!("{isa} {rows}x{dims} times {scale}");
                assert_close(&found, &expected, |i| 2e-6 * expected[i], &what);
                if rows > 0 {
                    let mut alone = vec![T::from_f32(f32::NAN); dims];
                    softmax(isa, &x[x.len() - dims..], dims, &mut alone);
                    assert_eq!(alone, found[x.len() - dims..], "{what}");
                }
            }
        }
    }
}

for_each_type!(rows);

#[test]
fn rows_without_an_answer_are_nan() {
    for isa in Isa::available() {
        for bad in [[f32::NEG_INFINITY; 2], [f32::NAN, 1.0], [f32::INFINITY, 0.0]] {
            let mut out = [0f32; 4];
            softmax(isa, &[bad, [1.0, 1.0]].concat(), 2, &mut out);
            assert!(out[..2].iter().any(|x| x.is_nan()), "{isa} {bad:?}: {out:?}");
            assert_eq!(out[2..], [0.5, 0.5], "{isa}");
        }
    }
}
