//! Random numbers that follow from a key.
//!
//! A key is an array of two uint32: [`key`] makes one of a seed, [`split`] makes new ones of it. The same key gives the same
//! numbers, whatever was drawn before, on every device and in every thread (Threefry, Salmon et al., 2011); so each
//! key is used once, and split where more are needed. The numbers are those that MLX gives in Python for the key. MLX's
//! hidden key of the process is left out: results would not follow from the arguments.
//!
//! ```
//! use mlx_core::{DType, random};
//!
//! let [first, second] = random::split(&random::key(7)?)?;
//! let noise = random::normal(&first, &[2, 3], DType::F32, 0.0, 1.0)?;
//! let dice = random::randint(&second, 1, 7, &[5], DType::I32)?;
//! assert_eq!(noise.shape(), [2, 3]);
//! assert!(dice.to_vec::<i32>()?.iter().all(|eyes| (1..=6).contains(eyes)));
//! # Ok::<(), mlx_core::Error>(())
//! ```
//!
//! The key comes first, then the arguments in Python's order.
//!
//! Parameters such as bounds are numbers or arrays (see [`Parameter`]); arrays are broadcast to the shape that is drawn.

use crate::array::check_shape;
use crate::ffi::{self, c};
use crate::linalg::guard::{self, Limit};
use crate::{Array, DType, Error, Result};

/// A parameter of a distribution: an `f32`, an `i32`, or an array with one for each element that is drawn.
pub trait Parameter: sealed::Sealed {
    /// The parameter as an array.
    ///
    /// # Errors
    /// When no memory is left.
    fn array(&self) -> Result<Array>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! parameters {
    ($($type:ty: |$self:ident| $array:expr;)*) => {$(
        impl sealed::Sealed for $type {}
        impl Parameter for $type {
            fn array(&$self) -> Result<Array> {
                $array
            }
        }
    )*};
}

parameters! {
    f32: |self| Array::scalar(*self);
    i32: |self| Array::scalar(*self);
    &Array: |self| Ok((*self).clone());
}

/// How many numbers [`categorical`] draws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Samples<'a> {
    /// One from each distribution: the result has the shape of the logits without `axis`.
    #[default]
    One,
    /// So many from each, along a new last axis.
    Count(i32),
    /// As many as this shape holds, to which the distributions are broadcast.
    Shape(&'a [i32]),
}

/// The key of a seed.
///
/// # Errors
/// When no memory is left.
#[doc(alias = "mlx_random_key")]
pub fn key(seed: u64) -> Result<Array> {
    ffi::ops::random_key(seed)
}

/// New keys, as many as the pattern takes.
///
/// # Errors
/// When `key` is none.
#[doc(alias = "mlx_random_split")]
pub fn split<const N: usize>(key: &Array) -> Result<[Array; N]> {
    const OP: &str = "random::split";
    let count = i32::try_from(N).map_err(|_| refuse(OP, format!("{N} keys")))?;
    let all = many(OP, key, count)?;
    let row = |i| all.slice_axis(0, i, i + 1)?.reshape(&[2]);
    let keys = (0..count).map(row).collect::<Result<Vec<_>>>()?;
    keys.try_into().map_err(|_| refuse(OP, format!("{N} keys")))
}

/// `count` new keys in one array, `[count, 2]`: for [`vmap`](crate::transforms::vmap), or for more keys than are known when
/// the program is written. The first are those of [`split`] into as many.
///
/// # Errors
/// When `key` is none, or `count` is negative or too large for the memory limit.
#[doc(alias = "mlx_random_split_num")]
pub fn split_num(key: &Array, count: i32) -> Result<Array> {
    many("random::split_num", key, count)
}

/// Uniformly distributed integers over all that `dtype` holds: uint8, uint16 or uint32.
///
/// # Errors
/// When `key` is none, `dtype` is another, an axis is negative, or the size is above the memory limit.
#[doc(alias = "mlx_random_bits")]
pub fn bits(key: &Array, shape: &[i32], dtype: DType) -> Result<Array> {
    const OP: &str = "random::bits";
    check(OP, key, shape, dtype)?;
    if !matches!(dtype, DType::U8 | DType::U16 | DType::U32) {
        return Err(refuse(OP, format!("{dtype} is neither uint8, uint16 nor uint32")));
    }
    ffi::ops::random_bits(OP, key, shape, dtype.size() as i32)
}

/// Uniformly distributed numbers from `low` to below `high` (which rounding may reach): float32, float16 or bfloat16.
///
/// # Errors
/// When `key` is none, `dtype` is another, the parameters are complex or cannot be broadcast to `shape`, an axis is
/// negative, or the size is above the memory limit.
#[doc(alias = "mlx_random_uniform")]
pub fn uniform(
    key: &Array,
    low: impl Parameter,
    high: impl Parameter,
    shape: &[i32],
    dtype: DType,
) -> Result<Array> {
    const OP: &str = "random::uniform";
    check(OP, key, shape, dtype)?;
    if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
        return Err(refuse(OP, format!("{dtype} is neither float32, float16 nor bfloat16")));
    }
    let (low, high) = (real(OP, low)?, real(OP, high)?);
    ffi::ops::random_between(OP, c::mlx_random_uniform, key, [&low, &high], shape, dtype)
}

