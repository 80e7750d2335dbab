//! Functions in files: a graph that one program builds and another runs.
//!
//! ```
//! use mlx_core::export::{ImportedFunction, export_function};
//! use mlx_core::Array;
//!
//! let path = std::env::temp_dir().join("mlx-core-example.mlxfn");
//! let x = Array::from_slice(&[1.0f32, 2.0], &[2])?;
//! let fingerprint = export_function(&path, |[x, y]| x.multiply(y)?.exp(), &[[&x, &x]], false)?;
//!
//! let f = ImportedFunction::load(&path, &fingerprint)?;
//! let zero = Array::from_slice(&[0.0f32, 0.0], &[2])?;
//! assert_eq!(f.call(&[&x, &zero])?[0].to_vec::<f32>()?, [1.0, 1.0]);
//! # Ok::<(), mlx_core::Error>(())
//! ```
//!
//! # Trust
//! MLX takes what such a file says as it is: a wrong length or shape in it makes the process crash or read memory that is
//! none of its business. So [`export_function`] gives the [`Fingerprint`] of what it wrote, and [`ImportedFunction::load`]
//! reads a file only if it has the fingerprint that it is given, byte for byte. Keep fingerprints where you keep what you
//! trust, such as in the program; one that comes with the file proves nothing.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::ffi::export::{Imported, export};
use crate::ffi::string::c_path;
use crate::io::{Temporary, write_by_path};
use crate::ops::positions::plain;
use crate::transforms::{Arguments, Arrays, listed, with_room};
use crate::{Array, Error, Result, version};

/// Writes the graphs that a function builds into a file that replaces `path` only once it is complete, and gives the
/// file's fingerprint.
///
/// The function runs once for each of the `examples`, whose shapes and dtypes are those that the exported function takes;
/// with `shapeless`, other lengths with as many axes do as well. What the function does besides building its outputs
/// happens only then. Arrays that it captures are written into the file. Where the imported function takes elements by
/// position, a position outside becomes the nearest one inside.
///
/// # Errors
/// What the function fails with; when there are no examples or two of one signature, an operation that MLX cannot write,
/// such as a [`Primitive`](crate::primitive::Primitive) or a function with derivatives of its own, a captured array that is
/// a view (make it contiguous before), or the file cannot be written.
#[doc(
    alias = "mlx_export_function",
    alias = "mlx_function_exporter_new",
    alias = "mlx_function_exporter_apply"
)]
pub fn export_function<A: Arguments, O: Arrays>(
    path: impl AsRef<Path>,
    f: impl Fn(&A::Traced) -> Result<O>,
    examples: &[A],
    shapeless: bool,
) -> Result<Fingerprint> {
    const OP: &str = "export_function";
    let path = path.as_ref();
    if examples.is_empty() {
        return Err(Error::Shape { op: OP, message: "there is no example of the arguments".to_owned() });
    }
    let inputs: Vec<Vec<&Array>> = examples.iter().map(Arguments::arrays).collect();
    let mut run = |number: usize, arrays: &[Array]| {
        let example: &A = &examples[number];
        listed(OP, &plain(|| example.with_arrays(arrays.to_vec()).and_then(|arguments| f(&arguments)))?)
    };
    write_by_path(path, |temporary| {
        let name = c_path(OP, temporary)?;
        with_room(OP, || export(&name, &mut run, &inputs, shapeless))?;
        let fingerprint = File::open(temporary).and_then(|mut file| Fingerprint::of(&mut file, |_| Ok(())));
        fingerprint.map_err(|source| Error::Io { path: path.to_owned(), source })
    })
}

/// A function from a file.
///
/// It runs on the device on which it was exported. One thread of a process at a time has imported functions: the first that
/// loads one, until it ends.
pub struct ImportedFunction {
    function: Imported,
}

