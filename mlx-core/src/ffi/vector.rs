//! The owner of one `mlx_vector_array`.

use mlx_sys::{mlx_array, mlx_vector_array};

use super::{ArrayHandle, door};
use crate::{Array, Result};

/// Owns a C++ vector of array references.
pub(crate) struct ArrayVector {
    raw: mlx_vector_array,
}

impl ArrayVector {
    pub(crate) fn empty() -> Self {
        ArrayVector { raw: mlx_vector_array { ctx: std::ptr::null_mut() } }
    }

    /// A vector of references to `arrays`.
    pub(crate) fn new(arrays: &[&Array]) -> Self {
        let raw: Vec<mlx_array> = arrays.iter().map(|a| a.raw()).collect();
        // SAFETY: the pointer covers `raw.len()` live handles; mlx-c copies references out of them before it returns.
        // Without memory it gives an empty vector, which every function refuses.
        ArrayVector { raw: unsafe { mlx_sys::mlx_vector_array_new_data(raw.as_ptr(), raw.len()) } }
    }

    /// # Safety
    /// `raw` is empty or holds a vector, whose ownership passes with it.
    pub(super) unsafe fn from_raw(raw: mlx_vector_array) -> Self {
        ArrayVector { raw }
    }

    /// Gives the vector away.
    pub(super) fn into_raw(self) -> mlx_vector_array {
        std::mem::ManuallyDrop::new(self).raw
    }

    pub(crate) fn as_raw(&self) -> mlx_vector_array {
        self.raw
    }

    pub(crate) fn as_raw_mut(&mut self) -> *mut mlx_vector_array {
        &mut self.raw
    }

    /// The arrays, each by a reference of its own.
    pub(crate) fn arrays(&self, op: &'static str) -> Result<Vec<Array>> {
        if self.raw.ctx.is_null() {
            return Ok(Vec::new());
        }
        // SAFETY: the handle is live and holds a vector.
        let len = unsafe { mlx_sys::mlx_vector_array_size(self.raw) };
        let get = |index| {
            let mut out = ArrayHandle::empty();
            // SAFETY: `index` is below the vector's size, and both handles are live.
            let status = unsafe { mlx_sys::mlx_vector_array_get(out.as_raw_mut(), self.raw, index) };
            door::check(op, &[], status)?;
            door::accept(op, out)
        };
        (0..len).map(get).collect()
    }
}

impl Drop for ArrayVector {
    fn drop(&mut self) {
        // SAFETY: this owner's reference is not used again; freeing an empty vector does nothing.
        unsafe { mlx_sys::mlx_vector_array_free(self.raw) };
    }
}
