//! Adapters and training, against mlx-lm, PEFT and torch.
//!
//! `tests/data/make_finetune.py` made the adapters, the rows and the expected numbers.

mod adapters;
mod data;
mod fusing;
mod steps;
mod trust;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use mlx_core::io::load_safetensors;
use mlx_core::{Array, DType, Device, kernels, nn};
use mlx_models::adapter::{self, Adapter};
use mlx_models::training::{DataSet, Row, Trainer, TrainingOptions};
use mlx_models::{LanguageModel, LoadedModel, for_each_logits};
use serde_json::Value;

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn load(name: &str) -> LoadedModel {
    mlx_models::load(&data(name), Some(DType::F32)).unwrap()
}

/// Runs a test on the CPU, whose numbers the expected ones are.
fn on_cpu(test: impl FnOnce()) {
    Device::Cpu.scope(|| kernels::exactly(test));
}

fn logits(model: &dyn LanguageModel, tokens: &[u32]) -> Vec<f32> {
    let mut all = Vec::new();
    for_each_logits(model, tokens, |rows| {
        all.extend(rows);
        Ok(())
    })
    .unwrap();
    all
}

/// The largest difference, as a part of the largest expected value.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(
        0f32,
        |worst, (a, b)| if (a - b).is_finite() { worst.max((a - b).abs()) } else { f32::INFINITY },
    ) / largest
}

fn bytes(arrays: &BTreeMap<String, Array>) -> BTreeMap<String, Vec<u8>> {
    arrays.iter().map(|(name, array)| (name.clone(), array.to_bytes().unwrap())).collect()
}

/// A run of `make_finetune.py`.
struct Case {
    json: Value,
    folder: PathBuf,
}

impl Case {
    fn open(name: &str) -> Self {
        let folder = data("finetune").join(name);
        let text = fs::read_to_string(folder.with_extension("json")).unwrap();
        Case { json: serde_json::from_str(&text).unwrap(), folder }
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.json[name].as_f64()
    }

    fn load(&self) -> (LoadedModel, Adapter) {
        let mut loaded = load(self.json["model"].as_str().unwrap());
        let adapter = adapter::load(&mut *loaded.model, &self.folder).unwrap();
        (loaded, adapter)
    }

    fn rows(&self) -> DataSet {
        let mut set = DataSet::default();
        let firsts = self.json["first"].as_array().unwrap();
        for (tokens, first) in self.json["rows"].as_array().unwrap().iter().zip(firsts) {
            let tokens: Vec<u32> = serde_json::from_value(tokens.clone()).unwrap();
            let first = first.as_u64().unwrap() as usize;
            let counted = (0..tokens.len()).map(|at| at >= first).collect();
            set.push(Row { tokens, counted }, usize::MAX);
        }
        set
    }

    fn steps(&self) -> Vec<Vec<usize>> {
        serde_json::from_value(self.json["steps"].clone()).unwrap()
    }

    fn trainer(&self, options: TrainingOptions) -> Trainer {
        let (loaded, adapter) = self.load();
        Trainer::new(loaded.model, adapter, self.rows(), options).unwrap()
    }

    /// Losses by name, `torch` or `mlx_lm`.
    fn losses(&self, name: &str) -> Option<Vec<f32>> {
        serde_json::from_value(self.json[name].clone()).unwrap()
    }
}

/// The logits of a file beside an adapter's folder, and the tokens that they belong to.
fn expected_logits(name: &str) -> (Vec<u32>, Vec<f32>) {
    let (arrays, _) = load_safetensors(data("finetune").join(format!("{name}.logits.safetensors"))).unwrap();
    let tokens = arrays["tokens"].to_vec::<i32>().unwrap().into_iter().map(|id| id as u32).collect();
    (tokens, arrays["logits"].to_vec::<f32>().unwrap())
}

/// The arrays of a model that are not an adapter's.
fn base(model: &dyn LanguageModel) -> BTreeMap<String, Array> {
    let mut all = nn::parameters(model).unwrap();
    all.retain(|name, _| !nn::lora::is_adapter(name));
    all
}
