//! Attention over packed keys and values is attention over what they stand for.

use mlx_core::kernels::{self, Mode};
use mlx_core::{
    Array, AttentionMask, DType, Quantization, Quantized, quantized_attention, random,
    scaled_dot_product_attention,
};

fn normal(shape: &[i32], seed: u64, dtype: DType) -> Array {
    random::normal(&random::key(seed).unwrap(), shape, DType::F32, 0.0, 1.0).unwrap().as_type(dtype).unwrap()
}

/// A part of a buffer with room before and after it, as a cache has it.
fn part(packed: &Quantized, from: i32, to: i32) -> Quantized {
    let cut = |array: &Array| array.slice_axis(2, from, to).unwrap();
    Quantized {
        weight: cut(&packed.weight),
        scales: cut(&packed.scales),
        biases: packed.biases.as_ref().map(cut),
        quantization: packed.quantization,
    }
}

fn f32s(array: &Array) -> Vec<f32> {
    array.as_type(DType::F32).unwrap().to_vec().unwrap()
}

#[test]
fn it_is_attention_over_the_unpacked_keys_and_values() {
    // Batch, heads, heads of keys, queries, keys, width.
    let cases = [
        [1, 1, 1, 1, 1, 64],
        [1, 4, 1, 1, 9, 64],
        [2, 4, 2, 1, 300, 128],
        [3, 6, 2, 5, 5, 64],
        [2, 2, 2, 7, 20, 192],
        [1, 8, 4, 33, 70, 64],
    ];
    for [batch, heads, kv_heads, length, count, width] in cases {
        for (bits, group_size) in [(8, 64), (8, 32), (4, 64), (4, 32)] {
            for (dtype, tolerance) in [(DType::F32, 2e-5), (DType::BF16, 8e-3), (DType::F16, 1e-3)] {
                let how = Quantization::affine(group_size, bits);
                let queries = normal(&[batch, heads, length, width], 1, dtype);
                let pack = |seed| {
                    let whole = normal(&[batch, kv_heads, count + 7, width], seed, dtype);
                    part(&whole.quantize(how).unwrap(), 3, count + 3)
                };
                let (keys, values) = (pack(2), pack(3));
                // In float32, as the reference does not round what it unpacks.
                let unpacked = |packed: &Quantized| {
                    let wide = |array: &Array| array.as_type(DType::F32).unwrap();
                    let (scales, biases) = (wide(&packed.scales), packed.biases.as_ref().map(wide));
                    Quantized { scales, biases, ..packed.clone() }.dequantize().unwrap()
                };
                let (k, v) = (unpacked(&keys), unpacked(&values));
                let scale = (width as f32).powf(-0.5);
                let additive = normal(&[length, count], 4, dtype);
                // Each query keeps a key.
                let first = Array::arange(0.0, f64::from(count), 1.0, DType::I32).unwrap();
                let first = first.equal(&Array::scalar(0i32).unwrap()).unwrap();
                let boolean = random::bernoulli(&random::key(5).unwrap(), 0.5f32, &[heads, length, count]);
                let boolean = boolean.unwrap().logical_or(&first).unwrap();
                for mask in [
                    AttentionMask::None,
                    AttentionMask::Causal,
                    AttentionMask::Window(1),
                    AttentionMask::Window(4),
                    AttentionMask::Boolean(&boolean),
                    AttentionMask::Additive(&additive),
                ] {
                    let f32_mask = additive.as_type(DType::F32).unwrap();
                    let plain_mask = match mask {
                        AttentionMask::Additive(_) => AttentionMask::Additive(&f32_mask),
                        mask => mask,
                    };
                    let q = queries.as_type(DType::F32).unwrap();
                    let expected = kernels::with(Mode::Off, || {
                        f32s(&scaled_dot_product_attention(&q, &k, &v, scale, plain_mask).unwrap())
                    });
                    for mode in [Mode::Off, Mode::Exact, Mode::Fast] {
                        let attended = kernels::with(mode, || {
                            let out = quantized_attention(&queries, &keys, &values, scale, mask).unwrap();
                            assert_eq!((out.dtype(), out.shape()), (dtype, queries.shape()));
                            f32s(&out)
                        });
                        let worst = attended
                            .iter()
                            .zip(&expected)
                            .map(|(a, e)| (a - e).abs() / (1.0 + e.abs()))
                            .fold(0.0, f32::max);
                        assert!(
                            worst <= tolerance && attended.iter().all(|x| x.is_finite()),
                            "{batch} {heads}/{kv_heads} {length} of {count} x {width}, {bits} bits in {group_size}, \
                             {dtype}, {mask:?}, {mode:?}: {worst}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_sum_over_many_keys_keeps_growing_in_16_bits() {
    let how = Quantization::affine(32, 8);
    let queries = Array::zeros(&[1, 1, 1, 32], DType::BF16).unwrap();
    let ones = Array::full(&[1, 1, 4096, 32], half::bf16::ONE).unwrap().quantize(how).unwrap();
    for mode in [Mode::Off, Mode::Exact] {
        let out = kernels::with(mode, || {
            f32s(&quantized_attention(&queries, &ones, &ones, 1.0, AttentionMask::None).unwrap())
        });
        assert!(out.iter().all(|x| (x - 1.0).abs() < 1e-2), "{mode:?}: {out:?}");
    }
}

#[test]
fn what_does_not_go_together_is_an_error() {
    let how = Quantization::affine(32, 8);
    let pack = |shape: &[i32]| normal(shape, 2, DType::F32).quantize(how).unwrap();
    let queries = |shape: &[i32]| normal(shape, 1, DType::F32);
    let (good, q) = (pack(&[2, 2, 5, 32]), queries(&[2, 4, 1, 32]));
    let attend = |q: &Array, k: &Quantized, v: &Quantized, mask| {
        quantized_attention(q, k, v, 1.0, mask).map(|out| out.shape().to_vec())
    };
    let none = |array: &Array| array.slice_axis(3, 0, 0).unwrap();
    let empty = Quantized {
        weight: none(&good.weight),
        scales: none(&good.scales),
        biases: good.biases.as_ref().map(none),
        quantization: how,
    };
    assert_eq!(attend(&q, &good, &good, AttentionMask::None).unwrap(), [2, 4, 1, 32]);
    for (q, k, v) in [
        (&queries(&[2, 3, 1, 32]), &good, &good),
        (&queries(&[1, 4, 1, 32]), &good, &good),
        (&queries(&[2, 4, 1, 64]), &good, &good),
        (&queries(&[4, 1, 32]), &good, &good),
        (&queries(&[2, 4, 0, 32]), &good, &good),
        (&q, &good, &pack(&[2, 2, 4, 32])),
        (&q, &good, &pack(&[2, 4, 5, 32])),
        (&q, &pack(&[5, 32]), &pack(&[5, 32])),
        (&q, &part(&good, 2, 2), &part(&good, 2, 2)),
        (&q, &good, &empty),
    ] {
        for mask in [AttentionMask::None, AttentionMask::Causal] {
            assert!(attend(q, k, v, mask).is_err(), "{q:?}");
        }
    }
    let long = queries(&[2, 4, 6, 32]);
    assert!(attend(&long, &good, &good, AttentionMask::None).is_ok());
    assert!(attend(&long, &good, &good, AttentionMask::Causal).is_err());
    assert!(attend(&q, &good, &good, AttentionMask::Window(0)).is_err());
    assert!(attend(&q, &good, &good, AttentionMask::Boolean(&q)).is_err());
}

#[test]
fn queries_have_gradients() {
    let how = Quantization::affine(32, 8);
    let packed = normal(&[1, 2, 6, 32], 2, DType::F32).quantize(how).unwrap();
    let queries = normal(&[1, 4, 3, 32], 1, DType::F32);
    let gradient = |mode| {
        let loss = |q: &Array| {
            quantized_attention(q, &packed, &packed, 0.2, AttentionMask::Causal)?.square()?.sum(.., false)
        };
        f32s(&kernels::with(mode, || mlx_core::transforms::grad(loss, &queries).unwrap()))
    };
    let (ours, theirs) = (gradient(Mode::Exact), gradient(Mode::Off));
    assert!(theirs.iter().any(|x| x.abs() > 1e-3));
    let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
}
