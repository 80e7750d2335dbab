//! Operations on single elements, against NumPy and SciPy: every operation in every dtype that has it.

mod support;

use mlx_core::{Array, DType, Result, depends, select};
use support::{EXACT, Reference, Tolerance, assert_close, tolerance};

type Unary = fn(&Array) -> Result<Array>;
type Binary = fn(&Array, &Array) -> Result<Array>;

const UNARY: [(&str, Unary); 43] = [
    ("abs", Array::abs),
    ("negative", Array::negative),
    ("sign", Array::sign),
    ("reciprocal", Array::reciprocal),
    ("floor", Array::floor),
    ("ceil", Array::ceil),
    ("trunc", Array::trunc),
    ("exp", Array::exp),
    ("expm1", Array::expm1),
    ("log", Array::log),
    ("log2", Array::log2),
    ("log10", Array::log10),
    ("log1p", Array::log1p),
    ("sqrt", Array::sqrt),
    ("rsqrt", Array::rsqrt),
    ("square", Array::square),
    ("sigmoid", Array::sigmoid),
    ("sin", Array::sin),
    ("cos", Array::cos),
    ("tan", Array::tan),
    ("arcsin", Array::arcsin),
    ("arccos", Array::arccos),
    ("arctan", Array::arctan),
    ("sinh", Array::sinh),
    ("cosh", Array::cosh),
    ("tanh", Array::tanh),
    ("arcsinh", Array::arcsinh),
    ("arccosh", Array::arccosh),
    ("arctanh", Array::arctanh),
    ("degrees", Array::degrees),
    ("radians", Array::radians),
    ("erf", Array::erf),
    ("erfinv", Array::erfinv),
    ("stop_gradient", Array::stop_gradient),
    ("conjugate", Array::conjugate),
    ("real", Array::real),
    ("imag", Array::imag),
    ("isfinite", Array::isfinite),
    ("isinf", Array::isinf),
    ("isnan", Array::isnan),
    ("isneginf", Array::isneginf),
    ("isposinf", Array::isposinf),
    ("bitwise_invert", Array::bitwise_invert),
];

const BINARY: [(&str, Binary); 25] = [
    ("add", Array::add),
    ("subtract", Array::subtract),
    ("multiply", Array::multiply),
    ("divide", Array::divide),
    ("power", Array::power),
    ("floor_divide", Array::floor_divide),
    ("remainder", Array::remainder),
    ("maximum", Array::maximum),
    ("minimum", Array::minimum),
    ("arctan2", Array::arctan2),
    ("logaddexp", Array::logaddexp),
    ("equal", Array::equal),
    ("not_equal", Array::not_equal),
    ("less", Array::less),
    ("less_equal", Array::less_equal),
    ("greater", Array::greater),
    ("greater_equal", Array::greater_equal),
    ("logical_and", Array::logical_and),
    ("logical_or", Array::logical_or),
    ("logical_xor", Array::logical_xor),
    ("bitwise_and", Array::bitwise_and),
    ("bitwise_or", Array::bitwise_or),
    ("bitwise_xor", Array::bitwise_xor),
    ("left_shift", Array::left_shift),
    ("right_shift", Array::right_shift),
];

/// What MLX computes in single precision whatever the dtype.
const SINGLE: [&str; 7] = ["cos", "erf", "erfinv", "exp", "logaddexp", "sigmoid", "sin"];

/// Operations with a number beside their arrays, and those that give two.
fn other(op: &str, x: &[Array]) -> Option<Result<Vec<Array>>> {
    let one = match op {
        "logical_not" => x[0].logical_not(),
        "round" => x[0].round(0),
        "round_2" => x[0].round(2),
        "round_tens" => x[0].round(-1),
        "nan_to_num" => x[0].nan_to_num(7.0, None, None),
        "nan_to_num_given" => x[0].nan_to_num(0.5, Some(9.0), Some(-9.0)),
        "isclose" => x[0].isclose(&x[1], 1e-5, 1e-8, false),
        "isclose_nan" => x[0].isclose(&x[1], 1e-5, 1e-8, true),
        "clip" => x[0].clip(Some(&x[1]), Some(&x[2])),
        "select" => select(&x[0], &x[1], &x[2]),
        "divmod" => return Some(x[0].divmod(&x[1]).map(|(quotient, rest)| vec![quotient, rest])),
        _ => return None,
    };
    Some(one.map(|array| vec![array]))
}

