//! Operations that pick and place elements by position.
//!
//! Positions are integers of any type and may count from the end with negative numbers. One that lies outside is an error:
//! at once if the positions are computed already, else when they are (on a GPU, which cannot tell, the nearest position
//! inside is used then).

use std::borrow::Cow;

use super::positions::{Limit, inside, without_gradient};
use crate::{Array, DType, Error, Result, ffi};

/// How a new element joins the old one in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Join {
    /// The new element takes its place. Of several new ones in one place, any may win.
    Set,
    /// Their sum.
    Add,
    /// Their product.
    Multiply,
    /// The larger.
    Max,
    /// The smaller.
    Min,
}

impl Join {
    fn scatter(self) -> ffi::ops::ScatterFn {
        use ffi::c;
        match self {
            Join::Set => c::mlx_scatter,
            Join::Add => c::mlx_scatter_add,
            Join::Multiply => c::mlx_scatter_prod,
            Join::Max => c::mlx_scatter_max,
            Join::Min => c::mlx_scatter_min,
        }
    }
}

impl Array {
    /// The slices along `axis` at the positions in `indices`; the result has the shape of `indices` in that axis' place.
    ///
    /// # Errors
    /// When there is no such axis, `indices` are not integers, or a position lies outside.
    #[doc(alias = "mlx_take_axis", alias = "mlx_take")]
    pub fn take(&self, indices: &Array, axis: i32) -> Result<Array> {
        let length = self.axis_length("take", axis)?;
        let positions = inside("take", indices, &[Limit::axis(length, 1)])?;
        ffi::ops::take(self, &positions, axis)
    }

    /// The elements along `axis` at positions of their own for each line: element `[i, j]` of the result is element
    /// `[i, indices[i, j]]` of this array, for two axes and `axis` 1.
    ///
    /// `indices` has as many axes as this array; the others are broadcast together.
    ///
    /// # Errors
    /// When there is no such axis, the shapes do not go together, `indices` are not integers, or a position lies outside.
    #[doc(alias = "mlx_take_along_axis")]
    pub fn take_along(&self, indices: &Array, axis: i32) -> Result<Array> {
        let positions = self.along("take_along", indices, axis)?;
        ffi::ops::take_along(self, &positions, axis)
    }

    /// This array with `values` in the places where [`take_along`](Self::take_along) would look. Of several values for one
    /// place, any may win. `values` are broadcast to `indices` and converted to this array's dtype.
    ///
    /// # Errors
    /// As [`take_along`](Self::take_along), and when `values` cannot be broadcast to `indices`.
    #[doc(alias = "mlx_put_along_axis")]
    pub fn put_along(&self, indices: &Array, values: &Array, axis: i32) -> Result<Array> {
        self.place_along("put_along", ffi::c::mlx_put_along_axis, indices, values, axis)
    }

    /// This array with `values` added in the places where [`take_along`](Self::take_along) would look.
    ///
    /// # Errors
    /// As [`put_along`](Self::put_along).
    #[doc(alias = "mlx_scatter_add_axis")]
    pub fn add_along(&self, indices: &Array, values: &Array, axis: i32) -> Result<Array> {
        self.place_along("add_along", ffi::c::mlx_scatter_add_axis, indices, values, axis)
    }

    fn place_along(
        &self,
        op: &'static str,
        f: ffi::ops::AlongFn,
        indices: &Array,
        values: &Array,
        axis: i32,
    ) -> Result<Array> {
        let index = self.axis_index(op, axis)?;
        let positions = self.along(op, indices, axis)?;
        // MLX broadcasts this array as well, and would give back another shape.
        for (other, (own, length)) in self.shape().iter().zip(indices.shape()).enumerate() {
            if other != index && *length != 1 && own != length {
                let message = format!("indices {} do not fit into {}", indices.describe(), self.describe());
                return Err(Error::Shape { op, message });
            }
        }
        ffi::ops::place_along(op, f, self, &positions, values, axis)
    }

    fn along(&self, op: &'static str, indices: &Array, axis: i32) -> Result<Array> {
        let length = self.axis_length(op, axis)?;
        if indices.ndim() != self.ndim() {
            let message =
                format!("indices {} do not have the axes of {}", indices.describe(), self.describe());
            return Err(Error::Shape { op, message });
        }
        inside(op, indices, &[Limit::axis(length, 1)])
    }

    /// Slices of `sizes` that begin at the positions in `indices`, one list for each of `axes`; on other axes they begin at
    /// 0. The lists are broadcast together, and the result has their shape, then `sizes`.
    ///
    /// # Errors
    /// When the lists do not belong together, are not integers, or a slice does not lie inside.
    #[doc(alias = "mlx_gather", alias = "mlx_gather_single")]
    pub fn gather(&self, indices: &[&Array], axes: &[i32], sizes: &[i32]) -> Result<Array> {
        const OP: &str = "gather";
        if sizes.len() != self.ndim()
            || self.shape().iter().zip(sizes).any(|(own, size)| *size < 0 || size > own)
        {
            let message = format!("slices of {sizes:?} do not lie inside {}", self.describe());
            return Err(Error::Shape { op: OP, message });
        }
        let (positions, axes) = self.places(OP, indices, axes, sizes)?;
        ffi::ops::gather(self, &positions.iter().collect::<Vec<_>>(), &axes, sizes)
    }

