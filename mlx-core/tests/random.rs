//! Random numbers against MLX's own in Python for the same keys, against the generator's definition, and by their moments.

mod support;

use mlx_core::random::{self, Samples};
use mlx_core::{Array, Complex32, DType, Device, Result, transforms};
use support::{EXACT, Reference, Tolerance, assert_close, tolerance};

fn key(seed: u64) -> Array {
    random::key(seed).unwrap()
}

fn f32s(elements: &[f32], shape: &[i32]) -> Array {
    Array::from_slice(elements, shape).unwrap()
}

fn dtype(name: &str) -> DType {
    [DType::F32, DType::F16, DType::BF16, DType::I32, DType::I64, DType::U8, DType::Complex64]
        .into_iter()
        .find(|dtype| dtype.name() == name)
        .unwrap()
}

fn limits(dtype: DType) -> Tolerance {
    let one = tolerance(dtype);
    Tolerance { absolute: 4.0 * one.absolute, relative: 4.0 * one.relative }
}

/// The seed and the shape at the end of a case's name.
fn seed_and_shape(parts: &[&str]) -> (Array, Vec<i32>) {
    let [.., seed, shape] = parts else { panic!("{parts:?}") };
    let shape = shape.split(',').filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect();
    (key(seed.parse().unwrap()), shape)
}

#[test]
fn numbers_are_those_of_python() {
    let file = Reference::open("random");
    let mut seen = 0;
    for case in file.cases() {
        let parts: Vec<&str> = case.split('/').collect();
        let name = parts[0];
        seen += 1;
        match name {
            "key" => file.check(&case, EXACT, |_| Ok(vec![key(parts[1].parse().unwrap())])),
            "split" => file.check(&case, EXACT, |_| {
                Ok(vec![random::split_num(&key(parts[1].parse().unwrap()), parts[2].parse().unwrap())?])
            }),
            "permutation_arange" => file.check(&case, EXACT, |_| {
                Ok(vec![random::permutation_arange(
                    &key(parts[1].parse().unwrap()),
                    parts[2].parse().unwrap(),
                )?])
            }),
            "permutation" => file.check(&case, EXACT, |a| {
                let axis = parts[1].parse().unwrap();
                Ok(vec![random::permutation(&key(parts[2].parse().unwrap()), &a[0], axis)?])
            }),
            "bernoulli" => file.check(&case, EXACT, |_| {
                let (key, shape) = seed_and_shape(&parts);
                Ok(vec![random::bernoulli(&key, 0.3, &shape)?])
            }),
            "uniform" | "normal" | "normal_at" | "laplace" | "gumbel" | "truncated_normal" | "randint" => {
                let dtype = dtype(parts[1]);
                let limits = if name == "uniform" { EXACT } else { limits(dtype) };
                let (key, shape) = seed_and_shape(&parts);
                let draw = || match (name, dtype) {
                    ("uniform", _) => random::uniform(&key, -1.5, 2.0, &shape, dtype),
                    ("normal", _) => random::normal(&key, &shape, dtype, 0.0, 1.0),
                    ("normal_at", _) => random::normal(&key, &shape, dtype, 1.5, 0.5),
                    ("laplace", _) => random::laplace(&key, &shape, dtype, -1.0, 2.0),
                    ("gumbel", _) => random::gumbel(&key, &shape, dtype),
                    ("truncated_normal", _) => random::truncated_normal(&key, -1.0, 0.5, &shape, dtype),
                    (_, DType::U8) => random::randint(&key, 3, 200, &shape, dtype),
                    _ => random::randint(&key, -5, 9, &shape, dtype),
                };
                file.check(&case, limits, |_| Ok(vec![draw()?]));
            }
            _ => seen -= 1,
        }
    }
    assert!(seen > 400, "{seen}");
}

