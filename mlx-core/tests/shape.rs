//! Layout, slices and positions, against NumPy.

mod support;

use mlx_core::{
    Array, DType, Join, Padding, Result, broadcast_arrays, concatenate, meshgrid, stack,
    transforms::{compile, grad, vmap},
};
use support::{EXACT, Reference, assert_close, tolerance};

fn join(name: &str) -> Join {
    match name {
        "set" => Join::Set,
        "add" => Join::Add,
        "multiply" => Join::Multiply,
        "max" => Join::Max,
        "min" => Join::Min,
        other => panic!("no way to join: {other}"),
    }
}

/// Starts, stops and steps of a slice, as the reference holds them.
fn cut(numbers: &Array) -> Vec<Vec<i32>> {
    numbers.to_vec::<i32>().unwrap().chunks(numbers.shape()[1] as usize).map(<[i32]>::to_vec).collect()
}

fn run(case: &str, x: &[Array]) -> Result<Vec<Array>> {
    let parts: Vec<&str> = case.split('/').collect();
    let one = match parts[0] {
        "pad_edge" => x[0].pad([1, 2], &[2, 3], &[1, 6], Padding::Edge),
        "pad_reflect" => x[0].pad([2, 1], &[3, 2], &[6, 1], Padding::Reflect),
        "pad_symmetric" => x[0].pad([1, -1], &[2, 3], &[1, 6], Padding::Symmetric),
        "pad_constant" => x[0].pad([0, 2], &[1, 2], &[0, 3], Padding::Constant(&x[1])),
        "tile" => x[0].tile(&[2, 1, 3]),
        "tile_more" => x[0].tile(&[2, 2, 1]),
        "tile_none" => x[0].tile(&[0, 1, 1]),
        "repeat" => x[0].repeat(3, 1),
        "roll" => x[0].roll(&[1, -7], [0, 2]),
        "flip" => x[0].flip([0, 2]),
        "moveaxis" => x[0].moveaxis(0, -1),
        "swapaxes" => x[0].swapaxes(0, 2),
        "flatten" => x[0].flatten(1, -1),
        "unflatten" => x[0].unflatten(2, &[-1, 2]),
        "tril" => x[0].tril(1),
        "triu" => x[0].triu(-1),
        "triu_all_zero" => x[0].triu(9),
        "diag_of_list" => x[0].diag(-2),
        "diag_of_matrix" => x[0].diag(1),
        "diagonal" => x[0].diagonal(1, 2, 0),
        "trace" => x[0].trace(-1, 1, 2, DType::F32),
        "diff" => x[0].diff(2, 2),
        "diff_away" => x[0].diff(3, 1),
        "stack" => stack(&[&x[0], &x[1]], -1),
        "concatenate" => concatenate(&[&x[0], &x[1]], 1),
        "linspace" => Array::linspace(-1.0, 2.0, 7, true, DType::F32),
        "linspace_open" => Array::linspace(0.0, 1.0, 4, false, DType::F32),
        "eye" => Array::eye(3, 4, 1, DType::F32),
        "tri" => Array::tri(3, 4, -1, DType::F32),
        "arange" => Array::arange(5.0, -4.0, -2.0, DType::I32),
        "slice" => {
            let cut = cut(&x[1]);
            x[0].slice(&cut[0], &cut[1], &cut[2])
        }
        "slice_update" => {
            let cut = cut(&x[1]);
            x[0].slice_update(&x[2], &cut[0], &cut[1], &cut[2], join(parts[1]))
        }
        "take" => x[0].take(&x[1], 1),
        "take_along" => x[0].take_along(&x[1], 2),
        "put_along" => x[0].put_along(&x[1], &x[2], 2),
        "add_along" => x[0].add_along(&x[1], &x[2], -1),
        "gather" => x[0].gather(&[&x[1], &x[2]], &[0, -1], &[1, 2, 1]),
        "scatter" => x[0].scatter(&[&x[1], &x[2]], &[0, 2], &x[3], join(parts[1])),
        "masked_scatter" | "masked_scatter_value" => x[0].masked_scatter(&x[1], &x[2]),
        "slice_dynamic" => x[0].slice_dynamic(&x[1], &[1, -1], &[2, 2, 2]),
        "slice_update_dynamic" => x[0].slice_update_dynamic(&x[1], &x[2], &[1, 2]),
        "meshgrid" => return meshgrid(&[&x[0], &x[1]], false, false),
        "meshgrid_xy" => return meshgrid(&[&x[0], &x[1]], true, true),
        "broadcast_arrays" => return broadcast_arrays(&x.iter().collect::<Vec<_>>()),
        "atleast" => return Ok(vec![x[0].atleast_1d()?, x[1].atleast_2d()?, x[2].atleast_3d()?]),
        other => panic!("no operation {other}"),
    };
    Ok(vec![one?])
}

