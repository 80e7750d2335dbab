//! Expected values that another library made, the comparison with them, and inputs that several tests share.
//!
//! `tests/reference/<family>.safetensors` holds the cases of one family of operations, as `make_<family>.py` beside it
//! wrote them: `<case>/in0`, `<case>/in1`, … and `<case>/out0`, ….

// No test uses all of this.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use mlx_core::io::SafetensorsFile;
use mlx_core::kernels::{self, Mode};
use mlx_core::primitive::{Primitive, Spec, View, ViewMut};
use mlx_core::{Array, Complex32, DType, Device, Error, Result};

/// How far a number may be from the expected one: `absolute + relative * |expected|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    pub absolute: f64,
    pub relative: f64,
}

pub const EXACT: Tolerance = Tolerance { absolute: 0.0, relative: 0.0 };

/// A few units in the last place of `dtype`, for functions of elements of size one or so.
pub fn tolerance(dtype: DType) -> Tolerance {
    let unit = match dtype {
        DType::F64 => 1e-12,
        DType::F32 | DType::Complex64 => 2e-6,
        DType::F16 => 2e-3,
        DType::BF16 => 1.6e-2,
        _ => return EXACT,
    };
    Tolerance { absolute: unit, relative: unit }
}

/// The cases of one family.
pub struct Reference {
    file: SafetensorsFile,
}

impl Reference {
    pub fn open(family: &str) -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/reference/{family}.safetensors"));
        Reference { file: SafetensorsFile::open(path).unwrap() }
    }

    /// Names of the cases, in order.
    pub fn cases(&self) -> BTreeSet<String> {
        let case = |name: &str| name.rsplit_once('/').map(|(case, _)| case.to_owned());
        self.file.names().filter_map(case).collect()
    }

    pub fn inputs(&self, case: &str) -> Vec<Array> {
        self.series(case, "in")
    }

    pub fn outputs(&self, case: &str) -> Vec<Array> {
        self.series(case, "out")
    }

    fn series(&self, case: &str, what: &str) -> Vec<Array> {
        let name = |index| format!("{case}/{what}{index}");
        let found: Vec<Array> = (0..)
            .map(name)
            .take_while(|name| self.file.info(name).is_some())
            .map(|name| self.array(&name))
            .collect();
        assert!(what == "in" || !found.is_empty(), "there is no case {case}");
        found
    }

    fn array(&self, name: &str) -> Array {
        let info = self.file.info(name).unwrap();
        let shape: Vec<i32> = info.shape.iter().map(|n| *n as i32).collect();
        Array::from_bytes(&self.file.read(name).unwrap(), &shape, info.dtype).unwrap()
    }

    /// Compares what `f` makes of every case's inputs with its outputs (dtypes, shapes and elements) within what
    /// `tolerance` allows, and reports all that is off.
    ///
    /// Nothing else refers to the inputs when a result is computed, so MLX may write it into their memory.
    pub fn check_all(
        &self,
        tolerance: impl Fn(&str, DType) -> Tolerance,
        f: impl Fn(&str, &[Array]) -> Result<Vec<Array>>,
    ) {
        // On a CPU, both by our kernels and by MLX's.
        for mode in [Mode::Exact, Mode::Off] {
            let difference = |case: &String| kernels::with(mode, || self.difference(case, &tolerance, &f));
            let off: Vec<String> = self.cases().iter().filter_map(difference).collect();
            assert!(off.is_empty(), "{mode:?}: {} cases are off:\n{}", off.len(), off.join("\n"));
        }
    }

    /// [`check_all`](Self::check_all) of one case.
    pub fn check(&self, case: &str, tolerance: Tolerance, f: impl FnOnce(&[Array]) -> Result<Vec<Array>>) {
        let difference = kernels::exactly(|| self.difference(case, |_, _| tolerance, |_, inputs| f(inputs)));
        if let Some(difference) = difference {
            panic!("{difference}");
        }
    }

    fn difference(
        &self,
        case: &str,
        tolerance: impl Fn(&str, DType) -> Tolerance,
        f: impl FnOnce(&str, &[Array]) -> Result<Vec<Array>>,
    ) -> Option<String> {
        let found = match f(case, &self.inputs(case)) {
            Ok(found) => found,
            Err(error) => return Some(format!("{case}: {error}")),
        };
        let expected = self.outputs(case);
        if found.len() != expected.len() {
            return Some(format!("{case}: {} outputs instead of {}", found.len(), expected.len()));
        }
        let near = |expected: &Array| tolerance(case, expected.dtype());
        found
            .iter()
            .zip(&expected)
            .find_map(|(found, expected)| difference(case, found, expected, near(expected)))
    }
}

