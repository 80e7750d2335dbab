//! Floating-point weights.

use super::{CHUNK, Chunk, Format, array};
use crate::Float;

/// Rows whose elements lie side by side.
#[derive(Clone, Copy)]
pub(in crate::product) struct Rows<'a, T> {
    pub(in crate::product) values: &'a [T],
    pub(in crate::product) row_stride: usize,
    pub(in crate::product) columns: usize,
}

impl<T: Float> Format for Rows<'_, T> {
    #[inline(always)]
    fn chunk(&self, n: usize, c: usize) -> Chunk {
        let start = n * self.row_stride + c * CHUNK;
        let left = self.columns - c * CHUNK;
        let levels = if left >= CHUNK {
            array::<_, CHUNK>(self.values, start).map(Float::to_f32)
        } else {
            let rest = &self.values[start..start + left];
            std::array::from_fn(|i| rest.get(i).map_or(0.0, |value| value.to_f32()))
        };
        Chunk::symmetric(1.0, levels)
    }
}

/// Rows whose elements lie apart, as in a transposed matrix.
#[derive(Clone, Copy)]
pub(in crate::product) struct Strided<'a, T> {
    pub(in crate::product) values: &'a [T],
    pub(in crate::product) row_stride: usize,
    pub(in crate::product) column_stride: usize,
    pub(in crate::product) columns: usize,
}

impl<T: Float> Format for Strided<'_, T> {
    #[inline(always)]
    fn chunk(&self, n: usize, c: usize) -> Chunk {
        let levels = std::array::from_fn(|i| {
            let column = c * CHUNK + i;
            if column < self.columns {
                self.values[n * self.row_stride + column * self.column_stride].to_f32()
            } else {
                0.0
            }
        });
        Chunk::symmetric(1.0, levels)
    }
}
