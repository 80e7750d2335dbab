//! Optimizers: what moves the arrays of a [`Module`](crate::nn::Module) along their gradients.
//!
//! ```
//! use mlx_core::nn::{self, Linear};
//! use mlx_core::optim::{AdamW, AdamWConfig, Decay, Optimizer, Schedule, clip_grad_norm};
//! use mlx_core::{Array, Result, loss};
//!
//! fn main() -> Result<()> {
//!     // y = 2 a - b, to be found out from four examples.
//!     let x = Array::from_slice(&[0.0f32, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0], &[4, 2])?;
//!     let y = Array::from_slice(&[0.0f32, 2.0, -1.0, 1.0], &[4, 1])?;
//!     let key = mlx_core::random::key(7)?;
//!     let mut model = Linear::init(2, 1, true, &key)?;
//!
//!     let schedule = Schedule { peak: 0.1, warmup_steps: 5, decay: Decay::Cosine { steps: 195, end: 0.0 } };
//!     let mut optimizer = AdamW::new(AdamWConfig { weight_decay: 0.0, ..Default::default() })?;
//!     let mut last = f32::INFINITY;
//!     for step in 0..200 {
//!         let (loss, gradients) = nn::value_and_grad(&mut model, |_| true, |model| {
//!             loss::mse(&model.forward(&x)?, &y, loss::Reduction::Mean)
//!         })?;
//!         let (gradients, _norm) = clip_grad_norm(&gradients, 1.0)?;
//!         optimizer.step(&mut model, &gradients, schedule.at(step))?;
//!         optimizer.eval(&model)?;
//!         last = loss.item()?;
//!     }
//!     assert!(last < 1e-3, "{last}");
//!     Ok(())
//! }
//! ```
//!
//! A step builds the graph of the new values and computes nothing; [`Optimizer::eval`] does, once per step. Without it the
//! graph grows from step to step.
//!
//! Parameters of 16 bits are moved in float32: the optimizer keeps a copy of each that is not rounded, and puts a rounded
//! one into the model. Where the model's was replaced since the last step, as by [`nn::update`], the copy is made anew of
//! that.

mod adamw;
mod clip;
mod schedule;
mod sgd;
mod state;

use std::collections::BTreeMap;
use std::path::Path;

pub use adamw::{AdamW, AdamWConfig};
pub use clip::clip_grad_norm;
pub use schedule::{Decay, Schedule};
pub use sgd::{Sgd, SgdConfig};

use crate::nn::{self, DynModule};
use crate::{Array, Error, Result, io};

/// Something that moves parameters along their gradients, and remembers of them what it needs.
pub trait Optimizer {
    /// Moves the arrays of `model` that have a gradient; the others stay, as does what is remembered of them.
    ///
    /// # Errors
    /// When the learning rate is not finite, the model has no array of a gradient's name, or one of another shape. The
    /// model and the optimizer are as before then.
    fn step(
        &mut self,
        model: &mut DynModule,
        gradients: &BTreeMap<String, Array>,
        learning_rate: f64,
    ) -> Result<()>;

    /// Steps taken so far.
    fn steps(&self) -> u64;

    /// What is remembered, by name: `step`, `<parameter>.m`, `<parameter>.v`, and `<parameter>.master` of parameters of 16
    /// bits. Python's MLX uses the same names, but for the last.
    ///
    /// # Errors
    /// When no memory is left.
    fn state(&self) -> Result<BTreeMap<String, Array>>;

    /// Replaces what is remembered. A missing `master` is taken from the parameter, and a `learning_rate` is ignored, so
    /// that the state of one of Python's optimizers will do.
    ///
    /// # Errors
    /// When an array is missing or unknown; nothing is replaced then. A wrong shape is an error of the next
    /// [`step`](Self::step).
    fn set_state(&mut self, state: BTreeMap<String, Array>) -> Result<()>;

    /// Computes the arrays of `model` and the state, in one pass.
    ///
    /// # Errors
    /// Whatever the operations behind them fail with, memory included.
    fn eval(&self, model: &DynModule) -> Result<()> {
        let state = self.state()?;
        let arrays = nn::find::<Array>(model).into_iter().map(|(_, array)| array);
        crate::eval(&arrays.chain(state.values()).collect::<Vec<_>>())
    }

    /// Writes the state to a safetensors file, which appears whole or not at all.
    ///
    /// Two files can be of different steps if a program is ended between them. To keep parameters and state together, write
    /// [`state`](Self::state) and [`nn::parameters`] into one, with a prefix before the names of either.
    ///
    /// # Errors
    /// When computing it fails or the file cannot be written.
    fn save(&self, path: &Path) -> Result<()> {
        io::save_safetensors(path, &self.state()?, &BTreeMap::new())
    }

    /// Reads a state that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// As [`set_state`](Self::set_state), and when the file cannot be read.
    fn load(&mut self, path: &Path) -> Result<()> {
        self.set_state(io::load_safetensors(path)?.0)
    }
}

/// Refuses options outside their range.
fn require<const N: usize>(
    op: &'static str,
    what: &str,
    numbers: [f64; N],
    range: std::ops::Range<f64>,
) -> Result<()> {
    if numbers.iter().all(|number| range.contains(number)) {
        return Ok(());
    }
    let wanted = match (range.start, range.end) {
        (f64::MIN, _) => "they must be finite".to_owned(),
        (start, f64::INFINITY) => format!("they must be finite and at least {start}"),
        (start, end) => format!("they must be at least {start} and below {end}"),
    };
    let message = format!("{what} cannot be {numbers:?}; {wanted}");
    Err(Error::Shape { op, message })
}
