//! A new MLX operation, written in Rust: the gate of a SwiGLU layer, `silu(gate) * up`, in one node instead of three.
//!
//! ```console
//! cargo run --release --example custom_primitive
//! ```
//!
//! It is an operation like any other: lazy, differentiable, compilable. Its gradient is checked against differences.

use mlx_core::primitive::{Primitive, Spec, View, ViewMut, apply};
use mlx_core::transforms::{compile, grad};
use mlx_core::{Array, Error, Result};

/// `silu(gate) * up`, with `silu(x) = x / (1 + e^-x)`.
struct SwiGlu;

impl Primitive for SwiGlu {
    fn name(&self) -> &str {
        "swiglu"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        match inputs {
            [gate, up] if gate == up => Ok(vec![gate.clone()]),
            _ => Err(Error::Shape { op: "swiglu", message: format!("{inputs:?} are not two of a kind") }),
        }
    }

    // Runs on the stream's thread. Views know their strides; `elements` copies only what does not lie in order.
    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let (gate, up) = (inputs[0].elements::<f32>()?, inputs[1].elements::<f32>()?);
        for ((out, x), y) in outputs[0].as_mut_slice::<f32>()?.iter_mut().zip(&*gate).zip(&*up) {
            *out = x / (1.0 + (-x).exp()) * y;
        }
        Ok(())
    }

    // d silu / dx = s + x s (1 - s), with s = sigmoid(x)
    fn vjp(&self, primals: &[Array], cotangents: &[Array], _: &[Array]) -> Result<Vec<Option<Array>>> {
        let (gate, up, cotangent) = (&primals[0], &primals[1], &cotangents[0]);
        let s = gate.sigmoid()?;
        let silu = gate.multiply(&s)?;
        let slope = s.add(&silu.multiply(&gate.scalar_like(1.0)?.subtract(&s)?)?)?;
        Ok(vec![Some(cotangent.multiply(up)?.multiply(&slope)?), Some(cotangent.multiply(&silu)?)])
    }
}

fn swiglu(gate: &Array, up: &Array) -> Result<Array> {
    let [gated] = apply(SwiGlu, &[gate, up])?;
    Ok(gated)
}

fn loss(gate: &Array, up: &Array) -> Result<Array> {
    swiglu(gate, up)?.square()?.sum(.., false)
}

fn main() -> Result<()> {
    const STEP: f32 = 1e-2;
    let at = [-2.0f32, -0.5, 0.0, 0.7, 3.0];
    let up = Array::from_slice(&[1.0f32, -1.5, 2.0, 0.5, -0.3], &[5])?;
    let gate = |at: &[f32]| Array::from_slice(at, &[5]);

    let gradient = grad(|gate| loss(gate, &up), &gate(&at)?)?;
    for (index, gradient) in gradient.to_vec::<f32>()?.into_iter().enumerate() {
        let shifted = |by| {
            let mut at = at;
            at[index] += by;
            loss(&gate(&at)?, &up)?.item::<f32>()
        };
        let difference = (shifted(STEP)? - shifted(-STEP)?) / (2.0 * STEP);
        println!("d loss / d gate[{index}]: {gradient:>8.4}, by finite differences {difference:>8.4}");
        assert!((gradient - difference).abs() < 1e-2);
    }

    let compiled = compile(|[gate, up]: &[Array; 2]| swiglu(gate, up))?;
    println!("compiled: {:?}", compiled.call([&gate(&at)?, &up])?.to_vec::<f32>()?);
    Ok(())
}
