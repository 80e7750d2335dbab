//! Linear algebra against NumPy and SciPy, and against what defines it: the factors of a matrix give it back.

mod support;

use mlx_core::linalg::{self, Norm, Triangle, norm};
use mlx_core::{Array, Complex32, DType, Device, Result, transforms};
use support::{Reference, Tolerance, assert_close};

const TRIANGLES: [(&str, Triangle); 2] = [("lower", Triangle::Lower), ("upper", Triangle::Upper)];

fn tolerance(dtype: DType) -> Tolerance {
    let unit = if dtype == DType::F64 { 1e-11 } else { 1e-4 };
    Tolerance { absolute: unit, relative: unit }
}

/// Runs on the CPU, which is the only device that has these operations.
fn on_cpu<R>(f: impl FnOnce() -> R) -> R {
    Device::Cpu.scope(f)
}

fn f32s(elements: &[f32], shape: &[i32]) -> Array {
    Array::from_slice(elements, shape).unwrap()
}

/// Numbers without a pattern, the same in every run.
fn noise(shape: &[i32], dtype: DType) -> Array {
    let size: i32 = shape.iter().product();
    let numbers: Vec<f64> = (0..size).map(|i| (f64::from(i * i % 97) * 0.37 + f64::from(i)).sin()).collect();
    Array::from_slice(&numbers, shape).unwrap().as_type(dtype).unwrap()
}

fn transposed(a: &Array) -> Array {
    a.swapaxes(-1, -2).unwrap()
}

fn eye(n: i32, dtype: DType) -> Array {
    let positions = Array::arange(0.0, f64::from(n), 1.0, DType::I32).unwrap();
    positions.expand_dims([1]).unwrap().equal(&positions).unwrap().as_type(dtype).unwrap()
}

/// `i` times other noise where `dtype` is complex, else zeros.
fn phase(shape: &[i32], dtype: DType) -> Array {
    if dtype != DType::Complex64 {
        return Array::zeros(shape, dtype).unwrap();
    }
    let i = Array::scalar(Complex32::new(0.0, 1.0)).unwrap();
    noise(shape, DType::F32).exp().unwrap().multiply(&i).unwrap()
}

fn conjugate(a: &Array) -> Array {
    if a.dtype() != DType::Complex64 {
        return a.clone();
    }
    let conjugates: Vec<Complex32> = a.to_vec::<Complex32>().unwrap().iter().map(Complex32::conj).collect();
    Array::from_slice(&conjugates, a.shape()).unwrap()
}

/// The same elements, laid out with the axes in the opposite order.
fn strided(a: &Array) -> Array {
    let reversed: Vec<i32> = (0..a.ndim() as i32).rev().collect();
    a.transpose(&reversed).unwrap().contiguous().unwrap().transpose(&reversed).unwrap()
}

/// Compares the cases whose name starts with `prefix`.
fn check(file: &Reference, prefix: &str, f: impl Fn(&[Array]) -> Result<Vec<Array>>) {
    let cases: Vec<String> =
        file.cases().into_iter().filter(|case| case.starts_with(&format!("{prefix}/"))).collect();
    assert!(!cases.is_empty(), "{prefix}");
    for case in cases {
        let limits = tolerance(file.inputs(&case)[0].dtype());
        on_cpu(|| {
            file.check(&case, limits, &f);
            file.check(&case, limits, |inputs| f(&inputs.iter().map(strided).collect::<Vec<_>>()));
        });
    }
}

