//! Products, norms, RoPE and attention, against plain loops over the formulas in float64.

use mlx_core::{
    Array, AttentionMask, DType, Frequencies, Quantization, kernels, nn, scaled_dot_product_attention,
};

/// Relative to the largest expected value; float32 sums of some hundred terms stay well inside.
const F32_TIGHT: f64 = 2e-6;

fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn array(shape: &[i32], seed: u64) -> (Array, Vec<f64>) {
    let data = values(shape.iter().product::<i32>() as usize, seed);
    (Array::from_slice(&data, shape).unwrap(), data.iter().map(|v| f64::from(*v)).collect())
}

#[track_caller]
fn assert_close(actual: &Array, expected: &[f64], tolerance: f64) {
    let actual = actual.as_type(DType::F32).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(actual.len(), expected.len());
    let largest = expected.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    let wrong: Vec<_> = (0..expected.len())
        .filter(|i| {
            (f64::from(actual[*i]) - expected[*i]).abs().partial_cmp(&(tolerance * largest))
                != Some(std::cmp::Ordering::Less)
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} differ; first: {:?}",
        wrong.len(),
        expected.len(),
        wrong.iter().take(3).map(|i| (*i, actual[*i], expected[*i])).collect::<Vec<_>>()
    );
}

fn product(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
    let mut out = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            out[i * n + j] = (0..k).map(|x| a[i * k + x] * b[x * n + j]).sum();
        }
    }
    out
}

#[test]
fn matmul_of_odd_shapes_and_views() {
    for (m, k, n) in [(1, 1, 1), (1, 7, 5), (3, 64, 2), (5, 33, 17)] {
        let (a, a64) = array(&[m, k], 1);
        let (b, b64) = array(&[k, n], 2);
        let expected = product(&a64, &b64, m as usize, k as usize, n as usize);
        assert_close(&a.matmul(&b).unwrap(), &expected, F32_TIGHT);
        let b_view = b.transpose(&[1, 0]).unwrap().contiguous().unwrap().transpose(&[1, 0]).unwrap();
        assert_close(&a.matmul(&b_view).unwrap(), &expected, F32_TIGHT);
    }
}

#[test]
fn quantized_products_equal_products_with_the_dequantized_weights() {
    for bits in [2, 3, 4, 5, 6, 8] {
        for group_size in [32, 64, 128] {
            let quantization = Quantization::affine(group_size, bits);
            let (w, w64) = array(&[6, 256], 3);
            let (x, _) = array(&[3, 256], 4);
            let packed = nn::Weight::quantize(&w, quantization).unwrap();
            let dense = packed.dequantized().unwrap();
            // MLX moves a group's range so that zero is exact, which costs up to one step at its other end.
            let step = 2.0 / f64::from((1 << bits) - 1);
            assert_close(&dense, &w64, step * 1.05);
            let expected = x.matmul(&dense.transpose(&[1, 0]).unwrap()).unwrap().to_vec::<f32>().unwrap();
            let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
            assert_close(&kernels::exactly(|| packed.project(&x)).unwrap(), &expected, 1e-5);
            let ids = Array::from_slice(&[5u32, 0], &[2]).unwrap();
            assert_eq!(
                packed.rows(&ids).unwrap().to_vec::<f32>().unwrap(),
                dense.take(&ids, 0).unwrap().to_vec::<f32>().unwrap()
            );
        }
    }
    assert!(array(&[2, 33], 5).0.quantize(Quantization::affine(32, 4)).is_err());
    assert!(array(&[2, 64], 5).0.quantize(Quantization::affine(7, 4)).is_err());
}

#[test]
fn rms_norm_follows_its_formula() {
    let (x, x64) = array(&[4, 10], 6);
    let (w, w64) = array(&[10], 7);
    let eps = 1e-3;
    let expected: Vec<f64> = x64
        .chunks(10)
        .flat_map(|row| {
            let scale = 1.0 / (row.iter().map(|v| v * v).sum::<f64>() / 10.0 + eps).sqrt();
            row.iter().zip(&w64).map(move |(v, w)| v * scale * w).collect::<Vec<_>>()
        })
        .collect();
    assert_close(&nn::RmsNorm { weight: w, eps: eps as f32 }.forward(&x).unwrap(), &expected, F32_TIGHT);
}