/// Normally distributed numbers with mean `loc` and standard deviation `scale`, in a floating-point dtype or complex64.
///
/// Complex numbers have the variance `scale²` over both parts. float64 holds numbers that are drawn in float32.
///
/// # Errors
/// When `key` is none, `dtype` is another, the parameters cannot be broadcast to `shape`, an axis is negative, or the size
/// is above the memory limit.
#[doc(alias = "mlx_random_normal_broadcast")]
#[doc(alias = "mlx_random_normal")]
pub fn normal(
    key: &Array,
    shape: &[i32],
    dtype: DType,
    loc: impl Parameter,
    scale: impl Parameter,
) -> Result<Array> {
    const OP: &str = "random::normal";
    check(OP, key, shape, dtype)?;
    let convert = |parameter: Array| match (parameter.dtype(), dtype) {
        (DType::Complex64, DType::Complex64) => Ok(parameter),
        (DType::Complex64, _) => Err(refuse(OP, format!("{} for {dtype}", parameter.describe()))),
        // In a wider dtype the result would be of that one.
        (_, DType::Complex64) => parameter.as_type(DType::F32),
        _ => Ok(parameter),
    };
    let (loc, scale) = (convert(loc.array()?)?, convert(scale.array()?)?);
    let out = ffi::ops::random_normal(OP, key, [&loc, &scale], shape, dtype)?;
    // MLX lets larger parameters repeat what was drawn.
    if out.shape() != shape {
        let message = format!("{} and {} do not fit {shape:?}", loc.describe(), scale.describe());
        return Err(refuse(OP, message));
    }
    Ok(out)
}

/// Vectors `[shape.., N]` distributed normally around `mean` `[.., N]` with the covariances `covariance` `[.., N, N]`,
/// float32. The axes before those are broadcast with `shape`.
///
/// Needs singular values, which MLX computes on the CPU only (see [`linalg`](crate::linalg)).
///
/// # Errors
/// When `key` is none, the shapes do not belong together, a parameter is complex, an axis is negative, or the size is above
/// the memory limit; at evaluation, when a covariance is not finite.
#[doc(alias = "mlx_random_multivariate_normal")]
pub fn multivariate_normal(
    key: &Array,
    mean: impl Parameter,
    covariance: impl Parameter,
    shape: &[i32],
) -> Result<Array> {
    const OP: &str = "random::multivariate_normal";
    let mean = real(OP, mean)?.as_type(DType::F32)?;
    let covariance = real(OP, covariance)?.as_type(DType::F32)?;
    let drawn: Vec<i32> = shape.iter().copied().chain(mean.shape().last().copied()).collect();
    check(OP, key, &drawn, DType::F32)?;
    guard::matrices(OP, &covariance, Limit::WorkSpace)?;
    let (condition, safe) = guard::finite(&covariance)?;
    let out = ffi::ops::random_multivariate_normal(OP, key, &mean, &safe, shape)?;
    check_shape(OP, out.shape(), DType::F32)?;
    guard::require(OP, "a covariance holds infinities or NaN", &condition, &out)
}