#[test]
fn numbers_with_arrays_of_parameters_are_those_of_python() {
    let file = Reference::open("random");
    let key = key(3);
    let near = limits(DType::F32);
    file.check("uniform_arrays", EXACT, |a| {
        Ok(vec![random::uniform(&key, &a[0], &a[1], &[3, 4], DType::F32)?])
    });
    file.check("normal_arrays", near, |a| Ok(vec![random::normal(&key, &[3, 4], DType::F32, &a[0], &a[1])?]));
    file.check("truncated_normal_arrays", near, |a| {
        Ok(vec![random::truncated_normal(&key, &a[0], &a[1], &[3, 4], DType::F32)?])
    });
    file.check("randint_arrays", EXACT, |a| {
        Ok(vec![random::randint(&key, &a[0], &a[1], &[4, 3], DType::I32)?])
    });
    file.check("bernoulli_arrays", EXACT, |a| Ok(vec![random::bernoulli(&key, &a[0], &[6, 4])?]));
    let mut seen = 0;
    for case in file.cases().into_iter().filter(|case| case.starts_with("categorical")) {
        let parts: Vec<&str> = case.split('/').collect();
        let axis: i32 = parts[2].parse().unwrap();
        file.check(&case, EXACT, |a| {
            let mut shape = a[0].shape().to_vec();
            shape.remove(axis.rem_euclid(a[0].ndim() as i32) as usize);
            shape.insert(0, 2);
            let samples = match parts[0] {
                "categorical" => Samples::One,
                "categorical_count" => Samples::Count(3),
                _ => Samples::Shape(&shape),
            };
            Ok(vec![random::categorical(&key, &a[0], axis, samples)?])
        });
        seen += 1;
    }
    assert_eq!(seen, 13);
    let near = Tolerance { absolute: 1e-4, relative: 1e-4 };
    Device::Cpu.scope(|| {
        file.check("multivariate_normal", near, |a| {
            Ok(vec![random::multivariate_normal(&key, &a[0], &a[1], &[2, 4])?])
        });
        file.check("multivariate_normal_bare", near, |a| {
            Ok(vec![random::multivariate_normal(&key, &a[0], &a[1], &[])?])
        });
    });
}

/// Threefry-2x32 with 20 rounds, as its authors define it.
fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
    let keys = [key[0], key[1], 0x1BD1_1BDA ^ key[0] ^ key[1]];
    let mut x = [counter[0].wrapping_add(keys[0]), counter[1].wrapping_add(keys[1])];
    for round in 0..5 {
        for rotation in ROTATIONS[round % 2] {
            x[0] = x[0].wrapping_add(x[1]);
            x[1] = x[1].rotate_left(rotation) ^ x[0];
        }
        x[0] = x[0].wrapping_add(keys[(round + 1) % 3]);
        x[1] = x[1].wrapping_add(keys[(round + 2) % 3]).wrapping_add(round as u32 + 1);
    }
    x
}

#[test]
fn bits_follow_from_the_key_as_the_generator_is_defined() {
    for seed in [0u64, 1, 0xDEAD_BEEF_0BAD_F00D] {
        let words = [(seed >> 32) as u32, seed as u32];
        for half in [1u32, 2, 5] {
            // The first half of the numbers and the second come in pairs from one counter each.
            let pairs: Vec<[u32; 2]> = (0..half).map(|i| threefry(words, [i, half + i])).collect();
            let expected: Vec<u32> =
                pairs.iter().map(|pair| pair[0]).chain(pairs.iter().map(|pair| pair[1])).collect();
            let found = random::bits(&key(seed), &[2 * half as i32], DType::U32).unwrap();
            assert_eq!(found.to_vec::<u32>().unwrap(), expected, "{seed} {half}");
            // Smaller elements are pieces of the same stream.
            let bytes = random::bits(&key(seed), &[8 * half as i32], DType::U8).unwrap();
            assert_eq!(bytes.to_bytes().unwrap(), found.to_bytes().unwrap());
            let pairs = random::bits(&key(seed), &[2, 2 * half as i32], DType::U16).unwrap();
            assert_eq!(pairs.to_bytes().unwrap(), found.to_bytes().unwrap());
        }
        for odd in 0..10 {
            let found = random::bits(&key(seed), &[odd], DType::U8).unwrap();
            assert_eq!(found.to_vec::<u8>().unwrap().len(), odd as usize);
        }
    }
}

