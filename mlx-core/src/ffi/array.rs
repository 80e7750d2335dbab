//! The owner of one `mlx_array` handle, and the reading of its memory.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mlx_sys::{mlx_array, mlx_dtype_ as CDType};

use super::{door, failures};
use crate::{Array, DType, Error, Result};

/// Handles that are alive in the process. A leak shows here before it shows in memory.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Handles to arrays that are alive in the process.
pub(crate) fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// How a computation ended.
#[derive(Default)]
pub(crate) struct Fate {
    failed: Cell<bool>,
    /// How many failures had been taken from others when it began, where it is not waited for.
    began: Option<u64>,
}

impl Fate {
    /// Of a computation that begins and is not waited for.
    pub(crate) fn pending() -> Rc<Self> {
        Rc::new(Fate { failed: Cell::new(false), began: Some(failures::taken_before()) })
    }
}

/// Owns one reference to an MLX array. The raw pointer inside makes it neither `Send` nor `Sync`.
pub(crate) struct ArrayHandle {
    raw: mlx_array,
    /// Whether evaluating it failed. MLX tells that once and then counts the array as computed, though nobody filled its
    /// memory. Handles to one array share the answer, and so do arrays that are evaluated together; any of these may say
    /// so.
    fates: RefCell<Vec<Rc<Fate>>>,
}

impl ArrayHandle {
    /// An empty handle, to be filled by mlx-c.
    pub(crate) fn empty() -> Self {
        ArrayHandle::own(mlx_array { ctx: std::ptr::null_mut() })
    }

