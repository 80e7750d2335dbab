//! Kernels for the GPU from source, in Metal's language or in CUDA's.
//!
//! A kernel is compiled when it is first computed, and is an operation like any other from then on, except that it has no
//! derivatives. Give it some by calling it from [`Primitive::on_gpu`](crate::primitive::Primitive::on_gpu), which also
//! names what computes it on a CPU.
//!
//! ```no_run
//! use mlx_core::kernel::{CudaKernel, KernelSource, Launch};
//! use mlx_core::primitive::Spec;
//! use mlx_core::{Array, DType};
//!
//! let kernel = CudaKernel::new(
//!     &KernelSource {
//!         name: "twice",
//!         inputs: &["x"],
//!         outputs: &["y"],
//!         body: "auto i = cg::this_grid().thread_rank(); if (i < N) { y[i] = 2 * x[i]; }",
//!         ..KernelSource::default()
//!     },
//!     0,
//! )?;
//! let x = Array::from_slice(&[1.0f32, 2.0, 3.0], &[3])?;
//! let launch = Launch {
//!     grid: [3, 1, 1],
//!     threads: [256, 1, 1],
//!     constants: &[("N", 3.into())],
//!     ..Launch::default()
//! };
//! let [y] = kernel.call(&[&x], &[Spec::of(&x)], &launch)?;
//! assert_eq!(y.to_vec::<f32>()?, [2.0, 4.0, 6.0]);
//! # Ok::<(), mlx_core::Error>(())
//! ```
//!
//! # Trust
//! The source is code of the program, and is trusted as such: this is the one place where what a string says decides
//! whether memory is safe. A kernel that writes outside its outputs overwrites other arrays on the GPU, or ends the
//! process's use of it. Take sources from the program itself, never from a file or a user, and check in the kernel that
//! a thread's position lies inside.

use crate::array::check_shape;
use crate::ffi::kernel::{Call, CudaKernelHandle, MetalKernelHandle, Source};
use crate::ffi::string::{StringVector, c_text};
use crate::primitive::Spec;
use crate::{Array, DType, Device, Error, Result};

/// What a kernel is made of. MLX writes the function's head: inputs and outputs are pointers under their names.
///
/// Where the body names `x_shape`, `x_strides` or `x_ndim` for an input `x`, MLX passes these as well, except for scalars.
#[derive(Clone, Copy, Debug)]
pub struct KernelSource<'a> {
    /// The function's name, by which the compiled kernel is kept; sources that differ may share one.
    pub name: &'a str,
    /// Names of the inputs.
    pub inputs: &'a [&'a str],
    /// Names of the outputs, at least one.
    pub outputs: &'a [&'a str],
    /// The body of the function.
    pub body: &'a str,
    /// What stands before the function, such as functions of its own.
    pub header: &'a str,
    /// Whether inputs are copied where they do not lie in row-major order. Without it the kernel has to follow the
    /// strides.
    pub contiguous_inputs: bool,
}

impl Default for KernelSource<'_> {
    fn default() -> Self {
        KernelSource { name: "", inputs: &[], outputs: &[], body: "", header: "", contiguous_inputs: true }
    }
}

/// How a kernel is run.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Threads along each direction, in all.
    pub grid: [i32; 3],
    /// Threads along each direction in one group, at most 1024 together.
    pub threads: [i32; 3],
    /// What is known when the kernel is compiled, by name. Other values mean another kernel.
    pub constants: &'a [(&'a str, Constant)],
    /// What the outputs hold at first. Without it, places that the kernel does not write hold anything.
    pub initial: Option<f32>,
    /// Whether MLX prints the whole source.
    pub verbose: bool,
}

impl Default for Launch<'_> {
    fn default() -> Self {
        Launch { grid: [1; 3], threads: [1; 3], constants: &[], initial: None, verbose: false }
    }
}

/// Something that is known when a kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constant {
    /// A number.
    Int(i32),
    /// A truth.
    Bool(bool),
    /// A type of elements.
    Type(DType),
}

impl From<i32> for Constant {
    fn from(value: i32) -> Self {
        Constant::Int(value)
    }
}

impl From<bool> for Constant {
    fn from(value: bool) -> Self {
        Constant::Bool(value)
    }
}

impl From<DType> for Constant {
    fn from(value: DType) -> Self {
        Constant::Type(value)
    }
}

/// A kernel in Metal's language, for Apple's GPUs.
pub struct MetalKernel {
    handle: MetalKernelHandle,
    counts: Counts,
}

