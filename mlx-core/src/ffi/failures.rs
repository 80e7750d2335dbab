//! Failures that are told to the wrong one.
//!
//! A failure on a stream is told once, to whoever waits for the stream first. Some of MLX's calls wait for the streams of
//! all threads, and so take failures that belong to others, whose arrays would pass for computed. Such calls go through
//! [`taking`], which counts what they took; whoever has waited for a computation asks [`taken`] whether one may have been
//! its own.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

static TAKEN: AtomicU64 = AtomicU64::new(0);
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
static LOCK: Mutex<()> = Mutex::new(());

/// Each attempt takes one failure, and a stream has at most one.
const ATTEMPTS: usize = 1000;

/// Runs a call that waits for all streams, again until it took no failure.
pub(super) fn taking<R>(mut call: impl FnMut() -> Result<R>) -> Result<R> {
    UNDER_WAY.fetch_add(1, Ordering::SeqCst);
    let lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let mut outcome = call();
    for _ in 1..ATTEMPTS {
        if outcome.is_ok() {
            break;
        }
        TAKEN.fetch_add(1, Ordering::SeqCst);
        outcome = call();
    }
    drop(lock);
    UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
    outcome
}

/// How many failures have been taken, for a computation that begins.
pub(super) fn taken_before() -> u64 {
    TAKEN.load(Ordering::SeqCst)
}

/// How many failures have been taken, after a computation. Waits for calls that may have taken one and not said so yet.
pub(super) fn taken() -> u64 {
    if UNDER_WAY.load(Ordering::SeqCst) != 0 {
        drop(LOCK.lock().unwrap_or_else(PoisonError::into_inner));
    }
    TAKEN.load(Ordering::SeqCst)
}

/// The error of a computation that may have failed.
pub(super) fn lost(op: &'static str, operands: String) -> Error {
    let message =
        "something failed on one of the process's streams while this was computed, and which is not known";
    Error::Op { op, operands, message: message.to_owned() }
}
