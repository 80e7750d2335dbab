//! Division with a remainder.
//!
//! Floating-point numbers are divided by MLX. Dividing whole numbers by zero, or the smallest by -1, ends a process on
//! x86; here the one gives 0, as in NumPy, and the other wraps around.

use super::select;
use crate::ffi::{c, door};
use crate::{Array, DType, Error, Result};

impl Array {
    /// `floor(a / b)`; whole numbers give 0 for `b` = 0.
    ///
    /// # Errors
    /// When the shapes cannot be broadcast together, or the numbers are complex.
    #[doc(alias = "mlx_floor_divide")]
    pub fn floor_divide(&self, other: &Array) -> Result<Array> {
        Ok(self.divmod(other)?.0)
    }

    /// `a - b * floor(a / b)`, which has the sign of `b`; whole numbers give 0 for `b` = 0.
    ///
    /// # Errors
    /// When the shapes cannot be broadcast together, or the numbers are complex.
    #[doc(alias = "mlx_remainder")]
    pub fn remainder(&self, other: &Array) -> Result<Array> {
        Ok(self.divmod(other)?.1)
    }

    /// [`floor_divide`](Self::floor_divide) and [`remainder`](Self::remainder).
    ///
    /// # Errors
    /// When the shapes cannot be broadcast together, or the numbers are complex.
    #[doc(alias = "mlx_divmod")]
    pub fn divmod(&self, other: &Array) -> Result<(Array, Array)> {
        // The operands in their common dtype.
        let zero = Array::scalar(false)?;
        let whole = |x: &Array| x.dtype().is_integer() || x.dtype() == DType::Bool;
        if [self, other].iter().any(|x| x.dtype() == DType::Complex64) {
            let message =
                format!("{} and {}: complex numbers have no remainder", self.describe(), other.describe());
            return Err(Error::Shape { op: "divmod", message });
        }
        if !whole(self) || !whole(other) {
            let quotient = door::binary("floor_divide", c::mlx_floor_divide, self, other)?;
            return Ok((quotient, door::binary("remainder", c::mlx_remainder, self, other)?));
        }
        let dtype = self.add(other)?.dtype();
        if dtype.is_float() {
            // The common type of uint64 and a signed one.
            return self.as_type(dtype)?.divmod(&other.as_type(dtype)?);
        }
        let (a, b) = match dtype {
            DType::Bool => (self.as_type(DType::U8)?, other.as_type(DType::U8)?),
            _ => (self.as_type(dtype)?, other.as_type(dtype)?),
        };
        let zero = zero.as_type(a.dtype())?;
        let one = Array::scalar(true)?.as_type(a.dtype())?;
        let by_zero = b.equal(&zero)?;
        // Neither 0 nor -1, which is the complement of 0.
        let by_minus_one = match a.dtype().is_unsigned() {
            true => Array::scalar(false)?,
            false => b.equal(&zero.bitwise_invert()?)?,
        };
        let safe = select(&by_zero.logical_or(&by_minus_one)?, &one, &b)?;
        let remainder = door::binary("remainder", c::mlx_remainder, &a, &safe)?;
        // MLX rounds the quotient to zero; down is one less where there is a remainder and the signs differ.
        let toward_zero = door::binary("floor_divide", c::mlx_floor_divide, &a, &safe)?;
        let negative = |x: &Array| x.less(&zero);
        let down = remainder.not_equal(&zero)?.logical_and(&negative(&a)?.not_equal(&negative(&safe)?)?)?;
        let quotient = toward_zero.subtract(&down.as_type(a.dtype())?)?;
        let quotient = select(&by_minus_one, &a.negative()?, &quotient)?;
        let quotient = select(&by_zero, &zero, &quotient)?;
        let remainder = remainder.broadcast_to(quotient.shape())?;
        Ok((quotient.as_type(dtype)?, remainder.as_type(dtype)?))
    }
}
