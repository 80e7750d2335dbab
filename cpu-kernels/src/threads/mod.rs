//! One pool of threads for all kernels, whoever calls them.
//!
//! The calling thread works too. A pool of the processor's physical cores less one is therefore all there is to have,
//! however many models compute at the same time.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

mod pool;

use pool::Helpers;

struct Pool {
    /// The callers' own among them.
    threads: usize,
    helpers: Helpers,
}

impl Pool {
    fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        Pool { threads, helpers: Helpers::new(threads - 1) }
    }
}

fn pool() -> &'static RwLock<Arc<Pool>> {
    static POOL: OnceLock<RwLock<Arc<Pool>>> = OnceLock::new();
    POOL.get_or_init(|| RwLock::new(Arc::new(Pool::new(default_threads()))))
}

fn current() -> Arc<Pool> {
    Arc::clone(&pool().read().unwrap_or_else(PoisonError::into_inner))
}

/// The processor's physical cores, or fewer if this process may not use them all.
pub fn default_threads() -> usize {
    num_cpus::get_physical().min(num_cpus::get()).max(1)
}

/// Threads that a kernel is spread over, the caller's among them.
pub fn threads() -> usize {
    current().threads
}

/// Spreads the kernels that start from now on over `count` threads, the caller's among them.
///
/// Results do not depend on it.
pub fn set_threads(count: usize) {
    let old = {
        let mut pool = pool().write().unwrap_or_else(PoisonError::into_inner);
        if pool.threads == count.max(1) {
            return;
        }
        std::mem::replace(&mut *pool, Arc::new(Pool::new(count)))
    };
    drop(old);
}

/// Does `work` for every item, on this thread and on the pool's.
///
/// Each thread takes the next item when it is done with one, so a thread that is held up takes fewer. While another caller
/// has the helpers, this thread works alone.
pub fn for_each<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    let pool = current();
    if pool.threads == 1 || items.len() < 2 {
        return items.into_iter().for_each(work);
    }
    let items = Mutex::new(items.into_iter());
    let take = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    pool.helpers.run(&|| {
        while let Some(item) = take() {
            work(item);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn every_item_is_worked_on_once_by_any_number_of_threads() {
        for threads in [1, 2, 3, 7] {
            set_threads(threads);
            for count in [0, 1, 2, 5, 1000] {
                let mut seen = vec![0u32; count];
                for_each(seen.iter_mut().collect(), |item| *item += 1);
                assert_eq!(seen, vec![1; count], "{threads} threads");
            }
        }
        set_threads(default_threads());
    }

    #[test]
    fn a_panic_comes_back_to_the_caller_and_the_helpers_go_on() {
        let pool = Pool::new(2);
        let outcome =
            std::panic::catch_unwind(AssertUnwindSafe(|| pool.helpers.run(&|| panic!("of the work"))));
        assert!(outcome.is_err());
        // Each waits for the other, so two threads must come.
        let (here, deadline) = (AtomicUsize::new(0), Instant::now() + Duration::from_secs(20));
        pool.helpers.run(&|| {
            here.fetch_add(1, Ordering::SeqCst);
            while here.load(Ordering::SeqCst) < 2 && Instant::now() < deadline {
                std::thread::yield_now();
            }
        });
        assert_eq!(here.into_inner(), 2);
    }

    #[test]
    fn a_panic_at_one_item_comes_back_to_the_caller() {
        let outcome = std::panic::catch_unwind(|| for_each((0..100).collect(), |i| assert_ne!(i, 50)));
        assert!(outcome.is_err());
        let sum = AtomicUsize::new(0);
        for_each((0..100).collect(), |i| _ = sum.fetch_add(i, Ordering::Relaxed));
        assert_eq!(sum.into_inner(), 4950);
    }
}
