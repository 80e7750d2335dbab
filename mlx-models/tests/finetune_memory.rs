//! The memory of training. It is counted for the whole process, so this test has one to itself.

use std::path::Path;

use mlx_core::{DType, Device, memory};
use mlx_models::adapter::{self, AdapterOptions};
use mlx_models::training::{DataSet, Row, Trainer, TrainingOptions};

fn trainer(accumulation: usize, checkpoint: bool) -> Trainer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gemma3-classic");
    let mut loaded = mlx_models::load(&path, Some(DType::F32)).unwrap();
    let adapter = adapter::attach(&mut *loaded.model, &AdapterOptions::default(), 1).unwrap();
    let mut rows = DataSet::default();
    for row in 0..8u32 {
        let tokens = (0..200).map(|at| 4 + (at * (row + 3) + at * at) % 90).collect();
        rows.push(Row { tokens, counted: vec![true; 200] }, 200);
    }
    let options = TrainingOptions { batch_size: 2, accumulation, checkpoint, ..Default::default() };
    Trainer::new(loaded.model, adapter, rows, options).unwrap()
}

/// Bytes in use after a step, and at most in its course.
fn step(trainer: &mut Trainer) -> (usize, usize) {
    memory::clear_cache().unwrap();
    memory::reset_peak_memory().unwrap();
    trainer.step().unwrap();
    (memory::active_memory().unwrap(), memory::peak_memory().unwrap())
}

#[test]
fn memory_is_flat_over_steps_and_batches_and_falls_by_checkpoints() {
    Device::Cpu.scope(|| {
        let mut one = trainer(1, false);
        step(&mut one);
        let (active, peak) = step(&mut one);
        let arrays = memory::live_arrays();
        for _ in 0..6 {
            let (after, most) = step(&mut one);
            assert_eq!((after, memory::live_arrays()), (active, arrays));
            assert!(most < peak + peak / 20, "{most} and {peak}");
        }
        drop(one);

        // The gradients of one batch are there beside the sum of those before it.
        let mut four = trainer(4, false);
        step(&mut four);
        let (after, most) = step(&mut four);
        assert!(after.abs_diff(active) < 1 << 14, "{after} and {active}");
        assert!(most < peak + peak / 10, "{most} for four batches, {peak} for one");
        drop(four);

        let mut checkpointed = trainer(1, true);
        step(&mut checkpointed);
        let (after, least) = step(&mut checkpointed);
        assert!(after.abs_diff(active) < 1 << 14, "{after} and {active}");
        assert!(least < peak * 3 / 4, "{least} with checkpoints, {peak} without");
    });
}
