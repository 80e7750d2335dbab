//! Derivatives, forward and backward.

use super::stack::with_room;
use super::{Arguments, Arrays, listed, require_shapes, require_some};
use crate::{Array, Error, Result, ffi};

/// The value of `f` at `arguments`, and the gradients of its first array with respect to all of them.
///
/// The first array must hold one element; it is what is differentiated, and the others come back beside it.
///
/// ```
/// use mlx_core::Array;
/// use mlx_core::transforms::value_and_grad;
///
/// let x = Array::from_slice(&[1.0f32, 2.0], &[1, 2])?;
/// let w = Array::from_slice(&[3.0f32, 4.0], &[2, 1])?;
/// let (loss, [_, to_w]) = value_and_grad(|[x, w]| x.matmul(w)?.square()?.sum(.., false), [&x, &w])?;
/// assert_eq!(loss.item::<f32>()?, 121.0);
/// assert_eq!(to_w.to_vec::<f32>()?, [22.0, 44.0]);
/// # Ok::<(), mlx_core::Error>(())
/// ```
///
/// # Errors
/// What `f` fails with, a first output that is not a scalar, an operation without a gradient, and arguments that hold no
/// array.
#[doc(alias = "mlx_value_and_grad", alias = "mlx_closure_value_and_grad_apply")]
pub fn value_and_grad<A: Arguments, O: Arrays>(
    f: impl FnOnce(&A::Traced) -> Result<O>,
    arguments: A,
) -> Result<(O, A::Traced)> {
    const OP: &str = "value_and_grad";
    let inputs = arguments.arrays();
    require_some(OP, &inputs)?;
    let mut call = Once::new(OP, f, |arrays| arguments.with_arrays(arrays));
    let mut run = |arrays: &[Array]| {
        let outputs = call.call(arrays)?;
        match outputs.first() {
            Some(first) if first.ndim() > 0 || !first.dtype().is_float() => {
                let message = format!(
                    "the function's first output must be a floating-point scalar, and is {}; sum it, or use vjp",
                    first.describe()
                );
                Err(Error::Shape { op: OP, message })
            }
            _ => Ok(outputs),
        }
    };
    let (values, gradients) = with_room(OP, || ffi::transforms::value_and_grad(&mut run, &inputs))?;
    Ok((call.outputs()?.with_arrays(values)?, arguments.with_arrays(gradients)?))
}

/// The gradients of [`value_and_grad`] alone.
///
/// ```
/// use mlx_core::Array;
/// use mlx_core::transforms::grad;
///
/// let second = grad(|x| grad(|x| x.power(&Array::scalar(3.0f32)?), x), &Array::scalar(2.0f32)?)?;
/// assert_eq!(second.item::<f32>()?, 12.0);
/// # Ok::<(), mlx_core::Error>(())
/// ```
///
/// # Errors
/// As [`value_and_grad`].
pub fn grad<A: Arguments, O: Arrays>(
    f: impl FnOnce(&A::Traced) -> Result<O>,
    arguments: A,
) -> Result<A::Traced> {
    Ok(value_and_grad(f, arguments)?.1)
}

/// The outputs of `f` at `primals`, and the products of `cotangents` with its Jacobian: `Σ cotangent ∂output/∂primal`.
///
/// `cotangents` are arranged like the outputs and have their shapes.
///
/// # Errors
/// What `f` fails with, cotangents that do not fit the outputs, an operation without a gradient, and arguments that hold
/// no array.
#[doc(alias = "mlx_vjp")]
pub fn vjp<A: Arguments, O: Arrays>(
    f: impl FnOnce(&A::Traced) -> Result<O>,
    primals: A,
    cotangents: impl Arguments<Traced = O>,
) -> Result<(O, A::Traced)> {
    const OP: &str = "vjp";
    let (inputs, weights) = (primals.arrays(), cotangents.arrays());
    require_some(OP, &inputs)?;
    let mut call = Once::new(OP, f, |arrays| primals.with_arrays(arrays));
    let mut run = |arrays: &[Array]| {
        let outputs = call.call(arrays)?;
        require_shapes(OP, "cotangents", &weights, &outputs.iter().collect::<Vec<_>>())?;
        Ok(outputs)
    };
    let (values, gradients) = with_room(OP, || ffi::transforms::vjp(&mut run, &inputs, &weights))?;
    Ok((call.outputs()?.with_arrays(values)?, primals.with_arrays(gradients)?))
}

/// The outputs of `f` at `primals`, and the products of its Jacobian with `tangents`: `Σ ∂output/∂primal tangent`.
///
/// `tangents` are arranged like the primals and have their shapes.
///
/// # Errors
/// What `f` fails with, tangents that do not fit the primals, an operation without a derivative, and arguments that hold
/// no array.
#[doc(alias = "mlx_jvp")]
pub fn jvp<A: Arguments, O: Arrays>(
    f: impl FnOnce(&A::Traced) -> Result<O>,
    primals: A,
    tangents: impl Arguments<Traced = A::Traced>,
) -> Result<(O, O)> {
    const OP: &str = "jvp";
    let (inputs, directions) = (primals.arrays(), tangents.arrays());
    require_some(OP, &inputs)?;
    require_shapes(OP, "tangents", &directions, &inputs)?;
    let mut call = Once::new(OP, f, |arrays| primals.with_arrays(arrays));
    let mut run = |arrays: &[Array]| call.call(arrays);
    let (values, derivatives) = with_room(OP, || ffi::transforms::jvp(&mut run, &inputs, &directions))?;
    let outputs = call.outputs()?;
    Ok((outputs.with_arrays(values)?, outputs.with_arrays(derivatives)?))
}

/// A closure that a transform calls once, and the arrangement of what it gave.
pub(super) struct Once<F, P, O> {
    op: &'static str,
    f: Option<F>,
    place: P,
    outputs: Option<O>,
}

impl<F, P, O, T> Once<F, P, O>
where
    F: FnOnce(&T) -> Result<O>,
    P: Fn(Vec<Array>) -> Result<T>,
    O: Arrays,
{
    pub(super) fn new(op: &'static str, f: F, place: P) -> Self {
        Once { op, f: Some(f), place, outputs: None }
    }

    pub(super) fn call(&mut self, arrays: &[Array]) -> Result<Vec<Array>> {
        let f = self.f.take().ok_or_else(|| self.refuse("MLX called the function twice"))?;
        let outputs = f(&(self.place)(arrays.to_vec())?)?;
        let list = listed(self.op, &outputs)?;
        self.outputs = Some(outputs);
        Ok(list)
    }

    /// The outputs as the function gave them, which are tracers: good for their arrangement.
    pub(super) fn outputs(&self) -> Result<&O> {
        self.outputs.as_ref().ok_or_else(|| self.refuse("MLX did not call the function"))
    }

    fn refuse(&self, message: &str) -> Error {
        Error::Op { op: self.op, operands: String::new(), message: message.to_owned() }
    }
}
