//! Packed weights, against Python's MLX and against products with the weights that they stand for.

mod support;

use mlx_core::{Array, DType, Quantization, Quantized, Result, transforms::grad};
use support::{Reference, Tolerance, assert_close};

/// Sums of some hundred products.
const F32: Tolerance = Tolerance { absolute: 2e-5, relative: 2e-5 };

/// What a case's name tells, such as `affine-32-4`.
fn quantization(name: &str) -> Quantization {
    let parts: Vec<&str> = name.split('-').collect();
    match parts[0] {
        "affine" => Quantization::affine(parts[1].parse().unwrap(), parts[2].parse().unwrap()),
        "mxfp4" => Quantization::Mxfp4,
        "mxfp8" => Quantization::Mxfp8,
        "nvfp4" => Quantization::Nvfp4,
        other => panic!("no mode {other}"),
    }
}

fn packed(parts: &[Array], quantization: Quantization) -> Quantized {
    let biases = parts.get(2).cloned();
    Quantized { weight: parts[0].clone(), scales: parts[1].clone(), biases, quantization }
}

#[test]
fn values_are_those_of_pythons_mlx() {
    Reference::open("quantized").check_all(
        |_, dtype| match dtype {
            DType::F32 | DType::BF16 => F32,
            _ => Tolerance { absolute: 0.0, relative: 0.0 },
        },
        |case, x| {
            let (op, name) = case.split_once('/').unwrap();
            let how = quantization(name);
            let one = match op {
                "quantize" => return Ok(x[0].quantize(how)?.arrays().cloned().collect()),
                "dequantize" => packed(x, how).dequantize(),
                "matmul" => x[0].quantized_matmul(&packed(&x[1..], how), true),
                "matmul_plain" => x[0].quantized_matmul(&packed(&x[1..], how), false),
                "gather" => x[0].gather_qmm(&packed(&x[3..], how), Some(&x[1]), Some(&x[2]), true, false),
                other => panic!("no operation {other}"),
            };
            Ok(vec![one?])
        },
    );
}

fn iota(shape: &[i32]) -> Array {
    let size = shape.iter().product::<i32>();
    let numbers = Array::arange(0.0, f64::from(size), 1.0, DType::F32).unwrap().sin().unwrap();
    numbers.reshape(shape).unwrap()
}

#[test]
fn products_are_those_with_the_weights_behind_them() {
    for how in [Quantization::affine(64, 4), Quantization::Mxfp4, Quantization::Mxfp8, Quantization::Nvfp4] {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let weights = iota(&[3, 5, 128]).as_type(dtype).unwrap().quantize(how).unwrap();
            assert_eq!(weights.shape(), [3, 5, 128]);
            let dense = weights.dequantize().unwrap().as_type(DType::F32).unwrap();
            let x = iota(&[2, 4, 128]).as_type(dtype).unwrap();
            let wide = x.as_type(DType::F32).unwrap();
            let unit = match dtype {
                DType::F32 => 1e-4,
                DType::F16 => 2e-2,
                _ => 1.5e-1,
            };
            let near = Tolerance { absolute: unit, relative: unit };
            let at = Array::from_slice(&[2i64, -3, 1], &[3]).unwrap();
            let rows = Array::from_slice(&[1u8, 0, 0], &[3]).unwrap();
            let found = x.gather_qmm(&weights, Some(&rows), Some(&at), true, false).unwrap();
            let swapped = dense.transpose(&[0, 2, 1]).unwrap();
            let expected = wide.gather_mm(&swapped, Some(&rows), Some(&at), false).unwrap();
            let found = found.as_type(DType::F32).unwrap();
            assert_close(&format!("{how:?} {dtype}"), &found, &expected, near);
            // As they come: one matrix of x for each of the weights.
            let three = iota(&[3, 4, 128]).as_type(dtype).unwrap();
            let found =
                three.gather_qmm(&weights, None, None, true, false).unwrap().as_type(DType::F32).unwrap();
            let expected = three.as_type(DType::F32).unwrap().matmul(&swapped).unwrap();
            assert_close(&format!("{how:?} {dtype}, in order"), &found, &expected, near);
        }
    }
}