#[test]
fn the_same_key_gives_the_same_and_another_other_numbers() {
    let draw = |key: &Array| random::bits(key, &[16], DType::U32).unwrap().to_vec::<u32>().unwrap();
    let root = key(9);
    let [a, b, c] = random::split(&root).unwrap();
    assert_eq!(draw(&a), draw(&a));
    let mut all: Vec<Vec<u32>> = [&root, &a, &b, &c, &key(10)].map(draw).into();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5);
    let rows = random::split_num(&root, 3).unwrap().to_vec::<u32>().unwrap();
    let split: Vec<u32> = [a, b, c].iter().flat_map(|key| key.to_vec::<u32>().unwrap()).collect();
    assert_eq!(rows, split);
    let [] = random::split(&root).unwrap();
    // A key that is a view, and not laid out in order.
    let reversed = Array::from_slice(&[9u32, 1, 0, 2], &[2, 2]).unwrap().transpose(&[1, 0]).unwrap();
    let view = reversed.slice_axis(0, 0, 1).unwrap().squeeze([0]).unwrap();
    assert_eq!(draw(&view), draw(&Array::from_slice(&[9u32, 0], &[2]).unwrap()));
}

/// Mean and variance.
fn moments(a: &Array) -> (f64, f64) {
    let numbers: Vec<f64> =
        a.as_type(DType::F32).unwrap().to_vec::<f32>().unwrap().into_iter().map(f64::from).collect();
    let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
    (mean, numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / numbers.len() as f64)
}

#[test]
fn distributions_have_their_moments() {
    const COUNT: i32 = 40_000;
    const EULER: f64 = 0.577_215_664_9;
    let shape = &[COUNT / 100, 100];
    let keys = random::split_num(&key(42), 16).unwrap();
    let key = |i: i32| keys.slice_axis(0, i, i + 1).unwrap().reshape(&[2]).unwrap();
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for (name, a, mean, variance) in [
            ("uniform", random::uniform(&key(0), -1.0, 3.0, shape, dtype), 1.0, 16.0 / 12.0),
            ("normal", random::normal(&key(1), shape, dtype, 2.0, 0.5), 2.0, 0.25),
            ("laplace", random::laplace(&key(2), shape, dtype, -1.0, 0.5), -1.0, 0.5),
            ("gumbel", random::gumbel(&key(3), shape, dtype), EULER, std::f64::consts::PI.powi(2) / 6.0),
            ("truncated_normal", random::truncated_normal(&key(4), -1.0, 1.0, shape, dtype), 0.0, 0.291_125),
            ("bernoulli", random::bernoulli(&key(5), 0.3, shape), 0.3, 0.21),
            ("randint", random::randint(&key(6), -2, 3, shape, DType::I32), 0.0, 2.0),
            ("bits", random::bits(&key(7), shape, DType::U8), 127.5, (256.0 * 256.0 - 1.0) / 12.0),
        ] {
            let found = moments(&a.unwrap());
            // Six standard deviations of the mean, a tenth of the variance, and what 16-bit numbers round off.
            let limit = 6.0 * (variance / f64::from(COUNT)).sqrt() + 0.01;
            assert!((found.0 - mean).abs() < limit, "{name} {dtype}: mean {} instead of {mean}", found.0);
            assert!(
                (found.1 / variance - 1.0).abs() < 0.1,
                "{name} {dtype}: {} instead of {variance}",
                found.1
            );
        }
        let range =
            random::truncated_normal(&key(4), -1.0, 1.0, shape, dtype).unwrap().as_type(DType::F32).unwrap();
        assert!(range.to_vec::<f32>().unwrap().iter().all(|x| x.abs() <= 1.0));
    }
    let complex = random::normal(&key(8), shape, DType::Complex64, 0.0, 2.0).unwrap();
    let parts = complex.to_vec::<Complex32>().unwrap();
    let mean = parts.iter().sum::<Complex32>() / COUNT as f32;
    let variance = parts.iter().map(Complex32::norm_sqr).sum::<f32>() / COUNT as f32;
    assert!(mean.l1_norm() < 0.08 && (variance / 4.0 - 1.0).abs() < 0.1, "{mean} {variance}");
    let double = random::normal(&key(9), shape, DType::F64, 0.0, 1.0).unwrap();
    assert_eq!(double.dtype(), DType::F64);
    assert!((moments(&double).1 - 1.0).abs() < 0.1);
}

