//! MLX's allocator, as numbers.

use std::ffi::c_int;

use super::{door, failures};
use crate::Result;

/// Live array handles in the process.
pub(crate) use super::array::live as live_arrays;

/// Questions that write one number and return a status.
pub(crate) type ReadFn = unsafe extern "C" fn(*mut usize) -> c_int;
/// Settings that give the old value.
pub(crate) type WriteFn = unsafe extern "C" fn(*mut usize, usize) -> c_int;
/// Commands.
pub(crate) type CommandFn = unsafe extern "C" fn() -> c_int;

pub(crate) fn read(op: &'static str, f: ReadFn) -> Result<usize> {
    let mut value = 0;
    // SAFETY: `f` has this exact C signature and `value` outlives the call.
    door::check(op, &[], unsafe { f(&mut value) })?;
    Ok(value)
}

pub(crate) fn write(op: &'static str, f: WriteFn, value: usize) -> Result<usize> {
    // Setting a limit may wait for all streams.
    failures::taking(|| {
        let mut old = 0;
        // SAFETY: `f` has this exact C signature and `old` outlives the call.
        door::check(op, &[], unsafe { f(&mut old, value) })?;
        Ok(old)
    })
}

pub(crate) fn command(op: &'static str, f: CommandFn) -> Result<()> {
    // Clearing the cache waits for all streams.
    failures::taking(|| {
        // SAFETY: `f` has this exact C signature.
        door::check(op, &[], unsafe { f() })
    })
}

/// MLX's version, as the library that is loaded tells it.
pub(crate) fn version() -> Result<String> {
    let mut text = super::string::CppString::empty();
    // SAFETY: an empty string handle may be filled.
    door::check("version", &[], unsafe { mlx_sys::mlx_version(text.as_raw_mut()) })?;
    Ok(text.to_text())
}
