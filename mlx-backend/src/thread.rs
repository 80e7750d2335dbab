//! The threads that engines run on.
//!
//! MLX starts a worker thread for each stream of the CPU and keeps it for the life of the process, and a stream belongs
//! to the thread that made it. So the thread of an engine that ended waits for the next engine, its streams with it:
//! there are as many threads as models were ever open at the same time.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SendError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

static IDLE: Mutex<Vec<Sender<Job>>> = Mutex::new(Vec::new());

fn idle() -> MutexGuard<'static, Vec<Sender<Job>>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Job {
    work: Box<dyn FnOnce() + Send>,
    done: SyncSender<std::thread::Result<()>>,
}

/// Work on a thread of its own.
pub(crate) struct Running(Receiver<std::thread::Result<()>>);

impl Running {
    /// Starts `work`, on an idle thread if there is one.
    pub(crate) fn start(work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (done, outcome) = sync_channel(1);
        let job = Job { work: Box::new(work), done };
        let thread = idle().pop();
        let refused = match thread {
            Some(thread) => thread.send(job),
            None => Err(SendError(job)),
        };
        if let Err(SendError(job)) = refused {
            let thread = std::thread::Builder::new().name("mlx-engine".to_owned());
            thread.spawn(move || serve(job))?;
        }
        Ok(Running(outcome))
    }

    /// Waits for the end of the work; a panic in it is the error.
    pub(crate) fn join(self) -> std::thread::Result<()> {
        self.0.recv().unwrap_or_else(|_| Err(Box::new("the thread is gone")))
    }
}

/// A thread's life: one job after another, until one panics.
fn serve(mut job: Job) {
    loop {
        let Job { work, done } = job;
        let outcome = catch_unwind(AssertUnwindSafe(work));
        let (thread, jobs) = channel();
        if outcome.is_ok() {
            idle().push(thread);
        } else {
            // Who knows what state its streams are in.
            drop(thread);
        }
        // Told only now, so that the next engine finds this thread. Nobody may be waiting any more.
        let _ = done.send(outcome);
        match jobs.recv() {
            Ok(next) => job = next,
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> std::thread::ThreadId {
        let (send, receive) = sync_channel(1);
        Running::start(move || send.send(std::thread::current().id()).unwrap()).unwrap().join().unwrap();
        receive.recv().unwrap()
    }

    /// One test, because the idle threads are the process's.
    #[test]
    fn threads_are_used_again_unless_their_work_panicked() {
        let first = id();
        assert_eq!(id(), first);

        let (go_on, wait) = channel::<()>();
        let busy = Running::start(move || wait.recv().unwrap()).unwrap();
        assert_ne!(id(), first);
        go_on.send(()).unwrap();
        busy.join().unwrap();
        assert_eq!(id(), first, "the one that became idle last");

        let panic = Running::start(|| std::panic::resume_unwind(Box::new("as planned"))).unwrap().join();
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"as planned"));
        assert_ne!(id(), first);
    }
}