#[test]
fn unique_results_are_as_numpy_and_scipy_give_them() {
    let file = Reference::open("linalg");
    for (name, triangle) in TRIANGLES {
        check(&file, &format!("cholesky_{name}"), |a| Ok(vec![linalg::cholesky(&a[0], triangle)?]));
        check(&file, &format!("cholesky_inv_{name}"), |a| Ok(vec![linalg::cholesky_inv(&a[0], triangle)?]));
        check(&file, &format!("tri_inv_{name}"), |a| Ok(vec![linalg::tri_inv(&a[0], triangle)?]));
        check(&file, &format!("eigvalsh_{name}"), |a| Ok(vec![linalg::eigvalsh(&a[0], triangle)?]));
        check(&file, &format!("solve_triangular_{name}"), |a| {
            Ok(vec![linalg::solve_triangular(&a[0], &a[1], triangle)?])
        });
    }
    check(&file, "det", |a| Ok(vec![linalg::det(&a[0])?]));
    check(&file, "slogdet", |a| linalg::slogdet(&a[0]).map(|(sign, log)| vec![sign, log]));
    check(&file, "inv", |a| Ok(vec![linalg::inv(&a[0])?]));
    check(&file, "pinv", |a| Ok(vec![linalg::pinv(&a[0])?]));
    check(&file, "solve", |a| Ok(vec![linalg::solve(&a[0], &a[1])?]));
    check(&file, "svdvals", |a| Ok(vec![linalg::svdvals(&a[0])?]));
    check(&file, "lu_factor", |a| Ok(vec![linalg::lu_factor(&a[0])?.0]));
    check(&file, "lu_pivots", |a| Ok(vec![linalg::lu_factor(&a[0])?.1]));
    for axis in [-2, -1, 0] {
        check(&file, &format!("cross{axis}"), |a| Ok(vec![linalg::cross(&a[0], &a[1], axis)?]));
    }
}

#[test]
fn norms_are_as_numpy_gives_them() {
    let file = Reference::open("linalg");
    let kind = |label: &str| match label {
        "l2" => Norm::L2,
        "nuc" => Norm::Nuclear,
        order => Norm::Order(order.parse().unwrap()),
    };
    for (label, axes) in [("l2", 2), ("0", 1), ("1", 2), ("2", 2), ("3", 1), ("-1", 2), ("0.5", 1)]
        .into_iter()
        .chain([("inf", 2), ("-inf", 2)])
    {
        let kind = kind(label);
        check(&file, &format!("vector_norm/{label}"), |a| {
            Ok(vec![norm(&a[0], kind, a[0].ndim() as i32 - 1, false)?])
        });
        check(&file, &format!("vector_norm_kept/{label}"), |a| Ok(vec![norm(&a[0], kind, -2, true)?]));
        if axes == 1 {
            let matrix = noise(&[2, 2], DType::F32);
            assert!(on_cpu(|| norm(&matrix, kind, .., false)).is_err(), "{label} of a matrix");
        }
    }
    for label in ["l2", "1", "-1", "2", "-2", "inf", "-inf", "nuc"] {
        let kind = kind(label);
        check(&file, &format!("matrix_norm/{label}"), |a| Ok(vec![norm(&a[0], kind, .., false)?]));
        check(&file, &format!("matrix_norm_first/{label}"), |a| Ok(vec![norm(&a[0], kind, [2, 0], false)?]));
        check(&file, &format!("matrix_norm_kept/{label}"), |a| Ok(vec![norm(&a[0], kind, [0, -1], true)?]));
    }
    for case in file.cases().iter().filter(|case| case.starts_with("complex_norm/")) {
        let label = case.rsplit(['/', '_']).next().unwrap();
        on_cpu(|| {
            file.check(case, tolerance(DType::F32), |a| Ok(vec![norm(&a[0], kind(label), .., false)?]))
        });
    }
}

#[test]
fn a_norm_over_many_axes_is_the_length_of_all_their_elements() {
    let a = noise(&[2, 3, 4, 2], DType::F32);
    let length = |a: &Array| a.square().unwrap().sum(.., false).unwrap().sqrt().unwrap();
    let all = norm(&a, Norm::L2, .., false).unwrap();
    assert_close("all", &all, &length(&a), tolerance(DType::F32));
    assert_eq!(norm(&a, Norm::L2, .., true).unwrap().shape(), [1, 1, 1, 1]);
    let three = norm(&a, Norm::L2, [0, 1, -1], false).unwrap();
    assert_close(
        "three",
        &three.slice_axis(0, 1, 2).unwrap().squeeze([0]).unwrap(),
        &length(&a.slice_axis(2, 1, 2).unwrap()),
        tolerance(DType::F32),
    );
    let scalar = Array::scalar(-3.0f32).unwrap();
    assert_eq!(norm(&scalar, Norm::L2, .., false).unwrap().item::<f32>().unwrap(), 3.0);
    let nothing = Array::zeros(&[0], DType::F32).unwrap();
    assert_eq!(norm(&nothing, Norm::L2, .., false).unwrap().item::<f32>().unwrap(), 0.0);
}

