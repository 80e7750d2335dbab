//! Expected values that another library made, and the comparison with them.
//!
//! `tests/reference/<family>.safetensors` holds the cases of one family of operations, as `make_<family>.py` beside it
//! wrote them: `<case>/in0`, `<case>/in1`, … and `<case>/out0`, ….

use std::collections::BTreeSet;
use std::path::Path;

use mlx_core::io::SafetensorsFile;
use mlx_core::{Array, DType};

/// How far a number may be from the expected one: `absolute + relative * |expected|`.
#[derive(Clone, Copy, Debug)]
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

    /// Compares what `f` makes of the case's inputs with its outputs: dtypes, shapes and elements.
    pub fn check(
        &self,
        case: &str,
        tolerance: Tolerance,
        f: impl FnOnce(&[Array]) -> mlx_core::Result<Vec<Array>>,
    ) {
        let found = f(&self.inputs(case)).unwrap_or_else(|error| panic!("{case}: {error}"));
        let expected = self.outputs(case);
        assert_eq!(found.len(), expected.len(), "{case}: number of outputs");
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(case, found, expected, tolerance);
        }
    }
}

/// Numbers of an array, as wide as they come; complex ones as pairs.
fn numbers(array: &Array) -> Vec<f64> {
    match array.dtype() {
        DType::Complex64 => array
            .to_bytes()
            .unwrap()
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_ne_bytes(b.try_into().unwrap())))
            .collect(),
        DType::I64 => array.to_vec::<i64>().unwrap().into_iter().map(|x| x as f64).collect(),
        DType::U64 => array.to_vec::<u64>().unwrap().into_iter().map(|x| x as f64).collect(),
        // A GPU has no float64, but the CPU that runs these tests does.
        _ => mlx_core::Device::Cpu.scope(|| array.as_type(DType::F64)?.to_vec::<f64>()).unwrap(),
    }
}

/// Fails unless dtypes and shapes are equal and the elements are within the tolerance; NaN equals NaN.
pub fn assert_close(name: &str, found: &Array, expected: &Array, tolerance: Tolerance) {
    assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()), "{name}");
    let (found, expected) = (numbers(found), numbers(expected));
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
    if let [first, ..] = &off[..] {
        let shown: Vec<&str> = off.iter().take(5).map(String::as_str).collect();
        panic!(
            "{name}: {} of {} elements are off, from {first}: {}",
            off.len(),
            found.len(),
            shown.join(", ")
        );
    }
}
