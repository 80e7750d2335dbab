//! Convolutions against their definitions in NumPy, their gradients against differences; the Hadamard transform and
//! windows.

mod support;

use mlx_core::{Array, ConvOptions, ConvTransposeOptions, DType, Result, transforms};
use support::{Reference, Tolerance, assert_close, integers, noise, tolerance};

/// The lists of a case, as its name tells them.
struct Case {
    lists: Vec<Vec<i32>>,
}

impl Case {
    fn of(name: &str) -> Self {
        Case { lists: name.split('/').skip(2).map(integers).collect() }
    }

    fn conv(&self, x: &Array, w: &Array) -> Result<Array> {
        let [stride, padding, high, dilation, input_dilation, groups, flip] = &self.lists[2..] else {
            panic!("lists of a convolution");
        };
        x.conv(
            w,
            ConvOptions {
                stride,
                padding,
                padding_high: (high != padding).then_some(high),
                dilation,
                input_dilation,
                groups: groups[0],
                flip: flip[0] == 1,
            },
        )
    }

    fn transpose(&self, x: &Array, w: &Array) -> Result<Array> {
        let [stride, padding, dilation, output_padding, groups] = &self.lists[2..] else {
            panic!("lists of a transposed convolution");
        };
        x.conv_transpose(
            w,
            ConvTransposeOptions { stride, padding, dilation, output_padding, groups: groups[0] },
        )
    }
}

/// Sums of a dozen products of numbers of size one.
fn limits(dtype: DType) -> Tolerance {
    let one = tolerance(dtype);
    Tolerance { absolute: 3.0 * one.absolute, relative: one.relative }
}

/// The same elements, laid out with the axes in the opposite order.
fn strided(a: &Array) -> Array {
    let reversed: Vec<i32> = (0..a.ndim() as i32).rev().collect();
    a.transpose(&reversed).unwrap().contiguous().unwrap().transpose(&reversed).unwrap()
}

type Convolve = fn(&Case, &Array, &Array) -> Result<Array>;

const BOTH: [(&str, Convolve); 2] = [("conv/", Case::conv), ("transpose/", Case::transpose)];

#[test]
fn convolutions_are_as_their_definitions_say() {
    let file = Reference::open("conv");
    for (prefix, convolve) in BOTH {
        let cases: Vec<String> = file.cases().into_iter().filter(|name| name.starts_with(prefix)).collect();
        assert!(cases.len() > 15, "{prefix}");
        for name in cases {
            let case = Case::of(&name);
            let limits = limits(file.inputs(&name)[0].dtype());
            file.check(&name, limits, |a| Ok(vec![convolve(&case, &a[0], &a[1])?]));
            file.check(&name, limits, |a| Ok(vec![convolve(&case, &strided(&a[0]), &strided(&a[1]))?]));
        }
    }
}

/// `f`'s gradient at `a` against differences of its values. `f` is linear, so the step may be large.
fn check_gradient(name: &str, a: &Array, f: impl Fn(&Array) -> Result<Array>) {
    let gradient = transforms::grad(|a: &Array| f(a), a).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(gradient.shape(), a.shape(), "{name}");
    let zero = f(&a.subtract(a).unwrap()).unwrap().item::<f32>().unwrap();
    let size = a.size();
    for (place, found) in gradient.to_vec::<f32>().unwrap().into_iter().enumerate() {
        let mut unit = vec![0.0f32; size];
        unit[place] = 1.0;
        let expected =
            f(&Array::from_slice(&unit, a.shape()).unwrap()).unwrap().item::<f32>().unwrap() - zero;
        assert!((found - expected).abs() < 1e-4, "{name} {place}: {found} instead of {expected}");
    }
}

#[test]
fn gradients_are_the_limits_of_differences() {
    let file = Reference::open("conv");
    for (prefix, convolve) in BOTH {
        let of_f32s = |name: &String| name.starts_with(&format!("{prefix}float32/"));
        for name in file.cases().into_iter().filter(of_f32s) {
            let case = Case::of(&name);
            let [x, w] = &file.inputs(&name)[..] else { panic!("{name}") };
            let weights = noise(file.outputs(&name)[0].shape());
            let loss = |y: Array| y.multiply(&weights)?.sum(.., false);
            check_gradient(&format!("input {name}"), x, |x| loss(convolve(&case, x, w)?));
            check_gradient(&format!("weight {name}"), w, |w| loss(convolve(&case, x, w)?));
        }
    }
}

