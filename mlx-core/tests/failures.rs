//! A failure of one thread while another makes MLX wait for the streams of all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mlx_core::primitive::{Primitive, Spec, View, ViewMut, apply};
use mlx_core::{Array, Error, Result, async_eval, eval, memory};

fn row(elements: &[f32]) -> Array {
    Array::from_slice(elements, &[elements.len() as i32]).unwrap()
}

/// Fails, after a while.
struct Fail(Duration);

impl Primitive for Fail {
    fn name(&self) -> &str {
        "fail"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(inputs.to_vec())
    }

    fn eval(&self, _: &[View<'_>], _: &mut [ViewMut<'_>]) -> Result<()> {
        std::thread::sleep(self.0);
        Err(Error::other("broken %s"))
    }
}

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
