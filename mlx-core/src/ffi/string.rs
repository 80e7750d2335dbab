//! The owners of `mlx_string` and `mlx_vector_string`, and texts on their way into C.

use std::ffi::{CStr, CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mlx_sys::{mlx_string, mlx_vector_string};

use super::door;
use crate::{Error, Result};

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

/// Owns a C++ vector of strings.
pub(crate) struct StringVector {
    raw: mlx_vector_string,
}

impl StringVector {
    pub(crate) fn empty() -> Self {
        StringVector { raw: mlx_vector_string { ctx: std::ptr::null_mut() } }
    }

    pub(crate) fn new(texts: &[CString]) -> Self {
        let mut raw: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
        // SAFETY: the pointer covers `raw.len()` NUL-terminated strings, which mlx-c copies before it returns. Without
        // memory it gives an empty vector, which every function refuses.
        StringVector { raw: unsafe { mlx_sys::mlx_vector_string_new_data(raw.as_mut_ptr(), raw.len()) } }
    }

    pub(crate) fn as_raw(&self) -> mlx_vector_string {
        self.raw
    }

    pub(crate) fn as_raw_mut(&mut self) -> *mut mlx_vector_string {
        &mut self.raw
    }

    /// The strings, of which none is longer than its first NUL.
    pub(crate) fn to_texts(&self, op: &'static str) -> Result<Vec<CString>> {
        if self.raw.ctx.is_null() {
            return Ok(Vec::new());
        }
        // SAFETY: the handle is live and holds a vector.
        let len = unsafe { mlx_sys::mlx_vector_string_size(self.raw) };
        let get = |index| {
            let mut text = std::ptr::null_mut();
            // SAFETY: the handle is live, `index` is below the vector's size, and `text` may be filled.
            door::check(op, &[], unsafe { mlx_sys::mlx_vector_string_get(&mut text, self.raw, index) })?;
            // SAFETY: the string is NUL-terminated and lives as long as the vector; it is copied here.
            Ok(unsafe { CStr::from_ptr(text) }.to_owned())
        };
        (0..len).map(get).collect()
    }
}

impl Drop for StringVector {
    fn drop(&mut self) {
        // SAFETY: this owner's reference is not used again; freeing an empty vector does nothing.
        unsafe { mlx_sys::mlx_vector_string_free(self.raw) };
    }
}

/// A text as C takes it.
pub(crate) fn c_text(op: &'static str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::Shape { op, message: format!("{text:?} holds a NUL") })
}

/// A path as C takes it.
pub(crate) fn c_path(op: &'static str, path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::Shape { op, message: format!("the path {path:?} holds a NUL") })
}