#[test]
fn factors_give_their_matrix_back() {
    for dtype in [DType::F32, DType::F64, DType::Complex64] {
        for shape in [&[1, 1][..], &[4, 4], &[5, 3], &[3, 5], &[2, 3, 4], &[2, 2, 4, 3], &[3, 0], &[0, 2, 2]]
        {
            on_cpu(|| {
                let a = noise(shape, dtype).add(&phase(shape, dtype)).unwrap();
                let limits = tolerance(dtype);
                let name = format!("{dtype}{shape:?}");

                let (u, s, vt) = linalg::svd(&a).unwrap();
                let k = s.dim(-1).unwrap();
                let used = u.slice_axis(-1, 0, k).unwrap();
                let scaled = used.multiply(&s.expand_dims([-2]).unwrap()).unwrap();
                assert_close(&name, &scaled.matmul(&vt.slice_axis(-2, 0, k).unwrap()).unwrap(), &a, limits);
                if dtype == DType::Complex64 {
                    return;
                }

                let (q, r) = linalg::qr(&a).unwrap();
                assert_close(&name, &q.matmul(&r).unwrap(), &a, limits);
                let k = q.dim(-1).unwrap();
                let gram = transposed(&q).matmul(&q).unwrap();
                let identity = eye(k, dtype).broadcast_to(gram.shape()).unwrap();
                assert_close(&name, &gram, &identity, limits);

                if a.size() > 0 {
                    let (p, l, u) = linalg::lu(&a).unwrap();
                    let rows = l.matmul(&u).unwrap();
                    // Row p[i] of the product is row i of the matrix.
                    let m = a.dim(-2).unwrap();
                    let choose = p.expand_dims([-1]).unwrap();
                    let positions = Array::arange(0.0, f64::from(m), 1.0, DType::U32).unwrap();
                    let permutation = choose.equal(&positions).unwrap().as_type(dtype).unwrap();
                    assert_close(&name, &permutation.matmul(&rows).unwrap(), &a, limits);
                }
            });
        }
    }
}

#[test]
fn eigenvectors_are_stretched_by_their_eigenvalues() {
    for dtype in [DType::F32, DType::F64, DType::Complex64] {
        for shape in [&[1, 1][..], &[4, 4], &[2, 3, 3], &[40, 40]] {
            on_cpu(|| {
                // Views, so that the elements do not lie in order.
                let a = transposed(&noise(shape, dtype)).add(&phase(shape, dtype)).unwrap();
                let (values, vectors) = linalg::eig(&a).unwrap();
                let turned = a.as_type(DType::Complex64).unwrap().matmul(&vectors).unwrap();
                let stretched = vectors.multiply(&values.expand_dims([-2]).unwrap()).unwrap();
                assert_close(&format!("eig {dtype}{shape:?}"), &turned, &stretched, tolerance(DType::F32));
                assert_close("eigvals", &linalg::eigvals(&a).unwrap(), &values, tolerance(DType::F32));

                let symmetric = a.add(&transposed(&conjugate(&a))).unwrap();
                for (name, triangle) in TRIANGLES {
                    let (values, vectors) = linalg::eigh(&symmetric, triangle).unwrap();
                    let turned = symmetric.matmul(&vectors).unwrap();
                    let stretched =
                        vectors.multiply(&values.expand_dims([-2]).unwrap()).unwrap().as_type(dtype).unwrap();
                    assert_close(
                        &format!("eigh {name} {dtype}{shape:?}"),
                        &turned,
                        &stretched,
                        tolerance(dtype),
                    );
                }
            });
        }
    }
    // A rotation by a right angle has no real eigenvalues.
    let quarter = f32s(&[0.0, -1.0, 1.0, 0.0], &[2, 2]);
    let mut values = on_cpu(|| linalg::eigvals(&quarter).unwrap().to_vec::<Complex32>().unwrap());
    values.sort_by(|a, b| a.im.total_cmp(&b.im));
    assert_eq!(values, [Complex32::new(0.0, -1.0), Complex32::new(0.0, 1.0)]);
}

