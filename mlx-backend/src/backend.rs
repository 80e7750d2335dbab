//! The three backends: the same code on three devices.

use std::path::Path;

use inference_api::{
    Backend, DiscoveredModel, Error, ErrorKind, LoadOptions, LoadProgress, LoadStage, Result, TextModel,
    TrainableModel,
};
use mlx_models::packaged::Progress;
use mlx_models::{Checkpoint, models};

use crate::error::from_models;
use crate::kind::Kind;
use crate::model::MlxModel;

pub(crate) struct MlxBackend {
    kind: Kind,
}

impl MlxBackend {
    pub(crate) fn new(kind: Kind) -> Self {
        MlxBackend { kind }
    }
}

impl Backend for MlxBackend {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn is_available(&self) -> bool {
        self.kind.is_available()
    }

    fn probe(&self, path: &Path) -> Result<Option<DiscoveredModel>> {
        let metadata = std::fs::metadata(path).map_err(|cause| Error::read(path, cause))?;
        let is_candidate = match metadata.is_dir() {
            true => path.join("config.json").is_file(),
            false => path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")),
        };
        if !is_candidate {
            return Ok(None);
        }
        let checkpoint = Checkpoint::open(path).map_err(from_models)?;
        let Ok(model_type) = models::model_type(&checkpoint) else { return Ok(None) };
        Ok(Some(DiscoveredModel {
            path: path.to_owned(),
            model_type: model_type.to_owned(),
            quantization: checkpoint.quantization(),
            weight_bytes: checkpoint.stored_bytes(),
        }))
    }

    fn load_model(&self, model: &str, options: &LoadOptions) -> Result<Box<dyn TextModel>> {
        Ok(Box::new(self.load(model, options)?))
    }

    fn load_trainable(&self, model: &str, options: &LoadOptions) -> Result<Box<dyn TrainableModel>> {
        Ok(Box::new(self.load(model, options)?))
    }
}

impl MlxBackend {
    fn load(&self, model: &str, options: &LoadOptions) -> Result<MlxModel> {
        options.validate()?;
        if !self.is_available() {
            let message = format!("the backend `{}` cannot run on this machine", self.kind.name());
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let mut report = |progress: Progress| {
            options.report(&LoadProgress {
                stage: LoadStage::Fetch,
                label: progress.item.to_owned(),
                done_bytes: progress.done_bytes,
                total_bytes: Some(progress.total_bytes),
            });
        };
        let path = mlx_models::locate(model, &mut report).map_err(from_models)?;
        options.report(&LoadProgress {
            stage: LoadStage::Load,
            label: model.to_owned(),
            done_bytes: 0,
            total_bytes: None,
        });
        MlxModel::load(self.kind, model, &path, options)
    }
}
