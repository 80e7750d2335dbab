//! Operations that treat each element by itself. Two operands are broadcast to a common shape and promoted to a common
//! dtype, as NumPy does.

use crate::ffi::{self, c, door};
use crate::{Array, DType, Result};

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident => $c:ident, $alias:literal;)*) => {
        impl Array {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the dtype has no such operation.
            #[doc(alias = $alias)]
            pub fn $name(&self) -> Result<Array> {
                door::unary(stringify!($name), c::$c, self)
            }
        )*}
    };
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident => $c:ident, $alias:literal;)*) => {
        impl Array {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the shapes cannot be broadcast together or the dtypes have no such operation.
            #[doc(alias = $alias)]
            pub fn $name(&self, other: &Array) -> Result<Array> {
                door::binary(stringify!($name), c::$c, self, other)
            }
        )*}
    };
}

unary! {
    /// `|x|`
    abs => mlx_abs, "mlx_abs";
    /// `-x`
    negative => mlx_negative, "mlx_negative";
    /// `e^x`
    exp => mlx_exp, "mlx_exp";
    /// The natural logarithm of `x`.
    log => mlx_log, "mlx_log";
    /// `√x`
    sqrt => mlx_sqrt, "mlx_sqrt";
    /// `1 / √x`
    rsqrt => mlx_rsqrt, "mlx_rsqrt";
    /// `x²`
    square => mlx_square, "mlx_square";
    /// `1 / (1 + e^-x)`
    sigmoid => mlx_sigmoid, "mlx_sigmoid";
    /// `sin x`, with `x` in radians.
    sin => mlx_sin, "mlx_sin";
    /// `cos x`, with `x` in radians.
    cos => mlx_cos, "mlx_cos";
    /// `tanh x`
    tanh => mlx_tanh, "mlx_tanh";
    /// The Gauss error function of `x`.
    erf => mlx_erf, "mlx_erf";
    /// `not x`
    logical_not => mlx_logical_not, "mlx_logical_not";
    /// Whether `x` is neither infinite nor NaN.
    isfinite => mlx_isfinite, "mlx_isfinite";
}

binary! {
    /// `a + b`
    add => mlx_add, "mlx_add";
    /// `a - b`
    subtract => mlx_subtract, "mlx_subtract";
    /// `a * b`
    multiply => mlx_multiply, "mlx_multiply";
    /// `a / b`; integers give float32.
    divide => mlx_divide, "mlx_divide";
    /// `a ^ b`
    power => mlx_power, "mlx_power";
    /// The larger of `a` and `b`; NaN if either is.
    maximum => mlx_maximum, "mlx_maximum";
    /// The smaller of `a` and `b`; NaN if either is.
    minimum => mlx_minimum, "mlx_minimum";
    /// Whether `a = b`.
    equal => mlx_equal, "mlx_equal";
    /// Whether `a < b`.
    less => mlx_less, "mlx_less";
    /// Whether `a <= b`.
    less_equal => mlx_less_equal, "mlx_less_equal";
    /// Whether `a > b`.
    greater => mlx_greater, "mlx_greater";
    /// Whether `a >= b`.
    greater_equal => mlx_greater_equal, "mlx_greater_equal";
    /// `a and b`
    logical_and => mlx_logical_and, "mlx_logical_and";
    /// `a or b`
    logical_or => mlx_logical_or, "mlx_logical_or";
}

impl Array {
    /// Converts the elements to another type, rounding to the nearest where it holds less.
    ///
    /// # Errors
    /// When the device has no such type (float64 on a GPU).
    #[doc(alias = "mlx_astype")]
    pub fn as_type(&self, dtype: DType) -> Result<Array> {
        ffi::ops::as_type(self, dtype)
    }

    /// The scalar `value` in this array's dtype, for arithmetic that must not promote it.
    ///
    /// # Errors
    /// When the device has no such type.
    pub fn scalar_like(&self, value: f32) -> Result<Array> {
        Array::scalar(value)?.as_type(self.dtype())
    }
}

/// `x` where `condition` holds, else `y`; the three are broadcast together.
///
/// # Errors
/// When the shapes cannot be broadcast together.
#[doc(alias = "mlx_where")]
pub fn select(condition: &Array, x: &Array, y: &Array) -> Result<Array> {
    ffi::ops::select(condition, x, y)
}