    /// Takes over a handle, empty or live.
    pub(super) fn own(raw: mlx_array) -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        ArrayHandle { raw, fates: RefCell::default() }
    }

    pub(crate) fn as_raw(&self) -> mlx_array {
        self.raw
    }

    pub(crate) fn as_raw_mut(&mut self) -> *mut mlx_array {
        &mut self.raw
    }

    /// A new array with a copy of `bytes`, which hold `shape`'s elements of `dtype` in row-major order.
    ///
    /// # Errors
    /// When the byte count is not the product of the shape times the element size, or a boolean is neither 0 nor 1.
    pub(crate) fn from_bytes(bytes: &[u8], shape: &[i32], dtype: DType) -> Result<Self> {
        const OP: &str = "from_bytes";
        if byte_count(shape, dtype) != Some(bytes.len()) {
            let message = format!("{} bytes do not make an array of {dtype}{shape:?}", bytes.len());
            return Err(Error::Shape { op: OP, message });
        }
        require_booleans(OP, bytes, dtype)?;
        let (array, data) = ArrayHandle::allocate(OP, shape, dtype, bytes.len())?;
        if !bytes.is_empty() {
            // SAFETY: the new array's memory holds so many bytes, and nothing else knows of it yet.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len()) };
        }
        Ok(array)
    }

    /// A new array whose memory `write` fills; it is 0 at first.
    ///
    /// # Errors
    /// When the shape is none, no memory is left, `write` fails, or it writes a boolean that is neither 0 nor 1.
    pub(crate) fn written(
        op: &'static str,
        shape: &[i32],
        dtype: DType,
        write: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<Self> {
        let refuse = || Error::Shape { op, message: format!("{shape:?} is not a shape of {dtype}") };
        let len = byte_count(shape, dtype).ok_or_else(refuse)?;
        let (array, data) = ArrayHandle::allocate(op, shape, dtype, len)?;
        let bytes = if len == 0 {
            &mut []
        } else {
            // SAFETY: the new array's memory holds `len` bytes, which are set before they are lent. Nothing else knows of
            // the array until `write` is done, and it is dropped after the loan.
            unsafe {
                data.write_bytes(0, len);
                std::slice::from_raw_parts_mut(data, len)
            }
        };
        write(bytes)?;
        require_booleans(op, bytes, dtype)?;
        Ok(array)
    }

    /// A new array and its memory of `len` bytes, which is what `shape` and `dtype` need. It holds anything.
    fn allocate(op: &'static str, shape: &[i32], dtype: DType, len: usize) -> Result<(Self, *mut u8)> {
        let mut array = ArrayHandle::empty();
        let mut data = std::ptr::null_mut();
        // SAFETY: the empty handle and the pointer may be filled, and the numbers of the shape are copied.
        let status = unsafe {
            mlx_sys::rust_mlx_array_allocate(
                array.as_raw_mut(),
                shape.as_ptr(),
                shape.len(),
                to_c(dtype),
                len,
                &mut data,
            )
        };
        door::check(op, &[], status)?;
        Ok((array, data.cast()))
    }

    /// A second reference to the same array.
    pub(crate) fn share(&self) -> Self {
        let mut copy = ArrayHandle::empty();
        // SAFETY: both handles are live; setting copies a reference and replaces nothing in an empty handle. It fails
        // only when no memory is left for the reference, in which case the copy stays empty and every use of it is an
        // error by mlx-c's own check.
        unsafe { mlx_sys::mlx_array_set(&mut copy.raw, self.raw) };
        let mut fates = self.fates.borrow_mut();
        if fates.is_empty() {
            fates.push(Rc::default());
        }
        copy.fates = RefCell::new(fates.clone());
        copy
    }

    pub(crate) fn shape(&self) -> &[i32] {
        // SAFETY: the pointer leads into the array's own shape, which never changes and lives as long as a handle
        // refers to it; `self` is borrowed for that long. A scalar may have a null pointer, which is not read.
        unsafe {
            let ndim = mlx_sys::mlx_array_ndim(self.raw);
            if ndim == 0 { &[] } else { std::slice::from_raw_parts(mlx_sys::mlx_array_shape(self.raw), ndim) }
        }
    }

    pub(crate) fn size(&self) -> usize {
        // SAFETY: the handle is live; the call reads a number.
        unsafe { mlx_sys::mlx_array_size(self.raw) }
    }

    pub(crate) fn dtype(&self) -> DType {
        // SAFETY: the handle is live; the call reads a number.
        from_c(unsafe { mlx_sys::mlx_array_dtype(self.raw) })
    }

    /// Whether the elements are computed and in memory.
    pub(crate) fn is_available(&self) -> bool {
        if self.has_failed() {
            return false;
        }
        let mut available = false;
        // SAFETY: the handle is live and `available` outlives the call.
        let status = unsafe { mlx_sys::_mlx_array_is_available(&mut available, self.raw) };
        if status != 0 {
            // Work that is done and has failed: MLX tells whoever asks first, and nobody after that.
            drop(door::failure("is_available", &[]));
            self.mark_failed();
        }
        available && self.settle().is_ok()
    }

    pub(crate) fn eval(&self, operand: &Array) -> Result<()> {
        const OP: &str = "eval";
        if self.has_failed() {
            return Err(Error::Op {
                op: OP,
                operands: operand.describe(),
                message: "computing this array has failed before".to_owned(),
            });
        }
        let began = failures::taken_before();
        // SAFETY: the handle is live. Evaluation reports failures by its status.
        let outcome = door::check(OP, &[operand], unsafe { mlx_sys::mlx_array_eval(self.raw) });
        if outcome.is_err() {
            self.mark_failed();
        }
        outcome?;
        if failures::taken() != began {
            self.mark_failed();
            return Err(failures::lost(OP, operand.describe()));
        }
        self.settle().map_err(|()| failures::lost(OP, operand.describe()))
    }

    fn has_failed(&self) -> bool {
        self.fates.borrow().iter().any(|fate| fate.failed.get())
    }

    /// Whether nobody else was told of a failure since the computation of this array, which is done, began.
    fn settle(&self) -> std::result::Result<(), ()> {
        let pending = |fate: &Rc<Fate>| fate.began.is_some();
        if !self.fates.borrow().iter().any(pending) {
            return Ok(());
        }
        let taken = failures::taken();
        if self.fates.borrow().iter().any(|fate| fate.began.is_some_and(|began| began != taken)) {
            self.mark_failed();
            return Err(());
        }
        // What is computed cannot fail any more.
        self.fates.borrow_mut().retain(|fate| !pending(fate));
        Ok(())
    }

    /// Ends as a computation does that this array is part of.
    pub(crate) fn share_fate(&self, fate: &Rc<Fate>) {
        if !self.is_available() {
            self.fates.borrow_mut().push(Rc::clone(fate));
        }
    }

    /// Remembers that an evaluation which included this array failed.
    pub(crate) fn mark_failed(&self) {
        let mut fates = self.fates.borrow_mut();
        if fates.is_empty() {
            fates.push(Rc::default());
        }
        fates.iter().for_each(|fate| fate.failed.set(true));
    }

    /// Whether the elements lie in row-major order without gaps, by the strides themselves: MLX's own flag is wrong for
    /// some chains of views.
    fn is_row_major(&self) -> bool {
        let shape = self.shape();
        if shape.is_empty() || self.size() == 0 {
            return true;
        }
        // SAFETY: the array has axes, so the pointer leads to as many strides as it has axes; they live as long as the
        // array, which `self` keeps for the borrow.
        let strides =
            unsafe { std::slice::from_raw_parts(mlx_sys::mlx_array_strides(self.raw), shape.len()) };
        let mut expected = 1;
        shape.iter().zip(strides).rev().all(|(length, stride)| {
            // The stride of an axis of length one is never taken.
            let fits = *length == 1 || *stride == expected;
            expected *= *length as usize;
            fits
        })
    }

    /// The bytes of an evaluated array whose elements lie in row-major order without gaps.
    pub(crate) fn contiguous_bytes(&self) -> Option<&[u8]> {
        if !self.is_available() || !self.is_row_major() {
            return None;
        }
        let len = self.size() * self.dtype().size();
        if len == 0 {
            return Some(&[]);
        }
        // SAFETY: the array is evaluated, so the pointer (which counts the view's offset in) leads to its memory; its
        // elements lie there row by row without gaps, so `len` bytes may be read. MLX never writes to the buffer of an
        // array to which a handle outside the graph refers, and `self` keeps that handle for the borrow.
        unsafe {
            let data = mlx_sys::mlx_array_data_uint8(self.raw);
            if data.is_null() { None } else { Some(std::slice::from_raw_parts(data, len)) }
        }
    }
}

