//! The owner of one `mlx_array` handle, and the reading of its memory.

use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

use mlx_sys::{mlx_array, mlx_dtype_ as CDType};

use super::door;
use crate::{Array, DType, Result};

/// Handles that are alive in the process. A leak shows here before it shows in memory.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Handles to arrays that are alive in the process.
pub(crate) fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// Owns one reference to an MLX array. The raw pointer inside makes it neither `Send` nor `Sync`.
pub(crate) struct ArrayHandle {
    raw: mlx_array,
}

impl ArrayHandle {
    /// An empty handle, to be filled by mlx-c.
    pub(crate) fn empty() -> Self {
        ArrayHandle::own(mlx_array { ctx: std::ptr::null_mut() })
    }

    fn own(raw: mlx_array) -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        ArrayHandle { raw }
    }

    pub(crate) fn as_raw(&self) -> mlx_array {
        self.raw
    }

    pub(crate) fn as_raw_mut(&mut self) -> *mut mlx_array {
        &mut self.raw
    }

    /// A new array with a copy of `bytes`, which hold `shape`'s elements of `dtype` in row-major order.
    ///
    /// The caller has checked that the byte count is the product of the shape times the element size.
    pub(crate) fn from_bytes(bytes: &[u8], shape: &[i32], dtype: DType) -> Result<Self> {
        // SAFETY: mlx-c copies as many bytes as `shape` and `dtype` say, which the caller has checked `bytes` to
        // hold, before it returns; alignment does not matter to the copy.
        let raw = unsafe {
            mlx_sys::mlx_array_new_data(
                bytes.as_ptr().cast::<c_void>(),
                shape.as_ptr(),
                shape.len() as i32,
                to_c(dtype),
            )
        };
        if raw.ctx.is_null() { Err(door::failure("from_bytes", &[])) } else { Ok(ArrayHandle::own(raw)) }
    }

    /// A second reference to the same array.
    pub(crate) fn share(&self) -> Self {
        let mut copy = ArrayHandle::empty();
        // SAFETY: both handles are live; setting copies a reference and replaces nothing in an empty handle. It fails
        // only when no memory is left for the reference, in which case the copy stays empty and every use of it is an
        // error by mlx-c's own check.
        unsafe { mlx_sys::mlx_array_set(&mut copy.raw, self.raw) };
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
        let mut available = false;
        // SAFETY: the handle is live and `available` outlives the call.
        let status = unsafe { mlx_sys::_mlx_array_is_available(&mut available, self.raw) };
        status == 0 && available
    }

    pub(crate) fn eval(&self, operand: &Array) -> Result<()> {
        // SAFETY: the handle is live. Evaluation reports failures by its status.
        door::check("eval", &[operand], unsafe { mlx_sys::mlx_array_eval(self.raw) })
    }

    /// The bytes of an evaluated array whose elements lie in row-major order without gaps.
    pub(crate) fn contiguous_bytes(&self) -> Option<&[u8]> {
        let mut contiguous = false;
        // SAFETY: the handle is live and `contiguous` outlives the call.
        let status = unsafe { mlx_sys::_mlx_array_is_row_contiguous(&mut contiguous, self.raw) };
        if status != 0 || !contiguous || !self.is_available() {
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

fn from_c(dtype: CDType) -> DType {
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
