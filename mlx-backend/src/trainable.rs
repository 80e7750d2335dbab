//! Adapters on a loaded model.

use std::path::Path;

use inference_api::{Error, ErrorKind, LoraOptions, LoraSummary, Result, TextModel, TrainableModel};
use mlx_models::adapter::{self, AdapterOptions};
use mlx_models::sampling::fresh_seed;

use crate::error::from_models;
use crate::model::{MlxModel, refused};

impl TrainableModel for MlxModel {
    fn num_layers(&self) -> usize {
        self.info().num_layers
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer()?.encode(text, true, false).map_err(refused)
    }

    fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.tokenizer()?.decode(tokens, true).map_err(refused)
    }

    fn apply_lora(&self, options: &LoraOptions) -> Result<LoraSummary> {
        options.validate()?;
        let seed = options.seed.map_or_else(fresh_seed, Ok).map_err(from_models)?;
        let options = AdapterOptions {
            rank: options.rank as i32,
            scale: options.alpha / options.rank as f32,
            dropout: options.dropout,
            targets: options.targets.clone(),
            layers: options.layers,
            ..AdapterOptions::default()
        };
        self.engine().change(move |changeable| {
            let model = &mut *changeable.model.model;
            let adapter = adapter::attach(model, &options, seed).map_err(from_models)?;
            let parameters = adapter.parameters(model).map_err(from_models)?;
            changeable.adapter = Some(adapter);
            Ok(LoraSummary {
                parameters: parameters.values().map(|array| array.size() as u64).sum(),
                names: parameters.into_keys().collect(),
            })
        })
    }

    fn save_adapter(&self, folder: &Path) -> Result<()> {
        let (folder, base) = (folder.to_owned(), self.info().name);
        self.engine().change(move |changeable| match &changeable.adapter {
            Some(adapter) => adapter.save(&*changeable.model.model, &folder, &base).map_err(from_models),
            None => {
                let message = "there is no adapter to save; apply_lora puts one on the model";
                Err(Error::new(ErrorKind::InvalidOption, message))
            }
        })
    }
}
