//! Functions made of functions: derivatives, vectorization, compilation.
//!
//! A transform takes a closure and its arguments, and gives what the transformed function gives. The closure gets its
//! arguments as tracers: it may do with them what it likes, reading them included where MLX can compute them (inside
//! [`compile`](fn@compile) and [`vmap`] it cannot: an `Err`).
//!
//! ```
//! use mlx_core::Array;
//! use mlx_core::transforms::value_and_grad;
//!
//! let x = Array::from_slice(&[1.0f32, 2.0, 3.0], &[3])?;
//! let (value, gradient) = value_and_grad(|x| x.square()?.sum(.., false), &x)?;
//! assert_eq!(value.item::<f32>()?, 14.0);
//! assert_eq!(gradient.to_vec::<f32>()?, [2.0, 4.0, 6.0]);
//! # Ok::<(), mlx_core::Error>(())
//! ```
//!
//! Arguments are borrowed arrays in any arrangement of [`Arguments`]: one, a list, a tuple, a map by name. Gradients come
//! back in the same.
//!
//! Several kinds at once are one borrowed tuple of owned ones, `&(map.clone(), x.clone())`: cloning an array copies a
//! reference. To differentiate with respect to a model's parameters, see [`nn::value_and_grad`](crate::nn::value_and_grad);
//! to compile a step of one, pass its parameters as an argument, since arrays that a compiled function captures are
//! constants to it.
//!
//! What an operation cannot do is an `Err`: decompositions, [`segmented_mm`](Array::segmented_mm) and
//! [`scatter`](Array::scatter) with products have no gradient; [`as_strided`](Array::as_strided),
//! [`gather_mm`](Array::gather_mm), `segmented_mm`, [`quantized_matmul`](Array::quantized_matmul) and
//! [`searchsorted`](Array::searchsorted) in several lists have no vectorized form.
//!
//! A closure that returns an `Err` or panics makes the transform return that error, or [`Error::Panic`]; nothing else is
//! touched. A closure may build half a million operations, one upon the other; more are an `Err`.

mod arrays;
mod compile;
mod custom;
mod differentiate;
mod stack;
mod vectorize;

pub use arrays::{Arguments, Arrays};
pub use compile::{CompileMode, Compiled, clear_compile_cache, compile, compile_shapeless, set_compile_mode};
pub use custom::{CustomFunction, checkpoint};
pub use differentiate::{grad, jvp, value_and_grad, vjp};
pub(crate) use stack::under_way;
pub(crate) use stack::with_room;
pub(crate) use vectorize::is_vectorizing;
pub use vectorize::vmap;

use crate::{Array, Error, Result};

/// The outputs of a function as a list.
///
/// MLX reads the first output of several functions without asking whether there is one.
pub(crate) fn listed<O: Arrays>(op: &'static str, outputs: &O) -> Result<Vec<Array>> {
    stack::require_room(op)?;
    let arrays: Vec<Array> = outputs.arrays().into_iter().cloned().collect();
    if arrays.is_empty() {
        return Err(Error::Shape { op, message: "the function gave no array".to_owned() });
    }
    Ok(arrays)
}

/// Refuses arguments without arrays, which MLX has no use for.
fn require_some(op: &'static str, arrays: &[&Array]) -> Result<()> {
    if arrays.is_empty() {
        return Err(Error::Shape { op, message: "there is no array among the arguments".to_owned() });
    }
    Ok(())
}

/// Refuses arrays that do not have the shapes of others.
fn require_shapes(op: &'static str, what: &str, arrays: &[&Array], like: &[&Array]) -> Result<()> {
    if arrays.len() != like.len() {
        let message = format!("{} {what} for {} arrays", arrays.len(), like.len());
        return Err(Error::Shape { op, message });
    }
    for (index, (array, like)) in arrays.iter().zip(like).enumerate() {
        if array.shape() != like.shape() {
            let message =
                format!("number {index} of the {what} is {}, not like {}", array.describe(), like.describe());
            return Err(Error::Shape { op, message });
        }
    }
    Ok(())
}
