//! Fourier transforms against NumPy's, and against what defines them.

mod support;

use mlx_core::fft::{self, Norm};
use mlx_core::{Array, Complex32, DType, Result, transforms};
use support::{Reference, Tolerance, assert_close, integers, noise};

const CLOSE: Tolerance = Tolerance { absolute: 5e-6, relative: 5e-6 };

/// The same elements, laid out with the axes in the opposite order.
fn strided(a: &Array) -> Array {
    let reversed: Vec<i32> = (0..a.ndim() as i32).rev().collect();
    a.transpose(&reversed).unwrap().contiguous().unwrap().transpose(&reversed).unwrap()
}

#[test]
fn transforms_are_as_numpy_gives_them() {
    let file = Reference::open("fft");
    let mut seen = 0;
    for case in file.cases() {
        let parts: Vec<&str> = case.split('/').collect();
        let (name, rest) = (parts[0], &parts[1..]);
        if !["fft", "fft_real", "ifft", "rfft", "irfft"].contains(&name) {
            continue;
        }
        seen += 1;
        let axes = integers(rest[1]);
        let lengths = (rest[2] != "-").then(|| integers(rest[2]));
        let lengths = lengths.as_deref();
        let norm = match rest[3] {
            "ortho" => Norm::Ortho,
            "forward" => Norm::Forward,
            _ => Norm::Backward,
        };
        let f = |a: &Array| match name {
            "ifft" => fft::ifft(a, &axes, lengths, norm),
            "rfft" => fft::rfft(a, &axes, lengths, norm),
            "irfft" => fft::irfft(a, &axes, lengths, norm),
            _ => fft::fft(a, &axes, lengths, norm),
        };
        file.check(&case, CLOSE, |a| Ok(vec![f(&a[0])?]));
        file.check(&case, CLOSE, |a| Ok(vec![f(&strided(&a[0]))?]));
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn other_elements_are_converted() {
    let file = Reference::open("fft");
    for dtype in ["float16", "int32", "uint8", "bool"] {
        file.check(&format!("dtype/{dtype}"), CLOSE, |a| Ok(vec![fft::fft(&a[0], 0, None, Norm::Backward)?]));
    }
}

#[test]
fn shifts_and_frequencies_are_as_numpy_gives_them() {
    let file = Reference::open("fft");
    for case in file.cases() {
        let parts: Vec<&str> = case.split('/').collect();
        match parts[0] {
            "fftshift" => file.check(&case, support::EXACT, |a| {
                Ok(vec![fft::fftshift(&strided(&a[0]), integers(parts[2]))?])
            }),
            "ifftshift" => file.check(&case, support::EXACT, |a| {
                Ok(vec![fft::ifftshift(&strided(&a[0]), integers(parts[2]))?])
            }),
            "fftfreq" => file.check(&case, CLOSE, |_| {
                Ok(vec![fft::fftfreq(parts[1].parse().unwrap(), parts[2].parse().unwrap())?])
            }),
            "rfftfreq" => file.check(&case, CLOSE, |_| {
                Ok(vec![fft::rfftfreq(parts[1].parse().unwrap(), parts[2].parse().unwrap())?])
            }),
            _ => {}
        }
    }
}

#[test]
fn all_axes_may_be_named_at_once_and_inverses_come_back() {
    let a = noise(&[3, 4, 5]);
    for norm in [Norm::Backward, Norm::Ortho, Norm::Forward] {
        let all = fft::fft(&a, .., None, norm).unwrap();
        assert_close("axes", &all, &fft::fft(&a, [0, 1, 2], None, norm).unwrap(), support::EXACT);
        let back = fft::ifft(&all, .., None, norm).unwrap();
        assert_close("ifft", &back, &a.as_type(DType::Complex64).unwrap(), CLOSE);
        let half = fft::rfft(&a, .., None, norm).unwrap();
        assert_eq!(half.shape(), [3, 4, 3]);
        let back = fft::irfft(&half, .., Some(&[3, 4, 5]), norm).unwrap();
        assert_close("irfft", &back, &a, CLOSE);
    }
    // A cosine is two equal frequencies.
    let wave: Vec<f32> = (0..8).map(|i| (std::f32::consts::TAU * 2.0 * i as f32 / 8.0).cos()).collect();
    let spectrum = fft::fft(&Array::from_slice(&wave, &[8]).unwrap(), 0, None, Norm::Forward).unwrap();
    let mut expected = [Complex32::new(0.0, 0.0); 8];
    expected[2].re = 0.5;
    expected[6].re = 0.5;
    assert_close("cosine", &spectrum, &Array::from_slice(&expected, &[8]).unwrap(), CLOSE);
}

#[test]
fn axes_and_lengths_that_do_not_fit_are_errors() {
    let a = noise(&[3, 4]);
    let scalar = Array::scalar(1.0f32).unwrap();
    let complex = a.as_type(DType::Complex64).unwrap();
    let none: &[i32] = &[];
    type Transform = fn(&Array, &[i32], Option<&[i32]>) -> Result<Array>;
    let all: [Transform; 4] = [
        |a, axes, lengths| fft::fft(a, axes, lengths, Norm::Backward),
        |a, axes, lengths| fft::ifft(a, axes, lengths, Norm::Backward),
        |a, axes, lengths| fft::rfft(a, axes, lengths, Norm::Backward),
        |a, axes, lengths| fft::irfft(a, axes, lengths, Norm::Backward),
    ];
    for f in all {
        for (axes, lengths) in [
            (none, None),
            (&[2], None),
            (&[-3], None),
            (&[i32::MIN], None),
            (&[i32::MAX], None),
            (&[0, 0], None),
            (&[1, -1], None),
            (&[0], Some(&[][..])),
            (&[0], Some(&[1, 2])),
            (&[0], Some(&[0])),
            (&[0], Some(&[-1])),
            (&[0], Some(&[i32::MIN])),
            (&[0, 1], Some(&[1 << 20, 1 << 20])),
            (&[0, 1], Some(&[i32::MAX, i32::MAX])),
        ] {
            assert!(f(&a, axes, lengths).is_err(), "{axes:?} {lengths:?}");
        }
        assert!(f(&scalar, &[], None).is_err());
        assert!(f(&scalar, &[0], None).is_err());
        assert!(f(&Array::zeros(&[2, 0], DType::F32).unwrap(), &[1], None).is_err());
        // Filling an empty axis up gives zeros.
        let filled = f(&Array::zeros(&[2, 0], DType::F32).unwrap(), &[1], Some(&[3])).unwrap();
        assert!(filled.to_bytes().unwrap().iter().all(|byte| *byte == 0));
        let many = scalar.broadcast_to(&[1 << 15, 1 << 15, 1 << 10, 4]).unwrap();
        assert!(f(&many, &[3], Some(&[1 << 12])).unwrap_err().to_string().contains("the memory limit is"));
    }
    // One frequency alone is the spectrum of no even number of elements.
    assert!(fft::irfft(&noise(&[1]), 0, None, Norm::Backward).is_err());
    let message = fft::rfft(&complex, 0, None, Norm::Backward).unwrap_err().to_string();
    assert_eq!(message, "fft::rfft: complex64[3, 4] is not real");
    for axis in [2, -3, i32::MAX, i32::MIN] {
        assert!(fft::fftshift(&a, axis).is_err());
        assert!(fft::ifftshift(&a, axis).is_err());
    }
    assert_eq!(fft::fftshift(&scalar, ..).unwrap().item::<f32>().unwrap(), 1.0);
    for (n, spacing) in [(0, 1.0), (-1, 1.0), (i32::MIN, 1.0), (i32::MAX, 1.0), (4, 0.0), (4, f64::NAN)] {
        assert!(fft::fftfreq(n, spacing).is_err(), "{n} {spacing}");
        assert!(fft::rfftfreq(n, spacing).is_err(), "{n} {spacing}");
    }
}

/// `f`'s gradient against differences of its values.
fn check_gradient(name: &str, a: &Array, f: impl Fn(&Array) -> Result<Array>) {
    let gradient = transforms::grad(|a: &Array| f(a), a).unwrap().to_vec::<f32>().unwrap();
    let elements = a.to_vec::<f32>().unwrap();
    for (place, found) in gradient.iter().enumerate() {
        let at = |step: f32| {
            let mut moved = elements.clone();
            moved[place] += step;
            f64::from(f(&Array::from_slice(&moved, a.shape()).unwrap()).unwrap().item::<f32>().unwrap())
        };
        let expected = (at(1e-2) - at(-1e-2)) / 2e-2;
        assert!(
            (f64::from(*found) - expected).abs() < 1e-2 * (1.0 + expected.abs()),
            "{name} {place}: {found} {expected}"
        );
    }
}

#[test]
fn gradients_are_the_limits_of_differences() {
    let energy = |z: &Array, weights: &Array| z.abs()?.square()?.multiply(weights)?.sum(.., false);
    for n in [4, 5] {
        let a = noise(&[2, n]);
        let weights = noise(&[2, n]).abs().unwrap();
        let half = weights.slice_axis(1, 0, n / 2 + 1).unwrap();
        for norm in [Norm::Backward, Norm::Ortho] {
            check_gradient("fft", &a, |a| energy(&fft::fft(a, .., None, norm)?, &weights));
            check_gradient("ifft", &a, |a| energy(&fft::ifft(a, 1, None, norm)?, &weights));
            check_gradient("rfft", &a, |a| energy(&fft::rfft(a, 1, None, norm)?, &half));
            check_gradient("irfft", &a, |a| {
                let z = a.slice_axis(1, 0, n / 2 + 1)?.as_type(DType::Complex64)?;
                energy(&fft::irfft(&z, 1, Some(&[n]), norm)?, &weights)
            });
        }
        let longer = noise(&[2, 8]).abs().unwrap();
        check_gradient("filled up", &a, |a| energy(&fft::fft(a, 1, Some(&[8]), Norm::Backward)?, &longer));
    }
}

#[test]
fn rows_are_transformed_by_themselves_under_vmap() {
    let a = noise(&[3, 6]);
    let expected = fft::rfft(&a, 1, None, Norm::Backward).unwrap();
    let row = |a: &Array| fft::rfft(a, 0, None, Norm::Backward);
    let found = transforms::vmap(row, &a, &[Some(0)], &[0]).unwrap();
    assert_close("rows", &found, &expected, CLOSE);
    let columns = a.transpose(&[1, 0]).unwrap();
    let found = transforms::vmap(row, &columns, &[Some(1)], &[0]).unwrap();
    assert_close("columns", &found, &expected, CLOSE);
}