/// Bytes that an array needs, unless an axis is negative or the number is more than memory can be addressed with.
pub(crate) fn byte_count(shape: &[i32], dtype: DType) -> Option<usize> {
    let bytes =
        shape.iter().try_fold(dtype.size(), |bytes, axis| bytes.checked_mul(usize::try_from(*axis).ok()?))?;
    isize::try_from(bytes).is_ok().then_some(bytes)
}

/// MLX computes with the byte of a boolean itself: a 2 would be true, but not equal to true.
fn require_booleans(op: &'static str, bytes: &[u8], dtype: DType) -> Result<()> {
    if dtype == DType::Bool && bytes.iter().any(|byte| *byte > 1) {
        return Err(Error::Shape { op, message: "a boolean is neither 0 nor 1".to_owned() });
    }
    Ok(())
}

impl Drop for ArrayHandle {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: this handle owns its reference and is not used again; freeing an empty one does nothing.
        unsafe { mlx_sys::mlx_array_free(self.raw) };
    }
}

pub(crate) fn to_c(dtype: DType) -> CDType {
    match dtype {
        DType::Bool => CDType::MLX_BOOL,
        DType::U8 => CDType::MLX_UINT8,
        DType::U16 => CDType::MLX_UINT16,
        DType::U32 => CDType::MLX_UINT32,
        DType::U64 => CDType::MLX_UINT64,
        DType::I8 => CDType::MLX_INT8,
        DType::I16 => CDType::MLX_INT16,
        DType::I32 => CDType::MLX_INT32,
        DType::I64 => CDType::MLX_INT64,
        DType::F16 => CDType::MLX_FLOAT16,
        DType::BF16 => CDType::MLX_BFLOAT16,
        DType::F32 => CDType::MLX_FLOAT32,
        DType::F64 => CDType::MLX_FLOAT64,
        DType::Complex64 => CDType::MLX_COMPLEX64,
    }
}

pub(crate) fn from_c(dtype: CDType) -> DType {
    match dtype {
        CDType::MLX_BOOL => DType::Bool,
        CDType::MLX_UINT8 => DType::U8,
        CDType::MLX_UINT16 => DType::U16,
        CDType::MLX_UINT32 => DType::U32,
        CDType::MLX_UINT64 => DType::U64,
        CDType::MLX_INT8 => DType::I8,
        CDType::MLX_INT16 => DType::I16,
        CDType::MLX_INT32 => DType::I32,
        CDType::MLX_INT64 => DType::I64,
        CDType::MLX_FLOAT16 => DType::F16,
        CDType::MLX_BFLOAT16 => DType::BF16,
        CDType::MLX_FLOAT32 => DType::F32,
        CDType::MLX_FLOAT64 => DType::F64,
        // The last of MLX's types; the C enumeration has no others.
        _ => DType::Complex64,
    }
}
