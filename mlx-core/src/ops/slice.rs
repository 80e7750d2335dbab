//! Slices of arrays: taken out, put in, cut apart.

use super::index::Join;
use super::positions::{Limit, checked_later};
use crate::ffi::ops::Range;
use crate::transforms::is_vectorizing;
use crate::{Array, Error, Result, ffi, select};

impl Join {
    fn slice_update(self) -> ffi::ops::SliceUpdateFn {
        use ffi::c;
        match self {
            Join::Set => c::mlx_slice_update,
            Join::Add => c::mlx_slice_update_add,
            Join::Multiply => c::mlx_slice_update_prod,
            Join::Max => c::mlx_slice_update_max,
            Join::Min => c::mlx_slice_update_min,
        }
    }
}

impl Array {
    /// Elements `start` to before `stop` in steps of `step`, each a number for every axis.
    ///
    /// The rules are NumPy's: negative numbers count from the end, what lies outside is cut off, and a negative step goes
    /// backwards (`i32::MIN` as its stop goes through the first element).
    ///
    /// ```
    /// # use mlx_core::{Array, DType};
    /// let a = Array::arange(0.0, 6.0, 1.0, DType::I32)?.reshape(&[2, 3])?;
    /// assert_eq!(a.slice(&[1, 0], &[2, 3], &[1, 2])?.to_vec::<i32>()?, [3, 5]);
    /// assert_eq!(a.slice(&[0, -1], &[1, i32::MIN], &[1, -1])?.to_vec::<i32>()?, [2, 1, 0]);
    /// # Ok::<(), mlx_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When there are not as many numbers as axes, or a step is 0.
    #[doc(alias = "mlx_slice")]
    pub fn slice(&self, start: &[i32], stop: &[i32], step: &[i32]) -> Result<Array> {
        let cuts = self.cuts("slice", start, stop, step)?;
        ffi::ops::slice(self, cuts.range())
    }

