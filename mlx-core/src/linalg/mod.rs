//! Linear algebra: decompositions, inverses, systems of equations, norms.
//!
//! Matrices are the last two axes; the axes before them are a batch, and every matrix of it is worked on by itself. MLX
//! has these operations on the CPU only, through LAPACK, in float32 and float64 (some also in complex64): where there is a
//! GPU, call them inside [`Device::Cpu.scope`](crate::Device::scope); elsewhere they are errors. [`cross`] and the norms
//! that need no singular values run everywhere.
//!
//! Like every operation these are lazy, so a matrix that has no inverse is told by the evaluation. MLX defines no
//! derivatives for the decompositions, nor for what is made of them ([`inv`], [`solve`]); asking for one is an error.
//!
//! ```
//! use mlx_core::{Array, Device, linalg};
//!
//! # fn main() -> mlx_core::Result<()> {
//! let a = Array::from_slice(&[3.0f32, 1.0, 1.0, 2.0], &[2, 2])?;
//! let b = Array::from_slice(&[9.0f32, 8.0], &[2])?;
//! let x = Device::Cpu.scope(|| linalg::solve(&a, &b))?.to_vec::<f32>()?;
//! assert!((x[0] - 2.0).abs() < 1e-5 && (x[1] - 3.0).abs() < 1e-5);
//! # Ok(())
//! # }
//! ```

pub(crate) mod guard;
mod norm;

use std::ffi::CStr;

use guard::{Limit, finite, matrices, matrices_with_elements, positive_diagonal, require};
pub use norm::{Norm, norm};

use crate::ffi::{self, c, door};
use crate::{Array, DType, Error, Result, concatenate, select};

/// A half of a square matrix, with the diagonal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Triangle {
    /// On and below the diagonal.
    #[default]
    Lower,
    /// On and above the diagonal.
    Upper,
}

impl Triangle {
    fn is_upper(self) -> bool {
        self == Triangle::Upper
    }

    /// As LAPACK calls it.
    fn name(self) -> &'static CStr {
        match self {
            Triangle::Lower => c"L",
            Triangle::Upper => c"U",
        }
    }
}

const NOT_FINITE: &str = "a matrix holds infinities or NaN";

/// The triangular factor of a symmetric positive definite matrix: lower `L` with `A = L Lᵀ`, or upper `U` with `A = Uᵀ U`.
///
/// One triangle of `A` is taken for both.
///
/// # Errors
/// When the matrices are not square or not float32 or float64; at evaluation, when one is not positive definite.
#[doc(alias = "mlx_linalg_cholesky")]
pub fn cholesky(a: &Array, triangle: Triangle) -> Result<Array> {
    const OP: &str = "linalg::cholesky";
    matrices(OP, a, Limit::Elements)?;
    let factor = ffi::ops::linalg_flag(OP, c::mlx_linalg_cholesky, a, triangle.is_upper())?;
    // LAPACK stops at a pivot that is not positive and leaves it there; MLX takes no notice.
    require(OP, "a matrix is not positive definite", &positive_diagonal(&factor)?, &factor)
}

/// The inverse of `A` from its [`cholesky`] factor.
///
/// # Errors
/// When the matrices are not square, empty, or not float32 or float64; at evaluation, when the diagonal holds a zero.
#[doc(alias = "mlx_linalg_cholesky_inv")]
pub fn cholesky_inv(factor: &Array, triangle: Triangle) -> Result<Array> {
    const OP: &str = "linalg::cholesky_inv";
    matrices_with_elements(OP, factor)?;
    ffi::ops::linalg_flag(OP, c::mlx_linalg_cholesky_inv, factor, triangle.is_upper())
}

/// The cross product of vectors of two or three elements along `axis`; the result has three. The other axes broadcast.
///
/// # Errors
/// When there is no such axis, it is not 2 or 3 long, the shapes cannot be broadcast together, or an axis is counted from
/// the first of arrays with different numbers of axes.
#[doc(alias = "mlx_linalg_cross")]
pub fn cross(a: &Array, b: &Array, axis: i32) -> Result<Array> {
    const OP: &str = "linalg::cross";
    // Broadcasting counts axes from the last, and MLX would multiply along two different ones.
    if axis >= 0 && a.ndim() != b.ndim() {
        let message = format!("axis {axis} is not the same in {} and {}", a.describe(), b.describe());
        return Err(Error::Shape { op: OP, message });
    }
    // Of slices, because MLX's own is made of its split, which reads outside arrays that are broadcast.
    let parts = |a: &Array| match a.axis_length(OP, axis)? {
        length @ 2..=3 => (0..length).map(|i| a.slice_axis(axis, i, i + 1)).collect::<Result<Vec<_>>>(),
        _ => Err(Error::Shape {
            op: OP,
            message: format!("axis {axis} of {} is not 2 or 3 long", a.describe()),
        }),
    };
    let (x, y) = (parts(a)?, parts(b)?);
    // x[i] * y[j] - x[j] * y[i], where a third element that is missing is 0.
    let minor = |i: usize, j: usize| {
        let product = |i, j| x.get(i).zip(y.get(j)).map(|(x, y): (&Array, &Array)| x.multiply(y)).transpose();
        match (product(i, j)?, product(j, i)?) {
            (Some(first), Some(second)) => first.subtract(&second),
            (Some(first), None) => Ok(first),
            (None, Some(second)) => second.negative(),
            (None, None) => {
                let like = x[0].multiply(&y[0])?;
                Array::zeros(like.shape(), like.dtype())
            }
        }
    };
    concatenate(&[&minor(1, 2)?, &minor(2, 0)?, &minor(0, 1)?], axis)
}

