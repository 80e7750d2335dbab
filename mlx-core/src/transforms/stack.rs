//! Room for MLX's recursion.
//!
//! MLX walks the graph that a closure has built by recursion, one call for each operation on the longest path. A stack
//! that overflows ends the process, so transforms run on a large one, and closures that build more than it holds are
//! refused.

use std::cell::Cell;

use corosensei::on_stack;
use corosensei::stack::DefaultStack;

use crate::{Error, Result, ffi, stream};

/// Bytes of a stack. Only what the recursion touches takes memory; the rest is a range of addresses.
const STACK: usize = 256 << 20;

/// Operations that a closure may build. One may be several of MLX's, each of which takes up to 180 bytes of stack.
const OPERATIONS: u64 = 500_000;

/// Operations after which a stack holds so much memory that it is not kept for the next transform.
const SHALLOW: u64 = 10_000;

thread_local! {
    /// The count of operations when the outermost transform of this thread began.
    static BEGAN: Cell<Option<u64>> = const { Cell::new(None) };
    /// The stack for the next transform: making one takes longer than differentiating a small function.
    static STACKS: Cell<Option<DefaultStack>> = const { Cell::new(None) };
}

/// Runs a transform on a stack on which its recursion has room.
pub(super) fn with_room<R>(op: &'static str, transform: impl FnOnce() -> Result<R>) -> Result<R> {
    if BEGAN.get().is_some() {
        // Inside another transform, on its stack.
        return transform();
    }
    // A thread that is ending keeps no stack.
    let mut stack = match STACKS.try_with(Cell::take).ok().flatten() {
        Some(stack) => stack,
        None => {
            DefaultStack::new(STACK).map_err(|error| refuse(op, format!("no room for a stack: {error}")))?
        }
    };
    BEGAN.set(Some(stream::operations()));
    let outcome = on_stack(&mut stack, || ffi::contain(op, transform));
    if built() <= SHALLOW {
        let _ = STACKS.try_with(|stacks| stacks.set(Some(stack)));
    }
    BEGAN.set(None);
    outcome
}

/// Whether a transform of this thread is under way.
pub(crate) fn under_way() -> bool {
    BEGAN.get().is_some()
}

/// Refuses a graph that is too deep, after the closure that built it.
pub(super) fn require_room(op: &'static str) -> Result<()> {
    let built = built();
    if built <= OPERATIONS {
        return Ok(());
    }
    Err(refuse(
        op,
        format!(
            "the function built {built} operations, and a transform takes at most {OPERATIONS}; evaluate in between, or \
             transform its parts"
        ),
    ))
}

/// Operations since the outermost transform of this thread began.
fn built() -> u64 {
    BEGAN.get().map_or(0, |began| stream::operations() - began)
}

fn refuse(op: &'static str, message: String) -> Error {
    Error::Op { op, operands: String::new(), message }
}