    /// This array with `update` joined into the slice that [`slice`](Self::slice) takes.
    ///
    /// The buffer is written in place if nothing else refers to this array when the result is evaluated; drop it before
    /// then.
    ///
    /// # Errors
    /// As [`slice`](Self::slice), and when `update` has another shape or dtype than the slice.
    #[doc(
        alias = "mlx_slice_update",
        alias = "mlx_slice_update_add",
        alias = "mlx_slice_update_max",
        alias = "mlx_slice_update_min",
        alias = "mlx_slice_update_prod"
    )]
    pub fn slice_update(
        &self,
        update: &Array,
        start: &[i32],
        stop: &[i32],
        step: &[i32],
        join: Join,
    ) -> Result<Array> {
        let cuts = self.cuts("slice_update", start, stop, step)?;
        self.require_fit("slice_update", update, &cuts.lengths)?;
        let update = &self.beside(update)?;
        ffi::ops::slice_update(join.slice_update(), self, update, cuts.range())
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
    pub fn slice_axis(&self, axis: i32, start: i32, stop: i32) -> Result<Array> {
        let (start, stop) = self.bounds("slice_axis", axis, start, stop)?;
        ffi::ops::slice(self, Range { step: &vec![1; start.len()], start: &start, stop: &stop })
    }

    /// This array with elements `start` to below `stop` along one axis replaced by `update`.
    ///
    /// The buffer is written in place if nothing else refers to this array when the result is evaluated; drop it before
    /// then.
    ///
    /// # Errors
    /// When there is no such axis, `start..stop` does not lie inside it, or `update` does not fit there.
    pub fn slice_update_axis(&self, update: &Array, axis: i32, start: i32, stop: i32) -> Result<Array> {
        let (start, stop) = self.bounds("slice_update_axis", axis, start, stop)?;
        let place: Vec<i32> = start.iter().zip(&stop).map(|(start, stop)| stop - start).collect();
        self.require_fit("slice_update_axis", update, &place)?;
        let range = Range { step: &vec![1; start.len()], start: &start, stop: &stop };
        let update = &self.beside(update)?;
        ffi::ops::slice_update(ffi::c::mlx_slice_update, self, update, range)
    }

    /// A slice of `sizes` that begins at `start`, an array with one position for each of `axes`; on other axes it begins
    /// at 0. The positions may be the result of a computation, which nobody waits for here.
    ///
    /// # Errors
    /// When the lists do not belong together. A slice that does not lie inside is an error of the evaluation (on a GPU it
    /// moves inside).
    #[doc(alias = "mlx_slice_dynamic")]
    pub fn slice_dynamic(&self, start: &Array, axes: &[i32], sizes: &[i32]) -> Result<Array> {
        const OP: &str = "slice_dynamic";
        self.require_inside(OP, sizes)?;
        let (start, axes) = self.starts(OP, start, axes, sizes)?;
        ffi::ops::slice_dynamic(self, &start, &axes, sizes)
    }

    /// This array with `update` in the slice that [`slice_dynamic`](Self::slice_dynamic) takes.
    ///
    /// # Errors
    /// As [`slice_dynamic`](Self::slice_dynamic), and when `update` has another dtype or number of axes.
    #[doc(alias = "mlx_slice_update_dynamic")]
    pub fn slice_update_dynamic(&self, update: &Array, start: &Array, axes: &[i32]) -> Result<Array> {
        const OP: &str = "slice_update_dynamic";
        self.require_inside(OP, update.shape())?;
        self.require_fit(OP, update, update.shape())?;
        let (start, axes) = self.starts(OP, start, axes, update.shape())?;
        let update = &self.beside(update)?;
        ffi::ops::slice_update_dynamic(self, update, &start, &axes)
    }

    /// Pieces of the array, cut along `axis` before each position of `at`.
    ///
    /// The pieces are slices: MLX's own split marks some of them as laid out in a way that they are not.
    ///
    /// # Errors
    /// When there is no such axis, or the positions do not ascend from 0 to its length.
    #[doc(alias = "mlx_split", alias = "mlx_split_sections")]
    pub fn split(&self, at: &[i32], axis: i32) -> Result<Vec<Array>> {
        let length = self.axis_length("split", axis)?;
        let edges: Vec<i32> = [0].into_iter().chain(at.iter().copied()).chain([length]).collect();
        if !edges.is_sorted() {
            let message = format!("positions {at:?} do not ascend inside axis {axis} of {}", self.describe());
            return Err(Error::Shape { op: "split", message });
        }
        edges.windows(2).map(|edge| self.slice_axis(axis, edge[0], edge[1])).collect()
    }

    /// The slices of length one along `axis`, without that axis.
    ///
    /// # Errors
    /// When there is no such axis.
    #[doc(alias = "mlx_unstack", alias = "mlx_unstack_axis")]
    pub fn unstack(&self, axis: i32) -> Result<Vec<Array>> {
        let length = self.axis_length("unstack", axis)?;
        (0..length).map(|at| self.slice_axis(axis, at, at + 1)?.squeeze(axis)).collect()
    }

    /// Starts and stops over all axes for a range along one. MLX clips ranges silently; here they must fit.
    fn bounds(&self, op: &'static str, axis: i32, start: i32, stop: i32) -> Result<(Vec<i32>, Vec<i32>)> {
        let index = self.axis_index(op, axis)?;
        if start < 0 || stop < start || stop > self.shape()[index] {
            let message = format!("{start}..{stop} does not lie inside axis {axis} of {}", self.describe());
            return Err(Error::Shape { op, message });
        }
        let mut from = vec![0; self.ndim()];
        let mut to = self.shape().to_vec();
        from[index] = start;
        to[index] = stop;
        Ok((from, to))
    }

    fn cuts(&self, op: &'static str, start: &[i32], stop: &[i32], step: &[i32]) -> Result<Cuts> {
        if [start.len(), stop.len(), step.len()] != [self.ndim(); 3] || step.contains(&0) {
            let message = format!(
                "starts {start:?}, stops {stop:?} and steps {step:?} are not a slice of {}",
                self.describe()
            );
            return Err(Error::Shape { op, message });
        }
        let mut cuts = Cuts::default();
        for (axis, length) in self.shape().iter().enumerate() {
            cuts.add(*length, start[axis], stop[axis], step[axis]);
        }
        Ok(cuts)
    }

    /// MLX would repeat or convert an update to make it fit.
    fn require_fit(&self, op: &'static str, update: &Array, place: &[i32]) -> Result<()> {
        if update.shape() == place && update.dtype() == self.dtype() {
            return Ok(());
        }
        let message = format!("{} does not fit the place of {}{place:?}", update.describe(), self.dtype());
        Err(Error::Shape { op, message })
    }

    /// An update that is vectorized wherever this array is: MLX would put one that is the same for all into the first.
    fn beside(&self, update: &Array) -> Result<Array> {
        if !is_vectorizing() || self.ndim() == 0 || self.size() == 0 {
            return Ok(update.clone());
        }
        let first = self.reshape(&[-1])?.slice_axis(0, 0, 1)?;
        select(&Array::scalar(false)?, &first, update)
    }

    fn require_inside(&self, op: &'static str, sizes: &[i32]) -> Result<()> {
        let inside = |(own, size): (&i32, &i32)| (0..=*own).contains(size);
        if sizes.len() == self.ndim() && self.shape().iter().zip(sizes).all(inside) {
            return Ok(());
        }
        Err(Error::Shape {
            op,
            message: format!("a slice of {sizes:?} does not lie inside {}", self.describe()),
        })
    }

    /// Starts of a slice of `sizes`, checked when they are computed, and their axes counted from the first.
    fn starts(
        &self,
        op: &'static str,
        start: &Array,
        axes: &[i32],
        sizes: &[i32],
    ) -> Result<(Array, Vec<i32>)> {
        let indices = self.axis_indices(op, axes)?;
        if start.ndim() > 1 || start.size() != axes.len() {
            let message = format!("{} does not hold one start for each of {axes:?}", start.describe());
            return Err(Error::Shape { op, message });
        }
        let limits: Vec<Limit> =
            indices.iter().map(|axis| Limit::upto(self.shape()[*axis] - sizes[*axis])).collect();
        let start = checked_later(op, start, &limits)?;
        Ok((start, indices.into_iter().map(|axis| axis as i32).collect()))
    }
}

