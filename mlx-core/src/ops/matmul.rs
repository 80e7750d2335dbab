//! Matrix products of dense arrays. Those with packed weights are in [`quantized`](super::quantized).

use super::positions::{Limit, inside};
use crate::ffi::{self, c, door};
use crate::{Array, DType, Device, Error, Result, kernels};

impl Array {
    /// Matrix product over the last two axes; the axes before them are broadcast. `[.., M, K] x [.., K, N] -> [.., M, N]`
    ///
    /// # Errors
    /// When the inner axes differ, an operand is a scalar, or the dtypes are integers.
    #[doc(alias = "mlx_matmul")]
    pub fn matmul(&self, other: &Array) -> Result<Array> {
        kernels::matmul(self, other).unwrap_or_else(|| ffi::ops::matmul(self, other))
    }

    /// `beta * c + alpha * (a b)`, with this array as `c`, which is broadcast to the product.
    ///
    /// # Errors
    /// As [`matmul`](Self::matmul), and when this array cannot be broadcast to the product.
    #[doc(alias = "mlx_addmm")]
    pub fn addmm(&self, a: &Array, b: &Array, alpha: f32, beta: f32) -> Result<Array> {
        ffi::ops::addmm(self, a, b, alpha, beta)
    }

    /// Products over the last axis of both: `[.., K] x [.., K] -> [.., ..]`; with a scalar, the plain product.
    ///
    /// # Errors
    /// When the last axes differ.
    #[doc(alias = "mlx_inner")]
    pub fn inner(&self, other: &Array) -> Result<Array> {
        if self.ndim() == 0 || other.ndim() == 0 {
            return self.multiply(other);
        }
        door::binary("inner", c::mlx_inner, self, other)
    }

    /// Every element of one array times every element of the other, both read as lists: `[size, size]`.
    ///
    /// # Errors
    /// When the product is too large.
    #[doc(alias = "mlx_outer")]
    pub fn outer(&self, other: &Array) -> Result<Array> {
        door::binary("outer", c::mlx_outer, self, other)
    }

    /// Sum of the products along `axis`, `Σ conj(a) b`, with the other axes broadcast.
    ///
    /// # Errors
    /// When the arrays do not both have this axis, or its lengths differ.
    #[doc(alias = "mlx_vecdot")]
    pub fn vecdot(&self, other: &Array, axis: i32) -> Result<Array> {
        ffi::ops::vecdot(self, other, axis)
    }

    /// Sums of products over pairs of axes: axis `axes[i]` of this array and `other_axes[i]` of the other. The result has
    /// the other axes of this array, then those of the other.
    ///
    /// # Errors
    /// When there is no such axis, one is named twice, or two of a pair have different lengths.
    #[doc(alias = "mlx_tensordot", alias = "mlx_tensordot_axis")]
    pub fn tensordot(&self, other: &Array, axes: &[i32], other_axes: &[i32]) -> Result<Array> {
        const OP: &str = "tensordot";
        let (own, others) = (self.axis_indices(OP, axes)?, other.axis_indices(OP, other_axes)?);
        let lengths =
            |a: &Array, axes: &[usize]| axes.iter().map(|axis| a.shape()[*axis]).collect::<Vec<_>>();
        if lengths(self, &own) != lengths(other, &others) {
            let message = format!(
                "axes {axes:?} of {} and {other_axes:?} of {} differ",
                self.describe(),
                other.describe()
            );
            return Err(Error::Shape { op: OP, message });
        }
        ffi::ops::tensordot(self, other, axes, other_axes)
    }

    /// The Kronecker product: each element of this array replaced by its product with the whole of `other`.
    ///
    /// # Errors
    /// When an array is empty, or the product is too large.
    #[doc(alias = "mlx_kron")]
    pub fn kron(&self, other: &Array) -> Result<Array> {
        door::binary("kron", c::mlx_kron, self, other)
    }

    /// Products of matrices chosen by position: `result[i] = a[lhs[i]] x b[rhs[i]]`, with this array as `a`.
    ///
    /// The matrices of `[.., M, K]` and `[.., K, N]` are counted in row-major order; without a list they are taken as they
    /// come. The lists are broadcast together, and the result is `[lists, M, N]`. `sorted` promises that the list which is
    /// given ascends, which makes this faster; if it does not, the numbers are wrong.
    ///
    /// # Errors
    /// When the shapes do not go together, the numbers are no real floating-point ones (on a CPU: float32, at the
    /// evaluation), or a position lies outside.
    #[doc(alias = "mlx_gather_mm")]
    pub fn gather_mm(
        &self,
        b: &Array,
        lhs: Option<&Array>,
        rhs: Option<&Array>,
        sorted: bool,
    ) -> Result<Array> {
        const OP: &str = "gather_mm";
        let lhs = lhs.map(|list| inside(OP, list, &[Limit::axis(matrices(OP, self)?, 1)])).transpose()?;
        let rhs = rhs.map(|list| inside(OP, list, &[Limit::axis(matrices(OP, b)?, 1)])).transpose()?;
        let counted = |list: Option<Array>, of: &Array| list.map(|list| counted(&list, of)).transpose();
        ffi::ops::gather_mm(self, b, counted(lhs, self)?.as_ref(), counted(rhs, b)?.as_ref(), sorted)
    }

