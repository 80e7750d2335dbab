//! Operations on the order of elements. NaN comes last.

use crate::ffi::{self, c, door};
use crate::{Array, DType, Error, Result};

impl Array {
    /// The elements in ascending order along `axis`.
    ///
    /// # Errors
    /// When there is no such axis.
    #[doc(alias = "mlx_sort_axis", alias = "mlx_sort")]
    pub fn sort(&self, axis: i32) -> Result<Array> {
        self.axis_index("sort", axis)?;
        // MLX's kernels divide by the length of the axis.
        if self.size() == 0 { Ok(self.clone()) } else { door::axis("sort", c::mlx_sort_axis, self, axis) }
    }

    /// The positions of the elements in ascending order along `axis`, as uint32.
    ///
    /// # Errors
    /// When there is no such axis.
    #[doc(alias = "mlx_argsort_axis", alias = "mlx_argsort")]
    pub fn argsort(&self, axis: i32) -> Result<Array> {
        self.axis_index("argsort", axis)?;
        if self.size() == 0 {
            return Array::zeros(self.shape(), DType::U32);
        }
        door::axis("argsort", c::mlx_argsort_axis, self, axis)
    }

    /// The elements along `axis`, arranged so that element `kth` (negative: from the end) stands where it would if they
    /// were sorted, with none larger before it and none smaller after it.
    ///
    /// # Errors
    /// When there is no such axis or no such element.
    #[doc(alias = "mlx_partition_axis", alias = "mlx_partition")]
    pub fn partition(&self, kth: i32, axis: i32) -> Result<Array> {
        let kth = self.element("partition", kth, axis)?;
        door::axis_pair("partition", c::mlx_partition_axis, self, kth, axis)
    }

    /// The positions of the elements as [`partition`](Self::partition) arranges them, as uint32.
    ///
    /// # Errors
    /// When there is no such axis or no such element.
    #[doc(alias = "mlx_argpartition_axis", alias = "mlx_argpartition")]
    pub fn argpartition(&self, kth: i32, axis: i32) -> Result<Array> {
        let kth = self.element("argpartition", kth, axis)?;
        door::axis_pair("argpartition", c::mlx_argpartition_axis, self, kth, axis)
    }

    /// The `k` largest elements along `axis`, in no order.
    ///
    /// # Errors
    /// When there is no such axis, or not as many elements.
    #[doc(alias = "mlx_topk_axis", alias = "mlx_topk")]
    pub fn topk(&self, k: i32, axis: i32) -> Result<Array> {
        let length = self.axis_length("topk", axis)?;
        if k == 0 {
            return self.slice_axis(axis, 0, 0);
        }
        if !(0..=length).contains(&k) {
            let message = format!("axis {axis} of {} does not have {k} elements", self.describe());
            return Err(Error::Shape { op: "topk", message });
        }
        door::axis_pair("topk", c::mlx_topk_axis, self, k, axis)
    }

    /// For each of `values`, the position in this sorted list before which it fits, as uint32: before equal elements, or
    /// after them if `right`.
    ///
    /// # Errors
    /// When this array has not one axis.
    #[doc(alias = "mlx_searchsorted")]
    pub fn searchsorted(&self, values: &Array, right: bool) -> Result<Array> {
        ffi::ops::searchsorted(self, values, right)
    }

    /// The position of an element along `axis`, counted from the first.
    fn element(&self, op: &'static str, position: i32, axis: i32) -> Result<i32> {
        let length = self.axis_length(op, axis)?;
        let counted =
            if position < 0 { i64::from(position) + i64::from(length) } else { i64::from(position) };
        if !(0..i64::from(length)).contains(&counted) {
            let message = format!("axis {axis} of {} has no element {position}", self.describe());
            return Err(Error::Shape { op, message });
        }
        Ok(counted as i32)
    }
}
