//! Operations that fold axes into one value.
//!
//! `axes` is one axis, a list, or `..` for all (see [`Axes`]); an empty list folds nothing. With `keepdims` a folded axis
//! stays with length one.

use crate::ffi::{self, c, door};
use crate::{Array, Axes, DType, Result, kernels};

macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident => $c:ident, $($alias:literal),+;)*) => {
        impl Array {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When there is no such axis, or one is named twice.
            #[doc($(alias = $alias),+)]
            pub fn $name(&self, axes: impl Axes, keepdims: bool) -> Result<Array> {
                door::axes_flag(stringify!($name), c::$c, self, &axes.list(self.ndim()), keepdims)
            }
        )*}
    };
}

reductions! {
    /// Sum of the elements over `axes`.
    sum => mlx_sum_axes, "mlx_sum_axes", "mlx_sum", "mlx_sum_axis";
    /// Product of the elements over `axes`.
    prod => mlx_prod_axes, "mlx_prod_axes", "mlx_prod", "mlx_prod_axis";
    /// Arithmetic mean over `axes`.
    mean => mlx_mean_axes, "mlx_mean_axes", "mlx_mean", "mlx_mean_axis";
    /// The middle of the sorted elements over `axes`, or the mean of the middle two; NaN if one is NaN. Empty axes have none.
    median => mlx_median_axes, "mlx_median_axes", "mlx_median", "mlx_median_axis";
    /// How many elements over `axes` are not zero, as int32.
    count_nonzero => mlx_count_nonzero_axes, "mlx_count_nonzero_axes", "mlx_count_nonzero", "mlx_count_nonzero_axis";
    /// Largest element over `axes`.
    max => mlx_max_axes, "mlx_max_axes", "mlx_max", "mlx_max_axis";
    /// Smallest element over `axes`.
    min => mlx_min_axes, "mlx_min_axes", "mlx_min", "mlx_min_axis";
    /// Whether every element over `axes` is true or not zero.
    all => mlx_all_axes, "mlx_all_axes", "mlx_all", "mlx_all_axis";
    /// Whether any element over `axes` is true or not zero.
    any => mlx_any_axes, "mlx_any_axes", "mlx_any", "mlx_any_axis";
    /// `ln Σ e^x` over `axes`, without overflow. Empty arrays have none.
    logsumexp => mlx_logsumexp_axes, "mlx_logsumexp_axes", "mlx_logsumexp", "mlx_logsumexp_axis";
}

impl Array {
    /// Variance of the elements over `axes`: the sum of squared distances from the mean, divided by their number less
    /// `ddof`.
    ///
    /// # Errors
    /// When there is no such axis, or one is named twice.
    #[doc(alias = "mlx_var_axes", alias = "mlx_var", alias = "mlx_var_axis")]
    pub fn var(&self, axes: impl Axes, keepdims: bool, ddof: i32) -> Result<Array> {
        ffi::ops::spread("var", c::mlx_var_axes, self, &axes.list(self.ndim()), keepdims, ddof)
    }

    /// Standard deviation of the elements over `axes`: the square root of [`var`](Self::var).
    ///
    /// # Errors
    /// When there is no such axis, or one is named twice.
    #[doc(alias = "mlx_std_axes", alias = "mlx_std", alias = "mlx_std_axis")]
    pub fn std(&self, axes: impl Axes, keepdims: bool, ddof: i32) -> Result<Array> {
        ffi::ops::spread("std", c::mlx_std_axes, self, &axes.list(self.ndim()), keepdims, ddof)
    }

    /// Position of the largest element along `axis`, as uint32; the first of equals. NaN is passed over, unless it comes
    /// first.
    ///
    /// # Errors
    /// When there is no such axis or the array is empty.
    #[doc(alias = "mlx_argmax_axis", alias = "mlx_argmax")]
    pub fn argmax(&self, axis: i32, keepdims: bool) -> Result<Array> {
        door::axis_flag("argmax", c::mlx_argmax_axis, self, axis, keepdims)
    }

    /// Position of the smallest element along `axis`, as uint32; the first of equals. NaN is passed over, unless it comes
    /// first.
    ///
    /// # Errors
    /// When there is no such axis or the array is empty.
    #[doc(alias = "mlx_argmin_axis", alias = "mlx_argmin")]
    pub fn argmin(&self, axis: i32, keepdims: bool) -> Result<Array> {
        door::axis_flag("argmin", c::mlx_argmin_axis, self, axis, keepdims)
    }

    /// Exponentials of the elements, scaled to sum to one over `axes`.
    ///
    /// With `precise`, 16-bit elements are summed in float32.
    ///
    /// # Errors
    /// When there is no such axis.
    #[doc(alias = "mlx_softmax_axes", alias = "mlx_softmax", alias = "mlx_softmax_axis")]
    pub fn softmax(&self, axes: impl Axes, precise: bool) -> Result<Array> {
        let axes = axes.list(self.ndim());
        for axis in axes.iter() {
            self.axis_length("softmax", *axis)?;
        }
        // The kernel is precise, whatever is asked for.
        let last = self.ndim() as i32 - 1;
        if matches!(axes[..], [axis] if axis == last || axis == -1)
            && let Some(scaled) = kernels::softmax(self)
        {
            return scaled;
        }
        let scaled = ffi::ops::softmax(self, &axes, precise)?;
        // MLX's kernel divides by the length of the last axis.
        if scaled.size() == 0 { Array::zeros(scaled.shape(), scaled.dtype()) } else { Ok(scaled) }
    }

    /// The product of the lengths of `axes`, as a scalar of `dtype`; its inverse if `inverted`.
    ///
    /// # Errors
    /// When there is no such axis.
    #[doc(alias = "mlx_number_of_elements")]
    pub fn number_of_elements(&self, axes: impl Axes, inverted: bool, dtype: DType) -> Result<Array> {
        let axes = axes.list(self.ndim());
        for axis in axes.iter() {
            self.axis_length("number_of_elements", *axis)?;
        }
        ffi::ops::number_of_elements(self, &axes, inverted, dtype)
    }
}
