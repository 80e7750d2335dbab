//! Operations that rearrange elements without computing. Most give views: no element is copied.

use super::create::clamp_diagonal;
use crate::array::check_shape;
use crate::ffi::{self, c, door};
use crate::{Array, Axes, DType, Error, Result};

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
    #[doc(alias = "mlx_transpose_axes", alias = "mlx_transpose")]
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
    #[doc(alias = "mlx_expand_dims_axes", alias = "mlx_expand_dims")]
    pub fn expand_dims(&self, axes: impl Axes) -> Result<Array> {
        door::axes("expand_dims", c::mlx_expand_dims_axes, self, &axes.list(self.ndim()))
    }

    /// The array without `axes`, each of which has length one.
    ///
    /// # Errors
    /// When an axis has another length.
    #[doc(alias = "mlx_squeeze_axes", alias = "mlx_squeeze", alias = "mlx_squeeze_axis")]
    pub fn squeeze(&self, axes: impl Axes) -> Result<Array> {
        door::axes("squeeze", c::mlx_squeeze_axes, self, &axes.list(self.ndim()))
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
    #[doc(alias = "mlx_contiguous", alias = "mlx_copy")]
    pub fn contiguous(&self) -> Result<Array> {
        ffi::ops::contiguous(self)
    }

    /// One axis moved to another place; the others keep their order.
    ///
    /// # Errors
    /// When there is no such axis.
    #[doc(alias = "mlx_moveaxis")]
    pub fn moveaxis(&self, from: i32, to: i32) -> Result<Array> {
        door::axis_pair("moveaxis", c::mlx_moveaxis, self, from, to)
    }

    /// The axes `first` to `last`, both included, as one.
    ///
    /// # Errors
    /// When there is no such axis, or `last` comes before `first`.
    #[doc(alias = "mlx_flatten")]
    pub fn flatten(&self, first: i32, last: i32) -> Result<Array> {
        door::axis_pair("flatten", c::mlx_flatten, self, first, last)
    }

    /// One axis as several, of the lengths in `shape`; one of them may be -1 and is worked out.
    ///
    /// # Errors
    /// When there is no such axis, or the sizes differ.
    #[doc(alias = "mlx_unflatten")]
    pub fn unflatten(&self, axis: i32, shape: &[i32]) -> Result<Array> {
        let index = self.axis_index("unflatten", axis)?;
        let mut whole = self.shape()[..index].to_vec();
        whole.extend(shape);
        whole.extend(&self.shape()[index + 1..]);
        // MLX divides by the product of the lengths that are given, which it lets overflow.
        let given = shape.iter().filter(|length| **length != -1).try_fold(1i32, |all, n| all.checked_mul(*n));
        if shape.contains(&-1) && whole.contains(&0) || shape.iter().any(|n| *n < -1) || given.is_none() {
            let message = format!("axis {axis} of {} cannot become {shape:?}", self.describe());
            return Err(Error::Shape { op: "unflatten", message });
        }
        ffi::ops::unflatten(self, axis, shape)
    }

    /// The array with at least one axis.
    ///
    /// # Errors
    /// None that is known.
    #[doc(alias = "mlx_atleast_1d")]
    pub fn atleast_1d(&self) -> Result<Array> {
        door::unary("atleast_1d", c::mlx_atleast_1d, self)
    }

    /// The array with at least two axes: a list becomes a row.
    ///
    /// # Errors
    /// None that is known.
    #[doc(alias = "mlx_atleast_2d")]
    pub fn atleast_2d(&self) -> Result<Array> {
        door::unary("atleast_2d", c::mlx_atleast_2d, self)
    }

    /// The array with at least three axes: a matrix `[M, N]` becomes `[M, N, 1]`, a list `[1, N, 1]`.
    ///
    /// # Errors
    /// None that is known.
    #[doc(alias = "mlx_atleast_3d")]
    pub fn atleast_3d(&self) -> Result<Array> {
        door::unary("atleast_3d", c::mlx_atleast_3d, self)
    }

    /// A view of the elements in row-major order, as element `[i, j]` = element `offset + i * strides[0] + j * strides[1]`.
    ///
    /// ```
    /// # use mlx_core::{Array, DType};
    /// let a = Array::arange(0.0, 5.0, 1.0, DType::I32)?;
    /// let windows = a.as_strided(&[3, 3], &[1, 1], 0)?;
    /// assert_eq!(windows.to_vec::<i32>()?, [0, 1, 2, 1, 2, 3, 2, 3, 4]);
    /// # Ok::<(), mlx_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When there is not one stride for each axis, or an element would lie outside the array.
    #[doc(alias = "mlx_as_strided")]
    pub fn as_strided(&self, shape: &[i32], strides: &[i64], offset: usize) -> Result<Array> {
        // MLX takes all of this on trust.
        if !self.reaches_inside(shape, strides, offset) {
            let message = format!(
                "{shape:?} with strides {strides:?} from element {offset} reaches outside the {} elements of {}",
                self.size(),
                self.describe()
            );
            return Err(Error::Shape { op: "as_strided", message });
        }
        // A view that begins anew: MLX looks only at a flag to see whether the elements lie in order, and the flag of some
        // views is wrong.
        ffi::ops::as_strided(&self.contiguous()?, shape, strides, offset)
    }

    fn reaches_inside(&self, shape: &[i32], strides: &[i64], offset: usize) -> bool {
        if shape.len() != strides.len() || shape.iter().any(|length| *length < 0) {
            return false;
        }
        let (mut low, mut high) = (offset as i128, offset as i128);
        for (length, stride) in shape.iter().zip(strides) {
            let step = i128::from(*stride) * (i128::from(*length) - 1);
            if step < 0 { low += step } else { high += step }
        }
        // Without elements nothing is reached, but the pointer is still moved.
        let empty = shape.contains(&0);
        let end = self.size() as i128;
        if empty { offset as i128 <= end } else { low >= 0 && high < end }
    }

    /// The array with elements added on both sides of `axes`: `before[i]` and `after[i]` along `axes[i]`.
    ///
    /// # Errors
    /// When there is no such axis, one is named twice, or a count is negative; for [`Padding::Edge`] and the reflecting
    /// kinds also when an axis has no element to repeat.
    #[doc(alias = "mlx_pad", alias = "mlx_pad_symmetric")]
    pub fn pad(&self, axes: impl Axes, before: &[i32], after: &[i32], padding: Padding<'_>) -> Result<Array> {
        const OP: &str = "pad";
        let indices = self.axis_indices(OP, &axes.list(self.ndim()))?;
        let refuse = |message| Err(Error::Shape { op: OP, message });
        if before.len() != indices.len() || after.len() != indices.len() {
            return refuse(format!("{} and {} counts for {} axes", before.len(), after.len(), indices.len()));
        }
        let mut counts = vec![[0; 2]; self.ndim()];
        for (index, pair) in indices.iter().zip(before.iter().zip(after)) {
            counts[*index] = [*pair.0, *pair.1];
        }
        let mut shape = self.shape().to_vec();
        for (length, [before, after]) in shape.iter_mut().zip(&counts) {
            let total = i64::from(*length) + i64::from(*before) + i64::from(*after);
            let nothing = *length == 0 && total > 0 && !matches!(padding, Padding::Constant(_));
            if *before < 0 || *after < 0 || total > i64::from(i32::MAX) || nothing {
                return refuse(format!("{} cannot be padded by {before} and {after}", self.describe()));
            }
            *length = total as i32;
        }
        check_shape(OP, &shape, self.dtype())?;
        if let Padding::Constant(value) = padding {
            if value.size() != 1 {
                return refuse(format!("{} is not one value", value.describe()));
            }
            let all: Vec<i32> = (0..self.ndim() as i32).collect();
            let [before, after] =
                [0, 1].map(|side| counts.iter().map(|count| count[side]).collect::<Vec<_>>());
            return ffi::ops::pad(self, &all, &before, &after, &value.reshape(&[])?);
        }
        // By position: the derivatives of MLX's own way to repeat elements are wrong.
        let mut padded = self.clone();
        for (axis, ([before, after], length)) in counts.iter().zip(self.shape()).enumerate() {
            if [*before, *after] != [0, 0] {
                let from: Vec<i32> =
                    (-*before..length + after).map(|at| padding.source(at, *length)).collect();
                padded = padded.take(&Array::from_slice(&from, &[from.len() as i32])?, axis as i32)?;
            }
        }
        Ok(padded)
    }

    /// The array repeated as a whole: `repeats[i]` times along axis `i`, counted from the last.
    ///
    /// # Errors
    /// When a count is negative.
    #[doc(alias = "mlx_tile")]
    pub fn tile(&self, repeats: &[i32]) -> Result<Array> {
        if repeats.iter().any(|count| *count < 0) {
            return Err(Error::Shape { op: "tile", message: format!("{repeats:?} are no counts") });
        }
        let extra = repeats.len().saturating_sub(self.ndim());
        let shape = [&vec![1; extra], self.shape()].concat();
        let missing = shape.len() - repeats.len();
        let lengths = shape[missing..].iter().zip(repeats).map(|(length, count)| length.checked_mul(*count));
        if lengths.into_iter().any(|length| length.is_none()) {
            let message = format!("{} repeated {repeats:?} times is too long", self.describe());
            return Err(Error::Shape { op: "tile", message });
        }
        door::axes("tile", c::mlx_tile, self, repeats)
    }

    /// Each element along `axis` repeated `count` times.
    ///
    /// # Errors
    /// When there is no such axis, or the count is negative.
    #[doc(alias = "mlx_repeat_axis", alias = "mlx_repeat")]
    pub fn repeat(&self, count: i32, axis: i32) -> Result<Array> {
        let length = self.axis_length("repeat", axis)?;
        if count < 0 || length.checked_mul(count).is_none() {
            let message = format!("axis {axis} of {} cannot be repeated {count} times", self.describe());
            return Err(Error::Shape { op: "repeat", message });
        }
        door::axis_pair("repeat", c::mlx_repeat_axis, self, count, axis)
    }

    /// The elements moved on by `shifts[i]` places along `axes[i]`; those that leave one end enter at the other.
    ///
    /// # Errors
    /// When there is no such axis, or not one shift for each.
    #[doc(alias = "mlx_roll_axes", alias = "mlx_roll", alias = "mlx_roll_axis")]
    pub fn roll(&self, shifts: &[i32], axes: impl Axes) -> Result<Array> {
        let axes = axes.list(self.ndim());
        if shifts.len() != axes.len() {
            let message = format!("{} shifts for {} axes", shifts.len(), axes.len());
            return Err(Error::Shape { op: "roll", message });
        }
        // Of slices, because MLX's own is made of its split, which reads outside arrays that are broadcast.
        let mut rolled = self.clone();
        for (shift, axis) in shifts.iter().zip(axes.iter()) {
            let length = self.axis_length("roll", *axis)?;
            let shift = if length == 0 { 0 } else { shift.rem_euclid(length) };
            if shift != 0 {
                let (start, end) = (
                    rolled.slice_axis(*axis, 0, length - shift)?,
                    rolled.slice_axis(*axis, length - shift, length)?,
                );
                rolled = concatenate(&[&end, &start], *axis)?;
            }
        }
        Ok(rolled)
    }

    /// The elements in opposite order along `axes`.
    ///
    /// # Errors
    /// When there is no such axis.
    #[doc(alias = "mlx_flip_axes", alias = "mlx_flip", alias = "mlx_flip_axis")]
    pub fn flip(&self, axes: impl Axes) -> Result<Array> {
        let indices = self.axis_indices("flip", &axes.list(self.ndim()))?;
        let (mut start, mut stop, mut step) =
            (vec![0; self.ndim()], vec![i32::MAX; self.ndim()], vec![1; self.ndim()]);
        for index in indices {
            (start[index], stop[index], step[index]) = (-1, i32::MIN, -1);
        }
        self.slice(&start, &stop, &step)
    }

    /// The elements on and below a diagonal of the last two axes, and zeros above: the main diagonal, or the one
    /// `diagonal` above it.
    ///
    /// # Errors
    /// When there are fewer than two axes.
    #[doc(alias = "mlx_tril")]
    pub fn tril(&self, diagonal: i32) -> Result<Array> {
        let (rows, columns) = (self.axis_length("tril", -2)?, self.axis_length("tril", -1)?);
        door::axis("tril", c::mlx_tril, self, clamp_diagonal(rows, columns, diagonal))
    }

    /// The elements on and above a diagonal of the last two axes, and zeros below: the main diagonal, or the one
    /// `diagonal` above it.
    ///
    /// # Errors
    /// When there are fewer than two axes.
    #[doc(alias = "mlx_triu")]
    pub fn triu(&self, diagonal: i32) -> Result<Array> {
        let (rows, columns) = (self.axis_length("triu", -2)?, self.axis_length("triu", -1)?);
        // The diagonal above the first that is all inside is where the zeros end.
        door::axis("triu", c::mlx_triu, self, diagonal.clamp(-rows, columns.saturating_add(1)))
    }

    /// A matrix with the elements of a list on a diagonal, or the elements on a diagonal of a matrix: the main one, or the
    /// one `diagonal` above it.
    ///
    /// # Errors
    /// When there are neither one nor two axes.
    #[doc(alias = "mlx_diag")]
    pub fn diag(&self, diagonal: i32) -> Result<Array> {
        match *self.shape() {
            [length] => {
                let side = i64::from(length) + i64::from(diagonal.unsigned_abs());
                let side = i32::try_from(side).unwrap_or(i32::MAX);
                crate::array::check_shape("diag", &[side, side], self.dtype())?;
                door::axis("diag", c::mlx_diag, self, diagonal)
            }
            [_, _] => self.diagonal(diagonal, 0, 1),
            _ => {
                let message = format!("{} is neither a list nor a matrix", self.describe());
                Err(Error::Shape { op: "diag", message })
            }
        }
    }

    /// The elements on a diagonal of two axes, which becomes the last axis: the main diagonal, or the one `offset` above
    /// it.
    ///
    /// # Errors
    /// When there is no such axis, or both are the same.
    #[doc(alias = "mlx_diagonal")]
    pub fn diagonal(&self, offset: i32, first: i32, second: i32) -> Result<Array> {
        let (rows, columns) = (self.axis_length("diagonal", first)?, self.axis_length("diagonal", second)?);
        ffi::ops::diagonal(self, clamp_diagonal(rows, columns, offset), first, second)
    }

    /// The sum of a diagonal of two axes, in `dtype`: the main diagonal, or the one `offset` above it.
    ///
    /// # Errors
    /// When there is no such axis, or both are the same.
    #[doc(alias = "mlx_trace_axes", alias = "mlx_trace")]
    pub fn trace(&self, offset: i32, first: i32, second: i32, dtype: DType) -> Result<Array> {
        let (rows, columns) = (self.axis_length("trace", first)?, self.axis_length("trace", second)?);
        ffi::ops::trace(self, clamp_diagonal(rows, columns, offset), first, second, dtype)
    }

    /// Differences between neighbours along `axis`, taken `order` times over.
    ///
    /// # Errors
    /// When there is no such axis, or the order is negative.
    #[doc(alias = "mlx_diff")]
    pub fn diff(&self, order: i32, axis: i32) -> Result<Array> {
        // Each time the axis becomes one shorter, until there is nothing to take.
        let order = order.min(self.axis_length("diff", axis)?);
        door::axis_pair("diff", c::mlx_diff, self, order, axis)
    }
}