/// A kernel in CUDA's language, for NVIDIA's GPUs.
pub struct CudaKernel {
    handle: CudaKernelHandle,
    counts: Counts,
}

impl MetalKernel {
    /// Takes a kernel's source; with `atomic_outputs`, the outputs are `device atomic<T>*`.
    ///
    /// The source is trusted; see [the module](self).
    ///
    /// # Errors
    /// When MLX has no Metal here, a name is no identifier, or there is no output. What the compiler finds is told when the
    /// kernel is first computed.
    #[doc(alias = "mlx_fast_metal_kernel_new")]
    pub fn new(source: &KernelSource<'_>, atomic_outputs: bool) -> Result<Self> {
        let (text, counts) = source.checked("metal_kernel")?;
        require_backend("metal_kernel", Device::has_metal(), "Metal")?;
        Ok(MetalKernel { handle: MetalKernelHandle::new(&text, atomic_outputs)?, counts })
    }

    /// Puts the kernel into the graph, on the thread's current device, and gives its outputs, which have the shapes and
    /// dtypes of `outputs`.
    ///
    /// # Errors
    /// When the current device is not the GPU, there are not as many inputs or outputs as the source names, an output holds
    /// no element or is above the memory limit, or the grid has no threads or too many.
    #[doc(alias = "mlx_fast_metal_kernel_apply", alias = "mlx_fast_metal_kernel_config_new")]
    #[doc(
        alias = "mlx_fast_metal_kernel_config_add_output_arg",
        alias = "mlx_fast_metal_kernel_config_set_grid"
    )]
    #[doc(alias = "mlx_fast_metal_kernel_config_set_thread_group")]
    #[doc(alias = "mlx_fast_metal_kernel_config_set_init_value")]
    #[doc(alias = "mlx_fast_metal_kernel_config_set_verbose")]
    #[doc(alias = "mlx_fast_metal_kernel_config_add_template_arg_dtype")]
    #[doc(alias = "mlx_fast_metal_kernel_config_add_template_arg_int")]
    #[doc(alias = "mlx_fast_metal_kernel_config_add_template_arg_bool")]
    pub fn call<const N: usize>(
        &self,
        inputs: &[&Array],
        outputs: &[Spec],
        launch: &Launch<'_>,
    ) -> Result<[Array; N]> {
        launched("metal_kernel", self.counts, inputs, outputs, launch, |call| self.handle.call(call))
    }
}

impl CudaKernel {
    /// Takes a kernel's source, which may use `shared_memory` bytes of a group's own memory.
    ///
    /// The source is trusted; see [the module](self).
    ///
    /// # Errors
    /// When MLX has no CUDA here, a name is no identifier, or there is no output. What the compiler finds is told when the
    /// kernel is first computed.
    #[doc(alias = "mlx_fast_cuda_kernel_new")]
    pub fn new(source: &KernelSource<'_>, shared_memory: u32) -> Result<Self> {
        let (text, counts) = source.checked("cuda_kernel")?;
        let bytes = i32::try_from(shared_memory).map_err(|_| {
            refuse("cuda_kernel", format!("{shared_memory} bytes of shared memory are too many"))
        })?;
        require_backend("cuda_kernel", Device::has_cuda(), "CUDA")?;
        Ok(CudaKernel { handle: CudaKernelHandle::new(&text, bytes)?, counts })
    }

    /// Puts the kernel into the graph, on the thread's current device, and gives its outputs, which have the shapes and
    /// dtypes of `outputs`.
    ///
    /// # Errors
    /// When the current device is not the GPU, there are not as many inputs or outputs as the source names, an output holds
    /// no element or is above the memory limit, or the grid has no threads or too many.
    #[doc(alias = "mlx_fast_cuda_kernel_apply", alias = "mlx_fast_cuda_kernel_config_new")]
    #[doc(
        alias = "mlx_fast_cuda_kernel_config_add_output_arg",
        alias = "mlx_fast_cuda_kernel_config_set_grid"
    )]
    #[doc(alias = "mlx_fast_cuda_kernel_config_set_thread_group")]
    #[doc(alias = "mlx_fast_cuda_kernel_config_set_init_value")]
    #[doc(alias = "mlx_fast_cuda_kernel_config_set_verbose")]
    #[doc(alias = "mlx_fast_cuda_kernel_config_add_template_arg_dtype")]
    #[doc(alias = "mlx_fast_cuda_kernel_config_add_template_arg_int")]
    #[doc(alias = "mlx_fast_cuda_kernel_config_add_template_arg_bool")]
    pub fn call<const N: usize>(
        &self,
        inputs: &[&Array],
        outputs: &[Spec],
        launch: &Launch<'_>,
    ) -> Result<[Array; N]> {
        launched("cuda_kernel", self.counts, inputs, outputs, launch, |call| self.handle.call(call))
    }
}

