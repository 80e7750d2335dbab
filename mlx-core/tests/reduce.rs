//! Reductions, running reductions and order, against NumPy and SciPy.

mod support;

use mlx_core::{Array, DType, Error, Result};
use support::{EXACT, Reference, Tolerance, assert_close, row, tolerance};

/// The axes that a case's name tells.
fn axes(text: &str, ndim: usize) -> Vec<i32> {
    match text {
        "all" => (0..ndim as i32).collect(),
        "none" => Vec::new(),
        list => list.split(',').map(|axis| axis.parse().unwrap()).collect(),
    }
}

fn run(case: &str, x: &[Array]) -> Result<Array> {
    let parts: Vec<&str> = case.split('/').collect();
    let a = &x[0];
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    let list = || axes(part(1), a.ndim());
    let axis = || part(1).parse::<i32>().unwrap();
    let keep = part(2) == "keep";
    let (inclusive, reverse) = (part(2).starts_with("in"), part(2).ends_with("back"));
    match parts[0] {
        "sum" => a.sum(list(), keep),
        "prod" => a.prod(list(), keep),
        "mean" => a.mean(list(), keep),
        "max" => a.max(list(), keep),
        "min" => a.min(list(), keep),
        "median" => a.median(list(), keep),
        "logsumexp" => a.logsumexp(list(), keep),
        "all" => a.all(list(), keep),
        "any" => a.any(list(), keep),
        "count_nonzero" => a.count_nonzero(list(), keep),
        "var" => a.var(list(), keep, 0),
        "std" => a.std(list(), keep, 0),
        "var_sample" => a.var(1, false, 1),
        "std_sample" => a.std(1, false, 1),
        "softmax" => a.softmax(list(), true),
        "argmax" => a.argmax(axis(), false),
        "argmin" => a.argmin(axis(), false),
        "sort" => a.sort(axis()),
        "argsort" => a.argsort(axis()),
        "cumsum" => a.cumsum(axis(), reverse, inclusive),
        "cumprod" => a.cumprod(axis(), reverse, inclusive),
        "cummax" => a.cummax(axis(), reverse, inclusive),
        "cummin" => a.cummin(axis(), reverse, inclusive),
        "logcumsumexp" => a.logcumsumexp(axis(), reverse, inclusive),
        "searchsorted_left" => a.searchsorted(&x[1], false),
        "searchsorted_right" => a.searchsorted(&x[1], true),
        other => panic!("no operation {other}"),
    }
}

#[test]
fn values_are_numpys() {
    // Sums of 16-bit numbers round at each step.
    let near = |case: &str, dtype| match (case.split('/').next(), tolerance(dtype)) {
        (_, EXACT) => EXACT,
        // What is computed in single precision whatever the dtype.
        (Some("logsumexp" | "softmax" | "logcumsumexp"), _) if dtype == DType::F64 => tolerance(DType::F32),
        // Differences from the mean lose what the mean has rounded.
        (Some("var" | "std" | "var_sample" | "std_sample"), near) => {
            Tolerance { absolute: 4.0 * near.absolute, relative: 4.0 * near.relative }
        }
        (_, near) => Tolerance { absolute: 2.0 * near.absolute, relative: 2.0 * near.relative },
    };
    Reference::open("reduce").check_all(near, |case, x| Ok(vec![run(case, x)?]));
}

#[test]
fn partitions_have_what_is_smaller_before_and_what_is_larger_after() {
    let values: Vec<f32> = (0..60).map(|i| ((i * 37) % 60) as f32).collect();
    let a = Array::from_slice(&values, &[3, 20]).unwrap();
    for kth in [0, 7, 19, -1, -20] {
        let place = if kth < 0 { kth + 20 } else { kth } as usize;
        let sorted = a.sort(1).unwrap().to_vec::<f32>().unwrap();
        let parts = a.partition(kth, 1).unwrap().to_vec::<f32>().unwrap();
        let by_position = a.take_along(&a.argpartition(kth, 1).unwrap(), 1).unwrap().to_vec::<f32>().unwrap();
        for found in [parts, by_position] {
            for (line, sorted) in found.chunks(20).zip(sorted.chunks(20)) {
                assert_eq!(line[place], sorted[place], "{kth}");
                assert!(line[..place].iter().all(|x| *x <= line[place]), "{kth}: {line:?}");
                assert!(line[place..].iter().all(|x| *x >= line[place]), "{kth}: {line:?}");
            }
        }
    }
    for k in [0, 1, 5, 20] {
        let mut top = a.topk(k, 1).unwrap().to_vec::<f32>().unwrap();
        let sorted = a.sort(1).unwrap().to_vec::<f32>().unwrap();
        for (line, sorted) in top.chunks_mut(k.max(1) as usize).zip(sorted.chunks(20)) {
            line.sort_by(f32::total_cmp);
            assert_eq!(line, &sorted[20 - k as usize..], "top {k}");
        }
    }
}

