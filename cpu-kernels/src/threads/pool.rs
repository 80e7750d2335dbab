//! Threads that wait for work for a short while before they sleep.
//!
//! Decoding one token is a hundred short pieces of work, a few microseconds apart. Waking a thread for each, and waiting
//! until it is there, would cost as much as the work. So a helper looks for the next piece for [`PATIENCE`] before it
//! sleeps, and whoever has work never waits for a helper that has not come: it does the work itself, closes it, and waits
//! for those alone that have begun.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a helper looks for work before it sleeps.
const PATIENCE: Duration = Duration::from_micros(300);

/// Something that any number of threads may run at the same time, all of them on the same work.
type Work<'a> = &'a (dyn Fn() + Sync);

/// In [`Shared::state`]: the helpers that are at work.
const AT_WORK: u64 = 0xffff;
/// Whether helpers may begin.
const OPEN: u64 = 1 << 16;
/// The number of the piece of work, above everything else.
const PIECE: u64 = 1 << 17;

struct Shared {
    state: AtomicU64,
    /// What the helpers do, as long as the state is open or some are at work.
    work: Mutex<Option<Work<'static>>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    ended: AtomicBool,
    sleeping: Mutex<usize>,
    wake: Condvar,
}

pub(super) struct Helpers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Held by the caller whose work it is.
    taken: Mutex<()>,
}

impl Helpers {
    /// As many helpers, or as the system gives.
    pub(super) fn new(count: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            work: Mutex::new(None),
            panic: Mutex::new(None),
            ended: AtomicBool::new(false),
            sleeping: Mutex::new(0),
            wake: Condvar::new(),
        });
        let start = |index| {
            let shared = Arc::clone(&shared);
            let name = format!("cpu-kernels {index}");
            std::thread::Builder::new().name(name).spawn(move || shared.help()).ok()
        };
        let threads = (0..count.min(AT_WORK as usize)).map_while(start).collect();
        Helpers { shared, threads, taken: Mutex::new(()) }
    }

    /// Runs `work` on this thread and on every helper that comes before it is done here. While another thread has the
    /// helpers, this one works alone.
    #[allow(unsafe_code)]
    pub(super) fn run(&self, work: Work<'_>) {
        let _taken = match self.taken.try_lock() {
            Ok(taken) => taken,
            // An earlier piece of work panicked, which has no bearing on this one.
            Err(TryLockError::Poisoned(taken)) => taken.into_inner(),
            Err(TryLockError::WouldBlock) => return work(),
        };
        let shared = &*self.shared;
        // SAFETY: helpers call it only between `open` and the end of `close`, which waits for all that have begun. `close`
        // runs before this function is left, also by a panic of `work`, and the borrow lasts as long as that.
        let erased = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
        shared.open(erased);
        let closing = Closing(shared);
        work();
        drop(closing);
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        drop(self.shared.sleeping.lock());
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A helper catches every panic of the work.
            let _ = thread.join();
        }
    }
}

struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Shared {
    fn open(&self, work: Work<'static>) {
        // Left over where the caller's own thread panicked as well.
        *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
        // Nobody is at work: `close` has seen to it.
        let piece = self.state.load(Ordering::Relaxed) & !(PIECE - 1);
        self.state.store(piece.wrapping_add(PIECE) | OPEN, Ordering::SeqCst);
        if *self.sleeping.lock().unwrap_or_else(PoisonError::into_inner) > 0 {
            self.wake.notify_all();
        }
    }

    /// Lets no helper begin any more, and waits for those at work.
    fn close(&self) {
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while self.state.load(Ordering::Acquire) & AT_WORK != 0 {
            pause(&mut spins);
        }
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The life of a helper.
    fn help(&self) {
        let mut last = 0;
        let mut since = Instant::now();
        let mut spins = 0u32;
        while !self.ended.load(Ordering::Acquire) {
            let state = self.state.load(Ordering::Acquire);
            let piece = state & !(PIECE - 1);
            if piece != last && state & OPEN != 0 {
                if self.begin(state) {
                    last = piece;
                    self.work();
                    since = Instant::now();
                    spins = 0;
                }
                continue;
            }
            pause(&mut spins);
            if spins.is_multiple_of(64) && since.elapsed() > PATIENCE {
                self.sleep(last);
                since = Instant::now();
                spins = 0;
            }
        }
    }

    fn begin(&self, state: u64) -> bool {
        self.state.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Does the work, among those at work until it is done.
    fn work(&self) {
        struct Leave<'a>(&'a AtomicU64);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Release);
            }
        }
        let _leave = Leave(&self.state);
        let work = *self.work.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(work) = work
            && let Err(payload) = catch_unwind(AssertUnwindSafe(work))
        {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
        }
    }

    /// Sleeps until there is other work than the piece `last`.
    fn sleep(&self, last: u64) {
        let mut sleeping = self.sleeping.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = || {
            let state = self.state.load(Ordering::SeqCst);
            (state & OPEN == 0 || state & !(PIECE - 1) == last) && !self.ended.load(Ordering::Acquire)
        };
        *sleeping += 1;
        // `open` changes the state before it takes the lock, so this sees the change or is woken.
        while idle() {
            sleeping = self.wake.wait(sleeping).unwrap_or_else(PoisonError::into_inner);
        }
        *sleeping -= 1;
    }
}

/// Waits a moment; after a while in a way that lets other threads run.
fn pause(spins: &mut u32) {
    *spins = spins.wrapping_add(1);
    if spins.is_multiple_of(16) { std::thread::yield_now() } else { std::hint::spin_loop() }
}