fn run(op: &str, x: &[Array]) -> Result<Vec<Array>> {
    if let Some((_, f)) = UNARY.iter().find(|(name, _)| *name == op) {
        return Ok(vec![f(&x[0])?]);
    }
    if let Some((_, f)) = BINARY.iter().find(|(name, _)| *name == op) {
        return Ok(vec![f(&x[0], &x[1])?]);
    }
    other(op, x).unwrap_or_else(|| panic!("no operation {op}"))
}

#[test]
fn values_are_numpys() {
    let reference = Reference::open("elementwise");
    let op = |case: &str| case.split('/').next().unwrap().to_owned();
    let near = |case: &str, dtype| match dtype {
        DType::F64 if SINGLE.contains(&&*op(case)) => tolerance(DType::F32),
        _ => tolerance(dtype),
    };
    reference.check_all(near, |case, x| run(&op(case), x));
    let cases = reference.cases();
    for (op, _) in UNARY.iter().map(|(op, _)| (op, ())).chain(BINARY.iter().map(|(op, _)| (op, ()))) {
        assert!(cases.iter().any(|case| case.starts_with(&format!("{op}/"))), "nothing tests {op}");
    }
}

#[test]
fn views_give_the_same_as_what_they_show() {
    let base =
        Array::arange(-6.0, 6.0, 1.0, DType::F32).unwrap().divide(&Array::scalar(7.0f32).unwrap()).unwrap();
    let base = base.reshape(&[3, 4]).unwrap();
    let views = [
        base.transpose(&[1, 0]).unwrap(),
        base.slice(&[2, 3], &[i32::MIN, 0], &[-1, -2]).unwrap(),
        base.slice_axis(1, 1, 2).unwrap().broadcast_to(&[3, 5]).unwrap(),
        base.slice_axis(0, 1, 1).unwrap(),
        base.slice_axis(0, 1, 2).unwrap().slice_axis(1, 2, 3).unwrap().reshape(&[]).unwrap(),
    ];
    for view in &views {
        let copy = Array::from_slice(&view.to_vec::<f32>().unwrap(), view.shape()).unwrap();
        for (op, f) in UNARY.iter().filter(|(op, _)| !["bitwise_invert"].contains(op)) {
            let (of_view, of_copy) = (f(view), f(&copy));
            if let (Ok(of_view), Ok(of_copy)) = (&of_view, &of_copy) {
                assert_close(&format!("{op} of {view:?}"), of_view, of_copy, EXACT);
            } else {
                assert!(of_view.is_err() && of_copy.is_err(), "{op}: {of_view:?} {of_copy:?}");
            }
        }
        for (op, f) in BINARY.iter().filter(|(op, _)| !op.starts_with("bitwise") && !op.ends_with("shift")) {
            assert_close(op, &f(view, view).unwrap(), &f(&copy, &copy).unwrap(), EXACT);
        }
    }
}

#[test]
fn dividing_whole_numbers_never_ends_the_process() {
    for dtype in
        [DType::I8, DType::I16, DType::I32, DType::I64, DType::U8, DType::U32, DType::U64, DType::Bool]
    {
        let zeros = Array::zeros(&[3], dtype).unwrap();
        let (quotient, rest) = zeros.divmod(&zeros).unwrap();
        assert_close("0 / 0", &quotient, &zeros, EXACT);
        assert_close("0 % 0", &rest, &zeros, EXACT);
    }
    let low = Array::scalar(i64::MIN).unwrap();
    let (quotient, rest) = low.divmod(&Array::scalar(-1i64).unwrap()).unwrap();
    assert_eq!((quotient.item::<i64>().unwrap(), rest.item::<i64>().unwrap()), (i64::MIN, 0));
    // Mixed signs: uint64 and int64 have float32 in common.
    let mixed = Array::scalar(7u64).unwrap().floor_divide(&Array::scalar(-2i64).unwrap()).unwrap();
    assert_eq!(mixed.item::<f32>().unwrap(), -4.0);
    let rows = Array::from_slice(&[7i32, 9], &[2, 1]).unwrap();
    let columns = Array::from_slice(&[2i32, 4, 0], &[3]).unwrap();
    let (quotient, rest) = rows.divmod(&columns).unwrap();
    assert_eq!((quotient.shape(), rest.shape()), (&[2, 3][..], &[2, 3][..]));
    assert_eq!(rest.to_vec::<i32>().unwrap(), [1, 3, 0, 1, 1, 0]);
}

