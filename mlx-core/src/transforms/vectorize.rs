//! Vectorization: a function of single items becomes one of stacks.

use std::cell::Cell;

use super::differentiate::Once;
use super::stack::with_room;
use super::{Arguments, Arrays, require_some};
use crate::{Array, Error, Result, ffi};

/// Runs `f` on all slices of its arguments at once.
///
/// `in_axes` names for each array of `arguments` the axis along which it is cut, or `None` to pass it whole; `out_axes`
/// names for each output the axis along which the results are stacked. `f` sees arrays without the cut axis.
///
/// ```
/// use mlx_core::Array;
/// use mlx_core::transforms::vmap;
///
/// let rows = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
/// let scale = Array::from_slice(&[10.0f32, 100.0], &[2])?;
/// let sums = vmap(|[row, scale]| row.multiply(scale)?.sum(.., false), [&rows, &scale], &[Some(0), None], &[0])?;
/// assert_eq!(sums.to_vec::<f32>()?, [210.0, 430.0]);
/// # Ok::<(), mlx_core::Error>(())
/// ```
///
/// # Errors
/// What `f` fails with, an operation that cannot be vectorized, axes that do not exist, have different lengths or are
/// empty, and arguments of which none is cut.
#[doc(alias = "mlx_detail_vmap_trace", alias = "mlx_detail_vmap_replace")]
pub fn vmap<A: Arguments, O: Arrays>(
    f: impl FnOnce(&A::Traced) -> Result<O>,
    arguments: A,
    in_axes: &[Option<i32>],
    out_axes: &[i32],
) -> Result<O> {
    const OP: &str = "vmap";
    let inputs = arguments.arrays();
    require_some(OP, &inputs)?;
    let in_axes = cut_axes(&inputs, in_axes)?;
    let mut call = Once::new(OP, f, |arrays| arguments.with_arrays(arrays));
    let mut run = |arrays: &[Array]| {
        let _inside = Inside::enter();
        call.call(arrays)
    };
    let stacked = |traced: &[Array]| stack_axes(traced, out_axes);
    let outputs = with_room(OP, || ffi::transforms::vmap(&mut run, &inputs, &in_axes, stacked))?;
    call.outputs()?.with_arrays(outputs)
}

/// The axes as MLX takes them: counted from the first, -1 for none.
fn cut_axes(inputs: &[&Array], axes: &[Option<i32>]) -> Result<Vec<i32>> {
    let refuse = |message| Err(Error::Shape { op: "vmap", message });
    if axes.len() != inputs.len() {
        return refuse(format!("{} axes for {} arguments", axes.len(), inputs.len()));
    }
    if axes.iter().all(Option::is_none) {
        return refuse("no argument is cut".to_owned());
    }
    let mut lengths = Vec::new();
    let mut cut = Vec::with_capacity(axes.len());
    for (input, axis) in inputs.iter().zip(axes) {
        let Some(axis) = *axis else {
            cut.push(-1);
            continue;
        };
        lengths.push(input.axis_length("vmap", axis)?);
        cut.push(if axis < 0 { axis + input.ndim() as i32 } else { axis });
    }
    if lengths.iter().any(|length| *length != lengths[0]) {
        return refuse(format!("the axes that are cut have different lengths {lengths:?}"));
    }
    // Some of MLX's kernels divide by it.
    if lengths.contains(&0) {
        return refuse("there is nothing along the axes that are cut".to_owned());
    }
    Ok(cut)
}

/// The axes as MLX takes them, in outputs that have one axis more than what the function gave.
fn stack_axes(traced: &[Array], axes: &[i32]) -> Result<Vec<i32>> {
    let refuse = |message| Err(Error::Shape { op: "vmap", message });
    if axes.len() != traced.len() {
        return refuse(format!("{} axes for {} outputs", axes.len(), traced.len()));
    }
    let mut stacked = Vec::with_capacity(axes.len());
    for (output, axis) in traced.iter().zip(axes) {
        let ndim = output.ndim() as i32 + 1;
        if *axis < -ndim || *axis >= ndim {
            return refuse(format!("an output of {} axes cannot be stacked along axis {axis}", ndim - 1));
        }
        stacked.push(if *axis < 0 { axis + ndim } else { *axis });
    }
    Ok(stacked)
}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// While it lives, this thread runs a function that is vectorized.
struct Inside;

impl Inside {
    fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Whether the arrays at hand may stand for many: for operations that MLX vectorizes wrongly.
pub(crate) fn is_vectorizing() -> bool {
    DEPTH.get() != 0
}
