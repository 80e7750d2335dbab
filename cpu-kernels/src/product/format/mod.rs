//! How each layout gives its weights, 32 at a time.

pub(super) mod affine;
pub(super) mod block;
pub(super) mod dense;

use crate::simd::{LANES, Simd, each};

/// Weights that are unpacked at once: the elements `32 c ..` of a row are its chunk `c`.
pub(super) const CHUNK: usize = 32;

/// Vectors of a chunk.
pub(super) const VECTORS: usize = CHUNK / LANES;

/// Chunks of a group, at most.
pub(super) const GROUP: usize = 8;

/// A layout of weights, `scale * level + min`. Everything in it is inlined into the kernels' loops.
pub(super) trait Format: Copy + Send + Sync {
    /// Chunks whose scales come together. A row has whole groups.
    const CHUNKS: usize = 1;
    /// Whether the two halves of a chunk have scales of their own.
    const HALVES: bool = false;
    /// Whether there are minima.
    const MINS: bool = false;

    /// The memory of a row.
    type Row: Copy;
    /// The memory of a group.
    type Group: Copy;

    fn row(&self, n: usize) -> Self::Row;
    fn group(&self, row: Self::Row, g: usize) -> Self::Group;
    fn scales<S: Simd>(&self, simd: S, group: Self::Group) -> Scales;

    /// The levels of chunk `c` of a group; 0 past the end of a row.
    fn floats<S: Simd>(&self, simd: S, group: Self::Group, c: usize) -> [S::F; VECTORS];

    /// Asks for memory that is read some chunks later than chunk `c` of row `n`.
    fn prefetch<S: Simd>(&self, simd: S, n: usize, c: usize);
}

/// A layout whose levels are small integers.
pub(super) trait Packed: Format {
    /// By how much an integer is above the level: where levels have a sign, it may take fewer steps to unpack them without.
    const ABOVE: f32 = 0.0;

    /// The levels of chunk `c` of a group as integers: those at even places and those at odd ones.
    fn integers<S: Simd>(&self, simd: S, group: Self::Group, c: usize) -> [S::W; 2];
}

/// Scales and minima of a group's chunks: of the first half of each, and of the second. Those of the first count for both
/// unless the layout has [`Format::HALVES`].
pub(super) struct Scales {
    pub(super) scales: [[f32; GROUP]; 2],
    /// 0 unless the layout has [`Format::MINS`].
    pub(super) mins: [[f32; GROUP]; 2],
}

impl Scales {
    /// Of a group that is one chunk.
    #[inline(always)]
    fn of_one(scale: f32, min: f32) -> Self {
        let first = |value| [value, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        Scales { scales: [first(scale); 2], mins: [first(min); 2] }
    }

    /// Of whole chunks.
    #[inline(always)]
    fn of_chunks(scales: [f32; GROUP], mins: [f32; GROUP]) -> Self {
        Scales { scales: [scales; 2], mins: [mins; 2] }
    }

    /// The weights of chunk `c`.
    #[inline(always)]
    pub(super) fn weights<S: Simd, F: Format>(
        &self,
        simd: S,
        levels: [S::F; VECTORS],
        c: usize,
    ) -> [S::F; VECTORS] {
        each!(i => {
            let half = if F::HALVES { i / (VECTORS / 2) } else { 0 };
            let scaled = simd.mul(simd.splat(self.scales[half][c]), levels[i]);
            if F::MINS { simd.add(scaled, simd.splat(self.mins[half][c])) } else { scaled }
        })
    }
}

/// What is to be done with a layout, once it is known.
pub(super) trait Visit: Sized {
    type Result;
    fn visit<F: Format>(self, format: F) -> Self::Result;

    fn visit_packed<F: Packed>(self, format: F) -> Self::Result {
        self.visit(format)
    }
}

/// The first `N` items from `start`, as an array.
#[inline(always)]
fn array<T, const N: usize>(items: &[T], start: usize) -> &[T; N] {
    // The slice has the length, so there is nothing that can fail.
    items[start..start + N].try_into().unwrap_or_else(|_| unreachable!())
}