/// The determinants of square matrices. Integers give float32.
///
/// # Errors
/// When the matrices are not square, are complex, or have more than 3 rows and are neither float32, float64 nor integers.
#[doc(alias = "mlx_linalg_det")]
pub fn det(a: &Array) -> Result<Array> {
    const OP: &str = "linalg::det";
    matrices(OP, a, Limit::Elements)?;
    if a.axis_length(OP, -1)? <= 3 || a.axis_length(OP, -1)? != a.axis_length(OP, -2)? {
        return door::unary(OP, c::mlx_linalg_det, a);
    }
    // MLX takes the exponential of a logarithm here, which has the precision of float32 even in float64. The product of
    // the pivots, negative for an odd number of exchanged rows, has it all.
    let exact = matches!(a.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64 | DType::Complex64);
    let a = if exact { a.clone() } else { a.as_type(DType::F32)? };
    let (factors, pivots) = factors_and_pivots(OP, &a)?;
    let rows = Array::arange(0.0, f64::from(a.axis_length(OP, -1)?), 1.0, DType::U32)?;
    let one = Array::scalar(1i32)?.as_type(a.dtype())?;
    let signs = select(&pivots.equal(&rows)?, &one, &one.negative()?)?;
    let diagonal = select(&guard::diagonal(&a)?, &factors, &one)?;
    let product = |a: &Array, axes: &[i32]| door::axes_flag(OP, c::mlx_prod_axes, a, axes, false);
    product(&diagonal, &[-2, -1])?.multiply(&product(&signs, &[-1])?)
}

/// Signs and natural logarithms of the absolute values of determinants, which themselves may overflow.
///
/// A singular matrix has the sign 0 and the logarithm `-∞`.
///
/// # Errors
/// As [`det`].
#[doc(alias = "mlx_linalg_slogdet")]
pub fn slogdet(a: &Array) -> Result<(Array, Array)> {
    const OP: &str = "linalg::slogdet";
    matrices(OP, a, Limit::Elements)?;
    ffi::ops::linalg_pair(OP, c::mlx_linalg_slogdet, a)
}

/// Eigenvalues `w` `[.., N]` and eigenvectors `V` `[.., N, N]`, one a column, of square matrices: `A V = V diag(w)`.
///
/// Both are complex64, whatever the matrix is; the vectors have length one, and the values no particular order.
///
/// # Errors
/// When the matrices are not square or neither float32, float64 nor complex64; at evaluation, when one is not finite.
#[doc(alias = "mlx_linalg_eig")]
pub fn eig(a: &Array) -> Result<(Array, Array)> {
    const OP: &str = "linalg::eig";
    matrices(OP, a, Limit::WorkSpace)?;
    let (condition, safe) = finite(a)?;
    let (values, mut vectors) = ffi::ops::linalg_pair(OP, c::mlx_linalg_eig, &safe)?;
    if a.dtype() == DType::Complex64 {
        // MLX has LAPACK work on the transposed matrix, whose left eigenvectors are the conjugates of what is wanted.
        vectors = door::unary(OP, c::mlx_conjugate, &vectors)?;
    }
    let checked = |a: &Array| require(OP, NOT_FINITE, &condition, a);
    Ok((checked(&values)?, checked(&vectors)?))
}

/// The eigenvalues that [`eig`] gives, `[.., N]`, complex64.
///
/// # Errors
/// As [`eig`].
#[doc(alias = "mlx_linalg_eigvals")]
pub fn eigvals(a: &Array) -> Result<Array> {
    const OP: &str = "linalg::eigvals";
    matrices(OP, a, Limit::WorkSpace)?;
    let (condition, safe) = finite(a)?;
    require(OP, NOT_FINITE, &condition, &door::unary(OP, c::mlx_linalg_eigvals, &safe)?)
}

