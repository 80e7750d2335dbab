//! Operands that are split into heads, where they lie.

/// A view `[B, H, L, Dh]` of a buffer. Within a row of `Dh` the elements are contiguous; the other strides are free.
///
/// So one type reads what projections give, `[B, L, H * Dh]`, and a cache with room for more than `L` rows.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a, T> {
    data: &'a [T],
    shape: [usize; 4],
    strides: [usize; 3],
}

impl<'a, T> Heads<'a, T> {
    /// The view of `shape` `[B, H, L, Dh]`, whose first three axes advance by `strides` elements.
    ///
    /// # Panics
    /// If the view reaches beyond the end of `data`.
    pub fn new(data: &'a [T], shape: [usize; 4], strides: [usize; 3]) -> Self {
        if !shape.contains(&0) {
            let last: usize = shape.iter().zip(strides).map(|(size, stride)| (size - 1) * stride).sum();
            assert!(last + shape[3] <= data.len(), "{shape:?} by {strides:?} of {} elements", data.len());
        }
        Heads { data, shape, strides }
    }

    /// The view of a buffer that is `[B, H, L, Dh]` itself.
    ///
    /// # Panics
    /// If `data` has fewer elements.
    pub fn contiguous(data: &'a [T], shape: [usize; 4]) -> Self {
        let [_, heads, length, width] = shape;
        Heads::new(data, shape, [heads * length * width, length * width, width])
    }

    /// The view of a buffer that is `[B, L, H, Dh]`, as projections leave it. `shape` is the view's, `[B, H, L, Dh]`.
    ///
    /// # Panics
    /// If `data` has fewer elements.
    pub fn tokens_first(data: &'a [T], shape: [usize; 4]) -> Self {
        let [_, heads, length, width] = shape;
        Heads::new(data, shape, [length * heads * width, width, heads * width])
    }

    /// `[B, H, L, Dh]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The row of batch `b`, head `h` and position `l`.
    #[inline(always)]
    pub(crate) fn row(&self, b: usize, h: usize, l: usize) -> &'a [T] {
        let [batch, head, position] = self.strides;
        &self.data[b * batch + h * head + l * position..][..self.shape[3]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_in_any_order() {
        let data: Vec<u32> = (0..2 * 3 * 5 * 4).collect();
        let (a, b) = (Heads::contiguous(&data, [2, 3, 5, 4]), Heads::tokens_first(&data, [2, 3, 5, 4]));
        assert_eq!(a.row(1, 2, 3), [112, 113, 114, 115]);
        assert_eq!(b.row(1, 2, 3), [104, 105, 106, 107]);
        // The first two rows of each head of a cache with five.
        let cache = Heads::new(&data, [2, 3, 2, 4], [60, 20, 4]);
        assert_eq!(cache.row(1, 2, 1), [104, 105, 106, 107]);
    }

    #[test]
    #[should_panic(expected = "of 10 elements")]
    fn a_view_beyond_the_end_is_refused() {
        Heads::new(&[0; 10], [1, 2, 2, 3], [0, 5, 3]);
    }
}