#[test]
fn values_are_numpys() {
    let near = |case: &str, dtype| if case.starts_with("linspace") { tolerance(dtype) } else { EXACT };
    Reference::open("shape").check_all(near, run);
}

/// The same, but of arrays that are views, and with positions that are not known when they are used.
#[test]
fn values_are_numpys_of_views_and_of_positions_to_come() {
    // Two transpositions, the first of which is carried out; and a sum that is not.
    let disguised = |a: &Array| -> Result<Array> {
        let axes: Vec<i32> = (0..a.ndim() as i32).rev().collect();
        let view = a.transpose(&axes)?.contiguous()?.transpose(&axes)?;
        if a.dtype() == DType::Bool { Ok(view) } else { view.add(&Array::zeros(&[], a.dtype())?) }
    };
    Reference::open("shape").check_all(
        |case, dtype| if case.starts_with("linspace") { tolerance(dtype) } else { EXACT },
        |case, x| run(case, &x.iter().map(disguised).collect::<Result<Vec<_>>>()?),
    );
}

fn iota(shape: &[i32]) -> Array {
    let size = shape.iter().product::<i32>();
    Array::arange(0.0, f64::from(size), 1.0, DType::F32).unwrap().reshape(shape).unwrap()
}

fn positions(values: &[i32]) -> Array {
    Array::from_slice(values, &[values.len() as i32]).unwrap()
}

/// Positions that nobody knows before they are computed.
fn later(values: &[i32]) -> Array {
    positions(values).add(&Array::scalar(0i32).unwrap()).unwrap()
}

