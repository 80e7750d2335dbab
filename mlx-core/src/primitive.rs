//! Operations written in Rust, as full members of MLX's graph.
//!
//! A [`Primitive`] says what it computes on the CPU and what its derivatives are; [`apply`] puts it into the graph.
//! There it is lazy like every other operation, runs on its stream's thread, and takes part in every transform.
//!
//! ```
//! use mlx_core::primitive::{Primitive, Spec, View, ViewMut, apply};
//! use mlx_core::{Array, Result, transforms::grad};
//!
//! /// `x * x`, element by element.
//! struct Square;
//!
//! impl Primitive for Square {
//!     fn name(&self) -> &str {
//!         "square"
//!     }
//!
//!     fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
//!         Ok(inputs.to_vec())
//!     }
//!
//!     fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
//!         let squares = outputs[0].as_mut_slice::<f32>()?;
//!         for (square, x) in squares.iter_mut().zip(&*inputs[0].elements::<f32>()?) {
//!             *square = x * x;
//!         }
//!         Ok(())
//!     }
//!
//!     fn vjp(&self, primals: &[Array], cotangents: &[Array], _: &[Array]) -> Result<Vec<Option<Array>>> {
//!         let twice = primals[0].add(&primals[0])?;
//!         Ok(vec![Some(twice.multiply(&cotangents[0])?)])
//!     }
//! }
//!
//! let x = Array::from_slice(&[1.0f32, 2.0, 3.0], &[3])?;
//! let gradient = grad(
//!     |x| {
//!         let [squares] = apply(Square, &[x])?;
//!         squares.sum(.., false)
//!     },
//!     &x,
//! )?;
//! assert_eq!(gradient.to_vec::<f32>()?, [2.0, 4.0, 6.0]);
//! # Ok::<(), mlx_core::Error>(())
//! ```

use std::any::Any;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::ffi::{self, Behaviour, Closure, VjpClosure};
use crate::{Array, DType, Device, Error, Result};

pub use crate::ffi::{View, ViewMut};

/// Lengths of axes; empty for a scalar. Up to four take no memory of their own.
pub type Shape = SmallVec<[i32; 4]>;

/// The shape and the element type of an input or an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Lengths of the axes.
    pub shape: Shape,
    /// The element type.
    pub dtype: DType,
}

impl Spec {
    /// What `shape` elements of `dtype` are.
    pub fn new(shape: &[i32], dtype: DType) -> Self {
        Spec { shape: Shape::from_slice(shape), dtype }
    }

    /// What an array is.
    pub fn of(array: &Array) -> Self {
        Spec::new(array.shape(), array.dtype())
    }
}

/// An operation with an implementation in Rust.
///
/// The value holds what the operation needs besides its arrays, such as a number or a table. `eval` and `drop` may run
/// on any thread; everything else runs on the thread that builds the graph.
pub trait Primitive: Send + Sync + 'static {
    /// The name, as error messages and drawings of the graph show it.
    fn name(&self) -> &str;

    /// The outputs for such inputs; the place to refuse inputs that do not fit.
    ///
    /// # Errors
    /// Whatever [`apply`] is to fail with.
    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>>;

    /// Computes the outputs, whose elements are 0 at first.
    ///
    /// It runs on the thread of the CPU stream, and may spread its work over other threads. Build no arrays in it: what
    /// it needs are its inputs.
    ///
    /// # Errors
    /// Whatever the evaluation is to fail with; a panic is an error too. The outputs hold NaN then (0 where they are not
    /// floating-point).
    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()>;

    /// The gradients, one for each of the primals (which are the inputs): the product of the cotangents, which have the
    /// outputs' shapes, with the Jacobian. `None` for an input that has no gradient; asking for that one is an error
    /// (on a GPU it is 0).
    ///
    /// Gradients that nobody asks for are not computed, so there is no need to tell them apart.
    ///
    /// # Errors
    /// Whatever differentiation is to fail with. As long as this is not implemented, it does.
    fn vjp(&self, primals: &[Array], cotangents: &[Array], outputs: &[Array]) -> Result<Vec<Option<Array>>> {
        let _ = (primals, cotangents, outputs);
        Err(lacks(self.name(), "gradient"))
    }

    /// The derivatives of the outputs along tangents, which have the shapes of their inputs; an input without a tangent
    /// is a constant.
    ///
    /// # Errors
    /// Whatever forward differentiation is to fail with. As long as this is not implemented, it does.
    fn jvp(&self, primals: &[Array], tangents: &[Option<Array>]) -> Result<Vec<Array>> {
        let _ = (primals, tangents);
        Err(lacks(self.name(), "forward derivative"))
    }

    /// The outputs for many inputs at once, and the axis of each output along which results are stacked. `axes` tells
    /// the axis along which each input is cut; an input without one is the same for all.
    ///
    /// # Errors
    /// Whatever vectorization is to fail with. As long as this is not implemented, it does.
    fn vmap(&self, inputs: &[Array], axes: &[Option<i32>]) -> Result<(Vec<Array>, Vec<i32>)> {
        let _ = (inputs, axes);
        Err(lacks(self.name(), "vectorized form"))
    }

    /// Whether `other` gives the same outputs for the same inputs. Compilation then computes them once.
    fn is_equivalent(&self, other: &Self) -> bool
    where
        Self: Sized,
    {
        let _ = other;
        false
    }

    /// The outputs on a GPU stream, built of other operations: usually of one [kernel](crate::kernel) from source. On a
    /// GPU this takes the place of [`eval`](Self::eval); derivatives stay as they are.
    ///
    /// # Errors
    /// Whatever [`apply`] is to fail with on a GPU stream. As long as this is not implemented, it does.
    fn on_gpu(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let _ = inputs;
        Err(lacks(self.name(), "kernel for the GPU"))
    }
}

