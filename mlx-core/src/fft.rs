//! Discrete Fourier transforms, as NumPy defines them.
//!
//! Over one axis of length `n`, [`fft`] gives `X[k] = Σ x[j] e^(-2πi jk / n)`; over several, one transform follows another.
//! Elements are read as [`Complex32`](crate::Complex32) on the complex side and as `f32` on the real one: MLX computes in
//! these whatever the dtype that comes in, float64 included.
//!
//! `axes` is one axis, a list, or `..` for all (see [`Axes`]). `lengths`, one for each of them, cuts an axis or fills it up
//! with zeros before it is transformed; without, the axes are as long as they are.
//!
//! ```
//! use mlx_core::fft::{self, Norm};
//! use mlx_core::{Array, Complex32};
//!
//! let a = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[4])?;
//! let spectrum = fft::rfft(&a, -1, None, Norm::Backward)?;
//! let expected = [(10.0, 0.0), (-2.0, 2.0), (-2.0, 0.0)].map(|(re, im)| Complex32::new(re, im));
//! assert_eq!(spectrum.to_vec::<Complex32>()?, expected);
//! assert_eq!(fft::irfft(&spectrum, -1, None, Norm::Backward)?.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
//! # Ok::<(), mlx_core::Error>(())
//! ```

use crate::array::check_shape;
use crate::ffi::{self, c, door};
use crate::{Array, Axes, DType, Error, Result};

/// Which direction of a transform divides by the number of elements `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Norm {
    /// The inverse one.
    #[default]
    Backward,
    /// Both, by `√n`.
    Ortho,
    /// The forward one.
    Forward,
}

impl Norm {
    fn to_c(self) -> c::mlx_fft_norm {
        match self {
            Norm::Backward => c::mlx_fft_norm::MLX_FFT_NORM_BACKWARD,
            Norm::Ortho => c::mlx_fft_norm::MLX_FFT_NORM_ORTHO,
            Norm::Forward => c::mlx_fft_norm::MLX_FFT_NORM_FORWARD,
        }
    }
}

/// The transform over `axes`, complex64.
///
/// # Errors
/// When there is no such axis, one is named twice or none at all, an axis is empty, or `lengths` are not one for each axis,
/// not above 0, or too large for the memory limit.
#[doc(alias = "mlx_fft_fft")]
#[doc(alias = "mlx_fft_fft2")]
#[doc(alias = "mlx_fft_fftn")]
pub fn fft(a: &Array, axes: impl Axes, lengths: Option<&[i32]>, norm: Norm) -> Result<Array> {
    const OP: &str = "fft::fft";
    let (axes, lengths) = plan(OP, a, &axes.list(a.ndim()), lengths, Kind::Complex)?;
    ffi::ops::transform(OP, c::mlx_fft_fftn, a, &lengths, &axes, norm.to_c())
}

/// The inverse of [`fft`] over `axes`, complex64.
///
/// # Errors
/// As [`fft`].
#[doc(alias = "mlx_fft_ifft")]
#[doc(alias = "mlx_fft_ifft2")]
#[doc(alias = "mlx_fft_ifftn")]
pub fn ifft(a: &Array, axes: impl Axes, lengths: Option<&[i32]>, norm: Norm) -> Result<Array> {
    const OP: &str = "fft::ifft";
    let (axes, lengths) = plan(OP, a, &axes.list(a.ndim()), lengths, Kind::Complex)?;
    ffi::ops::transform(OP, c::mlx_fft_ifftn, a, &lengths, &axes, norm.to_c())
}

/// The transform of real numbers over `axes`, without the half of the last of them that follows from the rest: an axis of
/// length `n` becomes `n / 2 + 1` long, complex64.
///
/// # Errors
/// As [`fft`], and when `a` is complex.
#[doc(alias = "mlx_fft_rfft")]
#[doc(alias = "mlx_fft_rfft2")]
#[doc(alias = "mlx_fft_rfftn")]
pub fn rfft(a: &Array, axes: impl Axes, lengths: Option<&[i32]>, norm: Norm) -> Result<Array> {
    const OP: &str = "fft::rfft";
    if a.dtype() == DType::Complex64 {
        let message = format!("{} is not real", a.describe());
        return Err(Error::Shape { op: OP, message });
    }
    let (axes, lengths) = plan(OP, a, &axes.list(a.ndim()), lengths, Kind::Real)?;
    ffi::ops::transform(OP, c::mlx_fft_rfftn, a, &lengths, &axes, norm.to_c())
}