/// Eigenvalues `w` `[.., N]`, ascending, and eigenvectors `V` `[.., N, N]`, one a column, of symmetric (Hermitian)
/// matrices: `A = V diag(w) Vᴴ`.
///
/// Only `triangle` is read. The values are real.
///
/// # Errors
/// When the matrices are not square or neither float32, float64 nor complex64; at evaluation, when one is not finite.
#[doc(alias = "mlx_linalg_eigh")]
pub fn eigh(a: &Array, triangle: Triangle) -> Result<(Array, Array)> {
    const OP: &str = "linalg::eigh";
    matrices(OP, a, Limit::WorkSpace)?;
    let (condition, safe) = finite(a)?;
    let (values, vectors) = ffi::ops::eigh(OP, &safe, triangle.name())?;
    let checked = |a: &Array| require(OP, NOT_FINITE, &condition, a);
    Ok((checked(&values)?, checked(&vectors)?))
}

/// The eigenvalues that [`eigh`] gives, `[.., N]`.
///
/// # Errors
/// As [`eigh`].
#[doc(alias = "mlx_linalg_eigvalsh")]
pub fn eigvalsh(a: &Array, triangle: Triangle) -> Result<Array> {
    const OP: &str = "linalg::eigvalsh";
    matrices(OP, a, Limit::WorkSpace)?;
    let (condition, safe) = finite(a)?;
    require(OP, NOT_FINITE, &condition, &ffi::ops::eigvalsh(OP, &safe, triangle.name())?)
}

/// The inverses of square matrices.
///
/// # Errors
/// When the matrices are not square, empty, or not float32 or float64; at evaluation, when one is singular.
#[doc(alias = "mlx_linalg_inv")]
pub fn inv(a: &Array) -> Result<Array> {
    const OP: &str = "linalg::inv";
    matrices_with_elements(OP, a)?;
    door::unary(OP, c::mlx_linalg_inv, a)
}

/// The inverses of triangular matrices; the other triangle is not read.
///
/// # Errors
/// When the matrices are not square, empty, or not float32 or float64; at evaluation, when the diagonal holds a zero.
#[doc(alias = "mlx_linalg_tri_inv")]
pub fn tri_inv(a: &Array, triangle: Triangle) -> Result<Array> {
    const OP: &str = "linalg::tri_inv";
    matrices_with_elements(OP, a)?;
    ffi::ops::linalg_flag(OP, c::mlx_linalg_tri_inv, a, triangle.is_upper())
}

/// The Moore-Penrose inverses, `[.., M, N] -> [.., N, M]`, by singular values.
///
/// Those below `10 max(M, N) ε` times the largest count as zero, with `ε` the machine epsilon.
///
/// # Errors
/// When the matrices are not float32 or float64; at evaluation, when one holds infinities or NaN.
#[doc(alias = "mlx_linalg_pinv")]
pub fn pinv(a: &Array) -> Result<Array> {
    const OP: &str = "linalg::pinv";
    matrices(OP, a, Limit::WorkSpace)?;
    let (condition, safe) = finite(a)?;
    require(OP, NOT_FINITE, &condition, &door::unary(OP, c::mlx_linalg_pinv, &safe)?)
}

/// The factors `(p, L, U)` of `[.., M, N]`, by Gaussian elimination: row `p[i]` of `L U` is row `i` of `A`.
///
/// `p` `[.., M]` holds uint32, `L` `[.., M, K]` has ones on its diagonal, `U` is `[.., K, N]`, and `K = min(M, N)`.
///
/// # Errors
/// When the matrices are empty, or not float32 or float64.
#[doc(alias = "mlx_linalg_lu")]
pub fn lu(a: &Array) -> Result<(Array, Array, Array)> {
    const OP: &str = "linalg::lu";
    matrices_with_elements(OP, a)?;
    three(OP, ffi::ops::lu(OP, a)?)
}

/// The factors of [`lu`] in one matrix `[.., M, N]`, without the ones of `L`, and the pivots `[.., min(M, N)]`, uint32:
/// step `i` of the elimination exchanged rows `i` and `pivots[i]`.
///
/// # Errors
/// As [`lu`].
#[doc(alias = "mlx_linalg_lu_factor")]
pub fn lu_factor(a: &Array) -> Result<(Array, Array)> {
    const OP: &str = "linalg::lu_factor";
    matrices_with_elements(OP, a)?;
    factors_and_pivots(OP, a)
}

fn factors_and_pivots(op: &'static str, a: &Array) -> Result<(Array, Array)> {
    let (factors, pivots) = ffi::ops::linalg_pair(op, c::mlx_linalg_lu_factor, a)?;
    // MLX takes the factors' bytes for their elements, and would read that many where it copies them as they lie. It
    // follows the strides where they do not lie in row-major order, as here.
    Ok((factors.contiguous()?, pivots))
}

