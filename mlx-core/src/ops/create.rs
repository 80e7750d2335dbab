//! Arrays out of nothing.

use crate::array::check_shape;
use crate::{Array, DType, Element, Error, Result, ffi};

impl Array {
    /// Makes an array of zeros.
    ///
    /// # Errors
    /// When an axis is negative or the size is above the memory limit.
    #[doc(alias = "mlx_zeros", alias = "mlx_zeros_like", alias = "mlx_zeros_like_dtype")]
    pub fn zeros(shape: &[i32], dtype: DType) -> Result<Self> {
        check_shape("zeros", shape, dtype)?;
        ffi::ops::zeros(shape, dtype)
    }

    /// Makes an array whose elements are all `value`.
    ///
    /// # Errors
    /// When an axis is negative or the size is above the memory limit.
    #[doc(
        alias = "mlx_full",
        alias = "mlx_full_like",
        alias = "mlx_ones",
        alias = "mlx_ones_like",
        alias = "mlx_ones_like_dtype"
    )]
    pub fn full<T: Element>(shape: &[i32], value: T) -> Result<Self> {
        check_shape("full", shape, T::DTYPE)?;
        ffi::ops::full(shape, &Self::scalar(value)?, T::DTYPE)
    }

    /// Makes the numbers from `start` to below `stop` in steps of `step`, `[ceil((stop - start) / step)]`.
    ///
    /// # Errors
    /// When a bound or the step is not finite, the step is 0, an integer dtype gets fractions, or the count overflows.
    #[doc(alias = "mlx_arange")]
    pub fn arange(start: f64, stop: f64, step: f64, dtype: DType) -> Result<Self> {
        let whole = |value: f64| dtype.is_float() || value.fract() == 0.0;
        let finite = start.is_finite() && stop.is_finite() && step.is_finite();
        if !finite || step == 0.0 || !whole(start) || !whole(step) {
            let message = format!("from {start} to {stop} in steps of {step} are not numbers of {dtype}");
            return Err(Error::Shape { op: "arange", message });
        }
        ffi::ops::arange(start, stop, step, dtype)
    }

    /// `count` numbers at equal distances from `start` to `stop`, which is the last one if `endpoint`, `[count]`.
    ///
    /// # Errors
    /// When a bound is not finite, `count` is negative, or the size is above the memory limit.
    #[doc(alias = "mlx_linspace_endpoint", alias = "mlx_linspace")]
    pub fn linspace(start: f64, stop: f64, count: i32, endpoint: bool, dtype: DType) -> Result<Self> {
        if !start.is_finite() || !stop.is_finite() {
            let message = format!("from {start} to {stop} is no range of numbers");
            return Err(Error::Shape { op: "linspace", message });
        }
        check_shape("linspace", &[count], dtype)?;
        ffi::ops::linspace(start, stop, count, endpoint, dtype)
    }

    /// A matrix `[rows, columns]` of zeros with ones on a diagonal: the main one, or the one `diagonal` above it.
    ///
    /// # Errors
    /// When a length is negative or the size is above the memory limit.
    #[doc(alias = "mlx_eye", alias = "mlx_identity")]
    pub fn eye(rows: i32, columns: i32, diagonal: i32, dtype: DType) -> Result<Self> {
        check_shape("eye", &[rows, columns], dtype)?;
        ffi::ops::eye(rows, columns, clamp_diagonal(rows, columns, diagonal), dtype)
    }

    /// A matrix `[rows, columns]` of ones on and below a diagonal, and zeros above: the main one, or the one `diagonal`
    /// above it.
    ///
    /// # Errors
    /// When a length is negative or the size is above the memory limit.
    #[doc(alias = "mlx_tri")]
    pub fn tri(rows: i32, columns: i32, diagonal: i32, dtype: DType) -> Result<Self> {
        check_shape("tri", &[rows, columns], dtype)?;
        ffi::ops::tri(rows, columns, clamp_diagonal(rows, columns, diagonal), dtype)
    }
}

/// The diagonal, or the first one outside the matrix: MLX adds it to positions without a look at overflow.
pub(super) fn clamp_diagonal(rows: i32, columns: i32, diagonal: i32) -> i32 {
    diagonal.clamp(-rows, columns)
}
