//! Reading `tokenizer.json`.
//!
//! The `tokenizers` crate can read the whole file itself, but trusts it: a truncated file, a merge of unknown pieces or a
//! template that names no token make it panic. So the file is taken apart here, and only the normalizer and the
//! pre-tokenizer, of kinds known to be safe, are left to the crate.

use std::collections::HashMap;
use std::path::Path;

use mlx_core::io::Source;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use tokenizers::AddedToken;

use super::decoding::Decoding;
use super::model::BpeParts;
use super::pipeline::Parts;
use crate::Error;

/// The largest file that is read; Gemma 3's takes 33 MB.
const MAX_BYTES: u64 = 256 << 20;

const NORMALIZERS: &[&str] = &[
    "Sequence",
    "Replace",
    "Prepend",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Strip",
    "StripAccents",
    "Lowercase",
    "Nmt",
];
const PRE_TOKENIZERS: &[&str] = &[
    "Sequence",
    "Split",
    "ByteLevel",
    "Digits",
    "Metaspace",
    "Punctuation",
    "Whitespace",
    "WhitespaceSplit",
];

#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Option<PostProcessor>,
    #[serde(default)]
    decoder: Value,
    model: BpeParts,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

/// What goes round a text.
#[derive(Deserialize)]
#[serde(tag = "type")]
enum PostProcessor {
    ByteLevel {},
    TemplateProcessing { single: Vec<Piece>, special_tokens: HashMap<String, SpecialToken> },
    BertProcessing { cls: (String, u32), sep: (String, u32) },
    RobertaProcessing { cls: (String, u32), sep: (String, u32) },
    Sequence { processors: Vec<PostProcessor> },
}

#[derive(Deserialize)]
enum Piece {
    SpecialToken { id: String },
    Sequence {},
}

#[derive(Deserialize)]
struct SpecialToken {
    ids: Vec<u32>,
}

pub(super) fn read(path: &Path) -> crate::Result<String> {
    let refuse = |message| Error::Tokenizer { origin: path.display().to_string(), message };
    let file = Source::open(path)?;
    if file.len() > MAX_BYTES {
        return Err(refuse(format!("larger than {} MiB, which no tokenizer is", MAX_BYTES >> 20)));
    }
    String::from_utf8(file.read(0, file.len())?).map_err(|_| refuse("not UTF-8".to_owned()))
}

pub(super) fn parse(json: &str) -> Result<Parts, String> {
    let file: TokenizerFile = serde_json::from_str(json).map_err(|e| explain(json, &e))?;
    let (mut prefix, mut suffix) = (Vec::new(), Vec::new());
    if let Some(processor) = &file.post_processor {
        processor.wrap(&mut prefix, &mut suffix)?;
    }
    let normalizer = component("normalizer", NORMALIZERS, file.normalizer)?;
    let pre_tokenizer = component("pre_tokenizer", PRE_TOKENIZERS, file.pre_tokenizer)?;
    let mut parts = Parts::of(file.model, normalizer, pre_tokenizer, Decoding::from_json(&file.decoder)?);
    parts.added = file.added_tokens.into_iter().map(|added| (added.id, added.token)).collect();
    (parts.prefix, parts.suffix) = (prefix, suffix);
    Ok(parts)
}

/// Says what is wrong with a file; other kinds of model have fields of other types, whose errors would puzzle a reader.
fn explain(json: &str, error: &serde_json::Error) -> String {
    #[derive(Deserialize)]
    struct File {
        model: Model,
    }
    #[derive(Deserialize)]
    struct Model {
        r#type: String,
        #[serde(flatten)]
        _rest: IgnoredAny,
    }
    match serde_json::from_str::<File>(json) {
        Ok(File { model: Model { r#type, .. } }) if r#type != "BPE" => {
            format!("the tokenizer model {type:?} isn't supported; BPE is")
        }
        _ => error.to_string(),
    }
}

/// Reads a part that the `tokenizers` crate runs.
fn component<T: DeserializeOwned>(field: &str, known: &[&str], value: Value) -> Result<Option<T>, String> {
    if value.is_null() {
        return Ok(None);
    }
    if let Some(kind) = unknown_kind(known, &value) {
        return Err(format!("{field}: {kind} isn't supported"));
    }
    serde_json::from_value(value).map(Some).map_err(|e| format!("{field}: {e}"))
}

fn unknown_kind(known: &[&str], value: &Value) -> Option<String> {
    let parts =
        ["normalizers", "pretokenizers"].into_iter().filter_map(|list| value[list].as_array()).flatten();
    match value["type"].as_str() {
        Some(kind) if known.contains(&kind) => parts.into_iter().find_map(|part| unknown_kind(known, part)),
        Some(kind) => Some(kind.to_owned()),
        None => Some("a part without a type".to_owned()),
    }
}

impl PostProcessor {
    /// Puts what this step adds round what earlier steps added.
    fn wrap(&self, prefix: &mut Vec<u32>, suffix: &mut Vec<u32>) -> Result<(), String> {
        match self {
            Self::ByteLevel {} => {}
            Self::BertProcessing { cls, sep } | Self::RobertaProcessing { cls, sep } => {
                prefix.insert(0, cls.1);
                suffix.push(sep.1);
            }
            Self::TemplateProcessing { single, special_tokens } => {
                let texts = single.iter().filter(|piece| matches!(piece, Piece::Sequence {})).count();
                if texts != 1 {
                    return Err(format!("post_processor: a template holds one text, not {texts}"));
                }
                let (mut before, mut seen) = (Vec::new(), false);
                for piece in single {
                    match piece {
                        Piece::Sequence {} => seen = true,
                        Piece::SpecialToken { id } => {
                            let token = special_tokens.get(id);
                            let token = token.ok_or_else(|| format!("post_processor: {id:?} has no ids"))?;
                            if seen { &mut *suffix } else { &mut before }.extend(&token.ids);
                        }
                    }
                }
                prefix.splice(0..0, before);
            }
            Self::Sequence { processors } => {
                for processor in processors {
                    processor.wrap(prefix, suffix)?;
                }
            }
        }
        Ok(())
    }
}
