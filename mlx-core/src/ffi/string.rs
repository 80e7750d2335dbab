//! The owner of one `mlx_string`.

use std::ffi::CStr;

use mlx_sys::mlx_string;

/// Owns a C++ string that mlx-c fills.
pub(crate) struct CppString {
    raw: mlx_string,
}

impl CppString {
    pub(crate) fn empty() -> Self {
        CppString { raw: mlx_string { ctx: std::ptr::null_mut() } }
    }

    pub(crate) fn as_raw_mut(&mut self) -> *mut mlx_string {
        &mut self.raw
    }

    pub(crate) fn to_text(&self) -> String {
        if self.raw.ctx.is_null() {
            return String::new();
        }
        // SAFETY: the handle holds a string, whose NUL-terminated characters live as long as it; they are copied here.
        unsafe { CStr::from_ptr(mlx_sys::mlx_string_data(self.raw)).to_string_lossy().into_owned() }
    }
}

impl Drop for CppString {
    fn drop(&mut self) {
        // SAFETY: this owner's string is not used again; freeing an empty handle does nothing.
        unsafe { mlx_sys::mlx_string_free(self.raw) };
    }
}
