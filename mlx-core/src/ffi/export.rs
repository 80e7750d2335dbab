//! Functions in files: the owners of `mlx_function_exporter` and `mlx_imported_function`.

use std::cell::Cell;
use std::ffi::CStr;
use std::sync::{Mutex, PoisonError};
use std::thread::ThreadId;

use super::closure::Closure;
use super::{ArrayVector, door, graph};
use crate::{Array, Error, Result};

const EXPORT: &str = "export_function";
const IMPORT: &str = "import_function";

struct Exporter {
    raw: mlx_sys::mlx_function_exporter,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // SAFETY: this owner's exporter is not used again; freeing an empty one does nothing.
        unsafe { mlx_sys::mlx_function_exporter_free(self.raw) };
    }
}

/// A function of the number of an example and its arrays.
pub(crate) type ExampleFunction<'a> = dyn FnMut(usize, &[Array]) -> Result<Vec<Array>> + 'a;

/// Writes the graphs that `f` builds of each of the `examples` into the file at `path`.
pub(crate) fn export(
    path: &CStr,
    f: &mut ExampleFunction<'_>,
    examples: &[Vec<&Array>],
    shapeless: bool,
) -> Result<()> {
    let current = Cell::new(0);
    let mut traced = |inputs: &[Array]| {
        let outputs = f(current.get(), inputs)?;
        // MLX writes the memory of captured arrays as if they were computed and row-major.
        let inputs: Vec<&Array> = inputs.iter().collect();
        graph::check_constants(EXPORT, &outputs.iter().collect::<Vec<_>>(), &inputs)?;
        Ok(outputs)
    };
    Closure::lend(&mut traced, |closure| {
        // SAFETY: the path is NUL-terminated and the closure is live. The exporter is dropped before the closure, of which
        // it keeps a copy.
        let raw = unsafe { mlx_sys::mlx_function_exporter_new(path.as_ptr(), closure.as_raw(), shapeless) };
        if raw.ctx.is_null() {
            return Err(door::failure(EXPORT, &[]));
        }
        let exporter = Exporter { raw };
        for (number, example) in examples.iter().enumerate() {
            current.set(number);
            let vector = ArrayVector::new(example);
            // SAFETY: the handles are live.
            let status = unsafe { mlx_sys::mlx_function_exporter_apply(exporter.raw, vector.as_raw()) };
            door::check(EXPORT, example, status)?;
        }
        Ok(())
    })
}

/// Owns one function that a file held.
pub(crate) struct Imported {
    raw: mlx_sys::mlx_imported_function,
    /// Whether it takes other shapes than those of its examples.
    shapeless: bool,
}

impl Imported {
    /// # Errors
    /// When another thread uses imported functions, and what MLX fails with. The file must be one that [`export`] wrote
    /// with the same version of MLX, which reads it without a look at what it says.
    pub(crate) fn load(path: &CStr, shapeless: bool) -> Result<Self> {
        claim()?;
        super::stream::start_scheduler_once();
        // SAFETY: the path is NUL-terminated; the caller vouches for the file. A failure is told by an empty handle.
        let raw = unsafe { mlx_sys::mlx_imported_function_new(path.as_ptr()) };
        if raw.ctx.is_null() { Err(door::failure(IMPORT, &[])) } else { Ok(Imported { raw, shapeless }) }
    }

    /// The outputs for inputs that have the shapes and dtypes of an example, which MLX looks at.
    pub(crate) fn call(&self, inputs: &[&Array]) -> Result<Vec<Array>> {
        let vector = ArrayVector::new(inputs);
        let mut out = ArrayVector::empty();
        // SAFETY: the handles are live, and an empty vector may be filled.
        let status =
            unsafe { mlx_sys::mlx_imported_function_apply(out.as_raw_mut(), self.raw, vector.as_raw()) };
        door::check(IMPORT, inputs, status)?;
        let outputs = out.arrays(IMPORT)?;
        if self.shapeless {
            // As in a compiled function, MLX does not check what it builds for new shapes.
            super::transforms::check_shapeless(IMPORT, inputs, &outputs)?;
        }
        Ok(outputs)
    }
}

impl Drop for Imported {
    fn drop(&mut self) {
        // SAFETY: this owner's function is not used again; what it has built keeps what it needs.
        unsafe { mlx_sys::mlx_imported_function_free(self.raw) };
    }
}

/// The thread that uses imported functions. MLX runs them on the first stream of a device that there is in the process,
/// which is made for them and belongs to no thread; its state is not guarded.
static OWNER: Mutex<Option<ThreadId>> = Mutex::new(None);

fn owner() -> std::sync::MutexGuard<'static, Option<ThreadId>> {
    OWNER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the stream up when the thread ends.
struct Claim;

impl Drop for Claim {
    fn drop(&mut self) {
        *owner() = None;
    }
}

thread_local! {
    static CLAIM: Cell<Option<Claim>> = const { Cell::new(None) };
}

/// Makes the calling thread the one that uses imported functions, until it ends.
fn claim() -> Result<()> {
    let refuse =
        |message: &str| Error::Op { op: IMPORT, operands: String::new(), message: message.to_owned() };
    let mut owner = owner();
    let this = std::thread::current().id();
    match *owner {
        Some(thread) if thread == this => Ok(()),
        Some(_) => Err(refuse("another thread uses imported functions, and only one may at a time")),
        None => {
            // Kept before it is announced: a thread that is ending would keep the claim for ever.
            CLAIM.try_with(|claim| claim.set(Some(Claim))).map_err(|_| refuse("this thread is ending"))?;
            *owner = Some(this);
            Ok(())
        }
    }
}