#[test]
fn rope_rotates_pairs_by_position() {
    let (dims, length, base, offset) = (8usize, 5usize, 100.0f64, 3);
    let (x, x64) = array(&[1, 2, length as i32, dims as i32], 8);
    let mut expected = vec![0.0; x64.len()];
    for (row, chunk) in x64.chunks(dims).enumerate() {
        let position = (row % length + offset) as f64;
        for i in 0..dims / 2 {
            let (sin, cos) = (position * 0.5 * base.powf(-2.0 * i as f64 / dims as f64)).sin_cos();
            let (a, b) = (chunk[i], chunk[i + dims / 2]);
            expected[row * dims + i] = a * cos - b * sin;
            expected[row * dims + i + dims / 2] = a * sin + b * cos;
        }
    }
    let rotated = x.rope(dims as i32, false, Frequencies::Base(base as f32), 0.5, offset as i32).unwrap();
    assert_close(&rotated, &expected, 1e-5);
}

/// Softmax attention of one query head over the keys that `sees` allows.
fn attend(
    q: &[f64],
    k: &[f64],
    v: &[f64],
    dh: usize,
    scale: f64,
    sees: impl Fn(usize, usize) -> bool,
) -> Vec<f64> {
    let (l, s) = (q.len() / dh, k.len() / dh);
    let mut out = Vec::new();
    for i in 0..l {
        let scores: Vec<f64> = (0..s)
            .map(|j| {
                if sees(i, j) {
                    (scale * (0..dh).map(|d| q[i * dh + d] * k[j * dh + d]).sum::<f64>()).exp()
                } else {
                    0.0
                }
            })
            .collect();
        let total: f64 = scores.iter().sum();
        out.extend((0..dh).map(|d| (0..s).map(|j| scores[j] * v[j * dh + d]).sum::<f64>() / total));
    }
    out
}

#[test]
fn attention_with_grouped_heads_and_each_mask() {
    let (heads, kv_heads, l, s, dh) = (4usize, 2usize, 3usize, 5usize, 8usize);
    let (q, q64) = array(&[1, heads as i32, l as i32, dh as i32], 9);
    let (k, k64) = array(&[1, kv_heads as i32, s as i32, dh as i32], 10);
    let (v, v64) = array(&[1, kv_heads as i32, s as i32, dh as i32], 11);
    let window = |i: usize, j: usize| j <= i + (s - l) && j + 2 > i + (s - l);
    let allowed: Vec<bool> = (0..l * s).map(|n| window(n / s, n % s)).collect();
    let mask = Array::from_slice(&allowed, &[l as i32, s as i32]).unwrap();
    type Sees<'a> = &'a dyn Fn(usize, usize) -> bool;
    let cases: [(AttentionMask<'_>, Sees<'_>); 3] = [
        (AttentionMask::None, &|_, _| true),
        (AttentionMask::Causal, &|i, j| j <= i + (s - l)),
        (AttentionMask::Boolean(&mask), &window),
    ];
    for (mask, sees) in cases {
        let expected: Vec<f64> = (0..heads)
            .flat_map(|h| {
                let kv = h / (heads / kv_heads);
                attend(
                    &q64[h * l * dh..(h + 1) * l * dh],
                    &k64[kv * s * dh..(kv + 1) * s * dh],
                    &v64[kv * s * dh..(kv + 1) * s * dh],
                    dh,
                    0.3,
                    sees,
                )
            })
            .collect();
        assert_close(&scaled_dot_product_attention(&q, &k, &v, 0.3, mask).unwrap(), &expected, 1e-5);
    }
}

#[test]
fn gelu_follows_its_formula() {
    let (x, x64) = array(&[50], 12);
    let wide = x.multiply(&Array::scalar(6.0f32).unwrap()).unwrap();
    let expected: Vec<f64> = x64
        .iter()
        .map(|v| {
            let v = 6.0 * v;
            0.5 * v * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v.powi(3))).tanh())
        })
        .collect();
    assert_close(&nn::gelu_tanh(&wide).unwrap(), &expected, F32_TIGHT);
}
