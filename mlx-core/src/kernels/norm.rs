//! RMSNorm and its gradients.

use cpu_kernels::{Isa, norm};

use super::memory::{self, is_supported, with_float};
use super::{Kernel, Mode, apply, are_used, with};
use crate::primitive::{Spec, View, ViewMut};
use crate::{Array, Error, Result, ffi, transforms};

const NORM: &str = "rms_norm";

/// RMSNorm over the last axis, if there is a kernel for it and it is used here.
pub(crate) fn rms_norm(x: &Array, weight: Option<&Array>, eps: f32) -> Option<Result<Array>> {
    let last = *x.shape().last()?;
    let fits = |weight: &Array| weight.shape() == [last] && weight.dtype() == x.dtype();
    if last == 0 || !is_supported(x.dtype()) || !weight.is_none_or(fits) || !are_used() {
        return None;
    }
    let inputs: Vec<&Array> = std::iter::once(x).chain(weight).collect();
    Some(apply(RmsNorm { eps }, &inputs).map(|[normed]| normed))
}

/// `residual + rms_norm(x)`, if there is a kernel for it and it is used here.
pub(crate) fn add_rms_norm(x: &Array, weight: &Array, eps: f32, residual: &Array) -> Option<Result<Array>> {
    let last = *x.shape().last()?;
    let fits = weight.shape() == [last] && weight.dtype() == x.dtype();
    let same = x.shape() == residual.shape() && x.dtype() == residual.dtype();
    if last == 0 || !fits || !same || !is_supported(x.dtype()) || !are_used() {
        return None;
    }
    Some(apply(AddRmsNorm { eps }, &[residual, x, weight]).map(|[sum]| sum))
}

fn misfit() -> Error {
    Error::Shape { op: NORM, message: "the weight is not as long as the last axis".to_owned() }
}

/// `x` and the weight, if there is one.
fn operands<T>(inputs: &[T]) -> Result<(&T, Option<&T>)> {
    match inputs {
        [x] => Ok((x, None)),
        [x, weight] => Ok((x, Some(weight))),
        _ => Err(misfit()),
    }
}

/// Inputs are `x` `[.., D]` and the weight `[D]`, if there is one.
struct RmsNorm {
    eps: f32,
}

impl Kernel for RmsNorm {
    fn name(&self) -> &str {
        NORM
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (x, weight) = operands(inputs)?;
        if weight.is_some_and(|weight| x.shape.last() != weight.shape.last()) {
            return Err(misfit());
        }
        Ok(vec![x.clone()])
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let ((x, weight), [output]) = (operands(inputs)?, outputs) else { return Err(misfit()) };
        let dims = x.shape().last().map_or(1, |last| *last as usize);
        with_float!(NORM, x.dtype(), T => {
            let weight = weight.map(View::elements::<T>).transpose()?;
            let out = output.as_mut_slice::<T>()?;
            if let Some((storage, rows)) = memory::rows_apart::<T>(x)? {
                // Heads of a projection: whole rows, in another order.
                for (first, out) in rows.zip(out.chunks_exact_mut(dims)) {
                    let x = &storage[first..first + dims];
                    norm::rms_norm(Isa::best(), x, dims, weight.as_deref(), self.eps, out);
                }
                return Ok(());
            }
            norm::rms_norm(Isa::best(), &x.elements::<T>()?, dims, weight.as_deref(), self.eps, out);
            Ok(())
        })
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self.eps.to_bits() == other.eps.to_bits()
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let (x, weight) = operands(inputs)?;
        Ok(vec![ffi::ops::rms_norm(x, weight, self.eps)?])
    }

    fn vjp(&self, primals: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
        let inputs: Vec<&Array> = cotangents.iter().chain(primals).collect();
        let gradients = match primals {
            [_] => apply::<1>(Gradients { eps: self.eps }, &inputs)?.to_vec(),
            _ => apply::<2>(Gradients { eps: self.eps }, &inputs)?.to_vec(),
        };
        Ok(gradients.into_iter().map(Some).collect())
    }
}

/// Inputs are the residual, `x`, both `[.., D]`, and the weight `[D]`.
struct AddRmsNorm {
    eps: f32,
}

impl Kernel for AddRmsNorm {
    fn name(&self) -> &str {
        "add_rms_norm"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        match inputs {
            [residual, x, weight] if residual == x && x.shape.last() == weight.shape.last() => {
                Ok(vec![x.clone()])
            }
            _ => Err(misfit()),
        }
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let ([residual, x, weight], [output]) = (inputs, outputs) else { return Err(misfit()) };
        let dims = x.shape().last().map_or(1, |last| *last as usize);
        with_float!(NORM, x.dtype(), T => {
            let (residual, x, weight) = (residual.elements::<T>()?, x.elements::<T>()?, weight.elements::<T>()?);
            let out = output.as_mut_slice::<T>()?;
            norm::add_rms_norm(Isa::best(), &x, dims, Some(&weight), self.eps, &residual, out);
            Ok(())
        })
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self.eps.to_bits() == other.eps.to_bits()
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [residual, x, weight] = inputs else { return Err(misfit()) };
        Ok(vec![residual.add(&ffi::ops::rms_norm(x, Some(weight), self.eps)?)?])
    }

    fn vjp(&self, primals: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
        let ([_, normed @ ..], [cotangent]) = (primals, cotangents) else { return Err(misfit()) };
        let gradients = RmsNorm { eps: self.eps }.vjp(normed, cotangents)?;
        Ok(std::iter::once(Some(cotangent.clone())).chain(gradients).collect())
    }
}

/// Inputs are the cotangent and those of [`RmsNorm`]; outputs are the gradients with respect to the latter.
struct Gradients {
    eps: f32,
}

impl Kernel for Gradients {
    fn name(&self) -> &str {
        "rms_norm_vjp"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let [cotangent, operands @ ..] = inputs else { return Err(misfit()) };
        if operands.first().is_none_or(|x| x.shape != cotangent.shape) {
            return Err(misfit());
        }
        Ok(operands.to_vec())
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let ([cotangent, inputs @ ..], [to_x, to_weight @ ..]) = (inputs, outputs) else {
            return Err(misfit());
        };
        let (x, weight) = operands(inputs)?;
        let dims = x.shape().last().map_or(1, |last| *last as usize);
        with_float!(NORM, x.dtype(), T => {
            let weight = weight.map(View::elements::<T>).transpose()?;
            let to_weight = to_weight.first_mut().map(ViewMut::as_mut_slice::<T>).transpose()?;
            let (x, cotangent) = (x.elements::<T>()?, cotangent.elements::<T>()?);
            let to_x = to_x.as_mut_slice::<T>()?;
            norm::rms_norm_vjp(
                Isa::best(), &x, dims, weight.as_deref(), self.eps, &cotangent, to_x, to_weight,
            );
            Ok(())
        })
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self.eps.to_bits() == other.eps.to_bits()
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [cotangent, primals @ ..] = inputs else { return Err(misfit()) };
        let norm = RmsNorm { eps: self.eps };
        let f = |inputs: &Vec<Array>| norm.plain(inputs);
        Ok(with(Mode::Off, || transforms::vjp(f, &primals.to_vec(), &vec![cotangent.clone()]))?.1)
    }
}
