//! Floating-point weights.

use half::{bf16, f16};

use super::{Bytes, CHUNK, Chunk, Format, VECTORS, array};
use crate::Float;
use crate::simd::{LANES, Simd, each};

/// Elements that can be loaded as vectors.
pub(in crate::product) trait Element: Float {
    fn vector<S: Simd>(simd: S, from: &[Self; LANES]) -> S::F;
}

impl Element for f32 {
    #[inline(always)]
    fn vector<S: Simd>(simd: S, from: &[Self; LANES]) -> S::F {
        simd.load(from)
    }
}

impl Element for f16 {
    #[inline(always)]
    fn vector<S: Simd>(simd: S, from: &[Self; LANES]) -> S::F {
        simd.halves(from)
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn vector<S: Simd>(simd: S, from: &[Self; LANES]) -> S::F {
        // The upper half of a float32.
        simd.bits_to_float(simd.shl(simd.shorts(&from.map(bf16::to_bits)), 16))
    }
}

/// Rows whose elements lie side by side.
#[derive(Clone, Copy)]
pub(in crate::product) struct Rows<'a, T> {
    pub(in crate::product) values: &'a [T],
    pub(in crate::product) row_stride: usize,
    pub(in crate::product) columns: usize,
}

impl<T: Element> Format for Rows<'_, T> {
    const BYTES: bool = false;

    #[inline(always)]
    fn bytes<S: Simd>(&self, simd: S, _: usize, _: usize) -> Bytes<S> {
        Bytes::none(simd)
    }

    #[inline(always)]
    fn chunk<S: Simd>(&self, simd: S, n: usize, c: usize) -> Chunk<S> {
        let start = n * self.row_stride + c * CHUNK;
        let left = self.columns - c * CHUNK;
        let levels = if left >= CHUNK {
            let values: &[T; CHUNK] = array(self.values, start);
            each!(i => T::vector(simd, array(values, i * LANES)))
        } else {
            padded(simd, left, |i| self.values[start + i].to_f32())
        };
        Chunk::symmetric(1.0, levels)
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, simd: S, n: usize, c: usize) {
        let start = n * self.row_stride + c * CHUNK;
        for line in (0..CHUNK).step_by(64 / size_of::<T>()) {
            simd.prefetch(self.values, start + line);
        }
    }
}

/// The last, incomplete chunk of a row.
#[inline(always)]
fn padded<S: Simd>(simd: S, left: usize, value: impl Fn(usize) -> f32) -> [S::F; VECTORS] {
    let mut levels = [0.0; CHUNK];
    for (i, level) in levels.iter_mut().enumerate().take(left) {
        *level = value(i);
    }
    each!(i => simd.load(array(&levels, i * LANES)))
}

/// Rows whose elements lie apart, as in a transposed matrix.
#[derive(Clone, Copy)]
pub(in crate::product) struct Strided<'a, T> {
    pub(in crate::product) values: &'a [T],
    pub(in crate::product) row_stride: usize,
    pub(in crate::product) column_stride: usize,
    pub(in crate::product) columns: usize,
}

impl<T: Element> Format for Strided<'_, T> {
    const BYTES: bool = false;

    #[inline(always)]
    fn bytes<S: Simd>(&self, simd: S, _: usize, _: usize) -> Bytes<S> {
        Bytes::none(simd)
    }

    #[inline(always)]
    fn chunk<S: Simd>(&self, simd: S, n: usize, c: usize) -> Chunk<S> {
        let start = n * self.row_stride + c * CHUNK * self.column_stride;
        let left = self.columns - c * CHUNK;
        let value = |i: usize| self.values[start + i * self.column_stride].to_f32();
        Chunk::symmetric(1.0, padded(simd, left, value))
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, _: S, _: usize, _: usize) {}
}