/// The inverse of [`rfft`] over `axes`, float32.
///
/// `lengths` are those of the result. Without, the last of the axes becomes `2 (m - 1)` long if it is `m` long, so an odd
/// length has to be told.
///
/// # Errors
/// As [`fft`].
#[doc(alias = "mlx_fft_irfft")]
#[doc(alias = "mlx_fft_irfft2")]
#[doc(alias = "mlx_fft_irfftn")]
pub fn irfft(a: &Array, axes: impl Axes, lengths: Option<&[i32]>, norm: Norm) -> Result<Array> {
    const OP: &str = "fft::irfft";
    let (axes, lengths) = plan(OP, a, &axes.list(a.ndim()), lengths, Kind::ToReal)?;
    ffi::ops::transform(OP, c::mlx_fft_irfftn, a, &lengths, &axes, norm.to_c())
}

/// The spectrum with frequency 0 moved from the first position to the middle of `axes`.
///
/// # Errors
/// When there is no such axis.
#[doc(alias = "mlx_fft_fftshift")]
pub fn fftshift(a: &Array, axes: impl Axes) -> Result<Array> {
    shift("fft::fftshift", c::mlx_fft_fftshift, a, &axes.list(a.ndim()))
}

/// The inverse of [`fftshift`].
///
/// # Errors
/// When there is no such axis.
#[doc(alias = "mlx_fft_ifftshift")]
pub fn ifftshift(a: &Array, axes: impl Axes) -> Result<Array> {
    shift("fft::ifftshift", c::mlx_fft_ifftshift, a, &axes.list(a.ndim()))
}

/// The frequencies that [`fft`] of `n` samples, `spacing` apart, stands for, `[n]`, float32: first 0 and the positive ones,
/// then the negative.
///
/// # Errors
/// When `n` is not above 0 or too large for the memory limit, or `spacing` is 0 or NaN.
#[doc(alias = "mlx_fft_fftfreq")]
pub fn fftfreq(n: i32, spacing: f64) -> Result<Array> {
    frequencies("fft::fftfreq", c::mlx_fft_fftfreq, n, spacing)
}

/// The frequencies that [`rfft`] of `n` samples, `spacing` apart, stands for, `[n / 2 + 1]`, float32.
///
/// # Errors
/// As [`fftfreq`].
#[doc(alias = "mlx_fft_rfftfreq")]
pub fn rfftfreq(n: i32, spacing: f64) -> Result<Array> {
    frequencies("fft::rfftfreq", c::mlx_fft_rfftfreq, n, spacing)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Complex,
    Real,
    ToReal,
}

/// Axes and lengths for MLX, which neither looks whether an axis without a length exists nor how much memory it takes to
/// fill up an axis, and counts the elements of a transform in 32 bits.
fn plan(
    op: &'static str,
    a: &Array,
    axes: &[i32],
    lengths: Option<&[i32]>,
    kind: Kind,
) -> Result<(Vec<i32>, Vec<i32>)> {
    let refuse = |message: String| Err(Error::Shape { op, message });
    let own = axes.iter().map(|axis| a.axis_length(op, *axis)).collect::<Result<Vec<_>>>()?;
    if axes.is_empty() {
        return refuse(format!("no axis of {} to work over", a.describe()));
    }
    let lengths = match lengths {
        Some(lengths) if lengths.len() != axes.len() => {
            return refuse(format!("{} axes, but lengths {lengths:?}", axes.len()));
        }
        Some(lengths) => lengths.to_vec(),
        None => {
            let mut lengths = own;
            if let (Kind::ToReal, Some(last)) = (kind, lengths.last_mut()) {
                *last = last.saturating_sub(1).saturating_mul(2);
            }
            lengths
        }
    };
    let total = lengths.iter().fold(1i64, |total, length| total.saturating_mul(i64::from(*length)));
    if lengths.iter().any(|length| *length <= 0) || total > i64::from(i32::MAX) {
        return refuse(format!("lengths {lengths:?} for axes {axes:?} of {}", a.describe()));
    }
    let mut shape = a.shape().to_vec();
    for (axis, length) in axes.iter().zip(&lengths) {
        let place = if *axis < 0 { *axis + a.ndim() as i32 } else { *axis };
        if let Some(place) = shape.get_mut(place as usize) {
            *place = *length;
        }
    }
    check_shape(op, &shape, DType::Complex64)?;
    Ok((axes.to_vec(), lengths))
}

fn shift(op: &'static str, f: door::AxesFn, a: &Array, axes: &[i32]) -> Result<Array> {
    for axis in axes {
        a.axis_length(op, *axis)?;
    }
    door::axes(op, f, a, axes)
}

fn frequencies(op: &'static str, f: ffi::ops::FrequenciesFn, n: i32, spacing: f64) -> Result<Array> {
    // MLX adds 1 to the number in 32 bits.
    if n == i32::MAX || spacing.is_nan() {
        return Err(Error::Shape { op, message: format!("{n} samples, {spacing} apart") });
    }
    check_shape(op, &[n], DType::F32)?;
    ffi::ops::frequencies(op, f, n, spacing)
}
