//! Floating-point weights.

use half::{bf16, f16};

use super::{CHUNK, Format, Scales, VECTORS, array};
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

impl<'a, T: Element> Format for Rows<'a, T> {
    type Row = &'a [T];
    type Group = &'a [T];

    #[inline(always)]
    fn row(&self, n: usize) -> &'a [T] {
        &self.values[n * self.row_stride..][..self.columns]
    }

    #[inline(always)]
    fn group(&self, row: &'a [T], g: usize) -> &'a [T] {
        let rest = &row[g * CHUNK..];
        &rest[..rest.len().min(CHUNK)]
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, _: S, _: &'a [T]) -> Scales {
        Scales::of_one(1.0, 0.0)
    }

    #[inline(always)]
    fn floats<S: Simd>(&self, simd: S, group: &'a [T], _: usize) -> [S::F; VECTORS] {
        match <&[T; CHUNK]>::try_from(group) {
            Ok(values) => each!(i => T::vector(simd, array(values, i * LANES))),
            Err(_) => padded(simd, group.len(), |i| group[i].to_f32()),
        }
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
    /// Where it begins.
    type Row = usize;
    /// Where it begins, and how many columns are left.
    type Group = (usize, usize);

    #[inline(always)]
    fn row(&self, n: usize) -> usize {
        n * self.row_stride
    }

    #[inline(always)]
    fn group(&self, row: usize, g: usize) -> (usize, usize) {
        (row + g * CHUNK * self.column_stride, self.columns - g * CHUNK)
    }

    #[inline(always)]
    fn scales<S: Simd>(&self, _: S, _: (usize, usize)) -> Scales {
        Scales::of_one(1.0, 0.0)
    }

    #[inline(always)]
    fn floats<S: Simd>(&self, simd: S, (start, left): (usize, usize), _: usize) -> [S::F; VECTORS] {
        padded(simd, left, |i| self.values[start + i * self.column_stride].to_f32())
    }

    #[inline(always)]
    fn prefetch<S: Simd>(&self, _: S, _: usize, _: usize) {}
}
