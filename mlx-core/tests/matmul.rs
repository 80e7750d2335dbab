//! Matrix products, attention and rotary embedding, against NumPy in float64. Packed weights and larger shapes are in
//! `products.rs`.

mod support;

use mlx_core::{
    Array, AttentionMask, BlockMasks, DType, Frequencies, Result, attention_with_sinks, einsum,
    transforms::value_and_grad,
};
use support::{Reference, Tolerance, tolerance};

fn attention(x: &[Array], mask: AttentionMask<'_>, sinks: Option<&Array>) -> Result<Array> {
    attention_with_sinks(&x[0], &x[1], &x[2], 0.3, mask, sinks)
}

fn run(case: &str, x: &[Array]) -> Result<Array> {
    let (op, rest) = case.split_once('/').unwrap_or((case, ""));
    match op {
        "matmul" | "matmul_vector" => x[0].matmul(&x[1]),
        "addmm" => x[0].addmm(&x[1], &x[2], 2.0, 0.5),
        "inner" => x[0].inner(&x[1]),
        "outer" => x[0].outer(&x[1]),
        "vecdot" => x[0].vecdot(&x[1], -2),
        "kron" => x[0].kron(&x[1]),
        "tensordot" => x[0].tensordot(&x[1], &[2, 1], &[0, 2]),
        "tensordot_none" => x[0].tensordot(&x[1], &[], &[]),
        "einsum" => einsum(rest, &x.iter().collect::<Vec<_>>()),
        "gather_mm" => x[0].gather_mm(&x[1], Some(&x[2]), Some(&x[3]), false),
        "gather_mm_right" => x[0].gather_mm(&x[1], None, Some(&x[2]), false),
        "segmented_mm" => x[0].segmented_mm(&x[1], &x[2]),
        "block_masked_mm" => {
            x[0].block_masked_mm(&x[1], 32, BlockMasks { out: Some(&x[2]), ..BlockMasks::default() })
        }
        "attention" => attention(x, AttentionMask::None, None),
        "attention_causal" => attention(x, AttentionMask::Causal, None),
        "attention_boolean" => attention(x, AttentionMask::Boolean(&x[3]), None),
        "attention_additive" => attention(x, AttentionMask::Additive(&x[3]), None),
        "attention_sinks" => attention(x, AttentionMask::None, Some(&x[3])),
        "rope" => x[0].rope(6, false, Frequencies::Base(100.0), 0.5, 5),
        "rope_base" => x[0].rope_dynamic(6, false, Frequencies::Base(100.0), 0.5, &x[1]),
        "rope_wavelengths" => x[0].rope_dynamic(6, false, Frequencies::Wavelengths(&x[2]), 1.0, &x[1]),
        "rms_norm" => x[0].rms_norm(Some(&x[1]), 1e-5),
        other => panic!("no operation {other}"),
    }
}

/// Sums of a few dozen products.
fn near(_: &str, dtype: DType) -> Tolerance {
    let Tolerance { absolute, relative } = tolerance(dtype);
    Tolerance { absolute: 8.0 * absolute, relative: 4.0 * relative }
}

#[test]
fn values_are_numpys() {
    Reference::open("matmul").check_all(near, |case, x| Ok(vec![run(case, x)?]));
}

#[test]
fn values_are_numpys_of_views_and_of_positions_to_come() {
    let disguised = |a: &Array| -> Result<Array> {
        let axes: Vec<i32> = (0..a.ndim() as i32).rev().collect();
        let view = a.transpose(&axes)?.contiguous()?.transpose(&axes)?;
        if a.dtype().is_integer() { view.add(&Array::zeros(&[], a.dtype())?) } else { Ok(view) }
    };
    Reference::open("matmul").check_all(near, |case, x| {
        Ok(vec![run(case, &x.iter().map(disguised).collect::<Result<Vec<_>>>()?)?])
    });
}

fn iota(shape: &[i32]) -> Array {
    let size = shape.iter().product::<i32>();
    Array::arange(0.0, f64::from(size), 1.0, DType::F32).unwrap().reshape(shape).unwrap()
}

