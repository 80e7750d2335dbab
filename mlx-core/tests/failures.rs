//! A failure of one thread while another makes MLX wait for the streams of all.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mlx_core::primitive::apply;
use mlx_core::{async_eval, eval, memory};
use support::{Fail, row};

/// Clearing the cache waits for the streams of all threads, and MLX tells it of their failures.
#[test]
fn a_failure_is_not_lost_to_another_thread() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // Something to clear, without which MLX does not wait.
                drop(row(&[1.0; 4096]).add(&row(&[1.0])).unwrap().eval());
                memory::clear_cache().unwrap();
            }
        });
        let x = row(&[1.0, 2.0]);
        for pause in 0..200 {
            let [bad] = apply(Fail(Duration::from_micros(pause)), &[&x]).unwrap();
            let [late] = apply(Fail(Duration::from_micros(pause)), &[&x]).unwrap();
            let copy = late.clone();
            assert!(bad.eval().is_err());
            async_eval(&[&late]).unwrap();
            std::thread::sleep(Duration::from_micros(2 * pause));
            assert!(late.to_vec::<f32>().is_err() && copy.to_vec::<f32>().is_err());
            assert!(eval(&[&apply::<1>(Fail(Duration::ZERO), &[&x]).unwrap()[0]]).is_err());
        }
        stop.store(true, Ordering::Relaxed);
    });
}
