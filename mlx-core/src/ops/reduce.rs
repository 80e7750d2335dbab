//! Operations that fold axes into one value.
//!
//! `axes` is one axis, a list, or `..` for all (see [`Axes`]); an empty list folds nothing. With `keepdims` a folded axis
//! stays with length one.

use crate::ffi::{self, c, door};
use crate::{Array, Axes, Result};

macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident => $c:ident, $alias:literal;)*) => {
        impl Array {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When there is no such axis, or one is named twice.
            #[doc(alias = $alias)]
            pub fn $name(&self, axes: impl Axes, keepdims: bool) -> Result<Array> {
                door::axes_flag(stringify!($name), c::$c, self, &axes.list(self.ndim()), keepdims)
            }
        )*}
    };
}

reductions! {
    /// Sum of the elements over `axes`.
    sum => mlx_sum_axes, "mlx_sum_axes";
    /// Arithmetic mean over `axes`.
    mean => mlx_mean_axes, "mlx_mean_axes";
    /// Largest element over `axes`.
    max => mlx_max_axes, "mlx_max_axes";
    /// Smallest element over `axes`.
    min => mlx_min_axes, "mlx_min_axes";
    /// Whether every element over `axes` is true or not zero.
    all => mlx_all_axes, "mlx_all_axes";
    /// Whether any element over `axes` is true or not zero.
    any => mlx_any_axes, "mlx_any_axes";
    /// `ln Σ e^x` over `axes`, without overflow. Empty arrays have none.
    logsumexp => mlx_logsumexp_axes, "mlx_logsumexp_axes";
}

impl Array {
    /// Position of the largest element along `axis`, as uint32; the first of equals.
    ///
    /// # Errors
    /// When there is no such axis or the array is empty.
    #[doc(alias = "mlx_argmax_axis")]
    pub fn argmax(&self, axis: i32, keepdims: bool) -> Result<Array> {
        door::axis_flag("argmax", c::mlx_argmax_axis, self, axis, keepdims)
    }

    /// Exponentials of the elements, scaled to sum to one over `axes`.
    ///
    /// With `precise`, 16-bit elements are summed in float32.
    ///
    /// # Errors
    /// When there is no such axis.
    #[doc(alias = "mlx_softmax_axes")]
    pub fn softmax(&self, axes: impl Axes, precise: bool) -> Result<Array> {
        let axes = axes.list(self.ndim());
        for axis in axes.iter() {
            self.axis_length("softmax", *axis)?;
        }
        ffi::ops::softmax(self, &axes, precise)
    }
}
