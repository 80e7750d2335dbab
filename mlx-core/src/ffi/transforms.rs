//! Function transforms, over lists of arrays. The public forms with arrangements of arrays are in
//! [`crate::transforms`].

use mlx_sys::{mlx_closure_custom, mlx_closure_custom_jvp, mlx_closure_custom_vmap};

use super::closure::Closure;
use super::{ArrayVector, JvpClosure, VjpClosure, VmapClosure, door};
use crate::{Array, Result};

/// Outputs of `f` at `primals`, and the products of `cotangents` with the Jacobian.
pub(crate) fn vjp(
    f: &mut dyn FnMut(&[Array]) -> Result<Vec<Array>>,
    primals: &[&Array],
    cotangents: &[&Array],
) -> Result<(Vec<Array>, Vec<Array>)> {
    let inputs = ArrayVector::new(primals);
    let weights = ArrayVector::new(cotangents);
    Closure::lend(f, |closure| {
        pair("vjp", primals, |outputs, gradients| {
            // SAFETY: the handles are live, empty vectors may be filled, and MLX does not keep the closure: it calls it
            // before it returns.
            unsafe {
                mlx_sys::mlx_vjp(outputs, gradients, closure.as_raw(), inputs.as_raw(), weights.as_raw())
            }
        })
    })
}

/// Outputs of `f` at `primals`, and the products of the Jacobian with `tangents`.
pub(crate) fn jvp(
    f: &mut dyn FnMut(&[Array]) -> Result<Vec<Array>>,
    primals: &[&Array],
    tangents: &[&Array],
) -> Result<(Vec<Array>, Vec<Array>)> {
    let inputs = ArrayVector::new(primals);
    let directions = ArrayVector::new(tangents);
    Closure::lend(f, |closure| {
        pair("jvp", primals, |outputs, derivatives| {
            // SAFETY: as in `vjp`.
            unsafe {
                mlx_sys::mlx_jvp(outputs, derivatives, closure.as_raw(), inputs.as_raw(), directions.as_raw())
            }
        })
    })
}

/// Outputs of `f` at `inputs`, and the gradients of the first with respect to all of them.
pub(crate) fn value_and_grad(
    f: &mut dyn FnMut(&[Array]) -> Result<Vec<Array>>,
    inputs: &[&Array],
) -> Result<(Vec<Array>, Vec<Array>)> {
    let vector = ArrayVector::new(inputs);
    let positions: Vec<i32> = (0..inputs.len() as i32).collect();
    Closure::lend(f, |closure| {
        let mut gradient = ValueAndGrad::empty();
        // SAFETY: the handles are live, an empty one may be filled, and mlx-c copies the positions.
        let status = unsafe {
            mlx_sys::mlx_value_and_grad(
                &mut gradient.raw,
                closure.as_raw(),
                positions.as_ptr(),
                positions.len(),
            )
        };
        door::check("value_and_grad", inputs, status)?;
        pair("value_and_grad", inputs, |outputs, gradients| {
            // SAFETY: the handles are live and empty vectors may be filled. The function of gradients refers to the
            // lent closure and is dropped before it.
            unsafe {
                mlx_sys::mlx_closure_value_and_grad_apply(outputs, gradients, gradient.raw, vector.as_raw())
            }
        })
    })
}

/// A function that computes what is inside `f` again in the backward pass.
pub(crate) fn checkpoint(f: &Closure) -> Result<Closure> {
    let mut out = Closure::empty();
    // SAFETY: the handles are live and an empty one may be filled.
    let status = unsafe { mlx_sys::mlx_checkpoint(out.as_raw_mut(), f.as_raw()) };
    door::check("checkpoint", &[], status)?;
    Ok(out)
}

/// `f` with derivatives of its own; those that are missing follow from `f`.
pub(crate) fn custom_function(
    f: &Closure,
    vjp: Option<&VjpClosure>,
    jvp: Option<&JvpClosure>,
    vmap: Option<&VmapClosure>,
) -> Result<Closure> {
    let mut out = Closure::empty();
    let none = std::ptr::null_mut();
    // SAFETY: the handles are live, empty ones mean none, and an empty one may be filled.
    let status = unsafe {
        mlx_sys::mlx_custom_function(
            out.as_raw_mut(),
            f.as_raw(),
            vjp.map_or(mlx_closure_custom { ctx: none }, VjpClosure::as_raw),
            jvp.map_or(mlx_closure_custom_jvp { ctx: none }, JvpClosure::as_raw),
            vmap.map_or(mlx_closure_custom_vmap { ctx: none }, VmapClosure::as_raw),
        )
    };
    door::check("custom_function", &[], status)?;
    Ok(out)
}

/// A function that keeps the graph that `f` builds, and fuses what it can.
pub(crate) fn compile(f: &Closure, shapeless: bool) -> Result<Closure> {
    let mut out = Closure::empty();
    // SAFETY: the handles are live and an empty one may be filled.
    let status = unsafe { mlx_sys::mlx_compile(out.as_raw_mut(), f.as_raw(), shapeless) };
    door::check("compile", &[], status)?;
    Ok(out)
}