#[test]
fn one_triangle_is_enough() {
    let full = f32s(&[4.0, 2.0, 2.0, 3.0], &[2, 2]);
    let lower = f32s(&[4.0, 9.0, 2.0, 3.0], &[2, 2]);
    on_cpu(|| {
        let values = |a: &Array, triangle| linalg::eigvalsh(a, triangle).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(values(&lower, Triangle::Lower), values(&full, Triangle::Lower));
        assert_eq!(values(&transposed(&lower), Triangle::Upper), values(&full, Triangle::Upper));
        assert_ne!(values(&lower, Triangle::Upper), values(&full, Triangle::Upper));
    });
}

/// The evaluation's message.
fn failure(f: impl FnOnce() -> Result<Array>) -> String {
    on_cpu(|| f().and_then(|a| a.eval()).expect_err("it was to fail").to_string())
}

#[test]
fn what_lapack_fails_at_is_an_error_of_the_evaluation() {
    let singular = f32s(&[1.0, 2.0, 2.0, 4.0], &[2, 2]);
    let zeros = Array::zeros(&[3, 3], DType::F32).unwrap();
    let b = f32s(&[1.0, 1.0], &[2]);
    for (name, message) in [
        ("inv", failure(|| linalg::inv(&singular))),
        ("solve", failure(|| linalg::solve(&singular, &b))),
        ("tri_inv", failure(|| linalg::tri_inv(&zeros, Triangle::Upper))),
        ("cholesky_inv", failure(|| linalg::cholesky_inv(&zeros, Triangle::Lower))),
        ("solve_triangular", failure(|| linalg::solve_triangular(&zeros, &zeros, Triangle::Lower))),
    ] {
        assert!(message.contains("failed with error code"), "{name}: {message}");
    }
    let nan = f32::NAN;
    for (elements, triangle) in [
        ([1.0, 2.0, 2.0, 1.0], Triangle::Lower),
        ([1.0, 2.0, 2.0, 1.0], Triangle::Upper),
        ([-1.0, 0.0, 0.0, 1.0], Triangle::Lower),
        ([0.0, 0.0, 0.0, 0.0], Triangle::Lower),
        ([1.0, 0.5, 0.5, nan], Triangle::Lower),
        ([1.0, 2.0, 2.0, 4.0], Triangle::Upper),
    ] {
        let message = failure(|| linalg::cholesky(&f32s(&elements, &[2, 2]), triangle));
        assert!(message.contains("linalg::cholesky: a matrix is not positive definite"), "{message}");
    }
    // A failure far from the first block of columns.
    let mut large = vec![0.0f32; 200 * 200];
    (0..200).for_each(|i| large[i * 201] = if i == 150 { -1.0 } else { 1.0 });
    for triangle in [Triangle::Lower, Triangle::Upper] {
        assert!(failure(|| linalg::cholesky(&f32s(&large, &[200, 200]), triangle)).contains("positive"));
    }
    // The next operation works again.
    let good = on_cpu(|| linalg::inv(&eye(2, DType::F32))?.to_vec::<f32>()).unwrap();
    assert_eq!(good, [1.0, 0.0, 0.0, 1.0]);
}

#[test]
fn matrices_with_infinities_or_nan_are_errors() {
    for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for n in [1, 2, 3, 5, 40] {
            for place in [0, n * n - 1, n * n / 2] {
                let mut elements: Vec<f32> = (0..n * n).map(|i| (i as f32).sin()).collect();
                elements[place] = strange;
                let a = f32s(&elements, &[n as i32, n as i32]);
                let batch = on_cpu(|| {
                    mlx_core::concatenate(
                        &[&eye(n as i32, DType::F32).expand_dims([0]).unwrap(), &a.expand_dims([0]).unwrap()],
                        0,
                    )
                })
                .unwrap();
                for a in [&a, &batch, &a.as_type(DType::F64).unwrap(), &a.as_type(DType::Complex64).unwrap()]
                {
                    for message in [
                        failure(|| Ok(linalg::eig(a)?.0)),
                        failure(|| Ok(linalg::eig(a)?.1)),
                        failure(|| linalg::eigvals(a)),
                        failure(|| Ok(linalg::eigh(a, Triangle::Lower)?.1)),
                        failure(|| linalg::eigvalsh(a, Triangle::Upper)),
                        failure(|| Ok(linalg::svd(a)?.0)),
                        failure(|| linalg::svdvals(a)),
                    ] {
                        assert!(message.contains("a matrix holds infinities or NaN"), "{message}");
                    }
                }
                assert!(failure(|| linalg::pinv(&a)).contains("a matrix holds infinities or NaN"));
            }
        }
    }
}