/// Numbers of an array, as wide as they come; complex ones as pairs.
fn numbers(array: &Array) -> Result<Vec<f64>> {
    Ok(match array.dtype() {
        DType::Complex64 => {
            let parts = |z: Complex32| [f64::from(z.re), f64::from(z.im)];
            array.to_vec::<Complex32>()?.into_iter().flat_map(parts).collect()
        }
        DType::I64 => array.to_vec::<i64>()?.into_iter().map(|x| x as f64).collect(),
        DType::U64 => array.to_vec::<u64>()?.into_iter().map(|x| x as f64).collect(),
        // A GPU has no float64, but the CPU that runs these tests does.
        _ => Device::Cpu.scope(|| array.as_type(DType::F64)?.to_vec::<f64>())?,
    })
}

/// Fails unless dtypes and shapes are equal and the elements are within the tolerance; NaN equals NaN.
pub fn assert_close(name: &str, found: &Array, expected: &Array, tolerance: Tolerance) {
    if let Some(difference) = difference(name, found, expected, tolerance) {
        panic!("{difference}");
    }
}

fn difference(name: &str, found: &Array, expected: &Array, tolerance: Tolerance) -> Option<String> {
    let kind = |array: &Array| (array.dtype(), array.shape().to_vec());
    if kind(found) != kind(expected) {
        return Some(format!("{name}: {:?} instead of {:?}", kind(found), kind(expected)));
    }
    let (found, expected) = match (numbers(found), numbers(expected)) {
        (Ok(found), Ok(expected)) => (found, expected),
        (Err(error), _) | (_, Err(error)) => return Some(format!("{name}: {error}")),
    };
    let close = |(found, expected): (&f64, &f64)| {
        found == expected
            || (found.is_nan() && expected.is_nan())
            || (found - expected).abs() <= tolerance.absolute + tolerance.relative * expected.abs()
    };
    let off: Vec<String> = found
        .iter()
        .zip(&expected)
        .enumerate()
        .filter(|(_, pair)| !close(*pair))
        .map(|(index, (found, expected))| format!("[{index}] {found} instead of {expected}"))
        .collect();
    let shown: Vec<&str> = off.iter().take(5).map(String::as_str).collect();
    (!off.is_empty())
        .then(|| format!("{name}: {} of {} elements are off: {}", off.len(), found.len(), shown.join(", ")))
}

/// A vector.
pub fn row(elements: &[f32]) -> Array {
    Array::from_slice(elements, &[elements.len() as i32]).unwrap()
}

/// Numbers without a pattern, the same ones each time: float32.
pub fn noise(shape: &[i32]) -> Array {
    let size: i32 = shape.iter().product();
    let elements: Vec<f32> = (0..size).map(|i| ((i * i % 97) as f32 * 0.37 + i as f32).sin()).collect();
    Array::from_slice(&elements, shape).unwrap()
}

/// The integers of a list such as `1,-2,3`, as the names of cases hold them.
pub fn integers(text: &str) -> Vec<i32> {
    text.split(',').map(|integer| integer.parse().unwrap()).collect()
}

/// A primitive that fails, after a while.
pub struct Fail(pub Duration);

impl Primitive for Fail {
    fn name(&self) -> &str {
        "fail"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(inputs.to_vec())
    }

    fn eval(&self, _: &[View<'_>], _: &mut [ViewMut<'_>]) -> Result<()> {
        std::thread::sleep(self.0);
        Err(Error::other("broken %s"))
    }
}