/// A slice in numbers that mean the same to MLX, and its shape.
#[derive(Default)]
struct Cuts {
    start: Vec<i32>,
    stop: Vec<i32>,
    step: Vec<i32>,
    lengths: Vec<i32>,
}

impl Cuts {
    /// Adds one axis by NumPy's rules.
    fn add(&mut self, length: i32, start: i32, stop: i32, step: i32) {
        let [n, step] = [i64::from(length), i64::from(step)];
        let counted = |at: i32| if at < 0 { i64::from(at) + n } else { i64::from(at) };
        let [low, high] = if step > 0 { [0, n] } else { [-1, n - 1] };
        let [first, end] = [start, stop].map(|at| counted(at).clamp(low, high));
        let count = (((end - first) * step.signum()).max(0) + step.abs() - 1) / step.abs();
        let (start, stop, step) = match count {
            0 => (0, 0, 1),
            // MLX forgets the step of a single element, and would take the slice's derivative from here to its stop.
            1 => (first, first + 1, 1),
            // MLX takes -1 for the last element; one more than the length below it is before the first.
            _ => (first, if end < 0 { -n - 1 } else { end }, step.clamp(-n, n)),
        };
        self.start.push(start as i32);
        self.stop.push(stop as i32);
        self.step.push(step as i32);
        self.lengths.push(count as i32);
    }

    fn range(&self) -> Range<'_> {
        Range { start: &self.start, stop: &self.stop, step: &self.step }
    }
}
