//! Running reductions: each element becomes the fold of those up to it along an axis.
//!
//! With `reverse` they run from the last element to the first. Without `inclusive` an element's own value is left out, so
//! that the first one is what the fold of nothing gives.

use crate::ffi::{self, c};
use crate::{Array, Result};

macro_rules! scans {
    ($run:ident: $($(#[$doc:meta])* $name:ident => $c:ident, $($alias:literal),+;)*) => {
        impl Array {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When there is no such axis, or the dtype has no such operation.
            #[doc($(alias = $alias),+)]
            pub fn $name(&self, axis: i32, reverse: bool, inclusive: bool) -> Result<Array> {
                self.axis_index(stringify!($name), axis)?;
                let folds = ffi::ops::$run(stringify!($name), c::$c, self, axis, reverse, inclusive)?;
                // MLX's kernel divides by the length of the axis.
                if folds.size() == 0 { Array::zeros(folds.shape(), folds.dtype()) } else { Ok(folds) }
            }
        )*}
    };
}

scans! { scan:
    /// Running sum along `axis`.
    ///
    /// ```
    /// # use mlx_core::Array;
    /// let a = Array::from_slice(&[1i32, 2, 3], &[3])?;
    /// assert_eq!(a.cumsum(0, false, true)?.to_vec::<i32>()?, [1, 3, 6]);
    /// assert_eq!(a.cumsum(0, true, false)?.to_vec::<i32>()?, [5, 3, 0]);
    /// # Ok::<(), mlx_core::Error>(())
    /// ```
    cumsum => mlx_cumsum_axis, "mlx_cumsum_axis", "mlx_cumsum";
    /// Running product along `axis`.
    cumprod => mlx_cumprod_axis, "mlx_cumprod_axis", "mlx_cumprod";
}

scans! { plain_scan:
    /// Largest element so far along `axis`.
    cummax => mlx_cummax_axis, "mlx_cummax_axis", "mlx_cummax";
    /// Smallest element so far along `axis`.
    cummin => mlx_cummin_axis, "mlx_cummin_axis", "mlx_cummin";
    /// `ln Σ e^x` of the elements so far along `axis`, without overflow.
    logcumsumexp => mlx_logcumsumexp_axis, "mlx_logcumsumexp_axis", "mlx_logcumsumexp";
}
