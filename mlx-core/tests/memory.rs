//! Memory stays flat. A test of the whole process, so it has a process to itself.

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
    let mut before = (0, 0);
    for step in 0..ROUNDS {
        round(step).unwrap();
        if step == ROUNDS / 10 {
            before = (memory::active_memory().unwrap(), resident());
        }
    }
    let after = (memory::active_memory().unwrap(), resident());
    assert!(after.0 < before.0 + (1 << 20), "active memory went from {} to {}", before.0, after.0);
    assert!(after.1 < before.1 + (24 << 20), "resident memory went from {} to {}", before.1, after.1);
}
