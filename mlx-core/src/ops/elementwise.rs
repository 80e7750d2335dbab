//! Operations that treat each element by itself. Two operands are broadcast to a common shape and promoted to a common
//! dtype, as NumPy does.
//!
//! MLX computes cos, erf, erfinv, exp, logaddexp, sigmoid and sin of float64 in single precision.

use crate::ffi::ops::Nearness;
use crate::ffi::{self, c, door};
use crate::{Array, DType, Error, Result};

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
    /// -1, 0 or 1 with the sign of `x`; 0 for NaN.
    sign => mlx_sign, "mlx_sign";
    /// `1 / x`; integers give float32.
    reciprocal => mlx_reciprocal, "mlx_reciprocal";
    /// The largest whole number not above `x`.
    floor => mlx_floor, "mlx_floor";
    /// The smallest whole number not below `x`.
    ceil => mlx_ceil, "mlx_ceil";
    /// `x` without its fraction.
    trunc => mlx_trunc, "mlx_trunc";
    /// `e^x`
    exp => mlx_exp, "mlx_exp";
    /// `e^x - 1`, exact for small `x`.
    expm1 => mlx_expm1, "mlx_expm1";
    /// The natural logarithm of `x`.
    log => mlx_log, "mlx_log";
    /// The logarithm of `x` to base 2.
    log2 => mlx_log2, "mlx_log2";
    /// The logarithm of `x` to base 10.
    log10 => mlx_log10, "mlx_log10";
    /// `ln (1 + x)`, exact for small `x`.
    log1p => mlx_log1p, "mlx_log1p";
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
    /// `tan x`, with `x` in radians.
    tan => mlx_tan, "mlx_tan";
    /// The angle in radians, 0 to π, whose cosine is `x`.
    arccos => mlx_arccos, "mlx_arccos";
    /// The angle in radians, -π/2 to π/2, whose sine is `x`.
    arcsin => mlx_arcsin, "mlx_arcsin";
    /// The angle in radians, -π/2 to π/2, whose tangent is `x`.
    arctan => mlx_arctan, "mlx_arctan";
    /// `cosh x`
    cosh => mlx_cosh, "mlx_cosh";
    /// `sinh x`
    sinh => mlx_sinh, "mlx_sinh";
    /// `tanh x`
    tanh => mlx_tanh, "mlx_tanh";
    /// The number of at least 0 whose hyperbolic cosine is `x`.
    arccosh => mlx_arccosh, "mlx_arccosh";
    /// The number whose hyperbolic sine is `x`.
    arcsinh => mlx_arcsinh, "mlx_arcsinh";
    /// The number whose hyperbolic tangent is `x`.
    arctanh => mlx_arctanh, "mlx_arctanh";
    /// `x` in degrees for `x` in radians.
    degrees => mlx_degrees, "mlx_degrees";
    /// `x` in radians for `x` in degrees.
    radians => mlx_radians, "mlx_radians";
    /// The Gauss error function of `x`.
    erf => mlx_erf, "mlx_erf";
    /// The number whose error function is `x`.
    erfinv => mlx_erfinv, "mlx_erfinv";
    /// `not x`
    logical_not => mlx_logical_not, "mlx_logical_not";
    /// Whether `x` is neither infinite nor NaN.
    isfinite => mlx_isfinite, "mlx_isfinite";
    /// Whether `x` is infinite.
    isinf => mlx_isinf, "mlx_isinf";
    /// Whether `x` is NaN.
    isnan => mlx_isnan, "mlx_isnan";
    /// Whether `x` is -∞.
    isneginf => mlx_isneginf, "mlx_isneginf";
    /// Whether `x` is +∞.
    isposinf => mlx_isposinf, "mlx_isposinf";
    /// The bits of an integer or a boolean, each turned over.
    bitwise_invert => mlx_bitwise_invert, "mlx_bitwise_invert";
    /// `x` with the sign of its imaginary part turned.
    conjugate => mlx_conjugate, "mlx_conjugate";
    /// The real part, float32 for complex64.
    real => mlx_real, "mlx_real";
    /// The imaginary part, float32 for complex64.
    imag => mlx_imag, "mlx_imag";
    /// `x`, through which no gradient passes.
    stop_gradient => mlx_stop_gradient, "mlx_stop_gradient";
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
    /// `a ^ b`; integers to a negative power give 0.
    power => mlx_power, "mlx_power";
    /// The larger of `a` and `b`; NaN if either is.
    maximum => mlx_maximum, "mlx_maximum";
    /// The smaller of `a` and `b`; NaN if either is.
    minimum => mlx_minimum, "mlx_minimum";
    /// The angle in radians, -π to π, of the point with ordinate `a` and abscissa `b`.
    arctan2 => mlx_arctan2, "mlx_arctan2";
    /// `ln (e^a + e^b)`, without overflow.
    logaddexp => mlx_logaddexp, "mlx_logaddexp";
    /// Whether `a = b`.
    equal => mlx_equal, "mlx_equal";
    /// Whether `a ≠ b`; NaN differs from everything.
    not_equal => mlx_not_equal, "mlx_not_equal";
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
    /// Either `a` or `b`, but not both.
    logical_xor => mlx_logical_xor, "mlx_logical_xor";
    /// The bits that `a` and `b` both have.
    bitwise_and => mlx_bitwise_and, "mlx_bitwise_and";
    /// The bits that `a` or `b` has.
    bitwise_or => mlx_bitwise_or, "mlx_bitwise_or";
    /// The bits of `a` moved up by `b` places, which must be less than the width of the type: otherwise the bits may be any.
    left_shift => mlx_left_shift, "mlx_left_shift";
    /// The bits of `a` moved down by `b` places, which must be less than the width of the type: otherwise the bits may be
    /// any. Signed integers keep their sign.
    right_shift => mlx_right_shift, "mlx_right_shift";
}