#[test]
fn one_number_stands_for_all_axes() {
    let (x, w) = (noise(&[1, 5, 6, 2]), noise(&[3, 2, 2, 2]));
    let all = ConvOptions { stride: &[2], padding: &[1], dilation: &[2], ..Default::default() };
    let each = ConvOptions { stride: &[2, 2], padding: &[1, 1], dilation: &[2, 2], ..Default::default() };
    let found = x.conv(&w, all).unwrap();
    assert_close("conv", &found, &x.conv(&w, each).unwrap(), support::EXACT);
    let all = ConvTransposeOptions { stride: &[3], output_padding: &[1], ..Default::default() };
    let each = ConvTransposeOptions { stride: &[3, 3], output_padding: &[1, 1], ..Default::default() };
    let found = x.conv_transpose(&w, all).unwrap();
    assert_close("transpose", &found, &x.conv_transpose(&w, each).unwrap(), support::EXACT);
}

#[test]
fn dtypes_that_differ_are_promoted() {
    let (x, w) = (noise(&[1, 5, 2]), noise(&[3, 2, 2]));
    let (half, brain) = (x.as_type(DType::F16).unwrap(), w.as_type(DType::BF16).unwrap());
    let options = ConvOptions::default();
    assert_eq!(half.conv(&brain, options).unwrap().dtype(), DType::F32);
    assert_eq!(x.conv(&brain, options).unwrap().dtype(), DType::F32);
    assert_eq!(half.conv(&w.as_type(DType::F16).unwrap(), options).unwrap().dtype(), DType::F16);
    let none = Array::zeros(&[0, 5, 2], DType::F16).unwrap();
    assert_eq!(none.conv(&brain, options).unwrap().dtype(), DType::F32);
}

#[test]
fn an_empty_batch_gives_an_empty_result_and_no_gradient() {
    let x = Array::zeros(&[0, 5, 5, 2], DType::F32).unwrap();
    let w = noise(&[3, 2, 2, 2]);
    for dilation in [1, 2] {
        let options = ConvOptions { dilation: &[dilation], ..Default::default() };
        let y = x.conv(&w, options).unwrap();
        assert_eq!((y.shape()[0], y.shape()[3], y.to_bytes().unwrap().len()), (0, 3, 0));
        let gradient = transforms::grad(|w: &Array| x.conv(w, options)?.sum(.., false), &w).unwrap();
        assert_eq!(gradient.to_vec::<f32>().unwrap(), [0.0; 24]);
    }
}

