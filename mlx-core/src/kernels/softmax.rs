//! Softmax over the last axis.

use cpu_kernels::{Isa, softmax as kernel};

use super::memory::{is_supported, with_float};
use super::{Kernel, apply, are_used};
use crate::primitive::{Spec, View, ViewMut};
use crate::{Array, Error, Result, ffi};

const SOFTMAX: &str = "softmax";

/// Softmax over the last axis, if there is a kernel for it and it is used here.
pub(crate) fn softmax(x: &Array) -> Option<Result<Array>> {
    if x.ndim() == 0 || x.size() == 0 || !is_supported(x.dtype()) || !are_used() {
        return None;
    }
    Some(apply(Softmax, &[x]).map(|[scaled]| scaled))
}

struct Softmax;

impl Kernel for Softmax {
    fn name(&self) -> &str {
        SOFTMAX
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(inputs.to_vec())
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let ([x], [output]) = (inputs, outputs) else {
            return Err(Error::Shape { op: SOFTMAX, message: "there is one input".to_owned() });
        };
        let dims = x.shape().last().map_or(1, |last| *last as usize);
        with_float!(SOFTMAX, x.dtype(), T => {
            kernel::softmax(Isa::best(), &x.elements::<T>()?, dims, output.as_mut_slice::<T>()?);
            Ok(())
        })
    }

    fn is_equivalent(&self, _: &Self) -> bool {
        true
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        inputs.iter().map(|x| ffi::ops::softmax(x, &[-1], true)).collect()
    }

    /// `y (g - Σ g y)`
    fn vjp(&self, primals: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
        let [y] = apply(Softmax, &[&primals[0]])?;
        let weighted = y.multiply(&cotangents[0])?;
        let sum = weighted.sum(-1, true)?;
        Ok(vec![Some(weighted.subtract(&y.multiply(&sum)?)?)])
    }
}
