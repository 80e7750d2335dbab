//! How each layout gives its weights, 32 at a time.

pub(super) mod affine;
pub(super) mod block;
pub(super) mod dense;

use crate::simd::{LANES, Simd, each};

/// Weights that are unpacked at once: the elements `32 c ..` of a row are its chunk `c`.
pub(super) const CHUNK: usize = 32;

/// Vectors of a chunk.
pub(super) const VECTORS: usize = CHUNK / LANES;

/// A layout of weights. Everything in it is inlined into the kernels' loops.
pub(super) trait Format: Copy + Send + Sync {
    /// Whether the two halves of a chunk have scales of their own.
    const HALVES: bool = false;
    /// Whether something is added to the scaled levels.
    const MINS: bool = false;

    /// Chunk `c` of row `n`. Past the end of a row, levels are 0.
    fn chunk<S: Simd>(&self, simd: S, n: usize, c: usize) -> Chunk<S>;

    /// Whether the layout has levels as [`bytes`](Self::bytes); who asks for them has looked.
    const BYTES: bool;
    /// Whether the bytes have a sign.
    const SIGNED: bool = false;

    /// Chunk `c` of row `n`, its levels as bytes.
    fn bytes<S: Simd>(&self, simd: S, n: usize, c: usize) -> Bytes<S>;

    /// Asks for memory that is read some chunks later.
    fn prefetch<S: Simd>(&self, simd: S, n: usize, c: usize);
}

/// Weights `scale * level + min`, 32 of them.
pub(super) struct Chunk<S: Simd> {
    pub(super) levels: [S::F; VECTORS],
    /// Of the first half and the second; the same unless the layout has [`Format::HALVES`].
    pub(super) scales: [f32; 2],
    /// Likewise; 0 unless the layout has [`Format::MINS`].
    pub(super) mins: [f32; 2],
}

impl<S: Simd> Chunk<S> {
    /// Levels of which all have the same scale.
    #[inline(always)]
    fn symmetric(scale: f32, levels: [S::F; VECTORS]) -> Self {
        Chunk { levels, scales: [scale; 2], mins: [0.0; 2] }
    }

    /// Levels of which all have the same scale and minimum.
    #[inline(always)]
    fn shifted(scale: f32, min: f32, levels: [S::F; VECTORS]) -> Self {
        Chunk { levels, scales: [scale; 2], mins: [min; 2] }
    }

    /// The weights themselves.
    #[inline(always)]
    pub(super) fn weights<F: Format>(&self, simd: S) -> [S::F; VECTORS] {
        each!(i => {
            let half = if F::HALVES { i / (VECTORS / 2) } else { 0 };
            let scaled = simd.mul(simd.splat(self.scales[half]), self.levels[i]);
            if F::MINS { simd.add(scaled, simd.splat(self.mins[half])) } else { scaled }
        })
    }
}

/// As [`Chunk`], with levels as bytes.
pub(super) struct Bytes<S: Simd> {
    pub(super) levels: S::B,
    pub(super) scales: [f32; 2],
    /// 0 unless the layout has [`Format::MINS`].
    pub(super) mins: [f32; 2],
}

impl<S: Simd> Bytes<S> {
    #[inline(always)]
    fn new(scale: f32, min: f32, levels: S::B) -> Self {
        Bytes { levels, scales: [scale; 2], mins: [min; 2] }
    }

    /// What layouts without bytes have to say.
    #[inline(always)]
    fn none(simd: S) -> Self {
        Bytes::new(f32::NAN, f32::NAN, simd.load_bytes(&[0; CHUNK]))
    }
}

/// Adds what a chunk's minima make of the sums of the halves of 32 elements of `x`.
#[inline(always)]
pub(super) fn add_mins<S: Simd, F: Format>(
    simd: S,
    mins: [f32; 2],
    [first, second]: [f32; 2],
    to: f32,
) -> f32 {
    match (F::MINS, F::HALVES) {
        (false, _) => to,
        (true, false) => simd.fma(mins[0], first + second, to),
        (true, true) => simd.fma(mins[1], second, simd.fma(mins[0], first, to)),
    }
}

/// What is to be done with a layout, once it is known.
pub(super) trait Visit {
    type Result;
    fn visit<F: Format>(self, format: F) -> Self::Result;
}

/// The first `N` items from `start`, as an array.
#[inline(always)]
fn array<T, const N: usize>(items: &[T], start: usize) -> &[T; N] {
    // The slice has the length, so there is nothing that can fail.
    items[start..start + N].try_into().unwrap_or_else(|_| unreachable!())
}