#[test]
fn matrices_without_elements_are_errors_or_right() {
    for shape in [&[0, 0][..], &[2, 0, 0], &[0, 0, 0]] {
        let a = Array::zeros(shape, DType::F32).unwrap();
        on_cpu(|| {
            for outcome in [
                linalg::inv(&a),
                linalg::tri_inv(&a, Triangle::Lower),
                linalg::cholesky_inv(&a, Triangle::Lower),
                linalg::lu(&a).map(|(p, ..)| p),
                linalg::lu_factor(&a).map(|(p, ..)| p),
                linalg::solve(&a, &a),
                linalg::solve_triangular(&a, &a, Triangle::Lower),
            ] {
                let message = outcome.unwrap_err().to_string();
                assert!(message.contains("has no elements to work on"), "{message}");
            }
            for empty in [
                linalg::cholesky(&a, Triangle::Lower),
                linalg::eig(&a).map(|(w, _)| w),
                linalg::eig(&a).map(|(_, v)| v),
                linalg::eigvals(&a),
                linalg::eigh(&a, Triangle::Lower).map(|(_, v)| v),
                linalg::eigvalsh(&a, Triangle::Lower),
                linalg::pinv(&a),
                linalg::qr(&a).map(|(q, _)| q),
                linalg::svdvals(&a),
            ] {
                assert_eq!(empty.unwrap().to_bytes().unwrap().len(), 0);
            }
            let det = linalg::det(&a).unwrap();
            assert_eq!(det.to_vec::<f32>().unwrap(), vec![1.0; det.size()]);
        });
    }
    let tall = Array::zeros(&[3, 0], DType::F32).unwrap();
    on_cpu(|| {
        assert!(linalg::lu(&tall).is_err());
        assert!(linalg::lu_factor(&transposed(&tall)).is_err());
        assert_eq!(linalg::pinv(&tall).unwrap().shape(), [0, 3]);
        let (u, s, vt) = linalg::svd(&tall).unwrap();
        assert_close("u", &u, &eye(3, DType::F32), support::EXACT);
        assert_eq!((s.to_vec::<f32>().unwrap().len(), vt.shape()), (0, &[0, 0][..]));
    });
    // No matrix at all is no work at all.
    let none = Array::zeros(&[0, 3, 3], DType::F32).unwrap();
    on_cpu(|| {
        for outcome in [
            linalg::inv(&none),
            linalg::cholesky(&none, Triangle::Upper),
            linalg::lu(&none).map(|(_, l, _)| l),
            linalg::solve(&none, &none),
            linalg::eig(&none).map(|(_, v)| v),
            linalg::eigh(&none, Triangle::Lower).map(|(_, v)| v),
            linalg::svd(&none).map(|(u, ..)| u),
            linalg::pinv(&none),
        ] {
            let outcome = outcome.unwrap();
            assert_eq!((outcome.to_bytes().unwrap().len(), outcome.shape()), (0, &[0, 3, 3][..]));
        }
    });
}

