//! The owner of one `mlx_distributed_group`, and what its processes do together.

use std::ffi::CStr;
use std::sync::{Mutex, PoisonError};

use mlx_sys::{mlx_array, mlx_distributed_group, mlx_stream};

use super::array::to_c;
use super::door;
use crate::{Array, DType, Error, Result};

pub(crate) type CollectiveFn =
    unsafe extern "C" fn(*mut mlx_array, mlx_array, mlx_distributed_group, mlx_stream) -> i32;

/// Owns one reference to a group.
pub(crate) struct GroupHandle {
    raw: mlx_distributed_group,
    /// Whether nothing but handles keeps the group.
    is_part: bool,
}

impl GroupHandle {
    fn empty() -> Self {
        GroupHandle { raw: mlx_distributed_group { ctx: std::ptr::null_mut() }, is_part: false }
    }

    /// The group of all processes that were started together.
    pub(crate) fn init(strict: bool, backend: &CStr) -> Result<Self> {
        // MLX keeps the groups that it has made in a map without a lock.
        static LOCK: Mutex<()> = Mutex::new(());
        let _lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let mut group = GroupHandle::empty();
        // SAFETY: an empty handle may be filled, and the name is NUL-terminated.
        let status = unsafe { mlx_sys::mlx_distributed_init(&mut group.raw, strict, backend.as_ptr()) };
        door::check("init", &[], status)?;
        Ok(group)
    }

    pub(crate) fn rank(&self) -> i32 {
        // SAFETY: the handle is live and holds a group; the call gives a number.
        unsafe { mlx_sys::mlx_distributed_group_rank(self.raw) }
    }

    pub(crate) fn size(&self) -> i32 {
        // SAFETY: as in `rank`.
        unsafe { mlx_sys::mlx_distributed_group_size(self.raw) }
    }

    /// A part of the group.
    pub(crate) fn split(&self, color: i32, key: i32) -> Result<Self> {
        let mut part = GroupHandle::empty();
        part.is_part = true;
        // SAFETY: the handles are live, and an empty one may be filled.
        let status = unsafe { mlx_sys::mlx_distributed_group_split(&mut part.raw, self.raw, color, key) };
        door::check("split", &[], status)?;
        Ok(part)
    }

    /// What every process of the group computes of its own `x` and those of the others.
    pub(crate) fn collective(&self, op: &'static str, f: CollectiveFn, x: &Array) -> Result<Array> {
        door::call(op, &[x], |out, s| {
            // SAFETY: `f` has this exact C signature; the handles are live for the call.
            unsafe { f(out, x.raw(), self.raw, s) }
        })
    }

    pub(crate) fn send(&self, x: &Array, to: i32) -> Result<Array> {
        door::call("send", &[x], |out, s| {
            // SAFETY: the handles are live for the call.
            unsafe { mlx_sys::mlx_distributed_send(out, x.raw(), to, self.raw, s) }
        })
    }

    pub(crate) fn receive(&self, shape: &[i32], dtype: DType, from: i32) -> Result<Array> {
        door::call("recv", &[], |out, s| {
            // SAFETY: the handles are live for the call, and mlx-c copies the `shape.len()` numbers.
            unsafe {
                mlx_sys::mlx_distributed_recv(
                    out,
                    shape.as_ptr(),
                    shape.len(),
                    to_c(dtype),
                    from,
                    self.raw,
                    s,
                )
            }
        })
    }
}

impl Drop for GroupHandle {
    fn drop(&mut self) {
        // MLX keeps the group of all processes itself. A part stays as well: work that is under way refers to it without
        // keeping it.
        if self.is_part {
            return;
        }
        // SAFETY: this owner's reference is not used again; freeing an empty one does nothing.
        unsafe { mlx_sys::mlx_distributed_group_free(self.raw) };
    }
}

/// Whether this build of MLX knows a way for processes to talk.
pub(crate) fn is_available(backend: &CStr) -> bool {
    // SAFETY: the name is NUL-terminated.
    unsafe { mlx_sys::mlx_distributed_is_available(backend.as_ptr()) }
}

/// The error for something that MLX would not survive.
pub(crate) fn refuse(op: &'static str, message: String) -> Error {
    Error::Op { op, operands: String::new(), message }
}