/// Puts a primitive into the graph, on the thread's current device, and gives its outputs.
///
/// How many outputs there are follows from the pattern that takes them, as in `let [y] = apply(Square, &[&x])?`.
///
/// # Errors
/// What [`Primitive::outputs`] refuses, outputs that are no shapes or above the memory limit, and another number of
/// outputs than `N`. On a GPU stream, what [`Primitive::on_gpu`] fails with. What [`Primitive::eval`] fails with comes
/// from the evaluation.
pub fn apply<const N: usize>(primitive: impl Primitive, inputs: &[&Array]) -> Result<[Array; N]> {
    let given: SmallVec<[Spec; 8]> = inputs.iter().map(|input| Spec::of(input)).collect();
    let specs = primitive.outputs(&given)?;
    let specs: [Spec; N] = specs.try_into().map_err(|specs: Vec<Spec>| {
        refuse(format!("{} has {} outputs, not {N}", primitive.name(), specs.len()))
    })?;
    for Spec { shape, dtype } in &specs {
        crate::array::check_shape(OP, shape, *dtype)?;
    }
    match Device::current() {
        Device::Cpu => ffi::primitive(Box::new(Adapter(primitive)), inputs, &specs),
        Device::Gpu => from_kernel(primitive, inputs, specs),
    }
}

const OP: &str = "primitive";

fn refuse(message: String) -> Error {
    Error::Shape { op: OP, message }
}

fn lacks(name: &str, what: &str) -> Error {
    refuse(format!("{name} has no {what}"))
}

/// The outputs that a kernel for the GPU gives, with the gradients of the primitive.
fn from_kernel<const N: usize>(
    primitive: impl Primitive,
    inputs: &[&Array],
    specs: [Spec; N],
) -> Result<[Array; N]> {
    let primitive = Arc::new(Adapter(primitive));
    let forward = Arc::clone(&primitive);
    let f = move |inputs: &[Array]| {
        let outputs = forward.0.on_gpu(inputs)?;
        let found: Vec<Spec> = outputs.iter().map(Spec::of).collect();
        if found != specs {
            return Err(refuse(format!("{}: the kernel gives {found:?}, not {specs:?}", forward.0.name())));
        }
        Ok(outputs)
    };
    let vjp = move |primals: &[Array], cotangents: &[Array], outputs: &[Array]| {
        let gradients = primitive.0.vjp(primals, cotangents, outputs)?;
        primitive.require(primals.len(), gradients.len(), "gradients")?;
        // MLX does not tell here which gradients it wants, so one that is missing cannot be an error.
        let gradient = |(gradient, primal): (Option<Array>, &Array)| match gradient {
            Some(gradient) => primitive.fit(gradient, primal, "gradient"),
            None => Array::zeros(primal.shape(), primal.dtype()),
        };
        gradients.into_iter().zip(primals).map(gradient).collect()
    };
    let vjp = VjpClosure::new(Box::new(vjp))?;
    let function = ffi::transforms::custom_function(&Closure::new(Box::new(f))?, Some(&vjp), None, None)?;
    let outputs = function.apply(OP, inputs)?;
    let found = outputs.len();
    outputs.try_into().map_err(|_| refuse(format!("MLX gave {found} outputs instead of {N}")))
}

