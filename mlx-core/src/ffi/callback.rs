//! The way back from C into Rust: nothing that a closure or a primitive does may unwind through C++.
//!
//! A callback's own error, or its panic, is parked on the thread; the call into C that was under way fails, and
//! [`door`](super::door) gives the parked error instead of MLX's message about a failed function.

use std::any::Any;
use std::cell::Cell;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Error, Result};

thread_local! {
    static PARKED: Cell<Option<Error>> = const { Cell::new(None) };
}

/// Runs a callback; a failure or a panic is parked, and the status says so.
pub(super) fn guard(op: &'static str, callback: impl FnOnce() -> Result<()>) -> c_int {
    match contain(op, callback) {
        Ok(()) => 0,
        Err(error) => {
            // A thread that is ending has nobody left to tell; the status fails the call all the same.
            let _ = PARKED.try_with(|parked| parked.set(Some(error)));
            1
        }
    }
}

/// Runs `f`; a panic becomes an error.
pub(crate) fn contain<R>(op: &'static str, f: impl FnOnce() -> Result<R>) -> Result<R> {
    // The closure is not used again after a panic by anything here, so no broken invariant can be observed.
    catch_unwind(AssertUnwindSafe(f))
        .unwrap_or_else(|payload| Err(Error::Panic { op, message: text(&*payload) }))
}

/// The error that a callback left, if one did.
pub(super) fn take_parked() -> Option<Error> {
    PARKED.try_with(Cell::take).ok().flatten()
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