#[test]
fn operands_that_are_no_matrices_or_of_another_kind_are_errors() {
    let scalar = Array::scalar(1.0f32).unwrap();
    let vector = noise(&[3], DType::F32);
    let wide = noise(&[2, 3], DType::F32);
    let half = eye(4, DType::F16);
    let brain = eye(4, DType::BF16);
    let integers = eye(4, DType::I32);
    on_cpu(|| {
        for a in [&scalar, &vector, &half, &brain, &integers] {
            let name = format!("{a:?}");
            for (op, outcome) in [
                ("inv", linalg::inv(a)),
                ("tri_inv", linalg::tri_inv(a, Triangle::Lower)),
                ("cholesky", linalg::cholesky(a, Triangle::Lower)),
                ("cholesky_inv", linalg::cholesky_inv(a, Triangle::Lower)),
                ("eig", linalg::eig(a).map(|(w, _)| w)),
                ("eigvals", linalg::eigvals(a)),
                ("eigh", linalg::eigh(a, Triangle::Lower).map(|(w, _)| w)),
                ("eigvalsh", linalg::eigvalsh(a, Triangle::Lower)),
                ("lu", linalg::lu(a).map(|(w, ..)| w)),
                ("lu_factor", linalg::lu_factor(a).map(|(w, _)| w)),
                ("pinv", linalg::pinv(a)),
                ("qr", linalg::qr(a).map(|(w, _)| w)),
                ("solve", linalg::solve(a, a)),
                ("solve_triangular", linalg::solve_triangular(a, a, Triangle::Lower)),
                ("svd", linalg::svd(a).map(|(w, ..)| w)),
                ("svdvals", linalg::svdvals(a)),
            ] {
                assert!(outcome.is_err(), "{op} {name}");
            }
        }
        for outcome in [
            linalg::inv(&wide),
            linalg::cholesky(&wide, Triangle::Lower),
            linalg::eig(&wide).map(|(w, _)| w),
            linalg::eigh(&wide, Triangle::Lower).map(|(w, _)| w),
            linalg::det(&wide),
            linalg::slogdet(&wide).map(|(sign, _)| sign),
            linalg::solve(&wide, &vector),
        ] {
            let message = outcome.unwrap_err().to_string();
            assert!(message.contains("square"), "{message}");
        }
        assert!(linalg::solve(&eye(2, DType::F32), &vector).is_err());
        assert!(linalg::solve(&eye(3, DType::F32), &scalar).is_err());
        assert!(linalg::det(&half).is_err());
        assert_eq!(linalg::det(&integers).unwrap().item::<f32>().unwrap(), 1.0);
        assert_eq!(linalg::det(&eye(3, DType::I32)).unwrap().item::<f32>().unwrap(), 1.0);
        assert!(linalg::det(&noise(&[2, 2], DType::Complex64)).is_err());
        let message = linalg::inv(&half).unwrap_err().to_string();
        assert!(message.starts_with("linalg::inv(float16[4, 4]): "), "{message}");
    });
    for axis in [1, -2, 2, i32::MAX, i32::MIN] {
        assert!(linalg::cross(&vector, &vector, axis).is_err(), "{axis}");
    }
    // Axis 0 of one is not axis 0 of the other.
    assert!(linalg::cross(&noise(&[3, 3], DType::F32), &vector, 0).is_err());
    assert!(linalg::cross(&scalar, &scalar, -1).is_err());
    assert!(linalg::cross(&noise(&[4], DType::F32), &noise(&[4], DType::F32), 0).is_err());
}

#[test]
fn singular_matrices_have_the_determinant_zero() {
    for n in [2, 3, 4, 6] {
        let ones = Array::full(&[n, n], 1.0f32).unwrap();
        on_cpu(|| {
            assert_eq!(linalg::det(&ones).unwrap().item::<f32>().unwrap(), 0.0);
            let (sign, log) = linalg::slogdet(&ones).unwrap();
            assert_eq!(sign.item::<f32>().unwrap(), 0.0);
            assert_eq!(log.item::<f32>().unwrap(), f32::NEG_INFINITY);
        });
    }
}

#[test]
fn norms_over_axes_that_do_not_fit_are_errors() {
    let a = noise(&[2, 3], DType::F32);
    let norm = |kind, axes: &[i32]| on_cpu(|| norm(&a, kind, axes, false)?.eval());
    for axes in [&[2][..], &[-3], &[0, 2], &[0, -5], &[0, 0], &[1, -1], &[0, 1, 0], &[i32::MIN], &[i32::MAX]]
    {
        for kind in [Norm::L2, Norm::Order(1.0), Norm::Order(2.0), Norm::Nuclear] {
            assert!(norm(kind, axes).is_err(), "{kind:?} {axes:?}");
        }
    }
    assert!(norm(Norm::Nuclear, &[0]).is_err());
    assert!(norm(Norm::Order(1.0), &[]).is_err());
    let empty = Array::zeros(&[0], DType::F32).unwrap();
    assert!(linalg::norm(&empty, Norm::Order(f64::INFINITY), .., false).is_err());
}

