//! Kernels of our own for CPUs, as operations of MLX's graph.
//!
//! MLX's kernels for CPUs are scalar and run on one thread, except where Apple's Accelerate does the work. So on other
//! systems, operations that language models spend their time in are computed by [`cpu_kernels`]: this module is where
//! that is decided, and the only one that knows both. Whoever calls [`Array::matmul`] or a layer need not know.
//!
//! Gradients go through them as well. [`Mode`] says which kernels there are, and [`mode`] which are used. [`set_threads`]
//! says how many threads they use; results do not depend on it.

mod attention;
mod gate;
mod gathered;
mod matmul;
mod memory;
mod norm;
mod packed_attention;
mod product;
mod rope;
mod softmax;
mod unpack;

use std::cell::Cell;
use std::sync::OnceLock;

/// Sequences of this length or longer are computed by other kernels than shorter ones, which add in another order.
pub use cpu_kernels::product::MANY;
pub use cpu_kernels::threads::{default_threads, set_threads, threads};

pub(crate) use attention::{attention, windowed};
pub(crate) use gate::{Gate, gated};
pub(crate) use gathered::project_each;
pub(crate) use matmul::matmul;
pub(crate) use norm::{add_rms_norm, rms_norm};
pub(crate) use packed_attention::quantized_attention;
pub(crate) use product::{Arrays, Layout, project};
pub(crate) use rope::{Rope, rope};
pub(crate) use softmax::softmax;
pub(crate) use unpack::unpack;

use crate::ops::positions;
use crate::primitive::{self, Primitive, Spec, View, ViewMut};
use crate::{Array, Device, Error, Result, transforms};

/// Which kernels compute on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// MLX's.
    Off,
    /// Ours, which lose nothing but the rounding of float32 sums.
    Exact,
    /// Ours. Activations that meet packed weights one at a time, as in decoding, are rounded to 16 bits with a scale for
    /// each 32 of them; not where derivatives are taken. `docs/performance.md` says what that costs and brings.
    Fast,
}

const VARIABLE: &str = "RUST_MLX_CPU_KERNELS";

thread_local! {
    static CHOSEN: Cell<Option<Mode>> = const { Cell::new(None) };
}

/// Runs `f`, whose operations on the CPU are computed by these kernels.
///
/// ```
/// use mlx_core::kernels::{self, Mode};
/// use mlx_core::{Array, Device};
///
/// let x = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
/// let ours = Device::Cpu.scope(|| kernels::with(Mode::Exact, || x.matmul(&x)))?;
/// let theirs = Device::Cpu.scope(|| kernels::with(Mode::Off, || x.matmul(&x)))?;
/// assert_eq!(ours.to_vec::<f32>()?, theirs.to_vec::<f32>()?);
/// # Ok::<(), mlx_core::Error>(())
/// ```
pub fn with<R>(mode: Mode, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Mode>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CHOSEN.set(self.0);
        }
    }
    let _restore = Restore(CHOSEN.replace(Some(mode)));
    f()
}

/// Runs `f`, where nothing is rounded for speed: by [`Mode::Exact`] instead of [`Mode::Fast`].
pub fn exactly<R>(f: impl FnOnce() -> R) -> R {
    match mode() {
        Mode::Fast => with(Mode::Exact, f),
        other => with(other, f),
    }
}

/// The kernels that compute what this thread builds now on the CPU: those of [`with`], else those that
/// [the environment names](from_environment), else [`Mode::Fast`], or MLX's where they use Apple's Accelerate.
pub fn mode() -> Mode {
    static DEFAULT: OnceLock<Mode> = OnceLock::new();
    let default = || {
        let usual = if has_accelerate(std::env::consts::OS) { Mode::Off } else { Mode::Fast };
        from_environment().ok().flatten().unwrap_or(usual)
    };
    CHOSEN.get().unwrap_or_else(|| *DEFAULT.get_or_init(default))
}

/// The kernels that the environment names in `RUST_MLX_CPU_KERNELS`: `off`, `exact` or `fast`.
///
/// # Errors
/// When it names others. [`mode`] takes that for no choice, so a program does well to ask here when it starts.
pub fn from_environment() -> Result<Option<Mode>> {
    match std::env::var_os(VARIABLE) {
        Some(value) if !value.is_empty() => named(&value.to_string_lossy()).map(Some),
        _ => Ok(None),
    }
}

