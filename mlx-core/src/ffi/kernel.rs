//! Kernels from source: the owners of `mlx_fast_metal_kernel`, `mlx_fast_cuda_kernel` and their configurations.

use std::ffi::{CStr, c_int};

use super::array::to_c;
use super::string::StringVector;
use super::{ArrayVector, door};
use crate::kernel::Constant;
use crate::{Array, DType, Result};

/// A kernel's source as C takes it.
pub(crate) struct Source {
    pub(crate) name: std::ffi::CString,
    pub(crate) inputs: StringVector,
    pub(crate) outputs: StringVector,
    pub(crate) body: std::ffi::CString,
    pub(crate) header: std::ffi::CString,
    pub(crate) contiguous: bool,
}

/// What a kernel is called with.
pub(crate) struct Call<'a> {
    pub(crate) inputs: &'a [&'a Array],
    pub(crate) outputs: &'a [(&'a [i32], DType)],
    pub(crate) grid: [i32; 3],
    pub(crate) threads: [i32; 3],
    pub(crate) constants: Vec<(&'a CStr, Constant)>,
    pub(crate) initial: Option<f32>,
    pub(crate) verbose: bool,
}

macro_rules! kernels {
    ($($name:ident, $config:ident, $op:literal, $extra:ident: $extra_type:ty, $kernel:ident, $new:ident, $free:ident,
        $apply:ident, $configuration:ident, $config_new:ident, $config_free:ident, $output:ident, $grid:ident,
        $threads:ident, $initial:ident, $verbose:ident, $dtype:ident, $int:ident, $bool:ident;)*) => {$(
        /// Owns one kernel.
        pub(crate) struct $name {
            raw: mlx_sys::$kernel,
        }

        impl $name {
            pub(crate) fn new(source: &Source, $extra: $extra_type) -> Result<Self> {
                // SAFETY: the strings are NUL-terminated, the vectors are live, and all are copied before this returns. A
                // failure is told by an empty handle.
                let raw = unsafe {
                    mlx_sys::$new(
                        source.name.as_ptr(),
                        source.inputs.as_raw(),
                        source.outputs.as_raw(),
                        source.body.as_ptr(),
                        source.header.as_ptr(),
                        source.contiguous,
                        $extra,
                    )
                };
                if raw.ctx.is_null() { Err(door::failure($op, &[])) } else { Ok($name { raw }) }
            }

            pub(crate) fn call(&self, call: &Call<'_>) -> Result<Vec<Array>> {
                let config = $config::new(call)?;
                let inputs = ArrayVector::new(call.inputs);
                door::call_many($op, call.inputs, |out, s| {
                    // SAFETY: the handles are live for the call. What the kernel does on the GPU is the source's affair,
                    // as the public documentation says.
                    unsafe { mlx_sys::$apply(out, self.raw, inputs.as_raw(), config.raw, s) }
                })
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: this owner's kernel is not used again; the graph keeps what it needs of it.
                unsafe { mlx_sys::$free(self.raw) };
            }
        }

        struct $config {
            raw: mlx_sys::$configuration,
        }

        impl $config {
            fn new(call: &Call<'_>) -> Result<Self> {
                // SAFETY: takes nothing. Without memory it gives an empty handle, which every function refuses.
                let config = $config { raw: unsafe { mlx_sys::$config_new() } };
                let check = |status: c_int| door::check($op, &[], status);
                let ([x, y, z], [tx, ty, tz]) = (call.grid, call.threads);
                // SAFETY: the handle is live for all of these; shapes and names are copied before each returns.
                unsafe {
                    for (shape, dtype) in call.outputs {
                        check(mlx_sys::$output(config.raw, shape.as_ptr(), shape.len(), to_c(*dtype)))?;
                    }
                    check(mlx_sys::$grid(config.raw, x, y, z))?;
                    check(mlx_sys::$threads(config.raw, tx, ty, tz))?;
                    if let Some(value) = call.initial {
                        check(mlx_sys::$initial(config.raw, value))?;
                    }
                    check(mlx_sys::$verbose(config.raw, call.verbose))?;
                    for (name, constant) in &call.constants {
                        let name = name.as_ptr();
                        check(match *constant {
                            Constant::Int(value) => mlx_sys::$int(config.raw, name, value),
                            Constant::Bool(value) => mlx_sys::$bool(config.raw, name, value),
                            Constant::Type(dtype) => mlx_sys::$dtype(config.raw, name, to_c(dtype)),
                        })?;
                    }
                }
                Ok(config)
            }
        }

        impl Drop for $config {
            fn drop(&mut self) {
                // SAFETY: this owner's configuration is not used again; freeing an empty one does nothing.
                unsafe { mlx_sys::$config_free(self.raw) };
            }
        }
    )*};
}

kernels! {
    MetalKernelHandle, MetalConfig, "metal_kernel", atomic_outputs: bool,
        mlx_fast_metal_kernel, mlx_fast_metal_kernel_new, mlx_fast_metal_kernel_free, mlx_fast_metal_kernel_apply,
        mlx_fast_metal_kernel_config, mlx_fast_metal_kernel_config_new, mlx_fast_metal_kernel_config_free,
        mlx_fast_metal_kernel_config_add_output_arg, mlx_fast_metal_kernel_config_set_grid,
        mlx_fast_metal_kernel_config_set_thread_group, mlx_fast_metal_kernel_config_set_init_value,
        mlx_fast_metal_kernel_config_set_verbose, mlx_fast_metal_kernel_config_add_template_arg_dtype,
        mlx_fast_metal_kernel_config_add_template_arg_int, mlx_fast_metal_kernel_config_add_template_arg_bool;
    CudaKernelHandle, CudaConfig, "cuda_kernel", shared_memory: c_int,
        mlx_fast_cuda_kernel, mlx_fast_cuda_kernel_new, mlx_fast_cuda_kernel_free, mlx_fast_cuda_kernel_apply,
        mlx_fast_cuda_kernel_config, mlx_fast_cuda_kernel_config_new, mlx_fast_cuda_kernel_config_free,
        mlx_fast_cuda_kernel_config_add_output_arg, mlx_fast_cuda_kernel_config_set_grid,
        mlx_fast_cuda_kernel_config_set_thread_group, mlx_fast_cuda_kernel_config_set_init_value,
        mlx_fast_cuda_kernel_config_set_verbose, mlx_fast_cuda_kernel_config_add_template_arg_dtype,
        mlx_fast_cuda_kernel_config_add_template_arg_int, mlx_fast_cuda_kernel_config_add_template_arg_bool;
}
