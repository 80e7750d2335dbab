//! AdamW. (Loshchilov and Hutter, 2019)

use std::collections::BTreeMap;

use super::state::{State, scalar_of};
use super::{Optimizer, require};
use crate::nn::DynModule;
use crate::{Array, Result};

/// Options of [`AdamW`]; by default those of PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// How much of the first and second moments a step keeps: `β1`, `β2`.
    pub betas: [f64; 2],
    /// Added to the root of the second moment, against division by zero.
    pub eps: f64,
    /// The part of a parameter that a step takes off, times the learning rate. With 0 this is Adam.
    pub weight_decay: f64,
    /// Whether the moments are scaled up in the first steps, in which they are still near 0. Python's MLX does not,
    /// unless it is told to.
    pub bias_correction: bool,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01, bias_correction: true }
    }
}

/// Adam with decoupled weight decay.
///
/// ```text
/// m = β1 m + (1 - β1) g
/// v = β2 v + (1 - β2) g²
/// w = w (1 - rate * weight_decay) - rate * m' / (√v' + eps)      m' = m / (1 - β1^t), v' = v / (1 - β2^t)
/// ```
///
/// Without bias correction, `m'` is `m` and `v'` is `v`. The state of a parameter is `m` and `v`.
#[derive(Clone, Debug)]
#[doc(alias = "Adam")]
pub struct AdamW {
    config: AdamWConfig,
    state: State,
}

impl AdamW {
    /// An optimizer that has taken no step.
    ///
    /// # Errors
    /// When a beta is not at least 0 and below 1, or another number is negative or not finite.
    pub fn new(config: AdamWConfig) -> Result<Self> {
        let AdamWConfig { betas, eps, weight_decay, .. } = config;
        require("AdamW", "betas", betas, 0.0..1.0)?;
        require("AdamW", "eps and weight_decay", [eps, weight_decay], 0.0..f64::INFINITY)?;
        Ok(AdamW { config, state: State::new("AdamW", &["m", "v"]) })
    }
}

impl Optimizer for AdamW {
    fn step(
        &mut self,
        model: &mut DynModule,
        gradients: &BTreeMap<String, Array>,
        learning_rate: f64,
    ) -> Result<()> {
        require("AdamW", "learning_rate", [learning_rate], f64::MIN..f64::INFINITY)?;
        let AdamWConfig { betas: [b1, b2], eps, weight_decay, bias_correction } = self.config;
        self.state.advance(model, gradients, |step, w, g, slots| {
            let [m, v] = slots else { return Ok(w.clone()) };
            let number = |value| scalar_of(w, value);
            *m = m.multiply(&number(b1)?)?.add(&g.multiply(&number(1.0 - b1)?)?)?;
            *v = v.multiply(&number(b2)?)?.add(&g.square()?.multiply(&number(1.0 - b2)?)?)?;
            let correction = |beta: f64| if bias_correction { 1.0 - beta.powf(step as f64) } else { 1.0 };
            let root = v.sqrt()?.multiply(&number(correction(b2).sqrt().recip())?)?.add(&number(eps)?)?;
            let change = m.multiply(&number(learning_rate / correction(b1))?)?.divide(&root)?;
            w.multiply(&number(1.0 - learning_rate * weight_decay)?)?.subtract(&change)
        })
    }

    fn steps(&self) -> u64 {
        self.state.step()
    }

    fn state(&self) -> Result<BTreeMap<String, Array>> {
        self.state.arrays()
    }

    fn set_state(&mut self, state: BTreeMap<String, Array>) -> Result<()> {
        self.state.restore(state)
    }
}
