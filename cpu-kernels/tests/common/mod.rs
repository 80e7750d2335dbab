//! What the tests of all kernels share: noise, comparison with float64, and runs on several numbers of threads.

// Each test file is a program of its own, and none uses everything.
#![allow(dead_code, unreachable_pub)]

use std::fmt::{Debug, Display};
use std::sync::{Mutex, PoisonError};

use cpu_kernels::{Float, threads};
use half::{bf16, f16};

/// An element type and what rounding to it may cost.
pub trait Element: Float + PartialEq + Debug {
    const NAME: &str;
    /// The largest relative error of rounding to a normal number.
    const ROUNDOFF: f64;
    /// The largest error of rounding to a subnormal number.
    const TINY: f64;
}

impl Element for f32 {
    const NAME: &str = "f32";
    const ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;
    const TINY: f64 = 1e-45;
}

impl Element for f16 {
    const NAME: &str = "f16";
    const ROUNDOFF: f64 = 1.0 / (1 << 11) as f64;
    const TINY: f64 = 1.0 / (1 << 25) as f64;
}

impl Element for bf16 {
    const NAME: &str = "bf16";
    const ROUNDOFF: f64 = 1.0 / (1 << 8) as f64;
    const TINY: f64 = 1e-40;
}

/// Runs the test `$name::<T>()` for each element type.
#[macro_export]
macro_rules! for_each_type {
    ($($name:ident),+ $(,)?) => {
        mod f32_ { $(#[test] fn $name() { super::$name::<f32>(); })+ }
        mod f16_ { $(#[test] fn $name() { super::$name::<half::f16>(); })+ }
        mod bf16_ { $(#[test] fn $name() { super::$name::<half::bf16>(); })+ }
    };
}

/// Reproducible random numbers (SplitMix64).
pub struct Noise(pub u64);

impl Noise {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Uniform in [-1, 1).
    pub fn number(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn values<T: Float>(&mut self, count: usize, scale: f32) -> Vec<T> {
        (0..count).map(|_| T::from_f32(self.number() * scale)).collect()
    }
}

pub fn wide<T: Float>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| f64::from(x.to_f32())).collect()
}

/// Fails where `found` is further from `expected` than rounding to `T` and `slack(i)`, the error of computing in
/// float32. NaN must be NaN, and what overflows `T` infinite.
pub fn assert_close<T: Element>(
    found: &[T],
    expected: &[f64],
    slack: impl Fn(usize) -> f64,
    what: impl Display,
) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (i, (found, &expected)) in found.iter().zip(expected).enumerate() {
        let value = f64::from(found.to_f32());
        let rounded = f64::from(T::from_f32(expected as f32).to_f32());
        if value == rounded || value.is_nan() && expected.is_nan() {
            continue;
        }
        let off = (value - expected).abs();
        let allowed = expected.abs() * T::ROUNDOFF + T::TINY + slack(i);
        assert!(off <= allowed, "{what} ({}): element {i} is {value:e}, not {expected:e}", T::NAME);
    }
}

/// What `run` gives, which must be the same to the bit on 1, 2 and 3 threads.
pub fn on_any_threads<T: Element>(run: impl Fn() -> Vec<T>) -> Vec<T> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let [one, two, three] = [1, 2, 3].map(|count| {
        threads::set_threads(count);
        run()
    });
    let bits = |x: &[T]| -> Vec<u32> { x.iter().map(|x| x.to_f32().to_bits()).collect() };
    for (other, count) in [(two, 2), (three, 3)] {
        let differs = bits(&one).into_iter().zip(bits(&other)).position(|(a, b)| a != b);
        assert_eq!((one.len(), None), (other.len(), differs), "one thread and {count} differ");
    }
    one
}