#[test]
fn positions_outside_are_errors_when_they_are_known_and_when_they_are_computed() {
    let a = iota(&[2, 3]);
    type Use = fn(&Array, &Array) -> Result<Array>;
    let uses: [(&str, Use); 7] = [
        ("take", |a, at| a.take(at, 1)),
        ("take_along", |a, at| a.take_along(&at.reshape(&[1, -1])?, 1)),
        ("put_along", |a, at| a.put_along(&at.reshape(&[1, -1])?, &Array::scalar(1.0f32)?, 1)),
        ("add_along", |a, at| a.add_along(&at.reshape(&[1, -1])?, &Array::scalar(1.0f32)?, 1)),
        ("gather", |a, at| a.gather(&[at], &[1], &[2, 1])),
        ("scatter", |a, at| {
            a.scatter(&[at], &[1], &Array::zeros(&[at.shape()[0], 2, 1], DType::F32)?, Join::Add)
        }),
        ("slice_dynamic", |a, at| a.slice_dynamic(&at.slice_axis(0, 1, 2)?, &[1], &[2, 1])),
    ];
    for (name, f) in uses {
        for outside in [3, 1000, i32::MAX, i32::MIN, -4] {
            for at in [positions(&[0, outside]), later(&[0, outside])] {
                let message = f(&a, &at).and_then(|array| array.eval()).unwrap_err().to_string();
                assert!(message.contains(&outside.to_string()), "{name} at {outside}: {message}");
                assert!(message.contains("lies outside"), "{name} at {outside}: {message}");
            }
        }
        for at in [positions(&[0, 2]), later(&[0, 2])] {
            f(&a, &at).and_then(|array| array.eval()).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert!(f(&a, &Array::from_slice(&[0.0f32, 1.0], &[2]).unwrap()).is_err(), "{name}: fractions");
        assert!(f(&a, &Array::from_slice(&[true, false], &[2]).unwrap()).is_err(), "{name}: booleans");
    }
    // The next evaluation works.
    assert_eq!(a.take(&later(&[1]), 0).unwrap().to_vec::<f32>().unwrap(), [3.0, 4.0, 5.0]);
    let wide = Array::from_slice(&[u64::MAX], &[1]).unwrap();
    assert!(a.take(&wide, 0).unwrap_err().to_string().contains(&u64::MAX.to_string()));
    // A slice that begins inside and ends outside.
    assert!(a.gather(&[&positions(&[2])], &[1], &[1, 2]).is_err());
    assert!(a.slice_dynamic(&later(&[2]), &[1], &[1, 2]).unwrap().eval().is_err());
}

#[test]
fn positions_take_part_in_every_transform() {
    let table = iota(&[4, 2]);
    let compiled = compile(|[table, at]: &[Array; 2]| table.take(at, 0)).unwrap();
    for at in [[0, 3], [1, -1]] {
        let expected = table.take(&positions(&at), 0).unwrap();
        assert_close("compiled", &compiled.call([&table, &positions(&at)]).unwrap(), &expected, EXACT);
    }
    let outside = compiled.call([&table, &positions(&[0, 4])]).unwrap();
    assert!(outside.eval().unwrap_err().to_string().contains("position 4"));

    let rows = positions(&[1, 1, 3]);
    let gradient = grad(|table| table.take(&rows, 0)?.sum(.., false), &table).unwrap();
    assert_eq!(gradient.to_vec::<f32>().unwrap(), [0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 1.0, 1.0]);
    // Positions that depend on what is differentiated.
    let at_largest = |table: &Array| table.take_along(&table.argmax(0, true)?, 0)?.sum(.., false);
    let gradient = grad(at_largest, &table).unwrap();
    assert_eq!(gradient.to_vec::<f32>().unwrap(), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);

    let many = Array::from_slice(&[0i32, 3, 2, 2], &[2, 2]).unwrap();
    let each = vmap(|[table, at]| table.take(at, 0), [&table, &many], &[None, Some(0)], &[0]).unwrap();
    assert_close("vmap", &each, &table.take(&many, 0).unwrap(), EXACT);
}

#[test]
fn strides_that_lead_outside_are_errors() {
    let a = iota(&[2, 3]);
    for (shape, strides, offset) in [
        (vec![7], vec![1], 0),
        (vec![2], vec![6], 0),
        (vec![2], vec![-1], 0),
        (vec![1], vec![1], 6),
        (vec![3, 3], vec![2, 1], 0),
        (vec![2], vec![i64::MAX], 0),
        (vec![2, 2], vec![i64::MAX, i64::MAX], 0),
        (vec![2], vec![i64::MIN], 5),
        (vec![-1], vec![1], 0),
        (vec![2, 2], vec![1], 0),
        (vec![], vec![], usize::MAX),
        (vec![0], vec![1], 7),
    ] {
        assert!(a.as_strided(&shape, &strides, offset).is_err(), "{shape:?} {strides:?} {offset}");
    }
    let strided = |a: &Array, shape: &[i32], strides: &[i64], offset| {
        a.as_strided(shape, strides, offset).unwrap().to_vec::<f32>().unwrap()
    };
    assert_eq!(strided(&a, &[3], &[-2], 5), [5.0, 3.0, 1.0]);
    assert_eq!(strided(&a, &[2, 2], &[0, 1], 4), [4.0, 5.0, 4.0, 5.0]);
    assert_eq!(strided(&a, &[0, 4], &[9, 9], 6), [0.0; 0]);
    let columns = a.transpose(&[1, 0]).unwrap();
    assert_eq!(strided(&columns, &[3], &[1], 0), [0.0, 3.0, 1.0], "a view counts in its own order");
    let tail = a.slice_axis(1, 1, 3).unwrap();
    assert_eq!(strided(&tail, &[4], &[1], 0), [1.0, 2.0, 4.0, 5.0]);
    let piece = &a.split(&[1], 1).unwrap()[1];
    assert_eq!(strided(piece, &[2], &[2], 1), [2.0, 5.0]);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let a = iota(&[2, 3]);
    let nothing = Array::zeros(&[0, 3], DType::F32).unwrap();
    let zero = Array::scalar(0.0f32).unwrap();
    let constant = Padding::Constant(&zero);
    for (name, refused) in [
        ("a step of 0", a.slice(&[0, 0], &[1, 1], &[0, 1])),
        ("too few numbers", a.slice(&[0], &[1], &[1])),
        ("an update of another shape", a.slice_update(&zero, &[0, 0], &[1, 1], &[1, 1], Join::Add)),
        ("an update of another dtype", {
            a.slice_update(&Array::zeros(&[1, 1], DType::I32).unwrap(), &[0, 0], &[1, 1], &[1, 1], Join::Set)
        }),
        ("starts for other axes", a.slice_dynamic(&positions(&[0]), &[0, 1], &[1, 1])),
        ("an axis twice", a.slice_dynamic(&positions(&[0, 0]), &[0, -2], &[1, 1])),
        ("a slice that is too large", a.slice_dynamic(&positions(&[0]), &[0], &[3, 1])),
        ("a negative count", a.pad(0, &[-1], &[0], constant)),
        ("a long axis", a.pad(0, &[i32::MAX], &[i32::MAX], constant)),
        ("two axes, one count", a.pad([0, 1], &[1], &[1], constant)),
        ("an axis that is padded twice", a.pad([0, 0], &[1, 1], &[1, 1], constant)),
        ("many values", a.pad(0, &[1], &[1], Padding::Constant(&a))),
        ("nothing to repeat", nothing.pad(0, &[1], &[0], Padding::Edge)),
        ("nothing to mirror", nothing.pad(0, &[1], &[0], Padding::Reflect)),
        ("negative repeats", a.tile(&[-1])),
        ("many repeats", a.tile(&[i32::MAX, i32::MAX])),
        ("a negative repeat", a.repeat(-1, 0)),
        ("a long repeat", a.repeat(i32::MAX, 1)),
        ("a shift without an axis", a.roll(&[1, 2], 0)),
        ("no axis", a.flip(2)),
        ("a division by zero", nothing.unflatten(0, &[0, -1])),
        ("lengths below -1", a.unflatten(1, &[-3, -1])),
        ("another size", a.unflatten(1, &[2, 2])),
        ("one axis", positions(&[1]).tril(0)),
        ("three axes", iota(&[1, 1, 1]).diag(0)),
        ("one axis twice", a.diagonal(0, 0, 0)),
        ("a matrix of 2^62 elements", positions(&[1]).diag(i32::MAX)),
        ("an order below 0", a.diff(-1, 0)),
        ("updates that are too large", a.scatter(&[&positions(&[0])], &[0], &iota(&[1, 3, 3]), Join::Set)),
        ("updates without axes", a.scatter(&[&positions(&[0])], &[0], &zero, Join::Set)),
        ("one list, two axes", a.gather(&[&positions(&[0])], &[0, 1], &[1, 1])),
        ("negative sizes", a.gather(&[&positions(&[0])], &[0], &[-1, 1])),
        ("a mask of numbers", a.masked_scatter(&a, &a)),
        ("a mask of another shape", a.masked_scatter(&Array::zeros(&[3], DType::Bool).unwrap(), &a)),
        ("indices with too few axes", a.take_along(&positions(&[0]), 0)),
        (
            "indices that would make it grow",
            iota(&[1, 3]).put_along(&later(&[0, 0]).reshape(&[2, 1]).unwrap(), &zero, 1),
        ),
        ("no end", Array::linspace(0.0, f64::NAN, 3, true, DType::F32)),
        ("a negative count of numbers", Array::linspace(0.0, 1.0, -3, true, DType::F32)),
        ("a negative side", Array::eye(-1, 2, 0, DType::F32)),
        ("stacks along nothing", stack(&[&a], 4)),
        ("stacks of nothing", stack(&[], 0)),
    ] {
        assert!(refused.is_err(), "{name}: {refused:?}");
    }
    let ones = Array::full(&[2, 3], true).unwrap();
    let few = a.masked_scatter(&ones, &positions(&[1, 2]).as_type(DType::F32).unwrap()).unwrap();
    assert!(few.eval().is_err(), "too few values");
}

#[test]
fn the_largest_numbers_do_no_harm() {
    let a = iota(&[2, 3]);
    for far in [i32::MAX, i32::MIN, i32::MIN + 1] {
        assert_eq!(Array::eye(2, 2, far, DType::F32).unwrap().to_vec::<f32>().unwrap(), [0.0; 4], "{far}");
        assert_eq!(a.diagonal(far, 0, 1).unwrap().size(), 0, "{far}");
        assert_eq!(a.trace(far, 0, 1, DType::F32).unwrap().item::<f32>().unwrap(), 0.0, "{far}");
        let (low, high) = (a.tril(far).unwrap(), a.triu(far).unwrap());
        let sum = low.add(&high).unwrap();
        assert_close(&format!("the triangles beside {far}"), &sum, &a, EXACT);
        assert_eq!(a.roll(&[far], 1).unwrap().sum(.., false).unwrap().item::<f32>().unwrap(), 15.0, "{far}");
        assert_eq!(a.slice(&[far, 0], &[far, 3], &[1, 1]).unwrap().size(), 0, "{far}");
        assert_eq!(a.slice(&[0, 0], &[2, 3], &[far.max(1), 1]).unwrap().size() % 3, 0, "{far}");
    }
    assert_eq!(Array::tri(2, 2, i32::MAX, DType::F32).unwrap().to_vec::<f32>().unwrap(), [1.0; 4]);
    assert_eq!(a.diff(1000, 1).unwrap().size(), 0);
    assert_eq!(a.unstack(1).unwrap().len(), 3);
    assert_eq!(a.unstack(1).unwrap()[2].to_vec::<f32>().unwrap(), [2.0, 5.0]);
}
