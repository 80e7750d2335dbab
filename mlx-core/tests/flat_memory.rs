//! Memory over many transforms. It is counted for the whole process, so this is the one test of its program.

#![cfg(target_os = "linux")]

use mlx_core::transforms::{compile, grad};
use mlx_core::{Array, async_eval, eval, memory};

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn two_hundred_thousand_rounds_keep_memory_flat() {
    const ROUNDS: usize = 200_000;
    let x = Array::from_slice(&[0.5f32, -0.5], &[2]).unwrap();
    let compiled = compile(|x: &Array| x.square()?.sum(.., false)).unwrap();
    let round = |step: usize| {
        let gradient = grad(|x| compiled.call(x)?.add(&x.sigmoid()?.sum(.., false)?), &x)?;
        let value = compiled.call(&gradient)?;
        if step.is_multiple_of(2) {
            value.eval()
        } else {
            async_eval(&[&value]).and_then(|()| eval(&[&value]))
        }
    };
    let measured = || (memory::active_memory().unwrap(), memory::live_arrays(), resident());
    let mut before = (0, 0, 0);
    for step in 0..ROUNDS {
        round(step).unwrap();
        if step == ROUNDS / 10 {
            before = measured();
        }
    }
    let after = measured();
    assert_eq!((after.0, after.1), (before.0, before.1), "active memory and live arrays");
    assert!(after.2 < before.2 + (8 << 20), "resident memory went from {} to {}", before.2, after.2);
}