#[test]
fn views_are_reduced_as_they_show() {
    let base = Array::arange(0.0, 24.0, 1.0, DType::F32).unwrap().reshape(&[2, 3, 4]).unwrap();
    let views = [
        base.transpose(&[2, 0, 1]).unwrap(),
        base.slice(&[1, 2, 3], &[i32::MIN, i32::MIN, i32::MIN], &[-1, -2, -1]).unwrap(),
        base.slice_axis(1, 0, 1).unwrap().broadcast_to(&[2, 5, 4]).unwrap(),
    ];
    for view in &views {
        let copy = Array::from_slice(&view.to_vec::<f32>().unwrap(), view.shape()).unwrap();
        for axis in 0..3 {
            type Reduce = fn(&Array, i32) -> Result<Array>;
            let all: [(&str, Reduce); 9] = [
                ("sum", |a, axis| a.sum(axis, false)),
                ("prod", |a, axis| a.prod([axis, (axis + 1) % 3], true)),
                ("argmin", |a, axis| a.argmin(axis, false)),
                ("median", |a, axis| a.median(axis, false)),
                ("sort", |a, axis| a.sort(axis)),
                ("argsort", |a, axis| a.argsort(axis)),
                ("cumsum", |a, axis| a.cumsum(axis, true, false)),
                ("cummax", |a, axis| a.cummax(axis, false, true)),
                ("softmax", |a, axis| a.softmax(axis, true)),
            ];
            for (name, f) in all {
                assert_close(name, &f(view, axis).unwrap(), &f(&copy, axis).unwrap(), tolerance(DType::F32));
            }
        }
    }
}

#[test]
fn nothing_has_a_sum_but_no_largest() {
    let nothing = Array::zeros(&[2, 0], DType::F32).unwrap();
    assert_eq!(nothing.sum(1, false).unwrap().to_vec::<f32>().unwrap(), [0.0, 0.0]);
    assert_eq!(nothing.prod(1, false).unwrap().to_vec::<f32>().unwrap(), [1.0, 1.0]);
    assert!(nothing.all(1, false).unwrap().to_vec::<bool>().unwrap().iter().all(|x| *x));
    assert_eq!(nothing.cumsum(1, false, true).unwrap().shape(), [2, 0]);
    assert_eq!(nothing.sort(1).unwrap().shape(), [2, 0]);
    assert_eq!(nothing.sort(0).unwrap().to_vec::<f32>().unwrap().len(), 0);
    assert_eq!(nothing.argsort(1).unwrap().to_vec::<u32>().unwrap().len(), 0);
    assert_eq!(nothing.softmax(1, true).unwrap().to_vec::<f32>().unwrap().len(), 0);
    assert!(nothing.searchsorted(&row(&[1.0]), false).is_err());
    let empty = row(&[]);
    assert_eq!(empty.searchsorted(&row(&[1.0]), false).unwrap().to_vec::<u32>().unwrap(), [0]);
    for refused in [
        nothing.argmax(1, false),
        nothing.argmin(0, false),
        nothing.median(1, false),
        nothing.logsumexp(1, false),
        nothing.partition(0, 1),
        nothing.argpartition(-1, 1),
        nothing.topk(1, 1),
    ] {
        assert!(refused.is_err(), "{refused:?}");
    }
    // Some of these are undefined and some are not; none may crash.
    for reduced in
        [nothing.max(1, false), nothing.min(1, false), nothing.mean(1, false), nothing.var(1, false, 0)]
    {
        let _ = reduced.and_then(|array| array.eval());
    }
}

#[test]
fn axes_that_do_not_exist_are_errors() {
    let a = Array::zeros(&[2, 3], DType::F32).unwrap();
    for axis in [2, -3, i32::MAX, i32::MIN] {
        for refused in [
            a.sum(axis, false),
            a.var(axis, false, 0),
            a.median(axis, false),
            a.argmax(axis, false),
            a.sort(axis),
            a.argsort(axis),
            a.partition(0, axis),
            a.topk(1, axis),
            a.cumsum(axis, false, true),
            a.cummin(axis, false, true),
            a.softmax(axis, false),
            a.number_of_elements(axis, false, DType::I32),
        ] {
            assert!(refused.is_err(), "{axis}: {refused:?}");
        }
    }
    assert!(a.sum([0, 0], false).is_err());
    let message = a.topk(4, 1).unwrap_err().to_string();
    assert_eq!(message, "topk: axis 1 of float32[2, 3] does not have 4 elements");
    assert!(matches!(a.partition(3, 1), Err(Error::Shape { op: "partition", .. })));
    assert_eq!(a.number_of_elements(.., false, DType::I32).unwrap().item::<i32>().unwrap(), 6);
    assert_eq!(a.number_of_elements(1, true, DType::F32).unwrap().item::<f32>().unwrap(), 1.0 / 3.0);
}

#[test]
fn scalars_are_reduced_over_no_axis() {
    let one = Array::scalar(3.0f32).unwrap();
    assert_eq!(one.sum(.., false).unwrap().item::<f32>().unwrap(), 3.0);
    assert_eq!(one.max(.., true).unwrap().item::<f32>().unwrap(), 3.0);
    assert!(one.sort(0).is_err());
    assert!(one.cumsum(0, false, true).is_err());
}
