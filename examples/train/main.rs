//! Trains a net of two layers from scratch to tell the arms of a spiral apart.
//!
//! ```console
//! cargo run --release --example train
//! ```

use anyhow::Result;
use mlx_core::nn::{self, Linear, gelu};
use mlx_core::optim::{AdamW, AdamWConfig, Decay, Optimizer, Schedule, clip_grad_norm};
use mlx_core::{Array, DType, loss, random};

const ARMS: i32 = 3;
const POINTS_PER_ARM: i32 = 60;
const HIDDEN: i32 = 64;
const STEPS: u64 = 300;

struct Net {
    hidden: Linear,
    head: Linear,
}

nn::module! { Net { hidden, head } }

impl Net {
    fn new(seed: u64) -> mlx_core::Result<Self> {
        let [first, second] = random::split(&random::key(seed)?)?;
        let hidden = Linear::init(2, HIDDEN, true, &first)?;
        Ok(Net { hidden, head: Linear::init(HIDDEN, ARMS, true, &second)? })
    }

    fn forward(&self, x: &Array) -> mlx_core::Result<Array> {
        self.head.forward(&gelu(&self.hidden.forward(x)?)?) // [N, 2] -> [N, HIDDEN] -> [N, ARMS]
    }
}

/// Points on the arms, `[N, 2]`, and the arm of each.
fn spiral() -> mlx_core::Result<(Array, Array)> {
    let (mut points, mut arms) = (Vec::new(), Vec::new());
    for arm in 0..ARMS {
        for point in 0..POINTS_PER_ARM {
            let radius = (point + 1) as f32 / POINTS_PER_ARM as f32;
            let angle = 4.0 * radius + std::f32::consts::TAU * arm as f32 / ARMS as f32;
            points.extend([radius * angle.cos(), radius * angle.sin()]);
            arms.push(arm);
        }
    }
    let count = ARMS * POINTS_PER_ARM;
    Ok((Array::from_slice(&points, &[count, 2])?, Array::from_slice(&arms, &[count])?))
}

fn main() -> Result<()> {
    let (points, arms) = spiral()?;
    let mut net = Net::new(7)?;
    let schedule =
        Schedule { peak: 0.02, warmup_steps: 20, decay: Decay::Cosine { steps: STEPS, end: 1e-3 } };
    let mut optimizer = AdamW::new(AdamWConfig::default())?;

    for step in 0..=STEPS {
        let (loss, gradients) = nn::value_and_grad(
            &mut net,
            |_| true,
            |net| loss::cross_entropy(&net.forward(&points)?, &arms, loss::CrossEntropy::default()),
        )?;
        let (gradients, norm) = clip_grad_norm(&gradients, 1.0)?;
        optimizer.step(&mut net, &gradients, schedule.at(step))?;
        optimizer.eval(&net)?; // computes everything since the last step, once
        if step % 50 == 0 {
            println!(
                "step {step:3}  loss {:.4}  gradient norm {:.3}",
                loss.item::<f32>()?,
                norm.item::<f32>()?
            );
        }
    }

    let right = net.forward(&points)?.argmax(-1, false)?.as_type(DType::I32)?.equal(&arms)?;
    let share = right.as_type(DType::F32)?.mean(.., false)?.item::<f32>()?;
    println!("{:.0} % of the points are told apart", 100.0 * share);
    Ok(())
}