/// What [`Array::pad`] adds.
#[derive(Clone, Copy, Debug)]
pub enum Padding<'a> {
    /// One value, converted to the array's dtype.
    Constant(&'a Array),
    /// The element at the edge.
    Edge,
    /// The elements next to the edge, mirrored in it; the edge itself is not repeated.
    Reflect,
    /// The elements at the edge and next to it, mirrored.
    Symmetric,
}

impl Padding<'_> {
    /// The element of an axis that a position takes, which may lie before or after it.
    fn source(self, at: i32, length: i32) -> i32 {
        // Mirrored, the elements come again after so many.
        let period = match self {
            Padding::Constant(_) | Padding::Edge => return at.clamp(0, length - 1),
            Padding::Reflect => (2 * i64::from(length) - 2).max(1),
            Padding::Symmetric => 2 * i64::from(length),
        };
        let at = i64::from(at).rem_euclid(period);
        let mirrored = match self {
            Padding::Symmetric => period - 1 - at,
            _ => period - at,
        };
        (if at < i64::from(length) { at } else { mirrored }) as i32
    }
}

/// Arrays joined along an axis that they already have.
///
/// # Errors
/// When the list is empty, there is no such axis, or the other axes differ.
#[doc(alias = "mlx_concatenate_axis", alias = "mlx_concatenate")]
pub fn concatenate(arrays: &[&Array], axis: i32) -> Result<Array> {
    if let Some(first) = arrays.first() {
        first.axis_length("concatenate", axis)?;
    }
    ffi::ops::join("concatenate", c::mlx_concatenate_axis, arrays, axis)
}