#[test]
fn conversions_follow_the_value_or_the_bytes() {
    let x = Array::from_slice(&[1.5f32, -2.75, 300.0, 0.0], &[4]).unwrap();
    assert_eq!(x.as_type(DType::I32).unwrap().to_vec::<i32>().unwrap(), [1, -2, 300, 0]);
    assert_eq!(x.as_type(DType::Bool).unwrap().to_vec::<bool>().unwrap(), [true, true, true, false]);
    let bits = x.view(DType::U32).unwrap();
    assert_eq!(bits.to_vec::<u32>().unwrap()[0], 1.5f32.to_bits());
    assert_eq!(x.view(DType::U8).unwrap().shape(), [16]);
    assert_eq!(x.view(DType::U64).unwrap().shape(), [2]);
    assert_eq!(
        x.reshape(&[2, 2]).unwrap().transpose(&[1, 0]).unwrap().view(DType::I32).unwrap().shape(),
        [2, 2]
    );
    for refused in [
        x.view(DType::Bool),
        x.slice_axis(0, 0, 3).unwrap().view(DType::U64),
        Array::scalar(1.0f32).unwrap().view(DType::U8),
    ] {
        assert!(refused.is_err(), "{refused:?}");
    }
    let fp8 = x.to_fp8().unwrap();
    assert_eq!(fp8.dtype(), DType::U8);
    let back = fp8.from_fp8(DType::F32).unwrap();
    // Three bits of fraction: 1.5 and -2.75 are exact; 300 lies between 288 and 320.
    let near = Tolerance { absolute: 0.0, relative: 1.0 / 16.0 };
    assert_close("fp8", &back, &x, near);
    assert!(x.from_fp8(DType::F32).is_err());
    assert!(fp8.to_fp8().is_err());
}

#[test]
fn whole_arrays_are_compared() {
    let a = Array::from_slice(&[1.0f32, f32::NAN], &[2]).unwrap();
    let truth = |array: Array| array.item::<bool>().unwrap();
    assert!(!truth(a.array_equal(&a, false).unwrap()));
    assert!(truth(a.array_equal(&a, true).unwrap()));
    assert!(!truth(a.array_equal(&a.reshape(&[1, 2]).unwrap(), true).unwrap()));
    assert!(truth(a.allclose(&a, 1e-5, 1e-8, true).unwrap()));
    assert!(!truth(a.allclose(&a, 1e-5, 1e-8, false).unwrap()));
}

#[test]
fn what_does_not_go_together_names_itself() {
    let (a, b) = (Array::zeros(&[2, 3], DType::F32).unwrap(), Array::zeros(&[2], DType::I32).unwrap());
    for (op, f) in BINARY {
        let message = f(&a, &b).unwrap_err().to_string();
        assert!(message.contains("[2, 3]") && message.contains("[2]"), "{op}: {message}");
    }
    assert!(a.clip(None, None).is_err());
    assert!(a.round(31).unwrap_err().to_string().contains("-30 to 30"));
    assert!(depends(&[], &[&a]).is_err());
    assert!(a.bitwise_and(&a).is_err());
    let z = Array::from_slice(&[mlx_core::Complex32::new(1.0, 2.0)], &[1]).unwrap();
    assert!(z.remainder(&z).unwrap_err().to_string().contains("complex"));
    assert_eq!(z.to_vec::<mlx_core::Complex32>().unwrap(), [mlx_core::Complex32::new(1.0, 2.0)]);
}

#[test]
fn an_array_that_depends_on_others_is_itself() {
    let (a, b) = (Array::scalar(1.0f32).unwrap(), Array::scalar(2.0f32).unwrap());
    let after = depends(&[&a], &[&b.square().unwrap()]).unwrap();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].item::<f32>().unwrap(), 1.0);
}
