//! Cancelling from elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that asks a running generation to stop, from any thread.
///
/// Clones share one flag. Once cancelled it stays so; a new request takes a new token. Put one into
/// [`GenerateOptions::cancel`](crate::GenerateOptions::cancel), keep a clone, and call
/// [`cancel`](CancelToken::cancel) on it. The generation ends within a token, or within one block of the
/// prompt, with [`FinishReason::Cancelled`](crate::FinishReason::Cancelled). The thread that reads the stream
/// may as well just drop it.
///
/// ```
/// use inference_api::{CancelToken, GenerateOptions};
///
/// let stop_button = CancelToken::new();
/// let options = GenerateOptions::default().with_cancel(stop_button.clone());
/// stop_button.cancel();
/// assert!(options.is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    cancelled: Arc<AtomicBool>,
}

impl CancelToken {
    /// Makes a token that is not cancelled.
    pub fn new() -> CancelToken {
        CancelToken::default()
    }

    /// Asks whoever holds a clone to stop. Returns at once; calling it again changes nothing.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether [`cancel`](CancelToken::cancel) was called on this token or a clone.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}