#[test]
fn gradients_equal_finite_differences() {
    const STEP: f32 = 1e-2;
    type F = fn(&Array) -> Result<Array>;
    let cases: [(&str, F); 6] = [
        ("addmm", |x| iota(&[2, 2]).addmm(x, &iota(&[3, 2]), 0.5, 2.0)),
        ("einsum", |x| einsum("ij,kj->ik", &[x, x])),
        ("tensordot", |x| x.tensordot(&iota(&[2, 3]), &[0, 1], &[0, 1])?.multiply(&x.sum(.., false)?)),
        ("gather_mm", |x| {
            let at = Array::from_slice(&[1u32, 0, 1], &[3])?;
            x.reshape(&[1, 2, 3])?.gather_mm(&iota(&[2, 3, 2]), None, Some(&at), false)
        }),
        ("kron", |x| x.kron(&iota(&[1, 2]))),
        ("inner", |x| x.inner(x)),
    ];
    let at: Vec<f32> = (0..6).map(|i| 0.3 * i as f32 - 0.7).collect();
    let x = Array::from_slice(&at, &[2, 3]).unwrap();
    for (name, f) in cases {
        let loss = |x: &Array| f(x)?.square()?.mean(.., false);
        let (_, gradient) = value_and_grad(loss, &x).unwrap();
        for (index, found) in gradient.to_vec::<f32>().unwrap().into_iter().enumerate() {
            let shifted = |by: f32| {
                let mut moved = at.clone();
                moved[index] += by;
                loss(&Array::from_slice(&moved, &[2, 3]).unwrap()).unwrap().item::<f32>().unwrap()
            };
            let expected = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
            let scale = expected.abs().max(1.0);
            assert!(
                (found - expected).abs() < 2e-2 * scale,
                "{name} [{index}]: {found} instead of {expected}"
            );
        }
    }
}

#[test]
fn what_does_not_go_together_is_an_error() {
    let (a, b) = (iota(&[2, 3]), iota(&[3, 2]));
    let one = Array::scalar(0u32).unwrap();
    let list = |values: &[i32]| Array::from_slice(values, &[values.len() as i32]).unwrap();
    let segments = |values: &[u32]| Array::from_slice(values, &[values.len() as i32 / 2, 2]).unwrap();
    let heads = iota(&[1, 2, 3, 4]);
    for (name, refused) in [
        ("inner axes", a.matmul(&a)),
        ("an addend of another shape", iota(&[5]).addmm(&a, &b, 1.0, 1.0)),
        ("vectors of other lengths", a.vecdot(&b, 1)),
        ("an axis that is not there", a.vecdot(&a, 2)),
        ("pairs of other lengths", a.tensordot(&a, &[0], &[1])),
        ("an axis twice", a.tensordot(&b, &[0, 0], &[1, 1])),
        ("one axis, two axes", a.tensordot(&b, &[0, 1], &[1])),
        ("nothing to repeat", a.kron(&iota(&[0]))),
        ("letters for other axes", einsum("ijk->i", &[&a])),
        ("no letters", einsum("%s%n", &[&a])),
        ("a NUL", einsum("ij\0", &[&a])),
        ("lengths of one letter", einsum("ij,ij->i", &[&a, &b])),
        ("no operands", einsum("i->i", &[])),
        ("a matrix too far", a.gather_mm(&b, None, Some(&list(&[1])), false)),
        ("a matrix before the first", a.gather_mm(&b, Some(&list(&[-2])), None, false)),
        ("fractions", a.gather_mm(&b, Some(&Array::scalar(0.0f32).unwrap()), None, false)),
        (
            "a vector among matrices",
            iota(&[3])
                .gather_mm(&iota(&[3]), Some(&one), None, false)
                .and_then(|_| iota(&[3]).gather_mm(&iota(&[4]), Some(&one), None, false)),
        ),
        ("a segment too far", a.segmented_mm(&b, &segments(&[0, 4]))),
        ("segments of three", a.segmented_mm(&b, &iota(&[1, 3]).as_type(DType::U32).unwrap())),
        ("inner axes of segments", a.segmented_mm(&iota(&[2, 2]), &segments(&[0, 3]))),
        ("blocks of 16", a.block_masked_mm(&b, 16, BlockMasks { out: Some(&one), ..BlockMasks::default() })),
        (
            "values without keys",
            attention_with_sinks(&heads, &heads, &iota(&[1, 2, 5, 4]), 1.0, AttentionMask::None, None),
        ),
        (
            "sinks for other heads",
            attention_with_sinks(&heads, &heads, &heads, 1.0, AttentionMask::None, Some(&iota(&[3]))),
        ),
        (
            "a mask of numbers",
            attention_with_sinks(&heads, &heads, &heads, 1.0, AttentionMask::Boolean(&heads), None),
        ),
        (
            "offsets for other sequences",
            heads.rope_dynamic(4, false, Frequencies::Base(10.0), 1.0, &list(&[1, 2])),
        ),
        (
            "too few wavelengths",
            heads.rope_dynamic(4, false, Frequencies::Wavelengths(&iota(&[1])), 1.0, &list(&[1])),
        ),
        ("an odd number of features", heads.rope(3, false, Frequencies::Base(10.0), 1.0, 0)),
    ] {
        assert!(refused.is_err(), "{name}: {refused:?}");
    }
    let computed = list(&[1]).add(&Array::scalar(0i32).unwrap()).unwrap();
    let far = a.gather_mm(&b, None, Some(&computed), false).unwrap();
    assert!(far.eval().unwrap_err().to_string().contains("position 1 lies outside"));
}