/// Arrays of one shape joined along a new axis, at position `axis` of the result.
///
/// # Errors
/// When the list is empty, there is no such position, or the shapes differ.
#[doc(alias = "mlx_stack_axis", alias = "mlx_stack")]
pub fn stack(arrays: &[&Array], axis: i32) -> Result<Array> {
    let ndim = arrays.first().map_or(0, |first| first.ndim() as i32) + 1;
    if !(-ndim..ndim).contains(&axis) {
        let message = format!("arrays of {} axes cannot be stacked along axis {axis}", ndim - 1);
        return Err(Error::Shape { op: "stack", message });
    }
    ffi::ops::join("stack", c::mlx_stack_axis, arrays, axis)
}

/// The arrays, each broadcast to the shape that all have in common.
///
/// # Errors
/// When the shapes cannot be broadcast together.
#[doc(alias = "mlx_broadcast_arrays")]
pub fn broadcast_arrays(arrays: &[&Array]) -> Result<Vec<Array>> {
    ffi::ops::broadcast_arrays(arrays)
}

/// Coordinates of a grid: for each list, an array over the whole grid in which it runs along its own axis.
///
/// The axes come in the order of the lists, or with the first two exchanged if `columns_first`. If `sparse`, the axes of
/// the other lists have length one.
///
/// # Errors
/// When the grid is too large.
#[doc(alias = "mlx_meshgrid")]
pub fn meshgrid(lists: &[&Array], sparse: bool, columns_first: bool) -> Result<Vec<Array>> {
    ffi::ops::meshgrid(lists, sparse, columns_first)
}