/// Stands between MLX and a primitive, and checks what the primitive gives: MLX does not.
struct Adapter<P>(P);

impl<P: Primitive> Behaviour for Adapter<P> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        self.0.eval(inputs, outputs)
    }

    fn vjp(
        &self,
        primals: &[Array],
        cotangents: &[Array],
        wanted: &[i32],
        outputs: &[Array],
    ) -> Result<Vec<Array>> {
        let mut gradients = self.0.vjp(primals, cotangents, outputs)?;
        self.require(primals.len(), gradients.len(), "gradients")?;
        let gradient = |position: &i32| {
            let position = *position as usize;
            let found = gradients.get_mut(position).and_then(Option::take);
            let gradient = found
                .ok_or_else(|| lacks(self.name(), &format!("gradient with respect to input {position}")))?;
            self.fit(gradient, &primals[position], "gradient")
        };
        wanted.iter().map(gradient).collect()
    }

    fn jvp(&self, primals: &[Array], tangents: &[Array], given: &[i32]) -> Result<Vec<Array>> {
        let mut all = vec![None; primals.len()];
        for (position, tangent) in given.iter().zip(tangents) {
            all[*position as usize] = Some(tangent.clone());
        }
        let specs = self.specs(primals)?;
        let derivatives = self.0.jvp(primals, &all)?;
        self.require(specs.len(), derivatives.len(), "derivatives")?;
        for (derivative, spec) in derivatives.iter().zip(&specs) {
            if Spec::of(derivative) != *spec {
                let message =
                    format!("{}: a derivative is {}, not {spec:?}", self.name(), derivative.describe());
                return Err(refuse(message));
            }
        }
        Ok(derivatives)
    }

    fn vmap(&self, inputs: &[Array], axes: &[i32]) -> Result<(Vec<Array>, Vec<i32>)> {
        let axes: Vec<Option<i32>> = axes.iter().map(|axis| (*axis >= 0).then_some(*axis)).collect();
        let mut count = 1;
        let mut cut = Vec::with_capacity(inputs.len());
        for (input, axis) in inputs.iter().zip(&axes) {
            let mut spec = Spec::of(input);
            if let Some(axis) = axis {
                count = spec.shape.remove(*axis as usize);
            }
            cut.push(spec);
        }
        let specs = self.0.outputs(&cut)?;
        let (outputs, output_axes) = self.0.vmap(inputs, &axes)?;
        self.require(specs.len(), outputs.len(), "outputs")?;
        self.require(specs.len(), output_axes.len(), "output axes")?;
        for ((output, axis), spec) in outputs.iter().zip(&output_axes).zip(specs) {
            let mut expected = spec;
            let fits = usize::try_from(*axis).is_ok_and(|axis| axis <= expected.shape.len());
            if fits {
                expected.shape.insert(*axis as usize, count);
            }
            if !fits || Spec::of(output) != expected {
                let message = format!(
                    "{}: {} is not {expected:?} stacked along axis {axis}",
                    self.name(),
                    output.describe()
                );
                return Err(refuse(message));
            }
        }
        Ok((outputs, output_axes))
    }

    fn output_shapes(&self, inputs: &[Array]) -> Result<Vec<Shape>> {
        Ok(self.specs(inputs)?.into_iter().map(|spec| spec.shape).collect())
    }

    fn is_equivalent(&self, other: &dyn Behaviour) -> bool {
        let other: &dyn Any = other;
        other.downcast_ref::<Self>().is_some_and(|other| self.0.is_equivalent(&other.0))
    }
}

impl<P: Primitive> Adapter<P> {
    fn specs(&self, inputs: &[Array]) -> Result<Vec<Spec>> {
        let specs = self.0.outputs(&inputs.iter().map(Spec::of).collect::<Vec<_>>())?;
        for Spec { shape, dtype } in &specs {
            crate::array::check_shape(OP, shape, *dtype)?;
        }
        Ok(specs)
    }

    fn require(&self, expected: usize, found: usize, what: &str) -> Result<()> {
        if expected == found {
            return Ok(());
        }
        Err(refuse(format!("{} gave {found} {what} instead of {expected}", self.name())))
    }

    /// `array` with the dtype of `like`, if it has the shape.
    fn fit(&self, array: Array, like: &Array, what: &str) -> Result<Array> {
        if array.shape() != like.shape() {
            let message =
                format!("{}: a {what} is {}, not like {}", self.name(), array.describe(), like.describe());
            return Err(refuse(message));
        }
        if array.dtype() == like.dtype() { Ok(array) } else { array.as_type(like.dtype()) }
    }
}
