//! Functions whose derivatives are chosen by hand.

use std::cell::RefCell;
use std::rc::Rc;

use super::arrays::outline;
use super::{Arguments, Arrays, listed, require_shapes};
use crate::ffi::{self, Closure, JvpClosure, VjpClosure, VmapClosure};
use crate::primitive::Spec;
use crate::{Array, Error, Result};

/// The outputs of `f`, whose intermediate arrays are computed again in the backward pass instead of being kept.
///
/// Only what is passed in `arguments` gets a gradient; an array that `f` captures is a constant to it.
///
/// # Errors
/// What `f` fails with.
#[doc(alias = "mlx_checkpoint")]
pub fn checkpoint<A: Arguments, O: Arrays + 'static>(
    f: impl Fn(&A::Traced) -> Result<O> + 'static,
    arguments: A,
) -> Result<O>
where
    A::Traced: 'static,
{
    let function = Function::new("checkpoint", f, &arguments)?;
    let closure = ffi::transforms::checkpoint(&function.closure)?;
    function.place(closure.apply("checkpoint", &arguments.arrays())?)
}

/// A function with derivatives or a vectorized form of its own. What is not given follows from the function.
///
/// ```
/// use mlx_core::transforms::{CustomFunction, grad};
/// use mlx_core::{Array, DType};
///
/// // The gradient of rounding is 0; training passes it straight through instead.
/// let round = |x: &Array| {
///     CustomFunction::new(|x: &Array| x.as_type(DType::I32)?.as_type(x.dtype()))
///         .with_vjp(|_primals, cotangents: &Array, _outputs| Ok(cotangents.clone()))
///         .call(x)
/// };
/// let x = Array::from_slice(&[0.3f32, 1.7], &[2])?;
/// let gradient = grad(|x| round(x)?.square()?.sum(.., false), &x)?;
/// assert_eq!(gradient.to_vec::<f32>()?, [0.0, 2.0]);
/// # Ok::<(), mlx_core::Error>(())
/// ```
pub struct CustomFunction<I, O> {
    f: Box<Forward<I, O>>,
    vjp: Option<Box<Vjp<I, O>>>,
    jvp: Option<Box<Jvp<I, O>>>,
    vmap: Option<Box<Vmap<I, O>>>,
}

type Forward<I, O> = dyn Fn(&I) -> Result<O>;
type Vjp<I, O> = dyn Fn(&I, &O, &O) -> Result<I>;
type Jvp<I, O> = dyn Fn(&I, &I) -> Result<O>;
type Vmap<I, O> = dyn Fn(&I, &[Option<i32>]) -> Result<(O, Vec<i32>)>;

impl<I: Arrays + 'static, O: Arrays + 'static> CustomFunction<I, O> {
    /// A function that is differentiated as MLX does it, until something else is said.
    #[doc(alias = "mlx_custom_function")]
    pub fn new(f: impl Fn(&I) -> Result<O> + 'static) -> Self {
        CustomFunction { f: Box::new(f), vjp: None, jvp: None, vmap: None }
    }

    /// Sets the gradients of the primals, given `(primals, cotangents, outputs)`; they have the primals' shapes.
    #[doc(alias = "mlx_custom_vjp")]
    pub fn with_vjp(mut self, vjp: impl Fn(&I, &O, &O) -> Result<I> + 'static) -> Self {
        self.vjp = Some(Box::new(vjp));
        self
    }

    /// Sets the derivatives of the outputs, given `(primals, tangents)`; they have the outputs' shapes.
    pub fn with_jvp(mut self, jvp: impl Fn(&I, &I) -> Result<O> + 'static) -> Self {
        self.jvp = Some(Box::new(jvp));
        self
    }

    /// Sets the vectorized form, given `(inputs, axes)`, where an input without an axis is not cut: the outputs, and the
    /// axis of each along which results are stacked.
    pub fn with_vmap(mut self, vmap: impl Fn(&I, &[Option<i32>]) -> Result<(O, Vec<i32>)> + 'static) -> Self {
        self.vmap = Some(Box::new(vmap));
        self
    }

    /// Calls the function, which builds the graph of its outputs.
    ///
    /// # Errors
    /// What the function fails with. What its derivatives fail with comes from the transform that asks for them.
    pub fn call<A: Arguments<Traced = I>>(self, arguments: A) -> Result<O> {
        const OP: &str = "custom_function";
        let CustomFunction { f, vjp, jvp, vmap } = self;
        let function = Function::new(OP, f, &arguments)?;
        let shapes = &function.shapes;
        let vjp = vjp.map(|vjp| VjpClosure::new(shapes.gradients(vjp))).transpose()?;
        let jvp = jvp.map(|jvp| JvpClosure::new(shapes.derivatives(jvp))).transpose()?;
        let vmap = vmap.map(|vmap| VmapClosure::new(shapes.vectorized(vmap))).transpose()?;
        let closure =
            ffi::transforms::custom_function(&function.closure, vjp.as_ref(), jvp.as_ref(), vmap.as_ref())?;
        function.place(closure.apply(OP, &arguments.arrays())?)
    }
}

/// A function of arrangements as MLX calls it, over lists.
struct Function<I, O> {
    closure: Closure,
    shapes: Rc<Arrangements<I, O>>,
}

/// The arrangements of a function's arguments and outputs, without arrays.
struct Arrangements<I, O> {
    inputs: I,
    outputs: RefCell<Option<O>>,
    /// Shapes and dtypes of the outputs.
    specs: RefCell<Vec<Spec>>,
}

