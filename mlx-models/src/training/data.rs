//! Examples in JSONL, one to a line, in the forms that mlx-lm reads.
//!
//! ```text
//! {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}    and "tools", where there are some
//! {"prompt": "…", "completion": "…"}
//! {"text": "…"}
//! ```

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::chat::{self, Example};
use crate::{Checkpoint, Error, LoadedModel, Result, TextTools, Tokenizer};

/// The longest line; a context of a million tokens takes a tenth of it.
const MAX_LINE: u64 = 64 << 20;

/// How examples become tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataOptions {
    /// Only what the assistant says counts in the loss: the completion, or every turn of the assistant's.
    pub mask_prompt: bool,
    /// Tokens of a row from which on it is cut off.
    pub max_tokens: usize,
    /// The token that ends a text, if the model has one.
    pub end: Option<u32>,
}

impl DataOptions {
    /// What suits the model at `path`: rows of up to 2048 tokens, or its context if that is shorter, and its own end.
    ///
    /// # Errors
    /// When a file of the model cannot be read.
    pub fn for_model(path: &Path, loaded: &LoadedModel) -> Result<Self> {
        let end = end_of_text(&Checkpoint::open(path)?, loaded.text.tokenizer()?)?;
        let max_tokens = loaded.model.shape().context_len.min(2048);
        Ok(DataOptions { mask_prompt: false, max_tokens, end })
    }
}

/// The token that a text ends with, which is not always all of those that end a reply.
fn end_of_text(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Result<Option<u32>> {
    let named = match checkpoint {
        Checkpoint::Folder(folder) => {
            let config = folder.json("tokenizer_config.json")?;
            let token = config.as_ref().and_then(|config| config.get("eos_token"));
            let text = token.and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
            text.and_then(|text| tokenizer.id_of(text)).or_else(|| {
                let id = folder.config().get("eos_token_id")?;
                u32::try_from(id.as_u64().or_else(|| id.get(0)?.as_u64())?).ok()
            })
        }
        Checkpoint::Gguf(file) => file.metadata().optional_u32("tokenizer.ggml.eos_token_id")?,
    };
    Ok(named.or_else(|| tokenizer.eos_ids().first().copied()))
}

/// An example as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The token ids, at least two.
    pub tokens: Vec<u32>,
    /// Which of them count in the loss as what is to be foretold; never the first.
    pub counted: Vec<bool>,
}

/// The examples of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataSet {
    /// The examples in the order of the file.
    pub rows: Vec<Row>,
    /// Rows that were cut off at the longest length.
    pub truncated: usize,
    /// Rows in which nothing counts, which were left out.
    pub empty: usize,
    /// Conversations that became a row for each of the assistant's turns, since the template renders a turn otherwise when
    /// others follow.
    pub split: usize,
}

impl DataSet {
    /// Reads a file. Lines of nothing but white space are passed over.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is no example; the error names file, line and reason.
    pub fn read(path: &Path, text: &TextTools, options: &DataOptions) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let mut file = BufReader::new(file);
        let mut set = DataSet::default();
        let tokenizer = text.tokenizer()?;
        for number in 1.. {
            let refuse = |message: String| Error::Data { path: path.to_owned(), line: Some(number), message };
            let mut line = Vec::new();
            let read = (&mut file).take(MAX_LINE + 1).read_until(b'\n', &mut line);
            let read = read.map_err(|source| Error::Io { path: path.to_owned(), source })?;
            if read == 0 {
                break;
            }
            if read as u64 > MAX_LINE {
                return Err(refuse(format!("longer than {} MiB", MAX_LINE >> 20)));
            }
            let line = str::from_utf8(&line).map_err(|error| refuse(format!("not UTF-8 text: {error}")))?;
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let example = parse(line, tokenizer, options.mask_prompt).map_err(refuse)?;
            let rows = chat::tokenize(example, text, options).map_err(|error| refuse(error.to_string()))?;
            set.split += usize::from(rows.len() > 1);
            for row in rows {
                set.push(row, options.max_tokens);
            }
        }
        Ok(set)
    }

    /// Adds a row, cut off at `max_tokens`; one in which nothing counts only adds to the number of these.
    pub fn push(&mut self, mut row: Row, max_tokens: usize) {
        if row.tokens.len() > max_tokens {
            row.tokens.truncate(max_tokens);
            self.truncated += 1;
        }
        row.counted.resize(row.tokens.len(), false);
        // Nothing stands before the first, from which it could be foretold.
        if let Some(first) = row.counted.first_mut() {
            *first = false;
        }
        match row.counted.contains(&true) {
            true => self.rows.push(row),
            false => self.empty += 1,
        }
    }

    /// A digest of rows and masks, by which a run that goes on knows its data again.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for row in &self.rows {
            digest.update((row.tokens.len() as u64).to_le_bytes());
            for (token, counted) in row.tokens.iter().zip(&row.counted) {
                digest.update(token.to_le_bytes());
                digest.update([u8::from(*counted)]);
            }
        }
        digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Reads one line.
fn parse(line: &str, tokenizer: &Tokenizer, mask_prompt: bool) -> Result<Example, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| {
        // The place in the line is worth knowing, and "line 1" would mislead.
        let column = error.column();
        let text = error.to_string();
        format!("no JSON: {} at column {column}", text.split(" at line ").next().unwrap_or(&text))
    })?;
    let Value::Object(mut fields) = value else {
        return Err("is no JSON object".to_owned());
    };
    let text = |fields: &Map<String, Value>, name: &str| match fields.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("{name} is {}, and must be a string", kind(other))),
        None => Err(format!("{name} is missing")),
    };
    if fields.contains_key("prompt") && fields.contains_key("completion") {
        return Ok(Example::Completion {
            prompt: text(&fields, "prompt")?,
            completion: text(&fields, "completion")?,
        });
    }
    if let Some(mut messages) = fields.remove("messages") {
        chat::check(&messages)?;
        tokenizer.guard_json(&mut messages);
        let Value::Array(messages) = messages else { return Err("messages is no list".to_owned()) };
        let mut variables = Map::new();
        if let Some(mut tools) = fields.remove("tools").filter(|tools| !tools.is_null()) {
            tokenizer.guard_json(&mut tools);
            variables.insert("tools".to_owned(), tools);
        }
        return Ok(Example::Chat { messages, variables });
    }
    if fields.contains_key("text") {
        if mask_prompt {
            return Err("a text has no prompt to mask; give messages, or prompt and completion".to_owned());
        }
        return Ok(Example::Text(text(&fields, "text")?));
    }
    let names: Vec<String> = fields.keys().take(5).map(|name| name.chars().take(40).collect()).collect();
    Err(format!(
        "has [{}], and none of messages, prompt with completion, and text, which examples are made of",
        names.join(", ")
    ))
}

/// What a JSON value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
