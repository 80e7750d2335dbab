//! The memory of views as kernels take it.

use std::borrow::Cow;

use bytemuck::CheckedBitPattern;
use cpu_kernels::product::{Dense, Values};
use half::{bf16, f16};

use crate::primitive::View;
use crate::{DType, Element, Error, Result};

/// Runs `$body` with `$T` as the Rust type of a floating dtype.
macro_rules! with_float {
    ($op:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F16 => {
                type $T = half::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            found => Err($crate::Error::DTypeMismatch { op: $op, expected: $crate::DType::F32, found }),
        }
    };
}

pub(super) use with_float;

/// Whether kernels compute with numbers of this type.
pub(super) fn is_supported(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

/// Floating-point numbers where their strides say; copied only where memory does not hold them in a usable way.
pub(super) struct Floats<'a> {
    memory: Memory<'a>,
    /// Elements from one position of each axis to the next.
    pub(super) strides: Vec<usize>,
}

enum Memory<'a> {
    F32(Cow<'a, [f32]>),
    F16(Cow<'a, [f16]>),
    Bf16(Cow<'a, [bf16]>),
}

impl<'a> Floats<'a> {
    /// The elements of a view.
    ///
    /// # Errors
    /// When they are not of a floating dtype of at most 32 bits.
    pub(super) fn of(op: &'static str, view: &View<'a>) -> Result<Self> {
        let (memory, strides) = match view.dtype() {
            DType::F32 => located(view, Memory::F32)?,
            DType::F16 => located(view, Memory::F16)?,
            DType::BF16 => located(view, Memory::Bf16)?,
            found => return Err(Error::DTypeMismatch { op, expected: DType::F32, found }),
        };
        Ok(Floats { memory, strides })
    }

    /// The elements of a view, one after the other in row-major order.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(super) fn row_major(op: &'static str, view: &View<'a>) -> Result<Self> {
        let memory = match view.dtype() {
            DType::F32 => Memory::F32(view.elements()?),
            DType::F16 => Memory::F16(view.elements()?),
            DType::BF16 => Memory::Bf16(view.elements()?),
            found => return Err(Error::DTypeMismatch { op, expected: DType::F32, found }),
        };
        Ok(Floats { memory, strides: Vec::new() })
    }

    /// The numbers from element `first` on.
    pub(super) fn values(&self, first: usize) -> Values<'_> {
        match &self.memory {
            Memory::F32(values) => Values::F32(&values[first.min(values.len())..]),
            Memory::F16(values) => Values::F16(&values[first.min(values.len())..]),
            Memory::Bf16(values) => Values::Bf16(&values[first.min(values.len())..]),
        }
    }

    /// `count` numbers from element `first` on, if memory holds as many.
    pub(super) fn range(&self, first: usize, count: usize) -> Option<Values<'_>> {
        let end = first.checked_add(count)?;
        Some(match &self.memory {
            Memory::F32(values) => Values::F32(values.get(first..end)?),
            Memory::F16(values) => Values::F16(values.get(first..end)?),
            Memory::Bf16(values) => Values::Bf16(values.get(first..end)?),
        })
    }

    /// The last two axes as a matrix, from element `first` on.
    pub(super) fn matrix(&self, first: usize) -> Dense<'_> {
        let [.., row_stride, column_stride] = self.strides[..] else {
            return Dense { values: self.values(first), row_stride: 0, column_stride: 1 };
        };
        Dense { values: self.values(first), row_stride, column_stride }
    }
}

fn located<'a, T: Element + CheckedBitPattern>(
    view: &View<'a>,
    memory: impl Fn(Cow<'a, [T]>) -> Memory<'a>,
) -> Result<(Memory<'a>, Vec<usize>)> {
    let strides: Option<Vec<usize>> = view.strides().iter().map(|s| usize::try_from(*s).ok()).collect();
    if let (Some(strides), Ok((storage, first))) = (strides, view.storage::<T>()) {
        return Ok((memory(Cow::Borrowed(&storage[first..])), strides));
    }
    Ok((memory(view.elements::<T>()?), row_major(view.shape(), 1)))
}

/// The memory of `[B, H, L, Dh]`, and the elements from one position of the first three axes to the next; copied only where
/// a row of `Dh` does not lie side by side.
pub(super) fn heads<'a, T: Element + CheckedBitPattern>(
    view: &View<'a>,
) -> Result<(Cow<'a, [T]>, [usize; 3])> {
    let strides: Option<Vec<usize>> = view.strides().iter().map(|s| usize::try_from(*s).ok()).collect();
    if let (Some(&[batch, head, row, element]), Ok((storage, first))) =
        (strides.as_deref(), view.storage::<T>())
        && (element == 1 || view.shape()[3] == 1)
    {
        return Ok((Cow::Borrowed(&storage[first..]), [batch, head, row]));
    }
    let strides = row_major(view.shape(), 1);
    Ok((view.elements::<T>()?, [0, 1, 2].map(|axis| strides.get(axis).copied().unwrap_or(0))))
}

/// Elements from one position of each axis to the next, in row-major order of things of `size` elements.
pub(super) fn row_major(shape: &[i32], size: usize) -> Vec<usize> {
    let mut strides = vec![size; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as usize;
    }
    strides
}

/// For a view whose rows are not in row-major order, but whose elements within a row lie side by side: the memory, and where
/// each row begins, in the view's order.
pub(super) fn rows_apart<'a, T: Element + CheckedBitPattern>(
    view: &View<'a>,
) -> Result<Option<(&'a [T], impl Iterator<Item = usize> + use<'a, T>)>> {
    let strides: Option<Vec<usize>> = view.strides().iter().map(|s| usize::try_from(*s).ok()).collect();
    let ([lengths @ .., _], Some([strides @ .., 1])) = (view.shape(), strides.as_deref()) else {
        return Ok(None);
    };
    if view.as_slice::<T>().is_ok() {
        return Ok(None);
    }
    let (storage, start) = view.storage::<T>()?;
    let (lengths, strides) = (lengths.to_vec(), strides.to_vec());
    let count = lengths.iter().map(|length| *length as usize).product();
    let first = move |mut row: usize| {
        let mut first = start;
        for (length, stride) in lengths.iter().zip(&strides).rev() {
            first += row % *length as usize * stride;
            row /= *length as usize;
        }
        first
    };
    Ok(Some((storage, (0..count).map(first))))
}