    /// This array with `updates` joined in, as slices that begin at the positions in `indices`: the counterpart of
    /// [`gather`](Self::gather). `updates` have the shape of the lists, then that of a slice.
    ///
    /// ```
    /// use mlx_core::{Array, DType, Join};
    ///
    /// let a = Array::zeros(&[4], DType::I32)?;
    /// let places = Array::from_slice(&[1u32, 3, 1], &[3])?;
    /// let ones = Array::full(&[3, 1], 1i32)?;
    /// assert_eq!(a.scatter(&[&places], &[0], &ones, Join::Add)?.to_vec::<i32>()?, [0, 2, 0, 1]);
    /// # Ok::<(), mlx_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the lists do not belong together, are not integers, or a slice does not lie inside.
    #[doc(
        alias = "mlx_scatter",
        alias = "mlx_scatter_single",
        alias = "mlx_scatter_add",
        alias = "mlx_scatter_add_single",
        alias = "mlx_scatter_max",
        alias = "mlx_scatter_max_single",
        alias = "mlx_scatter_min",
        alias = "mlx_scatter_min_single",
        alias = "mlx_scatter_prod",
        alias = "mlx_scatter_prod_single"
    )]
    pub fn scatter(&self, indices: &[&Array], axes: &[i32], updates: &Array, join: Join) -> Result<Array> {
        const OP: &str = "scatter";
        let slice = updates.shape().len().checked_sub(self.ndim()).map(|lists| &updates.shape()[lists..]);
        let Some(sizes) = slice.filter(|sizes| sizes.iter().zip(self.shape()).all(|(size, own)| size <= own))
        else {
            let message = format!("updates {} do not fit into {}", updates.describe(), self.describe());
            return Err(Error::Shape { op: OP, message });
        };
        let (positions, axes) = self.places(OP, indices, axes, sizes)?;
        ffi::ops::scatter(join.scatter(), self, &positions.iter().collect::<Vec<_>>(), updates, &axes)
    }

    /// The lists of positions at which slices of `sizes` begin, and the axes counted from the first.
    fn places(
        &self,
        op: &'static str,
        indices: &[&Array],
        axes: &[i32],
        sizes: &[i32],
    ) -> Result<(Vec<Array>, Vec<i32>)> {
        if indices.len() != axes.len() {
            let message = format!("{} lists of positions for {} axes", indices.len(), axes.len());
            return Err(Error::Shape { op, message });
        }
        let mut positions = Vec::with_capacity(axes.len());
        let mut counted = Vec::with_capacity(axes.len());
        for (indices, axis) in indices.iter().zip(axes) {
            let index = self.axis_index(op, *axis)?;
            positions.push(inside(op, indices, &[Limit::axis(self.shape()[index], sizes[index])])?);
            counted.push(index as i32);
        }
        // MLX brings the lists to one dtype, and for some pairs that is a floating one.
        if positions.windows(2).any(|pair| pair[0].dtype() != pair[1].dtype()) {
            positions = positions.iter().map(|list| list.as_type(DType::I64)).collect::<Result<_>>()?;
        }
        Ok((positions, counted))
    }

    /// This array with the elements of `values`, in order, in the places where `mask` is true.
    ///
    /// `mask` has the shape of this array's first axes; `values` is a list of what follows them, with one entry for each
    /// place at least, or one value for all places.
    ///
    /// # Errors
    /// When the shapes do not go together or `mask` does not hold booleans. Too few values are an error of the evaluation
    /// (on a GPU they are not noticed).
    #[doc(alias = "mlx_masked_scatter")]
    pub fn masked_scatter(&self, mask: &Array, values: &Array) -> Result<Array> {
        const OP: &str = "masked_scatter";
        if mask.dtype() != DType::Bool {
            return Err(Error::DTypeMismatch { op: OP, expected: DType::Bool, found: mask.dtype() });
        }
        if mask.ndim() > self.ndim() || mask.shape() != &self.shape()[..mask.ndim()] {
            let message = format!("{} does not have the first axes of {}", mask.describe(), self.describe());
            return Err(Error::Shape { op: OP, message });
        }
        // MLX looks at elements of a scalar as if it had an axis.
        let target = if self.ndim() == 0 { Cow::Owned(self.reshape(&[1])?) } else { Cow::Borrowed(self) };
        let mask = if mask.ndim() == 0 {
            Cow::Owned(mask.broadcast_to(&target.shape()[..1])?)
        } else {
            Cow::Borrowed(mask)
        };
        // Booleans have no gradient, and MLX does not differentiate what follows those that could have one.
        let mask = without_gradient(&mask)?;
        ffi::ops::masked_scatter(&target, &mask, values)?.reshape(self.shape())
    }
}