#[test]
fn products_without_elements_are_empty_or_zero() {
    let shape = |a: Result<Array>| {
        let a = a.unwrap();
        (a.shape().to_vec(), a.to_vec::<f32>().unwrap())
    };
    let at = Array::from_slice(&[0u32, 0], &[2]).unwrap();
    assert_eq!(shape(iota(&[2, 0]).matmul(&iota(&[0, 3]))), (vec![2, 3], vec![0.0; 6]));
    assert_eq!(
        shape(iota(&[1, 2, 0]).gather_mm(&iota(&[1, 0, 1]), Some(&at), None, false)),
        (vec![2, 2, 1], vec![0.0; 4])
    );
    assert_eq!(
        shape(iota(&[1, 0, 2]).gather_mm(&iota(&[1, 2, 1]), Some(&at), None, false)),
        (vec![2, 0, 1], vec![])
    );
    let none = Array::zeros(&[0, 2], DType::U32).unwrap();
    assert_eq!(shape(iota(&[2, 3]).segmented_mm(&iota(&[3, 2]), &none)), (vec![0, 2, 2], vec![]));
    assert_eq!(
        shape(iota(&[0, 3]).segmented_mm(&iota(&[3, 2]), &at.reshape(&[1, 2]).unwrap())),
        (vec![1, 0, 2], vec![])
    );
    assert_eq!(shape(iota(&[0]).inner(&iota(&[0]))), (vec![], vec![0.0]));
    assert_eq!(shape(iota(&[0]).outer(&iota(&[2]))), (vec![0, 2], vec![]));
    assert_eq!(shape(einsum("ij,jk->ik", &[&iota(&[2, 0]), &iota(&[0, 2])])), (vec![2, 2], vec![0.0; 4]));
    let heads = Array::zeros(&[1, 2, 0, 4], DType::F32).unwrap();
    assert_eq!(shape(heads.rope(4, false, Frequencies::Base(10.0), 1.0, 0)).0, [1, 2, 0, 4]);
    assert_eq!(
        shape(attention_with_sinks(&heads, &heads, &heads, 1.0, AttentionMask::None, None)).0,
        [1, 2, 0, 4]
    );
}

#[test]
fn segments_of_sixteen_bits_are_those_of_matrices() {
    let (a, b) = (iota(&[2, 3]), iota(&[3, 2]));
    let segments = Array::from_slice(&[1u32, 3], &[1, 2]).unwrap();
    for dtype in [DType::F16, DType::BF16] {
        let narrow = |x: &Array| x.as_type(dtype).unwrap();
        let found = narrow(&a).segmented_mm(&narrow(&b), &segments).unwrap();
        assert_eq!(found.dtype(), dtype);
        assert_eq!(found.as_type(DType::F32).unwrap().to_vec::<f32>().unwrap(), [10.0, 13.0, 28.0, 37.0]);
    }
}

#[test]
fn factors_of_blocks_have_their_gradient() {
    let (a, b) = (Array::full(&[32, 32], 0.5f32).unwrap(), Array::full(&[32, 40], 0.25f32).unwrap());
    let factors = Array::from_slice(&[2.0f32, 0.0], &[1, 2]).unwrap();
    let product =
        |out: &Array| a.block_masked_mm(&b, 32, BlockMasks { out: Some(out), ..BlockMasks::default() });
    let found = product(&factors).unwrap();
    assert_eq!(
        found.slice_axis(1, 31, 33).unwrap().slice_axis(0, 0, 1).unwrap().to_vec::<f32>().unwrap(),
        [8.0, 0.0]
    );
    let (_, gradient) = value_and_grad(|out| product(out)?.sum(.., false), &factors).unwrap();
    // Each element of the plain product is 32 / 8; the second block, of 8 columns, was left out.
    assert_eq!(gradient.to_vec::<f32>().unwrap(), [4.0 * 32.0 * 32.0, 0.0]);
}
