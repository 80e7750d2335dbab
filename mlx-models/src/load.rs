//! From a name to a model that is ready: find it, fetch it if it is not here, read everything it is made of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlx_core::DType;
use serde_json::Value;

use crate::gguf::GgufFile;
use crate::hub::{self, HubConfig, HubId};
use crate::packaged::{self, Progress};
use crate::{ChatTemplate, Checkpoint, Error, LanguageModel, Result, Tokenizer, Vocabulary, adapter, models};

/// Finds a model: an existing folder or `.gguf` file, else a packaged model by its name, else one of the Hub by its
/// [id](hub::HubId); fetched if it is not here yet, with what the environment says.
///
/// # Errors
/// When there is none of these, or fetching fails.
pub fn locate(model: &str, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
    let path = Path::new(model);
    if path.try_exists().map_err(|source| Error::Io { path: path.to_owned(), source })? {
        return Ok(path.to_owned());
    }
    if let Some(packaged) = packaged::find(model) {
        return packaged.fetch(&packaged::cache_dir()?, progress);
    }
    match model.parse::<HubId>() {
        Ok(id) => {
            let hint = |is_there| other_sources(&id, is_there);
            hub::fetch_with_hint(&id, &HubConfig::from_env()?, progress, hint)
        }
        Err(reason) => Err(Error::Checkpoint {
            path: path.to_owned(),
            message: format!(
                "no such folder or .gguf file, no packaged model of that name (those are {}), and no Hub id: {reason}",
                packaged::names().collect::<Vec<_>>().join(", ")
            ),
        }),
    }
}

/// What someone who gave this Hub id may have meant.
fn other_sources(id: &HubId, is_there: bool) -> Option<String> {
    let (folder, name) = id.repo().split_once('/')?;
    let same = |packaged: &&str| name.to_ascii_lowercase().starts_with(*packaged);
    match packaged::names().find(same) {
        Some(packaged) => Some(format!("the packaged model {packaged} needs no Hub")),
        None if is_there => None,
        None if Path::new(folder).is_dir() => {
            Some(format!("the folder {folder} is here, and has no {name} in it"))
        }
        None => Some(format!(
            "no folder of that name is here either, and the packaged models are {}",
            packaged::names().collect::<Vec<_>>().join(", ")
        )),
    }
}

/// A model with everything that belongs to it. It stays on the thread that loaded it; [`TextTools`] may be cloned off.
pub struct LoadedModel {
    /// The weights and how they are applied.
    pub model: Box<dyn LanguageModel>,
    /// What turns text into tokens and back.
    pub text: TextTools,
    /// How the weights are stored, such as `Q5_0` or `4 bits, groups of 64`; `None` for plain floats.
    pub quantization: Option<String>,
}

/// Loads the checkpoint at `path`. `dtype` is what to compute in; by default what the checkpoint suggests.
///
/// # Errors
/// When a file is broken or missing, or the architecture is not supported.
pub fn load(path: &Path, dtype: Option<DType>) -> Result<LoadedModel> {
    let checkpoint = Checkpoint::open(path)?;
    // What takes long comes last: an error in a small file should not wait for the weights.
    models::model_type(&checkpoint)?;
    let text = TextTools::of(&checkpoint)?;
    let model = models::load(&checkpoint, dtype)?;
    Ok(LoadedModel { model, text, quantization: checkpoint.quantization() })
}

/// [`load`], with the adapter in the folder `adapter` if one is given: mlx-lm's or PEFT's, see
/// [`adapter::load`](crate::adapter::load).
///
/// # Errors
/// As these two.
pub fn load_with_adapter(path: &Path, dtype: Option<DType>, adapter: Option<&Path>) -> Result<LoadedModel> {
    let mut loaded = load(path, dtype)?;
    if let Some(folder) = adapter {
        adapter::load(&mut *loaded.model, folder)?;
    }
    Ok(loaded)
}