/// Normally distributed numbers with mean 0 and standard deviation 1 between `lower` and `upper`: float32, float16 or
/// bfloat16.
///
/// # Errors
/// As [`uniform`].
#[doc(alias = "mlx_random_truncated_normal")]
pub fn truncated_normal(
    key: &Array,
    lower: impl Parameter,
    upper: impl Parameter,
    shape: &[i32],
    dtype: DType,
) -> Result<Array> {
    const OP: &str = "random::truncated_normal";
    check(OP, key, shape, dtype)?;
    let (lower, upper) = (real(OP, lower)?, real(OP, upper)?);
    ffi::ops::random_between(OP, c::mlx_random_truncated_normal, key, [&lower, &upper], shape, dtype)
}

/// Numbers with the density `e^(-|x - loc| / scale) / (2 scale)`, in a floating-point dtype.
///
/// float64 holds numbers that are drawn in float32.
///
/// # Errors
/// When `key` is none, `dtype` is another, an axis is negative, or the size is above the memory limit.
#[doc(alias = "mlx_random_laplace")]
pub fn laplace(key: &Array, shape: &[i32], dtype: DType, loc: f32, scale: f32) -> Result<Array> {
    const OP: &str = "random::laplace";
    check(OP, key, shape, dtype)?;
    ffi::ops::random_laplace(OP, key, shape, dtype, loc, scale)
}

/// Numbers `-ln(-ln u)` for uniform `u`, the largest of many: float32, float16 or bfloat16.
///
/// # Errors
/// When `key` is none, `dtype` is another, an axis is negative, or the size is above the memory limit.
#[doc(alias = "mlx_random_gumbel")]
pub fn gumbel(key: &Array, shape: &[i32], dtype: DType) -> Result<Array> {
    const OP: &str = "random::gumbel";
    check(OP, key, shape, dtype)?;
    ffi::ops::random_gumbel(OP, key, shape, dtype)
}

/// Booleans that are true with the probability `p`.
///
/// # Errors
/// When `key` is none, `p` is not floating-point or cannot be broadcast to `shape`, an axis is negative, or the size is above
/// the memory limit.
#[doc(alias = "mlx_random_bernoulli")]
pub fn bernoulli(key: &Array, p: impl Parameter, shape: &[i32]) -> Result<Array> {
    const OP: &str = "random::bernoulli";
    check(OP, key, shape, DType::F32)?;
    ffi::ops::random_bernoulli(OP, key, &p.array()?, shape)
}

/// Integers from `low` to below `high`, of an integer dtype or boolean; `low` where `high` is not above it.
///
/// They are drawn in float32: between bounds more than 2²⁴ apart, some integers never come. Bounds must be numbers of
/// `dtype`, or the integers mean nothing.
///
/// # Errors
/// When `key` is none, `dtype` or a bound is floating-point, the bounds cannot be broadcast to `shape`, an axis is negative,
/// or the size is above the memory limit.
#[doc(alias = "mlx_random_randint")]
pub fn randint(
    key: &Array,
    low: impl Parameter,
    high: impl Parameter,
    shape: &[i32],
    dtype: DType,
) -> Result<Array> {
    const OP: &str = "random::randint";
    check(OP, key, shape, dtype)?;
    let (low, high) = (low.array()?, high.array()?);
    for bound in [&low, &high] {
        if bound.dtype().is_float() || matches!(bound.dtype(), DType::Complex64 | DType::Bool) {
            return Err(refuse(OP, format!("the bound {} is no integer", bound.describe())));
        }
    }
    ffi::ops::random_between(OP, c::mlx_random_randint, key, [&low, &high], shape, dtype)
}

