//! Rotary position embedding.

use cpu_kernels::rope::{RopePairs, RopeTable, rope as turn};
use cpu_kernels::{Heads, Isa};

use super::memory::{is_supported, with_float};
use super::{Kernel, apply, are_used};
use crate::primitive::{Spec, View, ViewMut};
use crate::{Array, DType, Error, Result, ffi};

const ROPE: &str = "rope";

/// Rotary position embedding of `[B, H, L, Dh]`, if there is a kernel for it and it is used here.
pub(crate) fn rope(x: &Array, wavelengths: Option<&Array>, turns: Rope) -> Option<Result<Array>> {
    let &[_, _, _, width] = x.shape() else { return None };
    let whole = turns.dims > 0 && turns.dims <= width && turns.dims % 2 == 0;
    let known = wavelengths.is_none_or(|w| w.dtype() == DType::F32 && w.shape() == [turns.dims / 2]);
    if !whole || !known || x.size() == 0 || !is_supported(x.dtype()) || !are_used() {
        return None;
    }
    let turned = match wavelengths {
        Some(wavelengths) => apply(turns, &[x, wavelengths]),
        None => apply(turns, &[x]),
    };
    Some(turned.map(|[turned]| turned))
}

/// How features turn; as the arguments of [`Array::rope`]. Without a base the wavelengths are the second input.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Rope {
    pub(crate) dims: i32,
    pub(crate) traditional: bool,
    pub(crate) base: Option<f32>,
    pub(crate) scale: f32,
    pub(crate) offset: i32,
    /// Turned back.
    pub(crate) inverse: bool,
}

impl Rope {
    fn table(&self, length: usize, wavelengths: Option<&View<'_>>) -> Result<RopeTable> {
        let frequencies: Vec<f32> = match (self.base, wavelengths) {
            (None, Some(wavelengths)) => wavelengths.as_slice::<f32>()?.iter().map(|w| w.recip()).collect(),
            (base, _) => {
                let (log, half) = (base.unwrap_or(1.0).ln(), self.dims / 2);
                (0..half).map(|i| (-(i as f32) * log / half as f32).exp()).collect()
            }
        };
        let positions = (0..length).map(|l| (self.offset as f32 + l as f32) * self.scale);
        let table = RopeTable::new(Isa::best(), &frequencies, positions);
        Ok(if self.inverse { table.inverse() } else { table })
    }
}

impl Kernel for Rope {
    fn name(&self) -> &str {
        ROPE
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(inputs[..1].to_vec())
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let refused = || Error::Shape { op: ROPE, message: "x is not [B, H, L, Dh]".to_owned() };
        let ([x, wavelengths @ ..], [output]) = (inputs, outputs) else { return Err(refused()) };
        let &[batch, heads, length, width] = x.shape() else { return Err(refused()) };
        let shape = [batch, heads, length, width].map(|axis| axis as usize);
        let pairs = if self.traditional { RopePairs::Neighbours } else { RopePairs::Halves };
        with_float!(ROPE, x.dtype(), T => {
            let out = output.as_mut_slice::<T>()?;
            let located = super::memory::heads::<T>(x)?;
            let x = Heads::new(&located.0, shape, located.1);
            turn(Isa::best(), x, &self.table(shape[2], wavelengths.first())?, pairs, out);
            Ok(())
        })
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self == other
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [x, wavelengths @ ..] = inputs else {
            return Err(Error::Shape { op: ROPE, message: "there is no input".to_owned() });
        };
        let Rope { dims, traditional, base, scale, offset, .. } = *self;
        let forward =
            |x: &Array| ffi::ops::rope(x, dims, traditional, base, wavelengths.first(), scale, offset);
        if !self.inverse {
            return Ok(vec![forward(x)?]);
        }
        // Turning is orthogonal: its gradient is the way back.
        let back = crate::transforms::vjp(
            |inputs: &Vec<Array>| Ok(vec![forward(&inputs[0])?]),
            &vec![x.clone()],
            &vec![x.clone()],
        );
        Ok(back?.1)
    }

    /// Wavelengths are given and not learned: they have no gradient.
    fn vjp(&self, primals: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
        let back = Rope { inverse: !self.inverse, ..*self };
        let inputs: Vec<&Array> = cotangents.iter().take(1).chain(&primals[1..]).collect();
        let [gradient] = apply(back, &inputs)?;
        let mut gradients = vec![Some(gradient)];
        gradients.resize(primals.len(), None);
        Ok(gradients)
    }
}
