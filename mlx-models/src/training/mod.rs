//! Fine-tuning: examples from JSONL, batches, the loss, steps, and a state that survives a kill.
//!
//! ```no_run
//! use std::path::Path;
//! use mlx_models::adapter::{self, AdapterOptions};
//! use mlx_models::training::{DataOptions, DataSet, Trainer, TrainingOptions};
//!
//! # fn main() -> mlx_models::Result<()> {
//! let path = Path::new("model");
//! let mut loaded = mlx_models::load(path, None)?;
//! let adapter = adapter::attach(&mut *loaded.model, &AdapterOptions::default(), 7)?;
//! let data = DataOptions::for_model(path, &loaded)?;
//! let train = DataSet::read(Path::new("data/train.jsonl"), &loaded.text, &data)?;
//! let mut trainer = Trainer::new(loaded.model, adapter, train, TrainingOptions::default())?;
//! for _ in 0..20 {
//!     let step = trainer.step()?;
//!     println!("step {} loss {:.3}", step.step, step.loss);
//! }
//! trainer.adapter().save(trainer.model(), Path::new("adapter"), "model")?;
//! # Ok(())
//! # }
//! ```
//!
//! The order of the examples, dropout and everything else that is random follow from a seed and the number of the step,
//! so a run that goes on from a saved state ([`Trainer::save_state`], [`Trainer::load_state`]) takes the steps that it
//! would have taken anyway, on a CPU bit for bit.

mod chat;
mod curve;
mod data;
mod loss;
mod order;
mod state;
mod trainer;

pub use curve::{Curve, Point};
pub use data::{DataOptions, DataSet, Row};
pub use state::STATE_FILE;
pub use trainer::{StepReport, Trainer, TrainingOptions};
