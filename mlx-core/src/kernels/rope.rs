//! Rotary position embedding.

use cpu_kernels::rope::{RopePairs, RopeTable, rope as turn};
use cpu_kernels::{Heads, Isa};

use super::memory::{is_supported, with_float};
use super::{Kernel, apply, are_used};
use crate::primitive::{Spec, View, ViewMut};
use crate::{Array, Error, Result, ffi};

const ROPE: &str = "rope";

/// Rotary position embedding of `[B, H, L, Dh]`, if there is a kernel for it and it is used here.
pub(crate) fn rope(x: &Array, turns: Rope) -> Option<Result<Array>> {
    let &[_, _, _, width] = x.shape() else { return None };
    let whole = turns.dims > 0 && turns.dims <= width && turns.dims % 2 == 0;
    if !whole || x.size() == 0 || !is_supported(x.dtype()) || !are_used() {
        return None;
    }
    Some(apply(turns, &[x]).map(|[turned]| turned))
}

/// How features turn; as the arguments of [`Array::rope`].
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Rope {
    pub(crate) dims: i32,
    pub(crate) traditional: bool,
    pub(crate) base: f32,
    pub(crate) scale: f32,
    pub(crate) offset: i32,
    /// Turned back.
    pub(crate) inverse: bool,
}

impl Rope {
    fn table(&self, length: usize) -> RopeTable {
        let half = self.dims / 2;
        let frequency = |i| (-(i as f32) * self.base.ln() / half as f32).exp();
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        let positions = (0..length).map(|l| (self.offset as f32 + l as f32) * self.scale);
        let table = RopeTable::new(Isa::best(), &frequencies, positions);
        if self.inverse { table.inverse() } else { table }
    }
}

impl Kernel for Rope {
    fn name(&self) -> &str {
        ROPE
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(inputs.to_vec())
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let refused = || Error::Shape { op: ROPE, message: "x is not [B, H, L, Dh]".to_owned() };
        let ([x], [output]) = (inputs, outputs) else { return Err(refused()) };
        let &[batch, heads, length, width] = x.shape() else { return Err(refused()) };
        let shape = [batch, heads, length, width].map(|axis| axis as usize);
        let pairs = if self.traditional { RopePairs::Neighbours } else { RopePairs::Halves };
        with_float!(ROPE, x.dtype(), T => {
            let out = output.as_mut_slice::<T>()?;
            let located = super::memory::heads::<T>(x)?;
            let x = Heads::new(&located.0, shape, located.1);
            turn(Isa::best(), x, &self.table(shape[2]), pairs, out);
            Ok(())
        })
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self == other
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [x] = inputs else {
            return Err(Error::Shape { op: ROPE, message: "there is one input".to_owned() });
        };
        let forward =
            |x: &Array| ffi::ops::rope(x, self.dims, self.traditional, self.base, self.scale, self.offset);
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

    fn vjp(&self, _: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
        let back = Rope { inverse: !self.inverse, ..*self };
        let [gradient] = apply(back, &[&cotangents[0]])?;
        Ok(vec![Some(gradient)])
    }
}