impl Array {
    /// Converts the elements to another type: to the nearest number that it holds, or, to whole numbers, without the
    /// fraction. A number that is too large for a whole type, and NaN, give any.
    ///
    /// # Errors
    /// When the device has no such type (float64 on a GPU).
    #[doc(alias = "mlx_astype")]
    pub fn as_type(&self, dtype: DType) -> Result<Array> {
        ffi::ops::as_type(self, dtype)
    }

    /// The same bytes as elements of another type. If its size differs, the last axis becomes shorter or longer.
    ///
    /// # Errors
    /// When the bytes of the last axis do not fill elements of `dtype`, or bytes become booleans.
    #[doc(alias = "mlx_view")]
    pub fn view(&self, dtype: DType) -> Result<Array> {
        let (from, to) = (self.dtype().size() as i64, dtype.size() as i64);
        // MLX computes with the byte of a boolean itself, which must be 0 or 1.
        let made_up = dtype == DType::Bool && self.dtype() != DType::Bool;
        let last = self.shape().last().map(|length| i64::from(*length) * from);
        let fits = last.map_or(from == to, |bytes| bytes % to == 0 && bytes / to <= i64::from(i32::MAX));
        if made_up || !fits {
            let message = format!("{} cannot be seen as {dtype}", self.describe());
            return Err(Error::Shape { op: "view", message });
        }
        ffi::ops::view(self, dtype)
    }

    /// Converts numbers to 8-bit floating point (4 bits of exponent, 3 of fraction, no infinity), held in uint8.
    ///
    /// # Errors
    /// When the elements are not real floating-point numbers.
    #[doc(alias = "mlx_to_fp8")]
    pub fn to_fp8(&self) -> Result<Array> {
        // MLX's kernels know float32 at most, and take float64 for it.
        let narrow = if self.dtype() == DType::F64 { &self.as_type(DType::F32)? } else { self };
        door::unary("to_fp8", c::mlx_to_fp8, narrow)
    }

    /// Converts 8-bit floating point, as [`to_fp8`](Self::to_fp8) makes it, to `dtype`.
    ///
    /// # Errors
    /// When the elements are not uint8, or `dtype` is not a real floating-point one.
    #[doc(alias = "mlx_from_fp8")]
    pub fn from_fp8(&self, dtype: DType) -> Result<Array> {
        match dtype {
            // As in `to_fp8`.
            DType::F64 => ffi::ops::from_fp8(self, DType::F32)?.as_type(DType::F64),
            _ => ffi::ops::from_fp8(self, dtype),
        }
    }