/// Whether operations that this thread builds now are computed by kernels of our own.
pub fn are_used() -> bool {
    mode() != Mode::Off && !positions::is_plain() && Device::current() == Device::Cpu
}

fn named(value: &str) -> Result<Mode> {
    match value.trim().to_ascii_lowercase().as_str() {
        "0" | "off" => Ok(Mode::Off),
        "exact" => Ok(Mode::Exact),
        "fast" => Ok(Mode::Fast),
        _ => {
            let message = format!("{VARIABLE} is {value:?}; off, exact and fast are known");
            Err(Error::Shape { op: "kernels", message })
        }
    }
}

/// Apple's builds of MLX compute products on the CPU by Accelerate.
fn has_accelerate(system: &str) -> bool {
    matches!(system, "macos" | "ios")
}

/// An operation that both we and MLX compute. What a kernel does not say of itself follows from MLX's form.
trait Kernel: Send + Sync + Sized + 'static {
    fn name(&self) -> &str;
    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>>;
    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()>;
    fn is_equivalent(&self, other: &Self) -> bool;

    /// The outputs as MLX computes them.
    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>>;

    /// The gradients with respect to all inputs.
    fn vjp(&self, primals: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
        plain_vjp(self, primals, cotangents)
    }
}

/// Gradients of MLX's form.
fn plain_vjp(kernel: &impl Kernel, primals: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
    let (_, gradients) = with(Mode::Off, || {
        transforms::vjp(|inputs: &Vec<Array>| kernel.plain(inputs), &primals.to_vec(), &cotangents.to_vec())
    })?;
    Ok(gradients.into_iter().map(Some).collect())
}

/// Puts a kernel into the graph.
fn apply<const N: usize>(kernel: impl Kernel, inputs: &[&Array]) -> Result<[Array; N]> {
    primitive::apply(InGraph(kernel), inputs)
}

struct InGraph<K>(K);

impl<K: Kernel> Primitive for InGraph<K> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        self.0.outputs(inputs)
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        self.0.eval(inputs, outputs)
    }

    fn vjp(&self, primals: &[Array], cotangents: &[Array], _: &[Array]) -> Result<Vec<Option<Array>>> {
        self.0.vjp(primals, cotangents)
    }

    fn jvp(&self, primals: &[Array], tangents: &[Option<Array>]) -> Result<Vec<Array>> {
        let tangents: Vec<Array> = primals
            .iter()
            .zip(tangents)
            .map(|(primal, tangent)| match tangent {
                Some(tangent) => Ok(tangent.clone()),
                None => Array::zeros(primal.shape(), primal.dtype()),
            })
            .collect::<Result<_>>()?;
        let (_, derivatives) = with(Mode::Off, || {
            transforms::jvp(|inputs: &Vec<Array>| self.0.plain(inputs), &primals.to_vec(), &tangents)
        })?;
        Ok(derivatives)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<i32>]) -> Result<(Vec<Array>, Vec<i32>)> {
        let specs = self.0.outputs(&inputs.iter().map(Spec::of).collect::<Vec<_>>());
        let outputs = vec![0; specs.map_or(1, |specs| specs.len())];
        let stacked = with(Mode::Off, || {
            transforms::vmap(|inputs: &Vec<Array>| self.0.plain(inputs), &inputs.to_vec(), axes, &outputs)
        })?;
        Ok((stacked, outputs))
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self.0.is_equivalent(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_read_as_it_is_written() {
        for (value, mode) in
            [("0", Mode::Off), (" Off", Mode::Off), ("EXACT", Mode::Exact), ("fast", Mode::Fast)]
        {
            assert_eq!(named(value).unwrap(), mode, "{value:?}");
        }
        let error = named("fsat").unwrap_err().to_string();
        assert!(error.contains("RUST_MLX_CPU_KERNELS is \"fsat\"; off, exact and fast"), "{error}");
        assert!(has_accelerate("macos") && !has_accelerate("linux"));
    }
}
