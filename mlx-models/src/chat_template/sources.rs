//! Where checkpoints keep their chat templates.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::{DEFAULT, MAX_SOURCE};
use crate::gguf::GgufFile;
use crate::{Error, Result};

/// The most templates of one checkpoint; known ones have three.
const MAX_TEMPLATES: usize = 64;

/// The key of the default template in GGUF metadata; `.NAME` behind it makes that of another.
const GGUF_KEY: &str = "tokenizer.chat_template";

/// The templates of a checkpoint by name, and what they may know of its tokens.
pub(super) struct Sources {
    /// The file, for error messages.
    pub(super) origin: String,
    pub(super) templates: Vec<(String, String)>,
    /// The texts of the special tokens, by names such as `bos_token`.
    pub(super) tokens: Map<String, Json>,
}

/// Looks through a folder in the order of Hugging Face: files with templates of their own, then the configuration of the
/// tokenizer, then that of the processor.
pub(super) fn of_folder(folder: &Path) -> Result<Option<Sources>> {
    let config = read_json(&folder.join("tokenizer_config.json"))?;
    let tokens = special_tokens(folder, &config)?;

    let path = folder.join("chat_template.jinja");
    let mut templates = additional(&folder.join("additional_chat_templates"))?;
    if let Some(source) = read(&path, MAX_SOURCE)? {
        templates.retain(|(name, _)| name != DEFAULT);
        templates.insert(0, (DEFAULT.to_owned(), source));
    }
    if !templates.is_empty() {
        return Ok(Some(Sources { origin: path.display().to_string(), templates, tokens }));
    }
    let processor = folder.join("chat_template.json");
    for (path, holder) in
        [(folder.join("tokenizer_config.json"), config), (processor.clone(), read_json(&processor)?)]
    {
        let origin = path.display().to_string();
        if let Some(templates) = in_json(&origin, holder.get("chat_template"))? {
            return Ok(Some(Sources { origin, templates, tokens }));
        }
    }
    Ok(None)
}

/// Reads `tokenizer.chat_template`, and further ones with a name behind that.
pub(super) fn of_gguf(file: &GgufFile) -> Result<Option<Sources>> {
    let metadata = file.metadata();
    let mut templates = Vec::new();
    if let Some(source) = metadata.optional_str(GGUF_KEY)? {
        templates.push((DEFAULT.to_owned(), source.to_owned()));
    }
    for (key, _) in metadata.iter() {
        let name = key.strip_prefix(GGUF_KEY).and_then(|rest| rest.strip_prefix('.'));
        if let Some(name) = name
            && !name.is_empty()
            && !templates.iter().any(|(known, _)| known == name)
        {
            check_count(&file.path().display().to_string(), templates.len())?;
            templates.push((name.to_owned(), metadata.str(key)?.to_owned()));
        }
    }
    if templates.is_empty() {
        return Ok(None);
    }
    let texts = metadata.optional_string_array("tokenizer.ggml.tokens")?.unwrap_or_default();
    let mut tokens = Map::new();
    for (name, key) in [("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")] {
        let id = metadata.optional_u32(&format!("tokenizer.ggml.{key}_token_id"))?;
        if let Some(text) = id.and_then(|id| texts.get(id as usize)) {
            tokens.insert(format!("{name}_token"), text.as_str().into());
        }
    }
    let origin = format!("{}: chat template", file.path().display());
    Ok(Some(Sources { origin, templates, tokens }))
}

/// `chat_template` of a JSON file: one text, or a list of named ones.
fn in_json(origin: &str, templates: Option<&Json>) -> Result<Option<Vec<(String, String)>>> {
    let pair =
        |entry: &Json| Some((entry["name"].as_str()?.to_owned(), entry["template"].as_str()?.to_owned()));
    let templates = match templates {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(source)) => Some(vec![(DEFAULT.to_owned(), source.clone())]),
        Some(Json::Array(list)) => {
            check_count(origin, list.len().saturating_sub(1))?;
            list.iter().map(pair).collect()
        }
        Some(_) => None,
    };
    templates.map(Some).ok_or_else(|| {
        refuse(origin, "chat_template is neither a text nor a list of named texts; correct or remove it")
    })
}

/// The texts of the special tokens. A configuration that lists no `added_tokens_decoder` is of an older kind, with a file
/// of its own for them that wins.
fn special_tokens(folder: &Path, config: &Map<String, Json>) -> Result<Map<String, Json>> {
    let of = |config: &Map<String, Json>| {
        let texts = config.iter().filter_map(|(name, token)| {
            let text = token.as_str().or_else(|| token["content"].as_str())?;
            name.ends_with("_token").then(|| (name.clone(), Json::from(text)))
        });
        texts.collect::<Map<_, _>>()
    };
    let mut tokens = of(config);
    if !config.contains_key("added_tokens_decoder") {
        tokens.extend(of(&read_json(&folder.join("special_tokens_map.json"))?));
    }
    Ok(tokens)
}

/// The templates `NAME.jinja` of a folder, in order of name; none if there is no such folder.
fn additional(folder: &Path) -> Result<Vec<(String, String)>> {
    let io = |source| Error::Io { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io)?,
    };
    let mut templates = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jinja"));
        if let Some(name) = name {
            check_count(&folder.display().to_string(), templates.len())?;
            let source = read(&path, MAX_SOURCE)?;
            templates.extend(source.map(|source| (name.to_owned(), source)));
        }
    }
    templates.sort();
    Ok(templates)
}

fn check_count(origin: &str, before: usize) -> Result<()> {
    if before < MAX_TEMPLATES {
        return Ok(());
    }
    Err(refuse(
        origin,
        &format!("more than {MAX_TEMPLATES} chat templates are here; remove those not needed"),
    ))
}

fn refuse(origin: &str, message: &str) -> Error {
    Error::Template { origin: origin.to_owned(), line: None, message: message.to_owned() }
}

/// The text of a file; `None` if there is no such file.
fn read(path: &Path, most: u64) -> Result<Option<String>> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io(e)),
        Ok(data) if !data.is_file() => Err(io(io::Error::other("not a regular file"))),
        Ok(data) if data.len() > most => Err(io(io::Error::other(format!("larger than {} MiB", most >> 20)))),
        Ok(_) => fs::read_to_string(path).map(Some).map_err(io),
    }
}

/// The map in a JSON file; empty if there is no such file.
fn read_json(path: &Path) -> Result<Map<String, Json>> {
    // Gemma 3's lists each of its added tokens and takes 1.2 MB.
    let Some(text) = read(path, 64 << 20)? else { return Ok(Map::new()) };
    serde_json::from_str(&text).map_err(|e| Error::Template {
        origin: path.display().to_string(),
        line: Some(e.line()),
        message: e.to_string(),
    })
}