impl ImportedFunction {
    /// Reads the file that [`export_function`] wrote, if it has this fingerprint.
    ///
    /// What is run is a copy in the system's folder for temporary files, which nobody else can change.
    ///
    /// # Errors
    /// When the file cannot be read, is another than the one of the fingerprint, or was written by another version of MLX;
    /// when this machine lacks the device that the function runs on; and when another thread has imported functions.
    #[doc(alias = "mlx_imported_function_new")]
    pub fn load(path: impl AsRef<Path>, fingerprint: &Fingerprint) -> Result<Self> {
        let path = path.as_ref();
        let (copy, shapeless) = verified_copy(path, fingerprint)?;
        // MLX keeps the file open, so the name may go.
        Ok(ImportedFunction {
            function: Imported::load(&c_path("import_function", copy.path())?, shapeless)?,
        })
    }

    /// Calls the function, which builds the graph of its outputs.
    ///
    /// The arrays are those of the arguments' arrangement in its order, and so are the outputs.
    ///
    /// # Errors
    /// When no example had such shapes and dtypes. Of a function for all shapes, also what
    /// [`compile_shapeless`](crate::transforms::compile_shapeless) would refuse.
    #[doc(alias = "mlx_imported_function_apply")]
    pub fn call(&self, inputs: &[&Array]) -> Result<Vec<Array>> {
        self.function.call(inputs)
    }
}

/// What a file holds, as a number: the SHA-256 of its bytes. As a text it is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of all bytes, each of which `keep` gets as well.
    fn of(source: &mut impl Read, mut keep: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Self> {
        let mut sum = Sha256::new();
        let mut chunk = vec![0; 1 << 18];
        loop {
            let read = match source.read(&mut chunk) {
                Ok(0) => return Ok(Fingerprint(sum.finalize().into())),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = chunk.get(..read).unwrap_or_default();
            sum.update(bytes);
            keep(bytes)?;
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = || Error::Shape {
            op: "fingerprint",
            message: "a fingerprint is 64 hexadecimal digits".to_owned(),
        };
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
        let digits: [u8; 64] = digits.ok_or_else(refuse)?.try_into().map_err(|_| refuse())?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Fingerprint(bytes))
    }
}

/// A copy of the file in a place of ours, once it is known to be the one of the fingerprint, and whether its function takes
/// other shapes than those of its examples.
fn verified_copy(path: &Path, fingerprint: &Fingerprint) -> Result<(Temporary, bool)> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let refuse = |message: String| Error::Export { path: path.to_owned(), message };
    // Asked before opening, because opening a pipe waits for its writer.
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(io(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    let mut file = File::open(path).map_err(io)?;
    let (copy, mut out) =
        Temporary::create_with(&std::env::temp_dir(), OpenOptions::new().write(true).mode(0o600))
            .map_err(|source| Error::Io { path: PathBuf::from("a temporary file"), source })?;
    let mut start = Vec::new();
    let found = Fingerprint::of(&mut file, |bytes| {
        start.extend(bytes.iter().take(64usize.saturating_sub(start.len())));
        out.write_all(bytes)
    });
    let found = found.map_err(io)?;
    if found != *fingerprint {
        return Err(refuse(format!("the fingerprint is {found}, not {fingerprint}")));
    }
    let shapeless = read_start(&start).map_err(refuse)?;
    Ok((copy, shapeless))
}

/// The file begins with MLX's version, a length in 8 bytes and the text; then 4 bytes that count the examples, and one that
/// tells whether the function takes other shapes.
fn read_start(start: &[u8]) -> Result<bool, String> {
    let this = version().map_err(|error| error.to_string())?;
    let parts = start.split_first_chunk().and_then(|(len, rest)| {
        let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
        let (text, rest) = rest.split_at_checked(len)?;
        Some((std::str::from_utf8(text).ok()?, *rest.get(4)?))
    });
    match parts {
        Some((found, shapeless)) if found == this => Ok(shapeless != 0),
        Some((found, _)) => Err(format!("MLX {found} wrote this function, and this is MLX {this}")),
        None => Err("the file does not say which MLX wrote it".to_owned()),
    }
}