/// How many inputs and outputs a kernel has.
#[derive(Clone, Copy)]
struct Counts {
    inputs: usize,
    outputs: usize,
}

impl KernelSource<'_> {
    fn checked(&self, op: &'static str) -> Result<(Source, Counts)> {
        if self.outputs.is_empty() {
            return Err(refuse(op, "a kernel has at least one output".to_owned()));
        }
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| identifier(op, name))
                .collect::<Result<Vec<_>>>()
                .map(|names| StringVector::new(&names))
        };
        let source = Source {
            name: identifier(op, self.name)?,
            inputs: names(self.inputs)?,
            outputs: names(self.outputs)?,
            body: c_text(op, self.body)?,
            header: c_text(op, self.header)?,
            contiguous: self.contiguous_inputs,
        };
        Ok((source, Counts { inputs: self.inputs.len(), outputs: self.outputs.len() }))
    }
}

fn launched<const N: usize>(
    op: &'static str,
    counts: Counts,
    inputs: &[&Array],
    outputs: &[Spec],
    launch: &Launch<'_>,
    call: impl FnOnce(&Call<'_>) -> Result<Vec<Array>>,
) -> Result<[Array; N]> {
    if Device::current() != Device::Gpu {
        return Err(refuse(op, "a kernel runs on the GPU, which is not the current device".to_owned()));
    }
    if inputs.len() != counts.inputs || outputs.len() != counts.outputs || N != counts.outputs {
        let message = format!(
            "{} inputs and {} outputs, of which {N} are taken, for a kernel that has {} and {}",
            inputs.len(),
            outputs.len(),
            counts.inputs,
            counts.outputs
        );
        return Err(refuse(op, message));
    }
    for Spec { shape, dtype } in outputs {
        check_shape(op, shape, *dtype)?;
        if shape.contains(&0) {
            return Err(refuse(op, format!("an output of {dtype}{shape:?} has no memory to write to")));
        }
    }
    check_grid(op, launch)?;
    let names = launch.constants.iter().map(|(name, _)| identifier(op, name)).collect::<Result<Vec<_>>>()?;
    let constants =
        names.iter().map(|name| name.as_c_str()).zip(launch.constants.iter().map(|(_, value)| *value));
    let shapes: Vec<_> = outputs.iter().map(|spec| (&*spec.shape, spec.dtype)).collect();
    let found = call(&Call {
        inputs,
        outputs: &shapes,
        grid: launch.grid,
        threads: launch.threads,
        constants: constants.collect(),
        initial: launch.initial,
        verbose: launch.verbose,
    })?;
    let count = found.len();
    found.try_into().map_err(|_| refuse(op, format!("MLX gave {count} outputs instead of {N}")))
}

/// MLX rounds the grid up to whole groups in numbers of 32 bits, and the driver's own limits would fail when the graph has
/// half run.
fn check_grid(op: &'static str, launch: &Launch<'_>) -> Result<()> {
    let Launch { grid, threads, .. } = launch;
    let group = threads.iter().fold(1i64, |all, count| all.saturating_mul(i64::from(*count)));
    let fits = threads.iter().chain(grid).all(|count| *count > 0)
        && threads.iter().all(|count| *count <= 1024)
        && group <= 1024
        && grid.iter().zip(threads).all(|(all, group)| all.checked_add(*group).is_some())
        && grid[1..].iter().zip(&threads[1..]).all(|(all, group)| (all - 1) / group < 65535);
    if fits {
        return Ok(());
    }
    Err(refuse(op, format!("a grid of {grid:?} threads in groups of {threads:?} is empty or too large")))
}

fn require_backend(op: &'static str, available: bool, name: &str) -> Result<()> {
    if available {
        return Ok(());
    }
    Err(refuse(op, format!("MLX has no {name} here")))
}

/// A name that MLX may write into the source.
fn identifier(op: &'static str, name: &str) -> Result<std::ffi::CString> {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    if name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
        return c_text(op, name);
    }
    Err(refuse(op, format!("{name:?} is no name for a kernel's part")))
}

fn refuse(op: &'static str, message: String) -> Error {
    Error::Shape { op, message }
}