/// `Q` `[.., M, K]` with orthonormal columns and upper triangular `R` `[.., K, N]` whose product is `A` `[.., M, N]`, where
/// `K = min(M, N)`.
///
/// # Errors
/// When the matrices are not float32 or float64.
#[doc(alias = "mlx_linalg_qr")]
pub fn qr(a: &Array) -> Result<(Array, Array)> {
    const OP: &str = "linalg::qr";
    matrices(OP, a, Limit::Elements)?;
    ffi::ops::linalg_pair(OP, c::mlx_linalg_qr, a)
}

/// The solution `X` of `A X = B` for square `A` `[.., N, N]` and `B` `[.., N, K]`, or one vector `[N]`.
///
/// The batches are broadcast together. MLX solves by the inverses of the factors of [`lu`].
///
/// # Errors
/// When the shapes do not belong together, the matrices are empty, or `A` is not float32 or float64; at evaluation, when a
/// matrix is singular.
#[doc(alias = "mlx_linalg_solve")]
pub fn solve(a: &Array, b: &Array) -> Result<Array> {
    const OP: &str = "linalg::solve";
    matrices_with_elements(OP, a)?;
    with_columns(a, b, |a, b| door::binary(OP, c::mlx_linalg_solve, a, b))
}

/// [`solve`] for a triangular matrix; the other triangle is not read.
///
/// # Errors
/// As [`solve`]; a triangular matrix is singular when its diagonal holds a zero.
#[doc(alias = "mlx_linalg_solve_triangular")]
pub fn solve_triangular(a: &Array, b: &Array, triangle: Triangle) -> Result<Array> {
    const OP: &str = "linalg::solve_triangular";
    matrices_with_elements(OP, a)?;
    let f = c::mlx_linalg_solve_triangular;
    with_columns(a, b, |a, b| ffi::ops::linalg_binary_flag(OP, f, a, b, triangle.is_upper()))
}

/// The factors `(U, s, Vᴴ)` of `[.., M, N]` with `A = U diag(s) Vᴴ`.
///
/// `U` `[.., M, M]` and `Vᴴ` `[.., N, N]` are orthogonal (unitary), and the singular values `s` `[.., min(M, N)]`
/// real and descending; columns of `U` and rows of `Vᴴ` beyond them span the rest of the space.
///
/// # Errors
/// When the matrices are neither float32, float64 nor complex64; at evaluation, when one holds infinities or NaN.
#[doc(alias = "mlx_linalg_svd")]
pub fn svd(a: &Array) -> Result<(Array, Array, Array)> {
    const OP: &str = "linalg::svd";
    matrices(OP, a, Limit::WorkSpace)?;
    let (condition, safe) = finite(a)?;
    let (u, s, vt) = three(OP, ffi::ops::svd(OP, &safe, true)?)?;
    let checked = |a: &Array| require(OP, NOT_FINITE, &condition, a);
    Ok((checked(&u)?, checked(&s)?, checked(&vt)?))
}

/// The singular values that [`svd`] gives, `[.., min(M, N)]`.
///
/// # Errors
/// As [`svd`].
#[doc(alias = "mlx_linalg_svd")]
pub fn svdvals(a: &Array) -> Result<Array> {
    const OP: &str = "linalg::svdvals";
    matrices(OP, a, Limit::Elements)?;
    let (condition, safe) = finite(a)?;
    let values = ffi::ops::svd(OP, &safe, false)?.pop().ok_or_else(|| missing(OP))?;
    require(OP, NOT_FINITE, &condition, &values)
}

fn three(op: &'static str, arrays: Vec<Array>) -> Result<(Array, Array, Array)> {
    <[Array; 3]>::try_from(arrays).map(|[a, b, c]| (a, b, c)).map_err(|_| missing(op))
}

fn missing(op: &'static str) -> Error {
    Error::Op { op, operands: String::new(), message: "MLX gave too few arrays".to_owned() }
}

/// Calls `f` with a column for a vector `b`, and with as many axes on both sides: MLX broadcasts no others.
fn with_columns(a: &Array, b: &Array, f: impl FnOnce(&Array, &Array) -> Result<Array>) -> Result<Array> {
    if b.ndim() == 1 {
        let column = b.expand_dims([1])?;
        return with_columns(a, &column, f)?.squeeze([-1]);
    }
    let widen = |array: &Array, ndim: usize| {
        let missing = ndim.saturating_sub(array.ndim()) as i32;
        array.expand_dims((0..missing).collect::<Vec<_>>())
    };
    f(&widen(a, b.ndim())?, &widen(b, a.ndim())?)
}
