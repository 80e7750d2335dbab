//! Rows of keys or values, `[B, Hkv, S, Dh]`, as the model computes them or packed.

use mlx_core::{Array, DType, Quantization, Quantized, concatenate};

use crate::Result;

/// What a cache has buffers of: one array, or some whose axes before the last agree.
pub(super) trait Rows: Sized {
    /// The same operation on each of the arrays.
    fn each<const N: usize>(
        rows: [&Self; N],
        f: impl Fn([&Array; N]) -> mlx_core::Result<Array>,
    ) -> Result<Self>;

    /// The arrays.
    fn arrays(&self) -> &[Array];

    /// What rows must have in common to stand in one buffer: dtype, and `[B, Hkv, Dh]` as they were before packing.
    fn row(&self) -> (DType, [i32; 3]);

    /// Positions that there is room for.
    fn capacity(&self) -> i32 {
        self.arrays()[0].shape()[2]
    }

    /// Positions `start` to below `end`.
    fn part(&self, start: i32, end: i32) -> Result<Self> {
        Self::each([self], |[rows]| rows.slice_axis(2, start, end))
    }

    /// These rows with `rows` in the place of positions `start` to below `end`.
    fn with(&self, rows: &Self, start: i32, end: i32) -> Result<Self> {
        Self::each([self, rows], |[all, rows]| all.slice_update_axis(rows, 2, start, end))
    }

    /// The parts one after another, with room for some more.
    fn joined<const N: usize>(parts: [&Self; N], room: i32) -> Result<Self> {
        Self::each(parts, |parts| {
            if room == 0 {
                return concatenate(&parts, 2);
            }
            let mut shape = parts[0].shape().to_vec();
            shape[2] = room;
            let room = Array::zeros(&shape, parts[0].dtype())?;
            let all: Vec<&Array> = parts.into_iter().chain([&room]).collect();
            concatenate(&all, 2)
        })
    }
}

impl Rows for Array {
    fn each<const N: usize>(
        rows: [&Self; N],
        f: impl Fn([&Array; N]) -> mlx_core::Result<Array>,
    ) -> Result<Self> {
        Ok(f(rows)?)
    }

    fn arrays(&self) -> &[Array] {
        std::slice::from_ref(self)
    }

    fn row(&self) -> (DType, [i32; 3]) {
        let shape = self.shape();
        (self.dtype(), [shape[0], shape[1], shape[3]])
    }
}

/// Rows in MLX's affine quantization, packed along the last axis.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// Codes, uint32 `[B, Hkv, S, Dh * bits / 32]`, then scales and biases, `[B, Hkv, S, Dh / group_size]`.
    pub(super) parts: [Array; 3],
    pub(super) quantization: Quantization,
}

impl Packed {
    /// Packs `[B, Hkv, S, Dh]`.
    pub(super) fn of(rows: &Array, quantization: Quantization) -> Result<Self> {
        match rows.quantize(quantization)? {
            Quantized { weight, scales, biases: Some(biases), quantization } => {
                Ok(Packed { parts: [weight, scales, biases], quantization })
            }
            _ => super::refuse("attend", format!("{quantization:?} has no biases")),
        }
    }

    pub(super) fn quantized(self) -> Quantized {
        let [weight, scales, biases] = self.parts;
        Quantized { weight, scales, biases: Some(biases), quantization: self.quantization }
    }
}

impl Rows for Packed {
    fn each<const N: usize>(
        rows: [&Self; N],
        f: impl Fn([&Array; N]) -> mlx_core::Result<Array>,
    ) -> Result<Self> {
        let part = |index: usize| f(rows.map(|rows| &rows.parts[index]));
        Ok(Packed { parts: [part(0)?, part(1)?, part(2)?], quantization: rows[0].quantization })
    }

    fn arrays(&self) -> &[Array] {
        &self.parts
    }

    fn row(&self) -> (DType, [i32; 3]) {
        let (dtype, [batch, heads, groups]) = self.parts[1].row();
        (dtype, [batch, heads, groups * self.quantization.group_size()])
    }
}
