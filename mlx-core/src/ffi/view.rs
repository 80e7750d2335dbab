//! The memory of arrays as primitives see it, on whatever thread they run.

use std::borrow::Cow;
use std::marker::PhantomData;

use bytemuck::{AnyBitPattern, CheckedBitPattern};
use mlx_sys::rust_mlx_operand;

use super::array::from_c;
use crate::{DType, Element, Error, Result};

/// An input of a primitive: elements that lie `strides` apart.
pub struct View<'a> {
    operand: Operand<'a>,
}

/// An output of a primitive: elements in row-major order without gaps, 0 at first.
pub struct ViewMut<'a> {
    operand: Operand<'a>,
}

struct Operand<'a> {
    data: *mut u8,
    shape: &'a [i32],
    strides: &'a [i64],
    dtype: DType,
    memory: PhantomData<&'a [u8]>,
}

impl<'a> Operand<'a> {
    /// # Safety
    /// The operand describes memory that lives for `'a`, and its shape and strides do too.
    unsafe fn new(raw: &rust_mlx_operand) -> Self {
        // SAFETY: the caller says so; without axes the pointers may be anything and are not read.
        let (shape, strides) = unsafe {
            match raw.ndim {
                0 => (&[][..], &[][..]),
                ndim => (
                    std::slice::from_raw_parts(raw.shape, ndim),
                    std::slice::from_raw_parts(raw.strides, ndim),
                ),
            }
        };
        Operand { data: raw.data.cast(), shape, strides, dtype: from_c(raw.dtype), memory: PhantomData }
    }

    fn size(&self) -> usize {
        self.shape.iter().map(|length| *length as usize).product()
    }

    fn is_row_major(&self) -> bool {
        let mut expected = 1;
        self.size() == 0
            || self.shape.iter().zip(self.strides).rev().all(|(length, stride)| {
                // The stride of an axis of length one is never taken.
                let fits = *length == 1 || *stride == expected;
                expected *= i64::from(*length);
                fits
            })
    }

    /// Elements before and after the first one that the strides reach.
    fn reach(&self) -> (usize, usize) {
        let steps =
            self.shape.iter().zip(self.strides).map(|(length, stride)| (i64::from(*length) - 1) * stride);
        let (mut before, mut after) = (0, 0);
        for step in steps {
            if step < 0 { before -= step } else { after += step }
        }
        (before as usize, after as usize)
    }

    fn require<T: Element>(&self, op: &'static str) -> Result<()> {
        if T::DTYPE == self.dtype {
            return Ok(());
        }
        Err(Error::DTypeMismatch { op, expected: T::DTYPE, found: self.dtype })
    }
}

impl<'a> View<'a> {
    /// # Safety
    /// The operand describes memory that lives for `'a` and that nobody writes to, and its shape and strides live too.
    pub(super) unsafe fn new(raw: &rust_mlx_operand) -> Self {
        // SAFETY: the caller says so.
        View { operand: unsafe { Operand::new(raw) } }
    }