#[test]
fn choices_are_as_frequent_as_their_probabilities() {
    let p = [0.1f32, 0.6, 0.3];
    let logits: Vec<f32> = p.iter().map(|p| p.ln() + 5.0).collect();
    let logits = f32s(&logits, &[3]);
    let two = logits.expand_dims([0]).unwrap().broadcast_to(&[2, 3]).unwrap();
    for (logits, samples) in [
        (&logits, Samples::Count(20_000)),
        (&logits, Samples::Shape(&[20_000])),
        (&two, Samples::Count(10_000)),
        (&two, Samples::Shape(&[10_000, 2])),
    ] {
        let drawn = random::categorical(&key(5), logits, -1, samples).unwrap().to_vec::<u32>().unwrap();
        assert_eq!(drawn.len(), 20_000);
        for (choice, p) in p.iter().enumerate() {
            let share = drawn.iter().filter(|drawn| **drawn == choice as u32).count() as f32 / 20_000.0;
            assert!((share - p).abs() < 0.02, "{samples:?} {choice}: {share}");
        }
    }
    // What has no probability is never drawn.
    let certain = f32s(&[f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY], &[3]);
    let drawn = random::categorical(&key(5), &certain, 0, Samples::Count(100)).unwrap();
    assert_eq!(drawn.to_vec::<u32>().unwrap(), [1; 100]);
}

#[test]
fn permutations_keep_every_slice() {
    let mut order = random::permutation_arange(&key(1), 100).unwrap().to_vec::<u32>().unwrap();
    assert!(!order.is_sorted());
    order.sort_unstable();
    assert_eq!(order, (0..100).collect::<Vec<u32>>());
    let a = Array::arange(0.0, 60.0, 1.0, DType::I32).unwrap().reshape(&[3, 20]).unwrap();
    // Columns stay together, in a view as well.
    for a in [&a, &a.transpose(&[1, 0]).unwrap().contiguous().unwrap().transpose(&[1, 0]).unwrap()] {
        let mixed = random::permutation(&key(1), a, 1).unwrap().to_vec::<i32>().unwrap();
        let (first, rest) = mixed.split_at(20);
        assert!(!first.is_sorted());
        assert!(rest[..20].iter().zip(first).all(|(second, first)| *second == first + 20));
        assert!(rest[20..].iter().zip(first).all(|(third, first)| *third == first + 40));
    }
    let empty = Array::zeros(&[2, 0], DType::F32).unwrap();
    assert_eq!(random::permutation(&key(1), &empty, 1).unwrap().shape(), [2, 0]);
    assert_eq!(random::permutation(&key(1), &empty, 0).unwrap().shape(), [2, 0]);
    assert_eq!(random::permutation_arange(&key(1), 0).unwrap().to_vec::<u32>().unwrap(), [0u32; 0]);
}

#[test]
fn covariances_are_those_that_were_asked_for() {
    Device::Cpu.scope(|| {
        let mean = f32s(&[1.0, -2.0], &[2]);
        let covariance = f32s(&[2.0, -0.8, -0.8, 1.0], &[2, 2]);
        let drawn = random::multivariate_normal(&key(2), &mean, &covariance, &[20_000]).unwrap();
        assert_eq!(drawn.shape(), [20_000, 2]);
        let centred = drawn.subtract(&mean).unwrap();
        let found = centred.transpose(&[1, 0]).unwrap().matmul(&centred).unwrap();
        let found = found.divide(&Array::scalar(20_000.0f32).unwrap()).unwrap();
        assert_close("covariance", &found, &covariance, Tolerance { absolute: 0.06, relative: 0.0 });
        assert_close(
            "mean",
            &drawn.mean(0, false).unwrap(),
            &mean,
            Tolerance { absolute: 0.05, relative: 0.0 },
        );
    });
}