#[test]
fn gradients_pass_through_packed_weights() {
    let weights = iota(&[2, 3, 64]).quantize(Quantization::affine(32, 4)).unwrap();
    let dense = weights.dequantize().unwrap().transpose(&[0, 2, 1]).unwrap();
    let x = iota(&[2, 1, 64]);
    let at = Array::from_slice(&[1u32, 1], &[2]).unwrap();
    let through =
        grad(|x| x.gather_qmm(&weights, None, Some(&at), true, false)?.square()?.sum(.., false), &x);
    let expected = grad(|x| x.gather_mm(&dense, None, Some(&at), false)?.square()?.sum(.., false), &x);
    assert_close("gather_qmm", &through.unwrap(), &expected.unwrap(), F32);
    let one = weights.take(&Array::scalar(0u32).unwrap()).unwrap();
    let flat = dense.take(&Array::scalar(0u32).unwrap(), 0).unwrap();
    let through = grad(|x| x.quantized_matmul(&one, true)?.square()?.sum(.., false), &x).unwrap();
    let expected = grad(|x| x.matmul(&flat)?.square()?.sum(.., false), &x).unwrap();
    assert_close("quantized_matmul", &through, &expected, F32);
}

#[test]
fn parts_that_do_not_belong_together_are_errors() {
    let good = iota(&[2, 3, 64]).quantize(Quantization::Mxfp4).unwrap();
    let affine = iota(&[2, 3, 64]).quantize(Quantization::affine(32, 4)).unwrap();
    let x = iota(&[2, 1, 64]);
    let zeros = |shape: &[i32], dtype| Array::zeros(shape, dtype).unwrap();
    let with = |change: &dyn Fn(&mut Quantized)| {
        let mut broken = good.clone();
        change(&mut broken);
        broken
    };
    let cases = [
        ("biases without affine", with(&|q| q.biases = affine.biases.clone())),
        ("affine without biases", with(&|q| q.quantization = Quantization::affine(32, 4))),
        ("floats as scales", with(&|q| q.scales = affine.scales.clone())),
        ("too few scales", with(&|q| q.scales = zeros(&[2, 3, 1], DType::U8))),
        ("scales of another mode", with(&|q| q.quantization = Quantization::Nvfp4)),
        ("signed codes", with(&|q| q.weight = zeros(&[2, 3, 8], DType::I32))),
        ("other codes", with(&|q| q.weight = zeros(&[2, 4, 8], DType::U32))),
        ("no matrix", with(&|q| q.weight = zeros(&[8], DType::U32))),
    ];
    for (name, broken) in cases {
        assert!(broken.dequantize().is_err(), "{name}");
        assert!(x.gather_qmm(&broken, None, None, true, false).is_err(), "{name}");
    }
    let list = |values: &[i32]| Array::from_slice(values, &[values.len() as i32]).unwrap();
    for (name, refused) in [
        ("a matrix too far", x.gather_qmm(&good, None, Some(&list(&[2])), true, false)),
        ("a matrix before the first", x.gather_qmm(&good, Some(&list(&[-3])), None, true, false)),
        ("other columns", iota(&[2, 1, 32]).gather_qmm(&good, None, None, true, false)),
        ("other batches", iota(&[3, 1, 64]).gather_qmm(&good, None, None, true, false)),
        ("integers", zeros(&[2, 1, 64], DType::I32).gather_qmm(&good, None, None, true, false)),
        ("several matrices", x.quantized_matmul(&good, true)),
        ("a vector", iota(&[64]).gather_qmm(&good, None, Some(&list(&[0])), true, false)),
    ] {
        assert!(refused.is_err(), "{name}: {refused:?}");
    }
    let later = list(&[5]).add(&Array::scalar(0i32).unwrap()).unwrap();
    let outcome = x.gather_qmm(&good, None, Some(&later), true, false).and_then(|y| y.eval());
    assert!(outcome.unwrap_err().to_string().contains("position 5"));
}

#[test]
fn nothing_times_packed_weights_is_nothing() {
    let good = iota(&[2, 3, 64]).quantize(Quantization::affine(32, 4)).unwrap();
    let empty = |x: Result<Array>| x.unwrap().to_vec::<f32>().unwrap().len();
    let none = Array::zeros(&[0], DType::U32).unwrap();
    assert_eq!(empty(iota(&[2, 0, 64]).gather_qmm(&good, None, None, true, false)), 0);
    assert_eq!(
        empty(
            iota(&[2, 1, 64])
                .gather_qmm(&good, Some(&none), None, true, false)
                .or(Array::zeros(&[0], DType::F32))
        ),
        0
    );
    assert_eq!(empty(iota(&[2, 1, 64]).gather_qmm(&good, Some(&none), Some(&none), true, false)), 0);
}
