//! The ways to name the axes that an operation works over.

use std::borrow::Cow;
use std::ops::RangeFull;

/// Axes of an array: one number, a list, or `..` for all of them. Negative numbers count from the last axis.
///
/// ```
/// use mlx_core::Array;
///
/// let a = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
/// assert_eq!(a.sum(0, false)?.to_vec::<f32>()?, [4.0, 6.0]);
/// assert_eq!(a.sum([0, 1], false)?.item::<f32>()?, 10.0);
/// assert_eq!(a.sum(.., false)?.item::<f32>()?, 10.0);
/// # Ok::<(), mlx_core::Error>(())
/// ```
pub trait Axes: sealed::Sealed {
    /// The axes as a list, for an array of `ndim` axes.
    fn list(&self, ndim: usize) -> Cow<'_, [i32]>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! axes {
    ($([$($generics:tt)*] $type:ty: |$self:ident, $ndim:pat_param| $list:expr;)*) => {$(
        impl<$($generics)*> sealed::Sealed for $type {}
        impl<$($generics)*> Axes for $type {
            fn list(&$self, $ndim: usize) -> Cow<'_, [i32]> {
                $list
            }
        }
    )*};
}

axes! {
    [] i32: |self, _| Cow::Owned(vec![*self]);
    [] RangeFull: |self, ndim| Cow::Owned((0..ndim as i32).collect());
    [] &[i32]: |self, _| Cow::Borrowed(self);
    [const N: usize] [i32; N]: |self, _| Cow::Borrowed(self);
    [const N: usize] &[i32; N]: |self, _| Cow::Borrowed(*self);
    [] Vec<i32>: |self, _| Cow::Borrowed(self);
    [] &Vec<i32>: |self, _| Cow::Borrowed(self);
}
