//! Gates of feed-forward layers.

use cpu_kernels::{Isa, gate};

use super::memory::{is_supported, with_float};
use super::{Kernel, Mode, apply, are_used, with};
use crate::primitive::{Spec, View, ViewMut};
use crate::{Array, Error, Result, nn, transforms};

/// What a gate does to its first operand before it is multiplied with the second.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Silu,
    GeluTanh,
}

/// `activation(gate) * x`, if there is a kernel for it and it is used here.
pub(crate) fn gated(activation: Gate, gate: &Array, x: &Array) -> Option<Result<Array>> {
    let same = gate.shape() == x.shape() && gate.dtype() == x.dtype();
    if !same || !is_supported(x.dtype()) || !are_used() {
        return None;
    }
    Some(apply(activation, &[gate, x]).map(|[product]| product))
}

fn misfit() -> Error {
    Error::Shape { op: "gate", message: "the operands differ in shape".to_owned() }
}

fn two<T>(inputs: &[T]) -> Result<[&T; 2]> {
    match inputs {
        [gate, x] => Ok([gate, x]),
        _ => Err(misfit()),
    }
}

/// Inputs are the gate and what it is multiplied with.
impl Kernel for Gate {
    fn name(&self) -> &str {
        match self {
            Gate::Silu => "swiglu",
            Gate::GeluTanh => "geglu_tanh",
        }
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let [gate, x] = two(inputs)?;
        if gate == x { Ok(vec![gate.clone()]) } else { Err(misfit()) }
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let ([gate, x], [output]) = (two(inputs)?, outputs) else { return Err(misfit()) };
        with_float!("gate", x.dtype(), T => {
            let (gate, x, out) = (gate.elements::<T>()?, x.elements::<T>()?, output.as_mut_slice::<T>()?);
            match self {
                Gate::Silu => gate::swiglu(Isa::best(), &gate, &x, out),
                Gate::GeluTanh => gate::geglu_tanh(Isa::best(), &gate, &x, out),
            }
            Ok(())
        })
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self == other
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [gate, x] = two(inputs)?;
        let activated = match self {
            Gate::Silu => nn::silu(gate)?,
            Gate::GeluTanh => nn::gelu_tanh(gate)?,
        };
        Ok(vec![activated.multiply(x)?])
    }

    fn vjp(&self, primals: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
        let inputs: Vec<&Array> = cotangents.iter().chain(primals).collect();
        Ok(apply::<2>(Gradients(*self), &inputs)?.map(Some).to_vec())
    }
}

/// Inputs are the cotangent and those of the gate; outputs are the gradients with respect to the latter.
struct Gradients(Gate);

impl Kernel for Gradients {
    fn name(&self) -> &str {
        "gate_vjp"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        match inputs {
            [cotangent, gate, x] if cotangent == gate && gate == x => Ok(vec![gate.clone(), x.clone()]),
            _ => Err(misfit()),
        }
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let ([cotangent, gate, x], [to_gate, to_x]) = (inputs, outputs) else { return Err(misfit()) };
        with_float!("gate", x.dtype(), T => {
            let (gate, x, cotangent) = (gate.elements::<T>()?, x.elements::<T>()?, cotangent.elements::<T>()?);
            let (to_gate, to_x) = (to_gate.as_mut_slice::<T>()?, to_x.as_mut_slice::<T>()?);
            match self.0 {
                Gate::Silu => gate::swiglu_vjp(Isa::best(), &gate, &x, &cotangent, to_gate, to_x),
                Gate::GeluTanh => gate::geglu_tanh_vjp(Isa::best(), &gate, &x, &cotangent, to_gate, to_x),
            }
            Ok(())
        })
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [cotangent, primals @ ..] = inputs else { return Err(misfit()) };
        let f = |inputs: &Vec<Array>| self.0.plain(inputs);
        Ok(with(Mode::Off, || transforms::vjp(f, &primals.to_vec(), &vec![cotangent.clone()]))?.1)
    }
}