#[test]
fn options_and_operands_that_do_not_fit_are_errors() {
    let (x, w) = (noise(&[1, 5, 4]), noise(&[2, 3, 4]));
    let default = ConvOptions::default();
    for (name, options) in [
        ("stride 0", ConvOptions { stride: &[0], ..default }),
        ("stride -1", ConvOptions { stride: &[-1], ..default }),
        ("strides", ConvOptions { stride: &[1, 1], ..default }),
        ("padding -1", ConvOptions { padding: &[-1], ..default }),
        ("padding high -1", ConvOptions { padding_high: Some(&[i32::MIN]), ..default }),
        ("padding", ConvOptions { padding: &[i32::MAX], ..default }),
        ("paddings", ConvOptions { padding: &[1, 2, 3], ..default }),
        ("padding high", ConvOptions { padding_high: Some(&[i32::MAX]), ..default }),
        ("dilation 0", ConvOptions { dilation: &[0], ..default }),
        ("dilation 3", ConvOptions { dilation: &[3], ..default }),
        ("dilation", ConvOptions { dilation: &[i32::MAX], ..default }),
        ("input dilation 0", ConvOptions { input_dilation: &[0], ..default }),
        ("input dilation", ConvOptions { input_dilation: &[i32::MAX], ..default }),
        ("groups 0", ConvOptions { groups: 0, ..default }),
        ("groups -1", ConvOptions { groups: -1, ..default }),
        ("groups 2", ConvOptions { groups: 2, ..default }),
        ("groups", ConvOptions { groups: i32::MAX, ..default }),
        ("dilation and padding", ConvOptions { padding: &[i32::MAX], dilation: &[i32::MAX], ..default }),
    ] {
        assert!(x.conv(&w, options).is_err(), "{name}");
    }
    let default = ConvTransposeOptions::default();
    for (name, options) in [
        ("stride 0", ConvTransposeOptions { stride: &[0], ..default }),
        ("stride", ConvTransposeOptions { stride: &[i32::MAX], ..default }),
        ("padding -1", ConvTransposeOptions { padding: &[-1], ..default }),
        ("padding 4", ConvTransposeOptions { padding: &[4], ..default }),
        ("padding", ConvTransposeOptions { padding: &[i32::MAX], ..default }),
        ("dilation 0", ConvTransposeOptions { dilation: &[0], ..default }),
        ("dilation", ConvTransposeOptions { dilation: &[i32::MAX], ..default }),
        ("output padding -1", ConvTransposeOptions { output_padding: &[-1], ..default }),
        ("output padding", ConvTransposeOptions { output_padding: &[i32::MAX], ..default }),
        ("groups 0", ConvTransposeOptions { groups: 0, ..default }),
    ] {
        assert!(x.conv_transpose(&w, options).is_err(), "{name}");
    }
    let shapes: [(&[i32], &[i32]); 14] = [
        (&[], &[]),
        (&[4], &[4]),
        (&[5, 4], &[2, 4]),
        (&[1, 5, 4], &[2, 3]),
        (&[1, 5, 4], &[2, 3, 3]),
        (&[1, 5, 4], &[2, 6, 4]),
        (&[1, 5, 4], &[2, 3, 3, 4]),
        (&[1, 5, 0], &[2, 3, 0]),
        (&[1, 0, 4], &[2, 3, 4]),
        (&[1, 5, 4], &[0, 3, 4]),
        (&[1, 5, 4], &[2, 0, 4]),
        (&[0, 0, 4], &[2, 1, 4]),
        (&[0, 2, 4], &[2, 3, 4]),
        (&[1, 2, 2, 2, 2, 4], &[2, 1, 1, 1, 1, 4]),
    ];
    for (x, w) in shapes {
        assert!(noise(x).conv(&noise(w), ConvOptions::default()).is_err(), "{x:?} {w:?}");
    }
    // Lengths whose sum overflows 64 bits.
    let long = Array::scalar(1.0f32).unwrap().broadcast_to(&[1, i32::MAX, 1]).unwrap();
    let all = &[i32::MAX];
    let spread =
        ConvTransposeOptions { stride: all, dilation: all, output_padding: all, ..Default::default() };
    assert!(long.conv_transpose(&long, spread).is_err());
    let spread = ConvOptions { dilation: all, input_dilation: all, padding: all, ..Default::default() };
    assert!(long.conv(&long, spread).is_err());
    // Groups over three axes are not there in MLX.
    let three = ConvOptions { groups: 2, ..Default::default() };
    assert!(noise(&[1, 2, 2, 2, 4]).conv(&noise(&[2, 1, 1, 1, 2]), three).is_err());
    for dtype in [DType::F64, DType::I32, DType::Bool, DType::Complex64] {
        let message = x.conv(&w.as_type(dtype).unwrap(), ConvOptions::default()).unwrap_err().to_string();
        assert!(message.ends_with("is neither float32, float16 nor bfloat16"), "{message}");
        assert!(x.as_type(dtype).unwrap().conv(&w, ConvOptions::default()).is_err(), "{dtype}");
    }
}

#[test]
fn what_does_not_fit_into_memory_is_an_error() {
    let one = Array::scalar(1.0f32).unwrap();
    // The result is small, but the patches are not.
    let x = one.broadcast_to(&[1, 1 << 20, 1 << 10]).unwrap();
    let w = one.broadcast_to(&[1, 1 << 19, 1 << 10]).unwrap();
    let message = x.conv(&w, ConvOptions::default()).unwrap_err().to_string();
    assert!(message.contains("the memory limit is"), "{message}");
    let spread = ConvOptions { padding: &[1 << 30], ..Default::default() };
    assert!(one.broadcast_to(&[64, 4, 1]).unwrap().conv(&noise(&[1, 1, 1]), spread).is_err());
}

#[test]
fn vmap_convolves_each_by_itself() {
    let of = |a: &Array, i: i32| a.slice_axis(0, i, i + 1).unwrap().squeeze([0]).unwrap();
    for groups in [1, 2] {
        let (xs, ws) = (noise(&[3, 2, 5, 4]), noise(&[3, 2, 3, 4 / groups]));
        let conv =
            |[x, w]: &[Array; 2]| x.conv(w, ConvOptions { padding: &[1], groups, ..Default::default() });
        let all = transforms::vmap(conv, [&xs, &ws], &[Some(0), Some(0)], &[0]).unwrap();
        let inputs = transforms::vmap(conv, [&xs, &of(&ws, 1)], &[Some(0), None], &[0]).unwrap();
        let kernels = transforms::vmap(conv, [&of(&xs, 1), &ws], &[None, Some(0)], &[0]).unwrap();
        for i in 0..3 {
            let expected = |x: i32, w: i32| conv(&[of(&xs, x), of(&ws, w)]).unwrap();
            assert_close("all", &of(&all, i), &expected(i, i), limits(DType::F32));
            assert_close("inputs", &of(&inputs, i), &expected(i, 1), limits(DType::F32));
            assert_close("kernels", &of(&kernels, i), &expected(1, i), limits(DType::F32));
        }
        let none = Array::zeros(&[0, 2, 3, 4 / groups], DType::F32).unwrap();
        let message = transforms::vmap(conv, [&of(&xs, 1), &none], &[None, Some(0)], &[0]).unwrap_err();
        assert_eq!(message.to_string(), "vmap: there is nothing along the axes that are cut");
    }
}

