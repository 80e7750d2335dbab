//! What one node of MLX's graph costs beside the arithmetic: to build, to drop unevaluated, and to evaluate.
//!
//! ```console
//! cargo bench -p benches --bench node
//! benches/peers/compare_nodes.py        # the same beside Python's mlx.core and MLX's own C++, in turns
//! ```
//!
//! A chain of small operations is built, each on the result of the one before, as a model builds its layers. The time is the
//! chain's divided by its length, in nanoseconds, as the median over many chains; `peers/node.py` and `peers/node.cpp` do
//! the same step by step. Nothing is evaluated while the clock of building runs. The last array is dropped on a clock of
//! its own, since the whole chain goes with it. A program pays for building and dropping once per operation, and for the
//! evaluation's overhead in place of its arithmetic, which is next to nothing at these sizes.

use std::time::Instant;

use mlx_core::{Array, DType, Quantization, Result};

/// Operations in a chain.
const LENGTH: i32 = 100;
/// Chains that are timed, after as many as a tenth of them that are not.
const CHAINS: usize = 300;
/// Width of rows, for operations that have any.
const WIDTH: i32 = 64;

/// From the result of the step before, and the step's number, to the next.
type Step = Box<dyn Fn(&Array, i32) -> Result<Array>>;

/// Name, first array, and what is done to it over and over.
fn cases() -> Result<Vec<(&'static str, Array, Step)>> {
    let one = Array::scalar(1.0f32)?;
    let row = Array::full(&[1, WIDTH], 0.5f32)?;
    let norm = Array::full(&[WIDTH], 1.0f32)?;
    let packed = Array::full(&[WIDTH, WIDTH], 0.01f32)?.quantize(Quantization::affine(32, 4))?;
    let long = Array::zeros(&[1, LENGTH + 1], DType::F32)?;
    mlx_core::eval(&[&row, &norm, &long].into_iter().chain(packed.arrays()).collect::<Vec<_>>())?;
    Ok(vec![
        ("add", one.clone(), Box::new(move |x, _| x.add(&one))),
        ("sin", Array::scalar(1.0f32)?, Box::new(|x, _| x.sin())),
        ("rms_norm", row.clone(), Box::new(move |x, _| x.rms_norm(Some(&norm), 1e-5))),
        // One element less with each step: a slice that leaves nothing out is no node.
        ("slice", long, Box::new(|x, step| x.slice_axis(1, 1, LENGTH + 1 - step))),
        ("quantized_matmul", row, Box::new(move |x, _| x.quantized_matmul(&packed, true))),
    ])
}

fn chain(first: &Array, step: &Step) -> Result<Array> {
    let mut last = step(first, 0)?;
    for number in 1..LENGTH {
        last = step(&last, number)?;
    }
    Ok(last)
}

/// Nanoseconds per operation.
fn per_node(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64 / f64::from(LENGTH)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> Result<()> {
    println!("{:<18}{:>10}{:>10}{:>10}", "ns per node", "build", "drop", "eval");
    for (name, first, step) in cases()? {
        let (mut builds, mut drops, mut evals) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..CHAINS + CHAINS / 10 {
            let start = Instant::now();
            let last = chain(&first, &step)?;
            let build = per_node(start);

            let start = Instant::now();
            drop(last);
            let dropped = per_node(start);

            let last = chain(&first, &step)?;
            let start = Instant::now();
            last.eval()?;
            let eval = per_node(start);

            if round >= CHAINS / 10 {
                builds.push(build);
                drops.push(dropped);
                evals.push(eval);
            }
        }
        println!("{name:<18}{:>10.0}{:>10.0}{:>10.0}", median(builds), median(drops), median(evals));
    }
    Ok(())
}