/// Refuses what a compiled function without fixed shapes gave if its graph does not fit the shapes of this call.
pub(crate) fn check_shapeless(op: &'static str, inputs: &[&Array], outputs: &[Array]) -> Result<()> {
    let given = ArrayVector::new(inputs);
    let found = ArrayVector::new(&outputs.iter().collect::<Vec<_>>());
    // SAFETY: the handles are live for the call.
    let status = unsafe { mlx_sys::rust_mlx_check_shapeless(given.as_raw(), found.as_raw()) };
    door::check(op, inputs, status)
}

/// Which steps compilation takes, for the whole process.
pub(crate) fn set_compile_mode(mode: crate::transforms::CompileMode) -> Result<()> {
    use crate::transforms::CompileMode;
    use mlx_sys::mlx_compile_mode_ as Mode;
    let mode = match mode {
        CompileMode::Disabled => Mode::MLX_COMPILE_MODE_DISABLED,
        CompileMode::NoSimplify => Mode::MLX_COMPILE_MODE_NO_SIMPLIFY,
        CompileMode::NoFuse => Mode::MLX_COMPILE_MODE_NO_FUSE,
        CompileMode::Enabled => Mode::MLX_COMPILE_MODE_ENABLED,
    };
    // SAFETY: takes a plain number.
    door::check("set_compile_mode", &[], unsafe { mlx_sys::mlx_set_compile_mode(mode) })
}

/// Forgets every graph that compiled functions of this thread keep.
pub(crate) fn clear_compile_cache() -> Result<()> {
    struct Cache(mlx_sys::mlx_compile_cache);
    impl Drop for Cache {
        fn drop(&mut self) {
            // SAFETY: this owner's reference is not used again.
            unsafe { mlx_sys::mlx_compile_cache_free(self.0) };
        }
    }
    let mut cache = Cache(mlx_sys::mlx_compile_cache { ctx: std::ptr::null_mut() });
    // SAFETY: an empty handle may be filled.
    door::check("clear_compile_cache", &[], unsafe { mlx_sys::mlx_detail_compile_cache(&mut cache.0) })?;
    // SAFETY: the handle is live.
    door::check("clear_compile_cache", &[], unsafe { mlx_sys::mlx_detail_compile_clear_cache(cache.0) })
}

/// `f` over slices of its inputs: `in_axes` says along which axis each is cut (-1: not at all), `out_axes` gets the
/// outputs and says along which axis each is put together.
pub(crate) fn vmap(
    f: &mut dyn FnMut(&[Array]) -> Result<Vec<Array>>,
    inputs: &[&Array],
    in_axes: &[i32],
    out_axes: impl FnOnce(&[Array]) -> Result<Vec<i32>>,
) -> Result<Vec<Array>> {
    let vector = ArrayVector::new(inputs);
    let (mut slices, mut traced) = (ArrayVector::empty(), ArrayVector::empty());
    Closure::lend(f, |closure| {
        // SAFETY: the handles are live, empty vectors may be filled, mlx-c copies the axes, and MLX calls the closure
        // before it returns.
        let status = unsafe {
            mlx_sys::mlx_detail_vmap_trace(
                slices.as_raw_mut(),
                traced.as_raw_mut(),
                closure.as_raw(),
                vector.as_raw(),
                in_axes.as_ptr(),
                in_axes.len(),
            )
        };
        door::check("vmap", inputs, status)
    })?;
    let out_axes = out_axes(&traced.arrays("vmap")?)?;
    let mut outputs = ArrayVector::empty();
    // SAFETY: the handles are live, an empty vector may be filled, and mlx-c copies the axes.
    let status = unsafe {
        mlx_sys::mlx_detail_vmap_replace(
            outputs.as_raw_mut(),
            vector.as_raw(),
            slices.as_raw(),
            traced.as_raw(),
            in_axes.as_ptr(),
            in_axes.len(),
            out_axes.as_ptr(),
            out_axes.len(),
        )
    };
    door::check("vmap", inputs, status)?;
    outputs.arrays("vmap")
}

struct ValueAndGrad {
    raw: mlx_sys::mlx_closure_value_and_grad,
}

impl ValueAndGrad {
    fn empty() -> Self {
        ValueAndGrad { raw: mlx_sys::mlx_closure_value_and_grad { ctx: std::ptr::null_mut() } }
    }
}

impl Drop for ValueAndGrad {
    fn drop(&mut self) {
        // SAFETY: this owner's reference is not used again; freeing an empty one does nothing.
        unsafe { mlx_sys::mlx_closure_value_and_grad_free(self.raw) };
    }
}

/// Two lists that one call fills.
fn pair(
    op: &'static str,
    operands: &[&Array],
    f: impl FnOnce(*mut mlx_sys::mlx_vector_array, *mut mlx_sys::mlx_vector_array) -> i32,
) -> Result<(Vec<Array>, Vec<Array>)> {
    let (mut first, mut second) = (ArrayVector::empty(), ArrayVector::empty());
    let status = f(first.as_raw_mut(), second.as_raw_mut());
    door::check(op, operands, status)?;
    Ok((first.arrays(op)?, second.arrays(op)?))
}