/// The text side of a model: tokenizer, chat template and the ids that end a reply. Threads may share it.
#[derive(Clone, Debug)]
pub struct TextTools {
    tokenizer: Option<Tokenizer>,
    /// The chat template, where the checkpoint has one; base models have none.
    pub chat_template: Option<Arc<ChatTemplate>>,
    /// Ids that end a reply: those of the tokenizer, the configuration and the generation configuration together.
    pub eos_ids: BTreeSet<u32>,
    path: PathBuf,
}

impl TextTools {
    /// Reads the text side of a checkpoint, without its weights.
    ///
    /// # Errors
    /// When a file is broken. A missing tokenizer is no error until it is asked for.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self> {
        let (tokenizer, chat_template, mut eos_ids) = match checkpoint {
            Checkpoint::Folder(folder) => {
                let file = folder.path().join("tokenizer.json");
                let exists = file.try_exists().map_err(|source| Error::Io { path: file.clone(), source })?;
                let tokenizer = if exists { Some(Tokenizer::from_file(&file)?) } else { None };
                let mut ids = eos_ids(folder.config());
                ids.extend(folder.json("generation_config.json")?.iter().flat_map(eos_ids));
                (tokenizer, ChatTemplate::from_folder(folder.path())?, ids)
            }
            Checkpoint::Gguf(file) => {
                let vocabulary = Vocabulary::of(file)?;
                let tokenizer = Tokenizer::from_vocabulary(&vocabulary).map_err(|e| inside(file, e))?;
                (Some(tokenizer), ChatTemplate::from_gguf(file)?, BTreeSet::new())
            }
        };
        eos_ids.extend(tokenizer.iter().flat_map(Tokenizer::eos_ids));
        Ok(TextTools {
            tokenizer,
            chat_template: chat_template.map(Arc::new),
            eos_ids,
            path: checkpoint.path().to_owned(),
        })
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// When the checkpoint has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| Error::Tokenizer {
            origin: self.path.display().to_string(),
            message: "no tokenizer.json is here, so only token ids can go in and out".to_owned(),
        })
    }
}

/// `eos_token_id` at the top of a configuration or under `text_config`, a number or a list of them.
fn eos_ids(config: &Value) -> BTreeSet<u32> {
    let places = [Some(config), config.get("text_config")];
    let values = places.into_iter().flatten().filter_map(|place| place.get("eos_token_id"));
    let ids = values.flat_map(|value| match value {
        Value::Array(ids) => ids.iter().collect(),
        id => vec![id],
    });
    ids.filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}

/// An error of what was read from a file's metadata, with the file's name, which that part does not know.
pub(crate) fn inside(file: &GgufFile, error: Error) -> Error {
    match error {
        Error::Tokenizer { origin, message } => {
            Error::Tokenizer { origin: format!("{}: {origin}", file.path().display()), message }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_id_in_vain_is_told_what_else_it_may_be() {
        let cases = [
            ("google/Gemma-3-270m-it", true, Some("the packaged model gemma-3-270m needs no Hub")),
            ("org/name", true, None),
            ("src/name", false, Some("the folder src is here, and has no name in it")),
            (
                "org/name",
                false,
                Some("no folder of that name is here either, and the packaged models are gemma"),
            ),
        ];
        for (id, is_there, start) in cases {
            let said = other_sources(&id.parse().unwrap(), is_there);
            match start {
                Some(start) => {
                    assert!(said.as_ref().is_some_and(|said| said.starts_with(start)), "{id}: {said:?}")
                }
                None => assert_eq!(said, None, "{id}"),
            }
        }
    }

    #[test]
    fn what_is_no_name_of_any_kind_is_refused_without_a_network() {
        for name in [
            "/nowhere/model",
            "./nowhere",
            "nowhere",
            "a/b/c.txt",
            "~/model.gguf",
            "https://huggingface.co/a/b",
        ] {
            let error = locate(name, &mut |_| ()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: no such folder or .gguf file")), "{error}");
        }
    }
}