#[test]
fn the_hadamard_transform_is_as_scipy_gives_it() {
    let file = Reference::open("conv");
    for name in file.cases().into_iter().filter(|name| name.starts_with("hadamard/")) {
        let limits = limits(file.inputs(&name)[0].dtype());
        file.check(&name, limits, |a| Ok(vec![a[0].hadamard_transform(None)?]));
        file.check(&name, limits, |a| Ok(vec![strided(&a[0]).hadamard_transform(None)?]));
    }
}

#[test]
fn hadamard_matrices_are_orthogonal_and_their_own_gradient() {
    for n in [1, 2, 12, 20, 28, 24, 40, 56, 96] {
        let identity: Vec<f32> = (0..n * n).map(|i| f32::from(u8::from(i % (n + 1) == 0))).collect();
        let identity = Array::from_slice(&identity, &[n, n]).unwrap();
        let matrix = identity.hadamard_transform(Some(1.0)).unwrap();
        assert!(matrix.to_vec::<f32>().unwrap().iter().all(|x| x.abs() == 1.0), "{n}");
        let normal = identity.hadamard_transform(None).unwrap();
        let gram = normal.matmul(&normal.transpose(&[1, 0]).unwrap()).unwrap();
        assert_close(&n.to_string(), &gram, &identity, limits(DType::F32));
        let half = noise(&[3, n]).as_type(DType::F16).unwrap();
        let expected = half.as_type(DType::F32).unwrap().hadamard_transform(None).unwrap();
        let expected = expected.as_type(DType::F16).unwrap();
        assert_close("float16", &half.hadamard_transform(None).unwrap(), &expected, limits(DType::F16));
        let weights = noise(&[n]);
        check_gradient("hadamard", &noise(&[n]), |a| {
            a.hadamard_transform(None)?.multiply(&weights)?.sum(.., false)
        });
    }
}

#[test]
fn rows_are_hadamard_transformed_by_themselves_under_vmap() {
    for n in [8, 12] {
        let a = noise(&[3, n]);
        let expected = a.hadamard_transform(None).unwrap();
        let row = |a: &Array| a.hadamard_transform(None);
        let rows = transforms::vmap(row, &a, &[Some(0)], &[0]).unwrap();
        assert_close("rows", &rows, &expected, limits(DType::F32));
        let columns = transforms::vmap(row, &a.transpose(&[1, 0]).unwrap(), &[Some(1)], &[0]).unwrap();
        assert_close("columns", &columns, &expected, limits(DType::F32));
    }
}

#[test]
fn lengths_without_a_hadamard_matrix_are_errors() {
    for n in [3, 7, 9, 36, 60, 100, 140, 144, 0] {
        let message = noise(&[2, n]).hadamard_transform(None).unwrap_err().to_string();
        assert!(message.contains("long with m in 1, 12, 20, 28"), "{message}");
    }
    let long = Array::scalar(1.0f32).unwrap().broadcast_to(&[1 << 27]).unwrap();
    assert!(long.hadamard_transform(None).is_err());
    for dtype in [DType::F64, DType::Complex64] {
        assert!(noise(&[4]).as_type(dtype).unwrap().hadamard_transform(None).is_err(), "{dtype}");
    }
    let ones = Array::from_slice(&[1i32, 1], &[2]).unwrap();
    assert_eq!(ones.hadamard_transform(Some(1.0)).unwrap().to_vec::<f32>().unwrap(), [2.0, 0.0]);
    let scalar = Array::scalar(true).unwrap();
    assert_eq!(scalar.hadamard_transform(Some(3.0)).unwrap().item::<f32>().unwrap(), 3.0);
}

#[test]
fn windows_are_as_numpy_gives_them() {
    let file = Reference::open("conv");
    for (name, f) in [
        ("bartlett", Array::bartlett as fn(i32) -> Result<Array>),
        ("blackman", Array::blackman),
        ("hamming", Array::hamming),
        ("hanning", Array::hanning),
    ] {
        for n in [0, 1, 2, 5, 64] {
            let limits = Tolerance { absolute: 1e-6, relative: 0.0 };
            file.check(&format!("{name}/{n}"), limits, |_| Ok(vec![f(n)?]));
        }
        assert!(f(-1).is_err());
        assert!(f(i32::MIN).is_err());
    }
}