#[test]
fn matrices_larger_than_lapack_counts_are_errors() {
    let large = Array::scalar(1.0f32).unwrap().broadcast_to(&[50_000, 50_000]).unwrap();
    let wide = Array::scalar(1.0f32).unwrap().broadcast_to(&[2, 40_000]).unwrap();
    let many = Array::scalar(1.0f32).unwrap().broadcast_to(&[1 << 20, 2048, 1]).unwrap();
    on_cpu(|| {
        for outcome in [
            linalg::inv(&large),
            linalg::cholesky(&large, Triangle::Lower),
            linalg::qr(&large).map(|(q, _)| q),
            linalg::lu_factor(&large).map(|(q, _)| q),
            linalg::svdvals(&large),
            linalg::eigvals(&large),
            linalg::svd(&wide).map(|(u, ..)| u),
            linalg::pinv(&wide),
            linalg::svd(&many).map(|(u, ..)| u),
            linalg::qr(&many).map(|(q, _)| q),
        ] {
            let message = outcome.unwrap_err().to_string();
            assert!(message.contains("larger than LAPACK counts"), "{message}");
        }
    });
}

#[test]
fn matrices_are_worked_on_by_themselves_under_vmap() {
    on_cpu(|| {
        let noise = noise(&[3, 2, 2], DType::F32);
        let batch = noise.matmul(&transposed(&noise)).unwrap().add(&eye(2, DType::F32)).unwrap();
        for (name, f) in [
            ("cholesky", (|a| linalg::cholesky(a, Triangle::Lower)) as fn(&Array) -> Result<Array>),
            ("eigvals", linalg::eigvals),
            ("eigvectors", |a| Ok(linalg::eig(a)?.1)),
            ("eigvalsh", |a| linalg::eigvalsh(a, Triangle::Lower)),
            ("eigvectorsh", |a| Ok(linalg::eigh(a, Triangle::Lower)?.1)),
            ("inv", linalg::inv),
            ("svdvals", linalg::svdvals),
            ("svd", |a| Ok(linalg::svd(a)?.2)),
        ] {
            let expected = f(&batch).unwrap();
            let found = transforms::vmap(|a: &Array| f(a), &batch, &[Some(0)], &[0]).unwrap();
            assert_close(name, &found, &expected, tolerance(DType::F32));
            let last = batch.transpose(&[1, 2, 0]).unwrap();
            let found = transforms::vmap(|a: &Array| f(a), &last, &[Some(2)], &[0]).unwrap();
            assert_close(name, &found, &expected, tolerance(DType::F32));
        }
        let broken = batch.negative().unwrap();
        let factor = |a: &Array| linalg::cholesky(a, Triangle::Lower);
        let message = transforms::vmap(factor, &broken, &[Some(0)], &[0]).unwrap().eval().unwrap_err();
        assert!(message.to_string().contains("not positive definite"), "{message}");
    });
}

#[test]
fn compiled_functions_decompose_and_fail_alike() {
    on_cpu(|| {
        let factor = |a: &Array| linalg::cholesky(&a.multiply(a)?, Triangle::Lower)?.exp();
        let compiled = transforms::compile(factor).unwrap();
        let good = f32s(&[2.0, 1.0, 1.0, 2.0], &[2, 2]);
        assert_close(
            "compiled",
            &compiled.call(&good).unwrap(),
            &factor(&good).unwrap(),
            tolerance(DType::F32),
        );
        let bad = f32s(&[1.0, 2.0, 2.0, 1.0], &[2, 2]);
        assert!(compiled.call(&bad).and_then(|a| a.eval()).is_err());
    });
}

#[test]
fn derivatives_that_mlx_does_not_define_are_errors() {
    let a = eye(2, DType::F32);
    on_cpu(|| {
        for f in [
            linalg::inv as fn(&Array) -> Result<Array>,
            linalg::svdvals,
            linalg::eigvals,
            |a| linalg::cholesky(a, Triangle::Lower),
            |a| linalg::eigvalsh(a, Triangle::Lower),
            |a| linalg::solve(a, a),
            |a| Ok(linalg::qr(a)?.1),
        ] {
            assert!(transforms::grad(|a: &Array| f(a)?.abs()?.sum(.., false), &a).is_err());
        }
        // Small determinants are products, and norms roots of sums.
        let gradient = transforms::grad(|a: &Array| linalg::det(a), &a).unwrap();
        assert_eq!(gradient.to_vec::<f32>().unwrap(), [1.0, 0.0, 0.0, 1.0]);
        let v = f32s(&[3.0, 4.0], &[2]);
        let gradient = transforms::grad(|a: &Array| norm(a, Norm::L2, .., false), &v).unwrap();
        assert_close("norm", &gradient, &f32s(&[0.6, 0.8], &[2]), tolerance(DType::F32));
    });
}
