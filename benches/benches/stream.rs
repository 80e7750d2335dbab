//! How fast memory is read, by one thread and by all: the limit of decoding, which reads every weight for each token.
//!
//! ```console
//! cargo bench -p benches --bench stream
//! ```
//!
//! Each thread sums up 256 MiB of its own, more than caches hold, so the machine needs that much for each of its threads.
//! The clock runs from the moment when all of them start until the last one is done. The median over the passes comes
//! first, then the fastest pass, which is the one to read on a machine that does other work as well.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// What each thread reads in a pass.
const BYTES: usize = 256 << 20;
/// Passes on the clock, after one that is not.
const PASSES: usize = 20;
/// Words that are summed side by side, so that no addition waits for the one before.
const LANES: usize = 16;

fn sum(words: &[u64]) -> u64 {
    let mut sums = [0u64; LANES];
    for chunk in words.as_chunks::<LANES>().0 {
        for (sum, word) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().fold(0, |total, sum| total.wrapping_add(*sum))
}

/// The times of the passes, shortest first.
fn times(threads: usize) -> Vec<Duration> {
    let gate = Barrier::new(threads + 1);
    let read = || {
        // Written by the thread that reads it: its pages are then near its own core.
        let words = vec![1u64; BYTES / size_of::<u64>()];
        for _ in 0..=PASSES {
            gate.wait();
            assert_eq!(sum(black_box(&words)), words.len() as u64);
            gate.wait();
        }
    };
    let mut times: Vec<Duration> = thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(read);
        }
        let pass = |_| {
            gate.wait();
            let start = Instant::now();
            gate.wait();
            start.elapsed()
        };
        (0..=PASSES).map(pass).skip(1).collect()
    });
    times.sort_unstable();
    times
}

fn main() -> anyhow::Result<()> {
    let all = thread::available_parallelism()?.get();
    println!("{:<12}{:>10}{:>10}", "GB/s", "median", "best");
    for threads in if all > 1 { vec![1, all] } else { vec![1] } {
        let times = times(threads);
        let rate = |time: Duration| (threads * BYTES) as f64 / time.as_secs_f64() / 1e9;
        let name = format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
        println!("{name:<12}{:>10.1}{:>10.1}", rate(times[PASSES / 2]), rate(times[0]));
    }
    Ok(())
}