impl<I: Arrays + 'static, O: Arrays + 'static> Function<I, O> {
    fn new<A: Arguments<Traced = I>>(
        op: &'static str,
        f: impl Fn(&I) -> Result<O> + 'static,
        arguments: &A,
    ) -> Result<Self> {
        let shapes = Rc::new(Arrangements {
            inputs: outline(arguments)?,
            outputs: RefCell::new(None),
            specs: RefCell::default(),
        });
        let inside = Rc::clone(&shapes);
        let closure = Closure::new(Box::new(move |arrays| {
            let outputs = f(&inside.inputs.with_arrays(arrays.to_vec())?)?;
            let list = listed(op, &outputs)?;
            inside.outputs.replace(Some(outline(&&outputs)?));
            inside.specs.replace(list.iter().map(Spec::of).collect());
            Ok(list)
        }))?;
        Ok(Function { closure, shapes })
    }

    fn place(&self, arrays: Vec<Array>) -> Result<O> {
        self.shapes.outputs(arrays)
    }
}

impl<I: Arrays + 'static, O: Arrays + 'static> Arrangements<I, O> {
    fn outputs(&self, arrays: Vec<Array>) -> Result<O> {
        let kept = self.outputs.borrow();
        let kept = kept.as_ref().ok_or_else(|| Error::Op {
            op: "custom_function",
            operands: String::new(),
            message: "MLX did not call the function".to_owned(),
        })?;
        kept.with_arrays(arrays)
    }

    /// MLX takes the gradients by position, without asking how many there are.
    fn gradients(self: &Rc<Self>, vjp: Box<Vjp<I, O>>) -> Box<ffi::VjpFunction> {
        let shapes = Rc::clone(self);
        Box::new(move |primals, cotangents, outputs| {
            let gradients = vjp(
                &shapes.inputs.with_arrays(primals.to_vec())?,
                &shapes.outputs(cotangents.to_vec())?,
                &shapes.outputs(outputs.to_vec())?,
            )?;
            let gradients = gradients.arrays();
            require_shapes("vjp", "gradients", &gradients, &primals.iter().collect::<Vec<_>>())?;
            gradients
                .into_iter()
                .zip(primals)
                .map(|(gradient, like)| gradient.as_type(like.dtype()))
                .collect()
        })
    }

    fn derivatives(self: &Rc<Self>, jvp: Box<Jvp<I, O>>) -> Box<ffi::JvpFunction> {
        let shapes = Rc::clone(self);
        Box::new(move |primals, tangents, positions| {
            // A primal that nothing depends on comes without a tangent.
            let mut all = primals
                .iter()
                .map(|primal| Array::zeros(primal.shape(), primal.dtype()))
                .collect::<Result<Vec<_>>>()?;
            for (position, tangent) in positions.iter().zip(tangents) {
                if let Some(place) = all.get_mut(*position as usize) {
                    *place = tangent.clone();
                }
            }
            let outputs =
                jvp(&shapes.inputs.with_arrays(primals.to_vec())?, &shapes.inputs.with_arrays(all)?)?;
            let derivatives = shapes.counted("jvp", &outputs)?;
            for (derivative, expected) in derivatives.iter().zip(&*shapes.specs.borrow()) {
                if Spec::of(derivative) != *expected {
                    let message = format!("a derivative is {}, not {expected:?}", derivative.describe());
                    return Err(Error::Shape { op: "jvp", message });
                }
            }
            Ok(derivatives)
        })
    }

    fn vectorized(self: &Rc<Self>, vmap: Box<Vmap<I, O>>) -> Box<ffi::VmapFunction> {
        let shapes = Rc::clone(self);
        Box::new(move |inputs, axes| {
            let axes: Vec<Option<i32>> = axes.iter().map(|axis| (*axis >= 0).then_some(*axis)).collect();
            let (outputs, out_axes) = vmap(&shapes.inputs.with_arrays(inputs.to_vec())?, &axes)?;
            let outputs = shapes.counted("vmap", &outputs)?;
            if out_axes.len() != outputs.len() {
                let message = format!("{} axes for {} outputs", out_axes.len(), outputs.len());
                return Err(Error::Shape { op: "vmap", message });
            }
            let cut = inputs
                .iter()
                .zip(&axes)
                .find_map(|(input, axis)| axis.map(|axis| input.shape()[axis as usize]));
            for (output, axis) in outputs.iter().zip(&out_axes) {
                // MLX takes a negative axis for none.
                if *axis < 0 || Some(output.axis_length("vmap", *axis)?) != cut {
                    let message = format!(
                        "axis {axis} of {} does not have the {} results",
                        output.describe(),
                        cut.unwrap_or_default()
                    );
                    return Err(Error::Shape { op: "vmap", message });
                }
            }
            Ok((outputs, out_axes))
        })
    }

    /// As many arrays as the function gave.
    fn counted(&self, op: &'static str, outputs: &O) -> Result<Vec<Array>> {
        let arrays: Vec<Array> = outputs.arrays().into_iter().cloned().collect();
        let expected = self.outputs.borrow().as_ref().map_or(0, |kept| kept.arrays().len());
        if arrays.len() != expected {
            let message = format!("{} arrays for {expected} outputs", arrays.len());
            return Err(Error::Shape { op, message });
        }
        Ok(arrays)
    }
}
