//! RMSNorm and its gradients against the formulas in float64.

mod common;

use common::{Element, Noise, assert_close, on_any_threads, wide};
use cpu_kernels::Isa;
use cpu_kernels::norm::{add_rms_norm, rms_norm, rms_norm_vjp};

const EPS: f32 = 1e-6;
/// Relative error of float32 sums of a few thousand terms.
const SUMS: f64 = 2e-6;

/// Rows and `dims`; the last is more than one piece of work.
const SHAPES: [(usize, usize); 8] =
    [(0, 3), (1, 1), (3, 2), (2, 31), (5, 33), (4, 640), (1, 2048), (70, 515)];

fn inverse_rms(x: &[f64]) -> f64 {
    1.0 / (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + f64::from(EPS)).sqrt()
}

fn reference(x: &[f64], dims: usize, weight: Option<&[f64]>) -> Vec<f64> {
    let rows = x.chunks(dims).flat_map(|row| {
        let n = inverse_rms(row);
        (0..dims).map(move |i| weight.map_or(1.0, |w| w[i]) * row[i] * n)
    });
    rows.collect()
}

fn norms<T: Element>() {
    let mut noise = Noise(1);
    for (rows, dims) in SHAPES {
        for scale in [1.0, 1e-4, 1e4] {
            let x: Vec<T> = noise.values(rows * dims, scale);
            let residual: Vec<T> = noise.values(rows * dims, 1.0);
            let weight: Vec<T> = noise.values(dims, 2.0);
            for (isa, weight) in
                Isa::available().into_iter().flat_map(|isa| [(isa, None), (isa, Some(&weight[..]))])
            {
                let what = format!("{isa} {rows}x{dims} times {scale}, weight: {}", weight.is_some());
                let expected = reference(&wide(&x), dims, weight.map(wide).as_deref());
                let found = on_any_threads(|| {
                    let mut out = vec![T::from_f32(f32::NAN); x.len()];
                    rms_norm(isa, &x, dims, weight, EPS, &mut out);
                    out
                });
                assert_close(&found, &expected, |i| SUMS * expected[i].abs(), &what);

                let summed: Vec<f64> = wide(&residual).iter().zip(&expected).map(|(r, y)| r + y).collect();
                let found = on_any_threads(|| {
                    let mut out = vec![T::from_f32(f32::NAN); x.len()];
                    add_rms_norm(isa, &x, dims, weight, EPS, &residual, &mut out);
                    out
                });
                assert_close(&found, &summed, |i| SUMS * (expected[i].abs() + 1.0), &what);

                // A row by itself gives the same bits.
                for (row, all) in x.chunks(dims).zip(found.chunks(dims)).zip(residual.chunks(dims)).map(
                    |((x, found), residual)| {
                        let mut alone = x.to_vec();
                        add_rms_norm(isa, x, dims, weight, EPS, residual, &mut alone);
                        (alone, found)
                    },
                ) {
                    assert_eq!(row, all, "{what}");
                }
            }
        }
    }
}

fn gradients<T: Element>() {
    let mut noise = Noise(2);
    for (rows, dims) in SHAPES {
        let (x, cotangent) = (noise.values::<T>(rows * dims, 2.0), noise.values::<T>(rows * dims, 1.0));
        let weight: Vec<T> = noise.values(dims, 2.0);
        for (isa, weight) in
            Isa::available().into_iter().flat_map(|isa| [(isa, None), (isa, Some(&weight[..]))])
        {
            let what = format!("{isa} {rows}x{dims}, weight: {}", weight.is_some());
            let (x64, c64) = (wide(&x), wide(&cotangent));
            let w64 = weight.map_or(vec![1.0; dims], wide);
            let (mut dx, mut dweight) = (vec![], vec![0.0; dims]);
            for (x, c) in x64.chunks(dims).zip(c64.chunks(dims)) {
                let n = inverse_rms(x);
                let mean = (0..dims).map(|i| c[i] * w64[i] * x[i]).sum::<f64>() / dims as f64;
                dx.extend((0..dims).map(|i| c[i] * w64[i] * n - x[i] * n * n * n * mean));
                (0..dims).for_each(|i| dweight[i] += c[i] * x[i] * n);
            }
            let found = on_any_threads(|| {
                let mut dx = vec![T::from_f32(f32::NAN); x.len()];
                let mut dweight = vec![T::from_f32(f32::NAN); dims];
                rms_norm_vjp(isa, &x, dims, weight, EPS, &cotangent, &mut dx, Some(&mut dweight));
                let mut without = vec![T::from_f32(f32::NAN); x.len()];
                rms_norm_vjp(isa, &x, dims, weight, EPS, &cotangent, &mut without, None);
                assert_eq!(dx, without, "{what}");
                dx.extend(dweight);
                dx
            });
            // One element's gradient is what two large terms leave: it is only as exact as they are.
            let size = x64.chunks(dims).map(inverse_rms).fold(2.0, f64::max) * 4.0;
            assert_close(&found[..x.len()], &dx, |_| SUMS * size, format!("dx {what}"));
            assert_close(
                &found[x.len()..],
                &dweight,
                |_| SUMS * 2.0 * rows as f64,
                format!("dweight {what}"),
            );
        }
    }
}

for_each_type!(norms, gradients);

/// The reference's own gradient formula, by differences.
#[test]
fn the_gradient_is_the_slope() {
    let mut noise = Noise(3);
    let (x, w, c): (Vec<f32>, Vec<f32>, Vec<f32>) =
        (noise.values(7, 1.0), noise.values(7, 1.0), noise.values(7, 1.0));
    let (mut dx, mut dweight) = ([0f32; 7], [0f32; 7]);
    rms_norm_vjp(Isa::best(), &x, 7, Some(&w), EPS, &c, &mut dx, Some(&mut dweight));
    let loss = |x: &[f64], w: &[f64]| -> f64 {
        reference(x, 7, Some(w)).iter().zip(&c).map(|(y, &c)| y * f64::from(c)).sum()
    };
    let step = 1e-5;
    for i in 0..7 {
        let moved = |v: &[f32], by: f64| {
            let mut v = wide(v);
            v[i] += by;
            v
        };
        let slope = (loss(&moved(&x, step), &wide(&w)) - loss(&moved(&x, -step), &wide(&w))) / (2.0 * step);
        assert!((f64::from(dx[i]) - slope).abs() < 1e-5, "dx {i}: {} {slope}", dx[i]);
        let slope = (loss(&wide(&x), &moved(&w, step)) - loss(&wide(&x), &moved(&w, -step))) / (2.0 * step);
        assert!((f64::from(dweight[i]) - slope).abs() < 1e-5, "dweight {i}: {} {slope}", dweight[i]);
    }
}

#[test]
#[should_panic(expected = "not rows of 3")]
fn part_of_a_row_is_refused() {
    rms_norm(Isa::best(), &[1f32; 4], 3, None, EPS, &mut [0.0; 4]);
}