    /// The bits that only one of `a` and `b` has.
    ///
    /// # Errors
    /// When the shapes cannot be broadcast together or the elements are neither integers nor booleans.
    #[doc(alias = "mlx_bitwise_xor")]
    pub fn bitwise_xor(&self, other: &Array) -> Result<Array> {
        if self.dtype() == DType::Bool && other.dtype() == DType::Bool {
            // MLX's own gives the first operand where it may write into that one's memory.
            return self.logical_xor(other);
        }
        door::binary("bitwise_xor", c::mlx_bitwise_xor, self, other)
    }

    /// The scalar `value` in this array's dtype, for arithmetic that must not promote it.
    ///
    /// # Errors
    /// When the device has no such type.
    pub fn scalar_like(&self, value: f32) -> Result<Array> {
        Array::scalar(value)?.as_type(self.dtype())
    }

    /// The elements, those below `min` or above `max` replaced by it; the bounds are broadcast.
    ///
    /// # Errors
    /// When there is no bound, or the shapes cannot be broadcast together.
    #[doc(alias = "mlx_clip")]
    pub fn clip(&self, min: Option<&Array>, max: Option<&Array>) -> Result<Array> {
        ffi::ops::clip(self, min, max)
    }

    /// The elements rounded to so many decimals (negative: to tens, hundreds), halves to the even neighbour.
    ///
    /// # Errors
    /// When there are more decimals than 30, which float32 has no factor for.
    #[doc(alias = "mlx_round")]
    pub fn round(&self, decimals: i32) -> Result<Array> {
        if !(-30..=30).contains(&decimals) {
            let message = format!("{decimals} decimals; -30 to 30 exist");
            return Err(Error::Shape { op: "round", message });
        }
        ffi::ops::round(self, decimals)
    }

    /// The elements with NaN replaced by `nan`, and infinities by `posinf` and `neginf`, or else by the largest and
    /// smallest finite numbers of the dtype.
    ///
    /// # Errors
    /// When the elements are complex.
    #[doc(alias = "mlx_nan_to_num")]
    pub fn nan_to_num(&self, nan: f32, posinf: Option<f32>, neginf: Option<f32>) -> Result<Array> {
        ffi::ops::nan_to_num(self, nan, posinf, neginf)
    }

    /// Whether each element is near that of `other`: `|a - b| <= absolute + relative * |b|`. NaN is near NaN if
    /// `equal_nan`.
    ///
    /// # Errors
    /// When the shapes cannot be broadcast together.
    #[doc(alias = "mlx_isclose")]
    pub fn isclose(&self, other: &Array, relative: f64, absolute: f64, equal_nan: bool) -> Result<Array> {
        ffi::ops::isclose(self, other, Nearness { relative, absolute, equal_nan })
    }

    /// Whether all elements are near those of `other`, as [`isclose`](Self::isclose) has it: a boolean scalar.
    ///
    /// # Errors
    /// When the shapes cannot be broadcast together.
    #[doc(alias = "mlx_allclose")]
    pub fn allclose(&self, other: &Array, relative: f64, absolute: f64, equal_nan: bool) -> Result<Array> {
        ffi::ops::allclose(self, other, Nearness { relative, absolute, equal_nan })
    }

    /// Whether shapes and all elements are equal: a boolean scalar. NaN equals NaN if `equal_nan`.
    ///
    /// # Errors
    /// None that is known.
    #[doc(alias = "mlx_array_equal")]
    pub fn array_equal(&self, other: &Array, equal_nan: bool) -> Result<Array> {
        ffi::ops::array_equal(self, other, equal_nan)
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

/// The arrays themselves, which are computed only after those of `on`.
///
/// # Errors
/// When there are no arrays.
#[doc(alias = "mlx_depends")]
pub fn depends(arrays: &[&Array], on: &[&Array]) -> Result<Vec<Array>> {
    // MLX looks at the first without asking whether there is one.
    if arrays.is_empty() {
        return Err(Error::Shape { op: "depends", message: "there are no arrays".to_owned() });
    }
    ffi::ops::depends(arrays, on)
}
