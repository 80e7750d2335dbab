//! Operations that rearrange elements without computing. Most give views: no element is copied.

use crate::ffi::{self, c, door};
use crate::{Array, Error, Result};

impl Array {
    /// The same elements in row-major order under another shape; one axis may be -1 and is worked out.
    ///
    /// # Errors
    /// When the sizes differ, or an axis is below -1.
    #[doc(alias = "mlx_reshape")]
    pub fn reshape(&self, shape: &[i32]) -> Result<Array> {
        if shape.iter().any(|axis| *axis < -1) {
            let message = format!("{shape:?} is not a shape; only -1 may stand for an axis to be worked out");
            return Err(Error::Shape { op: "reshape", message });
        }
        door::axes("reshape", c::mlx_reshape, self, shape)
    }

    /// The axes in another order: axis `i` of the result is axis `axes[i]` of this array.
    ///
    /// # Errors
    /// When `axes` is not a permutation.
    #[doc(alias = "mlx_transpose_axes")]
    pub fn transpose(&self, axes: &[i32]) -> Result<Array> {
        door::axes("transpose", c::mlx_transpose_axes, self, axes)
    }

    /// Two axes exchanged.
    ///
    /// # Errors
    /// When there is no such axis.
    #[doc(alias = "mlx_swapaxes")]
    pub fn swapaxes(&self, first: i32, second: i32) -> Result<Array> {
        door::axis_pair("swapaxes", c::mlx_swapaxes, self, first, second)
    }

    /// New axes of length one, at positions `axes` of the result.
    ///
    /// # Errors
    /// When a position is named twice or lies outside.
    #[doc(alias = "mlx_expand_dims_axes")]
    pub fn expand_dims(&self, axes: &[i32]) -> Result<Array> {
        door::axes("expand_dims", c::mlx_expand_dims_axes, self, axes)
    }

    /// The axes of length one among `axes` removed.
    ///
    /// # Errors
    /// When an axis has another length.
    #[doc(alias = "mlx_squeeze_axes")]
    pub fn squeeze(&self, axes: &[i32]) -> Result<Array> {
        door::axes("squeeze", c::mlx_squeeze_axes, self, axes)
    }

    /// The elements repeated along axes of length one until the shape fits, without copying.
    ///
    /// # Errors
    /// When the shape cannot be reached.
    #[doc(alias = "mlx_broadcast_to")]
    pub fn broadcast_to(&self, shape: &[i32]) -> Result<Array> {
        door::axes("broadcast_to", c::mlx_broadcast_to, self, shape)
    }

    /// The elements laid out in row-major order without gaps; the array itself where they already are.
    ///
    /// # Errors
    /// When no memory is left, at evaluation.
    #[doc(alias = "mlx_contiguous")]
    pub fn contiguous(&self) -> Result<Array> {
        ffi::ops::contiguous(self)
    }

    /// Elements `start` to below `stop` along one axis.
    ///
    /// ```
    /// # use mlx_core::{Array, DType};
    /// let a = Array::arange(0.0, 6.0, 1.0, DType::I32)?.reshape(&[2, 3])?;
    /// assert_eq!(a.slice_axis(1, 1, 3)?.to_vec::<i32>()?, [1, 2, 4, 5]);
    /// # Ok::<(), mlx_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When there is no such axis or `start..stop` does not lie inside it.
    #[doc(alias = "mlx_slice")]
    pub fn slice_axis(&self, axis: i32, start: i32, stop: i32) -> Result<Array> {
        let (from, to) = self.bounds("slice_axis", axis, start, stop)?;
        ffi::ops::slice(self, &from, &to, &vec![1; from.len()])
    }

    /// This array with elements `start` to below `stop` along one axis replaced by `update`.
    ///
    /// The buffer is written in place if nothing else refers to this array when the result is evaluated; drop it before
    /// then.
    ///
    /// # Errors
    /// When there is no such axis, `start..stop` does not lie inside it, or `update` does not fit there.
    #[doc(alias = "mlx_slice_update")]
    pub fn slice_update_axis(&self, update: &Array, axis: i32, start: i32, stop: i32) -> Result<Array> {
        let (from, to) = self.bounds("slice_update_axis", axis, start, stop)?;
        let place: Vec<i32> = from.iter().zip(&to).map(|(from, to)| to - from).collect();
        // MLX would repeat or convert the update to make it fit.
        if update.shape() != place || update.dtype() != self.dtype() {
            let message =
                format!("{} does not fit the place of {}{place:?}", update.describe(), self.dtype());
            return Err(Error::Shape { op: "slice_update_axis", message });
        }
        ffi::ops::slice_update(self, update, &from, &to)
    }

    /// Pieces of the array, cut along `axis` before each position of `at`.
    ///
    /// The pieces are slices: MLX's own split marks some of them as laid out in a way that they are not.
    ///
    /// # Errors
    /// When there is no such axis, or the positions do not ascend from 0 to its length.
    pub fn split(&self, at: &[i32], axis: i32) -> Result<Vec<Array>> {
        let length = self.axis_length("split", axis)?;
        let edges: Vec<i32> = [0].into_iter().chain(at.iter().copied()).chain([length]).collect();
        if !edges.is_sorted() {
            let message = format!("positions {at:?} do not ascend inside axis {axis} of {}", self.describe());
            return Err(Error::Shape { op: "split", message });
        }
        edges.windows(2).map(|edge| self.slice_axis(axis, edge[0], edge[1])).collect()
    }

    /// Starts and stops over all axes for a range along one. MLX clips ranges silently; here they must fit.
    fn bounds(&self, op: &'static str, axis: i32, start: i32, stop: i32) -> Result<(Vec<i32>, Vec<i32>)> {
        let length = self.axis_length(op, axis)?;
        if start < 0 || stop < start || stop > length {
            let message = format!("{start}..{stop} does not lie inside axis {axis} of {}", self.describe());
            return Err(Error::Shape { op, message });
        }
        let index = if axis < 0 { axis + self.ndim() as i32 } else { axis } as usize;
        let mut from = vec![0; self.ndim()];
        let mut to = self.shape().to_vec();
        from[index] = start;
        to[index] = stop;
        Ok((from, to))
    }
}

/// Arrays joined along an axis that they already have.
///
/// # Errors
/// When the list is empty, there is no such axis, or the other axes differ.
#[doc(alias = "mlx_concatenate_axis")]
pub fn concatenate(arrays: &[&Array], axis: i32) -> Result<Array> {
    if let Some(first) = arrays.first() {
        first.axis_length("concatenate", axis)?;
    }
    ffi::ops::concatenate(arrays, axis)
}