/// Positions along `axis`, uint32, drawn with probabilities proportional to `e^logits`.
///
/// # Errors
/// When `key` is none, there is no such axis or it is empty, the logits are complex, the samples have a negative count or a
/// shape that the distributions cannot be broadcast to, or the memory limit is too low.
#[doc(alias = "mlx_random_categorical")]
#[doc(alias = "mlx_random_categorical_num_samples")]
#[doc(alias = "mlx_random_categorical_shape")]
pub fn categorical(key: &Array, logits: &Array, axis: i32, samples: Samples<'_>) -> Result<Array> {
    const OP: &str = "random::categorical";
    let logits = real(OP, logits)?;
    let length = logits.axis_length(OP, axis)?;
    if length == 0 {
        return Err(refuse(OP, format!("{} offers nothing to choose", logits.describe())));
    }
    let mut drawn = match samples {
        Samples::One => logits.shape().to_vec(),
        Samples::Count(count) => logits.shape().iter().copied().chain([count]).collect(),
        Samples::Shape(shape) => shape.iter().copied().chain([length]).collect(),
    };
    check(OP, key, &drawn, DType::F32)?;
    let out = match samples {
        Samples::One => ffi::ops::random_categorical(OP, key, &logits, axis),
        Samples::Count(count) => ffi::ops::random_categorical_count(OP, key, &logits, axis, count),
        Samples::Shape(shape) => ffi::ops::random_categorical_shape(OP, key, &logits, axis, shape),
    }?;
    // What was to be drawn, without the axis that was drawn from.
    let place = match samples {
        Samples::Shape(shape) => shape.len(),
        _ => (if axis < 0 { axis + logits.ndim() as i32 } else { axis }) as usize,
    };
    drawn.remove(place);
    if out.shape() == drawn {
        Ok(out)
    } else {
        Err(refuse(OP, format!("{} is not {drawn:?}", out.describe())))
    }
}

/// The slices of an array along `axis` in random order.
///
/// # Errors
/// When `key` is none or there is no such axis.
#[doc(alias = "mlx_random_permutation")]
pub fn permutation(key: &Array, a: &Array, axis: i32) -> Result<Array> {
    const OP: &str = "random::permutation";
    let length = a.axis_length(OP, axis)?;
    check(OP, key, &[length], DType::U32)?;
    if length == 0 {
        return Ok(a.clone());
    }
    ffi::ops::random_permutation(OP, key, a, axis)
}

/// The numbers from 0 to below `n` in random order, uint32.
///
/// # Errors
/// When `key` is none, or `n` is negative or too large for the memory limit.
#[doc(alias = "mlx_random_permutation_arange")]
pub fn permutation_arange(key: &Array, n: i32) -> Result<Array> {
    const OP: &str = "random::permutation_arange";
    check(OP, key, &[n], DType::U32)?;
    if n == 0 {
        return Array::zeros(&[0], DType::U32);
    }
    ffi::ops::random_permutation_arange(OP, key, n)
}

fn refuse(op: &'static str, message: String) -> Error {
    Error::Shape { op, message }
}

/// Refuses what is no key, and sizes that there is no memory for; bits are drawn four bytes an element.
fn check(op: &'static str, key: &Array, shape: &[i32], dtype: DType) -> Result<()> {
    if key.dtype() != DType::U32 || key.shape() != [2] {
        return Err(refuse(op, format!("{} is no key, which is uint32[2]", key.describe())));
    }
    check_shape(op, shape, DType::F32)?;
    check_shape(op, shape, dtype)
}

fn many(op: &'static str, key: &Array, count: i32) -> Result<Array> {
    check(op, key, &[count, 2], DType::U32)?;
    ffi::ops::random_split(op, key, count)
}

/// A parameter that is not complex: MLX would drop the imaginary part.
fn real(op: &'static str, parameter: impl Parameter) -> Result<Array> {
    let array = parameter.array()?;
    if array.dtype() == DType::Complex64 {
        return Err(refuse(op, format!("{} is not real", array.describe())));
    }
    Ok(array)
}