    /// Lengths of the axes; empty for a scalar.
    pub fn shape(&self) -> &'a [i32] {
        self.operand.shape
    }

    /// Elements from one position of each axis to the next; may be negative, or 0 where an axis is broadcast.
    pub fn strides(&self) -> &'a [i64] {
        self.operand.strides
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.operand.dtype
    }

    /// Number of elements.
    pub fn size(&self) -> usize {
        self.operand.size()
    }

    /// The elements, where they lie in row-major order without gaps.
    ///
    /// # Errors
    /// When `T` is not the element type, or the elements lie otherwise.
    pub fn as_slice<T: Element + CheckedBitPattern>(&self) -> Result<&'a [T]> {
        self.operand.require::<T>("as_slice")?;
        if self.size() == 0 {
            return Ok(&[]);
        }
        if !self.operand.is_row_major() {
            let message = format!("{:?} elements lie {:?} apart", self.shape(), self.strides());
            return Err(Error::Shape { op: "as_slice", message });
        }
        self.cast(0, self.size())
    }

    /// The elements in row-major order: borrowed if they lie so (and as Rust wants them to be aligned), else copied.
    ///
    /// # Errors
    /// When `T` is not the element type.
    pub fn elements<T: Element + CheckedBitPattern>(&self) -> Result<Cow<'a, [T]>> {
        self.operand.require::<T>("elements")?;
        if self.operand.is_row_major()
            && let Ok(elements) = self.as_slice()
        {
            return Ok(Cow::Borrowed(elements));
        }
        // Byte by byte, since a view of other elements may begin anywhere.
        let (before, after) = if self.size() == 0 { (0, 0) } else { self.operand.reach() };
        let storage = if self.size() == 0 { &[] } else { self.bytes(before, before + 1 + after) };
        let (first, width) = (before, self.dtype().size());
        let mut gathered = Vec::with_capacity(self.size());
        let mut position = vec![0; self.shape().len()];
        let mut offset = first as i64;
        for _ in 0..self.size() {
            let at = offset as usize * width;
            gathered.push(T::from_bytes(&storage[at..at + width]));
            // The next position: the last axis that has one moves on, those after it start again.
            for axis in (0..position.len()).rev() {
                position[axis] += 1;
                offset += self.strides()[axis];
                if position[axis] < self.shape()[axis] {
                    break;
                }
                offset -= i64::from(self.shape()[axis]) * self.strides()[axis];
                position[axis] = 0;
            }
        }
        Ok(Cow::Owned(gathered))
    }

    /// All memory that the strides reach, and where the first element lies in it: element `[i, j]` is at
    /// `first + i * strides[0] + j * strides[1]`. Empty where there is no element.
    ///
    /// # Errors
    /// When `T` is not the element type.
    pub fn storage<T: Element + CheckedBitPattern>(&self) -> Result<(&'a [T], usize)> {
        self.operand.require::<T>("storage")?;
        if self.size() == 0 {
            return Ok((&[], 0));
        }
        let (before, after) = self.operand.reach();
        Ok((self.cast(before, before + 1 + after)?, before))
    }

    /// The bytes of `len` elements, of which `before` come before the first.
    fn bytes(&self, before: usize, len: usize) -> &'a [u8] {
        let size = self.dtype().size();
        // SAFETY: the strides of an array reach only into its own memory, from `before` elements before the first one
        // to the end of `len`; the view's creator keeps it alive and unwritten for `'a`. Any byte is a `u8`.
        unsafe { std::slice::from_raw_parts(self.operand.data.sub(before * size), len * size) }
    }

    /// `len` elements, of which `before` come before the first.
    fn cast<T: Element + CheckedBitPattern>(&self, before: usize, len: usize) -> Result<&'a [T]> {
        // Alignment and the bits of booleans are looked at, not taken on trust.
        bytemuck::checked::try_cast_slice(self.bytes(before, len)).map_err(|error| Error::Shape {
            op: "view",
            message: format!("the memory does not hold elements of {}: {error}", self.dtype()),
        })
    }
}

impl<'a> ViewMut<'a> {
    /// An output, filled with zeros.
    ///
    /// # Safety
    /// The operand describes row-major memory without gaps that lives for `'a` and that nobody else uses; its shape and
    /// strides live too.
    pub(super) unsafe fn new(raw: &rust_mlx_operand) -> Self {
        // SAFETY: the caller says so.
        let operand: Operand<'a> = unsafe { Operand::new(raw) };
        let len = operand.size() * operand.dtype.size();
        if len != 0 {
            // SAFETY: the memory holds so many bytes, and is ours to write.
            unsafe { operand.data.write_bytes(0, len) };
        }
        ViewMut { operand }
    }

    /// Lengths of the axes; empty for a scalar.
    pub fn shape(&self) -> &'a [i32] {
        self.operand.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.operand.dtype
    }

    /// Number of elements.
    pub fn size(&self) -> usize {
        self.operand.size()
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// When `T` is not the element type.
    pub fn as_mut_slice<T: Element + CheckedBitPattern>(&mut self) -> Result<&mut [T]> {
        self.operand.require::<T>("as_mut_slice")?;
        let len = self.size();
        if len == 0 {
            return Ok(&mut []);
        }
        let data = self.operand.data.cast::<T>();
        if !data.is_aligned() {
            let message = format!("the memory is not aligned for {}", self.dtype());
            return Err(Error::Shape { op: "as_mut_slice", message });
        }
        // SAFETY: the memory is aligned, holds `len` elements (zeros, or what this view's owner has written as `T`),
        // and is used through this view alone.
        Ok(unsafe { std::slice::from_raw_parts_mut(data, len) })
    }

    /// Makes a result that was not computed show: NaN in every floating-point element, 0 in others.
    pub(super) fn poison(&mut self) {
        match self.dtype() {
            DType::F16 => self.fill(half::f16::NAN),
            DType::BF16 => self.fill(half::bf16::NAN),
            DType::F32 | DType::Complex64 => self.fill(f32::NAN),
            DType::F64 => self.fill(f64::NAN),
            _ => self.fill(0u8),
        }
    }

    fn fill<T: AnyBitPattern>(&mut self, value: T) {
        let size = self.dtype().size();
        let len = self.size() * size / size_of::<T>();
        let data = self.operand.data.cast::<T>();
        for index in 0..len {
            // SAFETY: `index` is below the number of values that the memory holds; alignment does not matter.
            unsafe { data.add(index).write_unaligned(value) };
        }
    }
}
