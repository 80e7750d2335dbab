//! The state of a run in one file, which is whole or not there: what is trained, the optimizer's memory, and the steps.

use std::collections::BTreeMap;
use std::path::Path;

use mlx_core::io::{SafetensorsFile, load_safetensors, save_safetensors};
use mlx_core::nn;
use mlx_core::optim::Optimizer;
use serde_json::{Map, Value, json};

use super::curve::{Curve, Point};
use super::trainer::Trainer;
use crate::{Error, Result};

/// The name that [`Trainer::save_state`] is usually given.
pub const STATE_FILE: &str = "training_state.safetensors";

const FORMAT: &str = "rust-mlx training state 1";
const PARAMETER: &str = "parameter.";
const OPTIMIZER: &str = "optimizer.";

impl Trainer {
    /// Writes all that the next steps depend on beside the model, the data and the options: a file that is replaced once the
    /// new one is on the disk. `settings` say what the run is, to be compared when it goes on.
    ///
    /// # Errors
    /// When the file cannot be written, as on a full disk; the one before stays.
    pub fn save_state(&self, path: &Path, settings: &Map<String, Value>) -> Result<()> {
        let mut arrays = BTreeMap::new();
        for (name, array) in self.adapter.parameters(&*self.model)? {
            arrays.insert(format!("{PARAMETER}{name}"), array);
        }
        for (name, array) in self.optimizer.state()? {
            arrays.insert(format!("{OPTIMIZER}{name}"), array);
        }
        // Bits, as losses may be no numbers.
        let points = |points: &[Point]| -> Vec<Value> {
            points.iter().map(|(step, loss)| json!([step, loss.to_bits()])).collect()
        };
        let run = json!({
            "step": self.step,
            "skipped": self.skipped,
            "data": self.data.digest(),
            "training": points(&self.curve.training),
            "validation": points(&self.curve.validation),
        });
        let metadata = BTreeMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("run".to_owned(), run.to_string()),
            ("settings".to_owned(), Value::Object(settings.clone()).to_string()),
        ]);
        Ok(save_safetensors(path, &arrays, &metadata)?)
    }

    /// Goes on from a state that [`save_state`](Self::save_state) wrote: the steps from here are those that the run of then
    /// would have taken.
    ///
    /// # Errors
    /// When the file cannot be read or is none, and when it is of another run: the error names the first setting that
    /// differs. The trainer is as before then.
    pub fn load_state(&mut self, path: &Path, settings: &Map<String, Value>) -> Result<()> {
        let refuse = |message: String| Error::Adapter { path: path.to_owned(), message };
        let header = SafetensorsFile::open(path)?;
        let metadata = header.metadata();
        if metadata.get("format").map(String::as_str) != Some(FORMAT) {
            return Err(refuse("is no state of a training run that this version reads".to_owned()));
        }
        let json = |name: &str| -> Result<Value> {
            let text = metadata.get(name).ok_or_else(|| refuse(format!("{name} is missing")))?;
            serde_json::from_str(text).map_err(|error| refuse(format!("{name}: {error}")))
        };
        let (run, before) = (json("run")?, json("settings")?);
        for (name, value) in settings {
            let then = &before[name.as_str()];
            if then != value {
                return Err(refuse(format!(
                    "is of a run with {name} {then}, and this one has {value}; give the same, or begin in a new folder"
                )));
            }
        }
        if run["data"] != json!(self.data.digest()) {
            return Err(refuse(
                "is of a run on other data; give the same files, or begin in a new folder".to_owned(),
            ));
        }
        let number = |name: &str| {
            run[name].as_u64().ok_or_else(|| refuse(format!("{name} in it is {}, and no number", run[name])))
        };
        let points = |name: &str| -> Result<Vec<Point>> {
            let point = |value: &Value| {
                let bits = u32::try_from(value.get(1)?.as_u64()?).ok()?;
                Some((value.get(0)?.as_u64()?, f32::from_bits(bits)))
            };
            let list = run[name].as_array().and_then(|list| list.iter().map(point).collect());
            list.ok_or_else(|| refuse(format!("{name} in it is no list of losses")))
        };
        let (step, skipped) = (number("step")?, number("skipped")?);
        let curve = Curve { training: points("training")?, validation: points("validation")? };
        drop(header);

        let (mut parameters, mut optimizer) = (BTreeMap::new(), BTreeMap::new());
        for (name, array) in load_safetensors(path)?.0 {
            if let Some(name) = name.strip_prefix(PARAMETER) {
                parameters.insert(name.to_owned(), array);
            } else if let Some(name) = name.strip_prefix(OPTIMIZER) {
                optimizer.insert(name.to_owned(), array);
            } else {
                return Err(refuse(format!("tensor {name} is no part of a state")));
            }
        }
        let own = self.adapter.parameters(&*self.model)?;
        if !own.keys().eq(parameters.keys()) {
            return Err(refuse("trains other arrays than this run".to_owned()));
        }
        let mut restored = self.optimizer.clone();
        restored.set_state(optimizer).map_err(|error| refuse(error.to_string()))?;
        nn::update(&mut *self.model, parameters).map_err(|error| refuse(error.to_string()))?;
        self.optimizer = restored;
        self.step = step;
        self.skipped = u32::try_from(skipped).unwrap_or(0);
        self.curve = curve;
        Ok(())
    }

    /// Notes a loss of the validation set, after the steps so far.
    pub fn note_validation(&mut self, loss: f64) {
        self.curve.validation.push((self.step, loss as f32));
    }
}
