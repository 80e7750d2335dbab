//! Which keys a query sees.

use std::ops::Range;

use crate::float::Float;

/// Which keys a query sees. With a causal mask, the last of `L` queries is at the last of `S` keys.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a, T> {
    /// All.
    None,
    /// Those up to its own position.
    Causal,
    /// The last so many up to its own position.
    Window(usize),
    /// Those where it is true.
    Boolean(MaskView<'a, bool>),
    /// All, but this is added to the scaled scores.
    Additive(MaskView<'a, T>),
}

/// A mask of shape `[B, Hq, L, S]`, with a stride of 0 along the axes that it is broadcast over.
#[derive(Clone, Copy, Debug)]
pub struct MaskView<'a, T> {
    data: &'a [T],
    shape: [usize; 4],
    strides: [usize; 4],
}

impl<'a, T: Copy> MaskView<'a, T> {
    /// The view of `shape`, whose axes advance by `strides` elements.
    ///
    /// # Panics
    /// If it reaches beyond the end of `data`.
    pub fn new(data: &'a [T], shape: [usize; 4], strides: [usize; 4]) -> Self {
        if !shape.contains(&0) {
            let last: usize = shape.iter().zip(strides).map(|(size, stride)| (size - 1) * stride).sum();
            assert!(last < data.len(), "a mask {shape:?} by {strides:?} of {} elements", data.len());
        }
        MaskView { data, shape, strides }
    }

    #[inline(always)]
    fn at(&self, b: usize, h: usize, l: usize, s: usize) -> T {
        let [batch, head, query, key] = self.strides;
        self.data[b * batch + h * head + l * query + s * key]
    }
}

impl<T: Float> Mask<'_, T> {
    pub(super) fn shape(&self) -> Option<[usize; 4]> {
        match self {
            Mask::Boolean(view) => Some(view.shape),
            Mask::Additive(view) => Some(view.shape),
            _ => None,
        }
    }

    /// The keys that query `l` of `queries` may see. Both ends rise with `l`.
    pub(super) fn range(&self, l: usize, queries: usize, keys: usize) -> Range<usize> {
        let end = (l + 1 + keys).saturating_sub(queries);
        match *self {
            Mask::Causal => 0..end,
            Mask::Window(window) => end.saturating_sub(window)..end,
            _ => 0..keys,
        }
    }

    /// Whether the [`range`](Self::range) says everything.
    #[inline(always)]
    pub(super) fn is_range(&self) -> bool {
        !matches!(self, Mask::Boolean(_) | Mask::Additive(_))
    }

    /// A score of query `l` for key `s`, within the range, as the mask leaves it.
    #[inline(always)]
    pub(super) fn apply(&self, score: f32, b: usize, h: usize, l: usize, s: usize) -> f32 {
        match self {
            Mask::Boolean(view) if !view.at(b, h, l, s) => f32::NEG_INFINITY,
            Mask::Additive(view) => score + view.at(b, h, l, s).to_f32(),
            _ => score,
        }
    }
}
