//! The Hadamard transform, and windows: weights that fade a signal out towards its ends.

use crate::array::check_shape;
use crate::ffi::{self, c};
use crate::{Array, DType, Error, Result};

impl Array {
    /// The product of a Hadamard matrix (of `1` and `-1`, with orthogonal rows) with the last axis, times `scale`, which
    /// is `1 / √N` without.
    ///
    /// `N = m 2^k` with `m` one of 1, 12, 20, 28 and `k` at most 26. Elements that are not floating-point become float32.
    ///
    /// # Errors
    /// For any other length of the last axis, an empty array, and dtypes float64 and complex64.
    #[doc(alias = "mlx_hadamard_transform")]
    pub fn hadamard_transform(&self, scale: Option<f32>) -> Result<Array> {
        const OP: &str = "hadamard_transform";
        let refuse = |message: String| Err(Error::Shape { op: OP, message });
        if matches!(self.dtype(), DType::F64 | DType::Complex64) {
            return refuse(format!("{} has no such operation", self.dtype()));
        }
        let length = self.shape().last().copied().unwrap_or(1);
        let exists = |factor: &i32| {
            let rest = length / factor;
            length % factor == 0 && rest > 0 && rest & (rest - 1) == 0 && rest <= 1 << 26
        };
        let factor = [1, 12, 20, 28].into_iter().find(exists);
        let Some(factor) = factor.filter(|_| self.size() != 0) else {
            let message = format!("{} is not m * 2^k long with m in 1, 12, 20, 28, k <= 26", self.describe());
            return refuse(message);
        };
        let a = if self.dtype().is_float() { self.clone() } else { self.as_type(DType::F32)? };
        if factor == 1 {
            return ffi::ops::hadamard_transform(OP, &a, scale);
        }
        // The matrices of 12, 20 and 28 rows are not symmetric, which MLX's gradient takes them for. So they are
        // multiplied with, over a second axis.
        let scale = scale.unwrap_or_else(|| 1.0 / (length as f32).sqrt());
        let positions = Array::arange(0.0, f64::from(factor), 1.0, DType::I32)?;
        let identity = positions.expand_dims([1])?.equal(&positions)?.as_type(a.dtype())?;
        let matrix = ffi::ops::hadamard_transform(OP, &identity, Some(1.0))?.transpose(&[1, 0])?;
        let mut shape = a.shape().to_vec();
        shape.pop();
        shape.extend([factor, length / factor]);
        let product = matrix.matmul(&ffi::ops::hadamard_transform(OP, &a.reshape(&shape)?, Some(scale))?)?;
        product.reshape(a.shape())
    }
}

macro_rules! windows {
    ($($(#[$doc:meta])* $name:ident => $c:ident, $alias:literal;)*) => {
        impl Array {$(
            $(#[$doc])*
            ///
            /// float32, `[n]`; the window of one element is 1.
            ///
            /// # Errors
            /// When `n` is negative or too large for the memory limit.
            #[doc(alias = $alias)]
            pub fn $name(n: i32) -> Result<Array> {
                check_shape(stringify!($name), &[n], DType::F32)?;
                ffi::ops::window(stringify!($name), c::$c, n)
            }
        )*}
    };
}

windows! {
    /// The Bartlett window, a triangle: `1 - |2i / (n - 1) - 1|`.
    bartlett => mlx_bartlett, "mlx_bartlett";
    /// The Blackman window: `0.42 - 0.5 cos(2πi / (n - 1)) + 0.08 cos(4πi / (n - 1))`.
    blackman => mlx_blackman, "mlx_blackman";
    /// The Hamming window: `0.54 - 0.46 cos(2πi / (n - 1))`.
    hamming => mlx_hamming, "mlx_hamming";
    /// The Hann window: `0.5 - 0.5 cos(2πi / (n - 1))`.
    hanning => mlx_hanning, "mlx_hanning";
}
