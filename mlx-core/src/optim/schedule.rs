//! Learning rates that change with the step.

use std::f64::consts::PI;

/// The learning rate of every step: a warm-up, then a decay.
///
/// ```
/// use mlx_core::optim::{Decay, Schedule};
///
/// let schedule = Schedule { peak: 1e-3, warmup_steps: 10, decay: Decay::Cosine { steps: 90, end: 1e-4 } };
/// assert_eq!([0, 5, 10].map(|step| schedule.at(step)), [0.0, 5e-4, 1e-3]);
/// assert_eq!([55, 100, 1000].map(|step| schedule.at(step)), [5.5e-4, 1e-4, 1e-4]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The largest learning rate.
    pub peak: f64,
    /// Steps in which the rate rises from 0 to the peak: at step `s` before that it is `peak * s / warmup_steps`.
    pub warmup_steps: u64,
    /// What comes after the warm-up, counted from its end.
    pub decay: Decay,
}

/// How a learning rate falls. After its steps it stays at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// By the same amount each step.
    Linear {
        /// Steps from the peak to the end.
        steps: u64,
        /// The last learning rate.
        end: f64,
    },
    /// Along half a cosine. (Loshchilov and Hutter, 2017)
    Cosine {
        /// Steps from the peak to the end.
        steps: u64,
        /// The last learning rate.
        end: f64,
    },
}

impl Schedule {
    /// One learning rate for all steps.
    pub fn constant(rate: f64) -> Self {
        Schedule { peak: rate, warmup_steps: 0, decay: Decay::Constant }
    }

    /// The learning rate of a step; the first is 0.
    pub fn at(&self, step: u64) -> f64 {
        match step.checked_sub(self.warmup_steps) {
            None => self.peak * step as f64 / self.warmup_steps as f64,
            Some(step) => self.decay.from(self.peak, step),
        }
    }
}

impl Decay {
    fn from(self, peak: f64, step: u64) -> f64 {
        match self {
            Decay::Constant => peak,
            Decay::Linear { steps, end } | Decay::Cosine { steps, end } if step >= steps => end,
            Decay::Linear { steps, end } => peak + (end - peak) * (step as f64 / steps as f64),
            Decay::Cosine { steps, end } => {
                end + (peak - end) * 0.5 * (1.0 + (PI * step as f64 / steps as f64).cos())
            }
        }
    }
}