/// Every function that draws, with a key and a shape.
fn all(key: &Array, shape: &[i32]) -> Vec<(&'static str, Result<Array>)> {
    let logits = f32s(&[0.0, 1.0], &[2]);
    let (mean, covariance) = (f32s(&[0.0], &[1]), f32s(&[1.0], &[1, 1]));
    vec![
        ("bits", random::bits(key, shape, DType::U32)),
        ("uniform", random::uniform(key, 0.0, 1.0, shape, DType::F32)),
        ("normal", random::normal(key, shape, DType::F32, 0.0, 1.0)),
        ("truncated_normal", random::truncated_normal(key, 0.0, 1.0, shape, DType::F32)),
        ("laplace", random::laplace(key, shape, DType::F32, 0.0, 1.0)),
        ("gumbel", random::gumbel(key, shape, DType::F32)),
        ("bernoulli", random::bernoulli(key, 0.5, shape)),
        ("randint", random::randint(key, 0, 5, shape, DType::I32)),
        ("categorical", random::categorical(key, &logits, 0, Samples::Shape(shape))),
        (
            "multivariate_normal",
            Device::Cpu.scope(|| random::multivariate_normal(key, &mean, &covariance, shape)),
        ),
    ]
}

#[test]
fn what_is_no_key_is_an_error() {
    let zeros = |shape: &[i32], dtype| Array::zeros(shape, dtype).unwrap();
    for none in [
        zeros(&[], DType::U32),
        zeros(&[1], DType::U32),
        zeros(&[3], DType::U32),
        zeros(&[0], DType::U32),
        zeros(&[1, 2], DType::U32),
        zeros(&[2, 2], DType::U32),
        zeros(&[2], DType::I32),
        zeros(&[2], DType::F32),
        zeros(&[2], DType::U64),
    ] {
        let more = [
            ("split", random::split::<2>(&none).map(|[a, _]| a)),
            ("split_num", random::split_num(&none, 2)),
            ("permutation", random::permutation(&none, &f32s(&[1.0, 2.0], &[2]), 0)),
            ("permutation_arange", random::permutation_arange(&none, 3)),
            ("categorical", random::categorical(&none, &f32s(&[1.0, 2.0], &[2]), 0, Samples::One)),
            ("count", random::categorical(&none, &f32s(&[1.0, 2.0], &[2]), 0, Samples::Count(2))),
        ];
        for (name, outcome) in all(&none, &[2]).into_iter().chain(more) {
            let message = outcome.expect_err(name).to_string();
            assert!(message.ends_with("is no key, which is uint32[2]"), "{name}: {message}");
        }
    }
}

#[test]
fn shapes_that_are_none_or_too_large_are_errors() {
    for shape in [&[-1][..], &[2, -3], &[i32::MIN], &[i32::MAX, i32::MAX], &[1 << 30, 1 << 30, 1 << 30]] {
        for (name, outcome) in all(&key(0), shape) {
            assert!(outcome.is_err(), "{name} {shape:?}");
        }
    }
    for shape in [&[0][..], &[2, 0], &[0, 3]] {
        for (name, outcome) in all(&key(0), shape) {
            assert_eq!(outcome.unwrap().to_bytes().unwrap().len(), 0, "{name} {shape:?}");
        }
    }
    for count in [-1, i32::MIN, i32::MAX] {
        assert!(random::split_num(&key(0), count).is_err() || count == i32::MAX, "{count}");
        assert!(random::permutation_arange(&key(0), count).is_err() || count == i32::MAX, "{count}");
    }
    assert_eq!(random::split_num(&key(0), 0).unwrap().shape(), [0, 2]);
}

