//! Stochastic gradient descent.

use std::collections::BTreeMap;

use super::state::{State, scalar_of};
use super::{Optimizer, require};
use crate::nn::DynModule;
use crate::{Array, Error, Result};

/// Options of [`Sgd`]; by default none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SgdConfig {
    /// How much of its velocity a step keeps: `μ`.
    pub momentum: f64,
    /// Whether the step looks ahead along the velocity. (Sutskever et al., 2013)
    pub nesterov: bool,
    /// The part of a parameter that is added to its gradient.
    pub weight_decay: f64,
}

/// Stochastic gradient descent, with momentum if asked for.
///
/// ```text
/// g = g + weight_decay * w
/// v = μ v + g
/// w = w - rate * v              with Nesterov's momentum: w - rate * (g + μ v)
/// ```
///
/// With momentum, the state of a parameter is `v`.
#[derive(Clone, Debug)]
#[doc(alias = "SGD")]
pub struct Sgd {
    config: SgdConfig,
    state: State,
}

impl Sgd {
    /// An optimizer that has taken no step.
    ///
    /// # Errors
    /// When a number is negative or not finite, or Nesterov's momentum is 0.
    pub fn new(config: SgdConfig) -> Result<Self> {
        let SgdConfig { momentum, nesterov, weight_decay } = config;
        require("Sgd", "momentum and weight_decay", [momentum, weight_decay], 0.0..f64::INFINITY)?;
        if nesterov && momentum == 0.0 {
            return Err(Error::Shape { op: "Sgd", message: "Nesterov's momentum is 0".to_owned() });
        }
        Ok(Sgd { config, state: State::new("Sgd", if momentum == 0.0 { &[] } else { &["v"] }) })
    }
}

impl Optimizer for Sgd {
    fn step(
        &mut self,
        model: &mut DynModule,
        gradients: &BTreeMap<String, Array>,
        learning_rate: f64,
    ) -> Result<()> {
        require("Sgd", "learning_rate", [learning_rate], f64::MIN..f64::INFINITY)?;
        let SgdConfig { momentum, nesterov, weight_decay } = self.config;
        self.state.advance(model, gradients, |_, w, g, slots| {
            let number = |value| scalar_of(w, value);
            let g = match weight_decay {
                0.0 => g.clone(),
                _ => g.add(&w.multiply(&number(weight_decay)?)?)?,
            };
            let change = match slots {
                [v] => {
                    *v = v.multiply(&number(momentum)?)?.add(&g)?;
                    if nesterov { g.add(&v.multiply(&number(momentum)?)?)? } else { v.clone() }
                }
                _ => g,
            };
            w.subtract(&change.multiply(&number(learning_rate)?)?)
        })
    }

    fn steps(&self) -> u64 {
        self.state.step()
    }

    fn state(&self) -> Result<BTreeMap<String, Array>> {
        self.state.arrays()
    }

    fn set_state(&mut self, mut state: BTreeMap<String, Array>) -> Result<()> {
        if self.config.momentum == 0.0 {
            // Python's MLX keeps a velocity nevertheless.
            state.retain(|name, _| !name.ends_with(".v"));
        }
        self.state.restore(state)
    }
}