    /// Products over parts of the inner axis: `result[i] = a[:, start..end] x b[start..end, :]`, where `segments[i]` is
    /// `[start, end]`. `[M, K] x [K, N] -> [.., M, N]` with segments `[.., 2]`.
    ///
    /// # Errors
    /// When the shapes do not go together, the numbers are no real floating-point ones, or a segment lies outside.
    #[doc(alias = "mlx_segmented_mm")]
    pub fn segmented_mm(&self, b: &Array, segments: &Array) -> Result<Array> {
        const OP: &str = "segmented_mm";
        let (&[_, inner], &[other, _]) = (self.shape(), b.shape()) else {
            let message = format!("{} and {} are not two matrices", self.describe(), b.describe());
            return Err(Error::Shape { op: OP, message });
        };
        if inner != other || segments.shape().last() != Some(&2) {
            let message = format!(
                "{}, {} and segments {} do not go together",
                self.describe(),
                b.describe(),
                segments.describe()
            );
            return Err(Error::Shape { op: OP, message });
        }
        let segments = inside(OP, segments, &[Limit::upto(inner)])?;
        let dtype = self.dtype();
        if Device::current() == Device::Cpu && dtype == b.dtype() && matches!(dtype, DType::F16 | DType::BF16)
        {
            // MLX's kernel for these takes the columns of a segment for those of a matrix.
            let [a, b] = [self, b].map(|x| x.as_type(DType::F32));
            return ffi::ops::segmented_mm(&a?, &b?, &segments)?.as_type(dtype);
        }
        ffi::ops::segmented_mm(self, b, &segments)
    }

    /// Matrix product of which only blocks are computed: those of `block_size` x `block_size` elements where the masks of
    /// the result, `[.., M / block_size, N / block_size]`, and of the operands are not 0. A mask that is not boolean
    /// multiplies its block.
    ///
    /// # Errors
    /// As [`matmul`](Self::matmul), for a block size other than 32 and 64, and for masks that do not go with the blocks.
    /// On a CPU, other dtypes than float32 are an error of the evaluation.
    #[doc(alias = "mlx_block_masked_mm")]
    pub fn block_masked_mm(&self, b: &Array, block_size: i32, masks: BlockMasks<'_>) -> Result<Array> {
        let Some(out) = masks.out.filter(|mask| mask.dtype() != DType::Bool) else {
            return ffi::ops::block_masked_mm(self, b, block_size, [masks.out, masks.lhs, masks.rhs]);
        };
        // MLX counts a factor twice in the gradient of its mask; here it only chooses the blocks.
        let chosen = out.not_equal(&out.scalar_like(0.0)?)?;
        let product = ffi::ops::block_masked_mm(self, b, block_size, [Some(&chosen), masks.lhs, masks.rhs])?;
        let factors = out.repeat(block_size, -2)?.repeat(block_size, -1)?;
        let (rows, columns) =
            (product.axis_length("block_masked_mm", -2)?, product.axis_length("block_masked_mm", -1)?);
        product
            .multiply(&factors.slice_axis(-2, 0, rows)?.slice_axis(-1, 0, columns)?.as_type(product.dtype())?)
    }
}

/// The masks of [`Array::block_masked_mm`].
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockMasks<'a> {
    /// Of the result.
    pub out: Option<&'a Array>,
    /// Of the first operand, `[.., M / block_size, K / block_size]`.
    pub lhs: Option<&'a Array>,
    /// Of the second operand, `[.., K / block_size, N / block_size]`.
    pub rhs: Option<&'a Array>,
}

/// How many matrices an array `[.., M, K]` holds.
pub(super) fn matrices(op: &'static str, a: &Array) -> Result<i32> {
    let batch = &a.shape()[..a.ndim().saturating_sub(2)];
    let count = batch.iter().try_fold(1i32, |count, length| count.checked_mul(*length));
    count.ok_or_else(|| Error::Shape { op, message: format!("{} holds too many matrices", a.describe()) })
}

/// Positions of matrices counted from the first: MLX takes them as uint32, negative ones as very large.
pub(super) fn counted(list: &Array, of: &Array) -> Result<Array> {
    let counted = match list.dtype().is_unsigned() {
        true => list.clone(),
        false => {
            let count = Array::scalar(matrices("gather", of)?)?;
            super::select(&list.less(&Array::scalar(0i32)?)?, &list.add(&count)?, list)?
        }
    };
    if counted.dtype() == DType::U32 { Ok(counted) } else { counted.as_type(DType::U32) }
}

/// Sums of products by Einstein's notation, such as `ij,jk->ik`: axes with one letter run together, and letters that are
/// missing from the result are summed over.
///
/// ```
/// use mlx_core::{Array, einsum};
///
/// let a = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
/// assert_eq!(einsum("ii->", &[&a])?.item::<f32>()?, 5.0);
/// # Ok::<(), mlx_core::Error>(())
/// ```
///
/// # Errors
/// When the subscripts are not in that notation, or do not fit the operands.
#[doc(alias = "mlx_einsum")]
pub fn einsum(subscripts: &str, operands: &[&Array]) -> Result<Array> {
    let text = std::ffi::CString::new(subscripts)
        .map_err(|_| Error::Shape { op: "einsum", message: format!("{subscripts:?} holds a NUL") })?;
    ffi::ops::einsum(&text, operands)
}