#[test]
fn parameters_that_do_not_fit_are_errors() {
    let key = key(0);
    let four = f32s(&[0.0; 4], &[4]);
    let complex = Array::scalar(Complex32::new(0.0, 1.0)).unwrap();
    let double = Array::scalar(1.0f64).unwrap();
    for (name, outcome) in [
        ("bits f32", random::bits(&key, &[2], DType::F32)),
        ("bits u64", random::bits(&key, &[2], DType::U64)),
        ("bits bool", random::bits(&key, &[2], DType::Bool)),
        ("uniform shape", random::uniform(&key, &four, 1.0, &[3], DType::F32)),
        ("uniform scalar", random::uniform(&key, &four, 1.0, &[], DType::F32)),
        ("uniform f64", random::uniform(&key, 0.0, 1.0, &[3], DType::F64)),
        ("uniform i32", random::uniform(&key, 0.0, 1.0, &[3], DType::I32)),
        ("uniform complex", random::uniform(&key, &complex, 1.0, &[3], DType::F32)),
        ("normal shape", random::normal(&key, &[], DType::F32, &four, 1.0)),
        ("normal scale", random::normal(&key, &[3], DType::F32, 0.0, &four)),
        (
            "normal rows",
            random::normal(&key, &[1, 4], DType::F32, 0.0, four.broadcast_to(&[2, 4]).as_ref().unwrap()),
        ),
        ("normal i32", random::normal(&key, &[3], DType::I32, 0.0, 1.0)),
        ("normal complex", random::normal(&key, &[3], DType::F32, &complex, 1.0)),
        ("truncated shape", random::truncated_normal(&key, &four, 1.0, &[3], DType::F32)),
        ("truncated f64", random::truncated_normal(&key, 0.0, 1.0, &[3], DType::F64)),
        ("truncated complex", random::truncated_normal(&key, 0.0, &complex, &[3], DType::F32)),
        ("laplace i32", random::laplace(&key, &[3], DType::I32, 0.0, 1.0)),
        ("laplace complex", random::laplace(&key, &[3], DType::Complex64, 0.0, 1.0)),
        ("gumbel f64", random::gumbel(&key, &[3], DType::F64)),
        ("gumbel u8", random::gumbel(&key, &[3], DType::U8)),
        ("bernoulli integer", random::bernoulli(&key, 1, &[3])),
        ("bernoulli complex", random::bernoulli(&key, &complex, &[3])),
        ("bernoulli shape", random::bernoulli(&key, &four, &[3])),
        ("bernoulli scalar", random::bernoulli(&key, &four, &[])),
        ("randint f32", random::randint(&key, 0, 5, &[3], DType::F32)),
        ("randint low", random::randint(&key, 0.5, 5, &[3], DType::I32)),
        ("randint high", random::randint(&key, 0, &double, &[3], DType::I32)),
        ("randint complex", random::randint(&key, &complex, 5, &[3], DType::I32)),
        ("randint bool", random::randint(&key, 0, &Array::scalar(true).unwrap(), &[3], DType::I32)),
        ("categorical scalar", random::categorical(&key, &double, 0, Samples::One)),
        ("categorical axis", random::categorical(&key, &four, 1, Samples::One)),
        ("categorical far axis", random::categorical(&key, &four, i32::MIN, Samples::One)),
        ("categorical complex", random::categorical(&key, &complex, 0, Samples::One)),
        ("categorical count", random::categorical(&key, &four, 0, Samples::Count(-1))),
        ("categorical shape", {
            let many = four.broadcast_to(&[2, 4]).unwrap();
            random::categorical(&key, &many, 1, Samples::Shape(&[3]))
        }),
        ("categorical fewer", {
            let many = four.broadcast_to(&[2, 2, 4]).unwrap();
            random::categorical(&key, &many, 2, Samples::Shape(&[2]))
        }),
        ("categorical nothing", {
            random::categorical(&key, &Array::zeros(&[2, 0], DType::F32).unwrap(), 1, Samples::One)
        }),
        ("permutation scalar", random::permutation(&key, &double, 0)),
        ("permutation axis", random::permutation(&key, &four, 1)),
        ("permutation far axis", random::permutation(&key, &four, i32::MIN)),
    ] {
        assert!(outcome.is_err(), "{name}");
    }
    Device::Cpu.scope(|| {
        let eye = f32s(&[1.0, 0.0, 0.0, 1.0], &[2, 2]);
        let two = f32s(&[0.0, 0.0], &[2]);
        for (name, outcome) in [
            ("mean", random::multivariate_normal(&key, &four, &eye, &[])),
            ("scalar", random::multivariate_normal(&key, 0.0, &eye, &[])),
            ("vector", random::multivariate_normal(&key, &two, &two, &[])),
            ("wide", random::multivariate_normal(&key, &two, &f32s(&[0.0; 6], &[2, 3]), &[])),
            ("complex", random::multivariate_normal(&key, &complex, &eye, &[])),
            ("shape", {
                let means = two.broadcast_to(&[3, 2]).unwrap();
                random::multivariate_normal(&key, &means, &eye, &[2])
            }),
        ] {
            assert!(outcome.is_err(), "{name}");
        }
        let endless = f32s(&[1.0, 0.0, 0.0, f32::INFINITY], &[2, 2]);
        let outcome = random::multivariate_normal(&key, &two, &endless, &[3]).unwrap().eval();
        assert!(outcome.unwrap_err().to_string().contains("a covariance holds infinities or NaN"));
    });
    // NaN in, and still a position.
    let strange = f32s(&[f32::NAN; 4], &[4]);
    for samples in [Samples::One, Samples::Count(3), Samples::Shape(&[2])] {
        let drawn = random::categorical(&key, &strange, 0, samples).unwrap().to_vec::<u32>().unwrap();
        assert!(drawn.iter().all(|position| *position < 4), "{samples:?} {drawn:?}");
    }
    // Bounds the wrong way round.
    let drawn = random::randint(&key, 5, 2, &[3], DType::I32).unwrap();
    assert_eq!(drawn.to_vec::<i32>().unwrap(), [5; 3]);
}

#[test]
fn every_key_draws_for_itself_under_vmap() {
    let keys = random::split_num(&key(8), 3).unwrap();
    let of = |i: i32| keys.slice_axis(0, i, i + 1).unwrap().reshape(&[2]).unwrap();
    for (name, draw) in [
        ("normal", (|key| random::normal(key, &[5], DType::F32, 0.0, 1.0)) as fn(&Array) -> Result<Array>),
        ("bytes", |key| random::bits(key, &[5], DType::U8)),
        ("split", |key| random::uniform(&random::split::<2>(key)?[1], 0.0, 1.0, &[3], DType::F32)),
        ("permutation", |key| random::permutation_arange(key, 6)),
    ] {
        let together = transforms::vmap(|key: &Array| draw(key), &keys, &[Some(0)], &[0]).unwrap();
        let columns = keys.transpose(&[1, 0]).unwrap();
        let turned = transforms::vmap(|key: &Array| draw(key), &columns, &[Some(1)], &[0]).unwrap();
        for i in 0..3 {
            let row = |a: &Array| a.slice_axis(0, i, i + 1).unwrap().squeeze([0]).unwrap();
            assert_close(name, &row(&together), &draw(&of(i)).unwrap(), EXACT);
            assert_close(name, &row(&turned), &draw(&of(i)).unwrap(), EXACT);
        }
    }
    let none = Array::zeros(&[0, 2], DType::U32).unwrap();
    let draw = |key: &Array| random::bits(key, &[3], DType::U32);
    assert!(transforms::vmap(draw, &none, &[Some(0)], &[0]).is_err());
}

#[test]
fn gradients_reach_the_parameters() {
    let key = key(4);
    let scale = f32s(&[2.0, 3.0], &[2]);
    let draw = |scale: &Array| random::normal(&key, &[2], DType::F32, 0.0, scale);
    let gradient = transforms::grad(|scale: &Array| draw(scale)?.sum(.., false), &scale).unwrap();
    let unit = draw(&f32s(&[1.0, 1.0], &[2])).unwrap();
    assert_close("reparametrization", &gradient, &unit, limits(DType::F32));
}
