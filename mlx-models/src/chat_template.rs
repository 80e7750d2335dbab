//! Chat templates: from messages to the prompt that a model was trained on.
//!
//! Checkpoints carry their template as Jinja. Rendering follows Hugging Face's `apply_chat_template` byte for byte: the
//! same whitespace rules, the Python methods on strings and maps, `raise_exception`, `strftime_now`, `tojson` in Python's
//! spacing, `break` and `continue`, and the `generation` block.
//!
//! A template is code from whoever made the checkpoint, so its steps, memory, recursion and output are bounded. One hole
//! is known: `minijinja` 3.1 joins lists lazily, but copies them, unpaid, once 33 additions are nested; a list that is
//! added to itself that often (`l + l`) outgrows memory.

mod functions;
mod python_json;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use self::functions::RAISED;
use crate::{Error, Result};

/// Steps of one rendering; a step pays for 64 bytes of text too, which bounds the memory to 256 MiB.
const FUEL: u64 = 4 << 20;

/// The deepest nesting of macros and blocks.
const RECURSION: usize = 200;

/// The longest prompt, in bytes.
const MAX_OUTPUT: usize = 64 << 20;

/// The longest template, in bytes; known ones stay below 32 KiB.
const MAX_SOURCE: u64 = 1 << 20;

/// Names of templates, where a checkpoint has several.
const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// A checkpoint's chat template.
///
/// ```
/// # fn main() -> mlx_models::Result<()> {
/// let template = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}";
/// let template = mlx_models::ChatTemplate::new(template, Some("<s>"), None)?;
/// let messages = serde_json::json!([{"role": "user", "content": " Hello "}]);
/// assert_eq!(template.render(&messages, true, &Default::default())?, "<s>[user] Hello\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    origin: String,
    /// Variables that every rendering sees: the special tokens, by name.
    tokens: Map<String, Json>,
}

impl ChatTemplate {
    /// Parses a template, such as GGUF's `tokenizer.chat_template`.
    ///
    /// `bos` and `eos` are the texts of `bos_token` and `eos_token` in the template.
    ///
    /// # Errors
    /// When the template doesn't parse; the error names the line.
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Self> {
        let tokens = [("bos_token", bos), ("eos_token", eos)];
        let tokens = tokens.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Json::from(text?))));
        Self::parse("chat template".into(), &[(DEFAULT.into(), source.into())], tokens.collect())
    }

    /// Finds the template of a checkpoint: `chat_template.jinja`, else the one in `tokenizer_config.json`, else the one in
    /// `chat_template.json`. The special tokens come from `tokenizer_config.json`. `None` when there is no template.
    ///
    /// # Errors
    /// When a file can't be read, or a template doesn't parse.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Option<Self>> {
        let folder = folder.as_ref();
        let config = read_json(&folder.join("tokenizer_config.json"))?;
        let tokens = config.iter().filter_map(|(name, token)| {
            let text = token.as_str().or_else(|| token["content"].as_str())?;
            name.ends_with("_token").then(|| (name.clone(), Json::from(text)))
        });
        let tokens: Map<_, _> = tokens.collect();

        let path = folder.join("chat_template.jinja");
        if let Some(source) = read(&path, MAX_SOURCE)? {
            return Self::parse(path.display().to_string(), &[(DEFAULT.into(), source)], tokens).map(Some);
        }
        let named = |list: &Vec<Json>| {
            let pair = |entry: &Json| {
                Some((entry["name"].as_str()?.to_owned(), entry["template"].as_str()?.to_owned()))
            };
            list.iter().map(pair).collect::<Option<Vec<_>>>()
        };
        for file in ["tokenizer_config.json", "chat_template.json"] {
            let path = folder.join(file);
            let holder = if file == "tokenizer_config.json" { config.clone() } else { read_json(&path)? };
            let origin = path.display().to_string();
            let sources = match holder.get("chat_template") {
                None | Some(Json::Null) => continue,
                Some(Json::String(source)) => Some(vec![(DEFAULT.to_owned(), source.clone())]),
                Some(Json::Array(list)) => named(list),
                Some(_) => None,
            };
            let Some(sources) = sources else {
                let message = "chat_template is neither a text nor a list of named texts".into();
                return Err(Error::Template { origin, line: None, message });
            };
            return Self::parse(origin, &sources, tokens).map(Some);
        }
        Ok(None)
    }

    fn parse(origin: String, sources: &[(String, String)], tokens: Map<String, Json>) -> Result<Self> {
        let fail = |message| Error::Template { origin: origin.clone(), line: None, message };
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| describe(&origin, &e))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION);
        functions::add_to(&mut environment);
        for (name, source) in sources {
            if source.len() as u64 > MAX_SOURCE {
                return Err(fail(format!(
                    "the template takes {} bytes; at most {MAX_SOURCE} may",
                    source.len()
                )));
            }
            let source = without_generation_blocks(source);
            environment.add_template_owned(name.clone(), source).map_err(|e| describe(&origin, &e))?;
        }
        if environment.get_template(DEFAULT).is_err() {
            let names: Vec<_> = sources.iter().map(|(name, _)| name.as_str()).collect();
            return Err(fail(format!("none of the templates [{}] is named {DEFAULT}", names.join(", "))));
        }
        Ok(Self { environment, origin, tokens })
    }

    /// Renders a conversation.
    ///
    /// `messages` is a list of maps, usually with `role` and `content`. `add_generation_prompt` opens the reply.
    /// `variables` are what else the template may read, such as `tools` or `enable_thinking`; they win over all else. With
    /// `tools`, a template named `tool_use` is taken where there is one.
    ///
    /// The special tokens in the result are text: encode it with
    /// [`Tokenizer::encode_prompt`](crate::Tokenizer::encode_prompt), and put what people typed through
    /// [`Tokenizer::guard`](crate::Tokenizer::guard) first.
    ///
    /// # Errors
    /// When the template refuses the conversation, or fails, or outgrows its bounds; the error names the line.
    pub fn render(
        &self,
        messages: &impl Serialize,
        add_generation_prompt: bool,
        variables: &Map<String, Json>,
    ) -> Result<String> {
        let fail = |e: serde_json::Error| Error::Template {
            origin: self.origin.clone(),
            line: None,
            message: format!("a variable of the template: {e}"),
        };
        let messages = serde_json::to_value(messages).map_err(fail)?;
        let mut context: Vec<(String, Value)> = vec![
            ("messages".into(), Value::deserialize(&messages).map_err(fail)?),
            ("add_generation_prompt".into(), add_generation_prompt.into()),
            ("tools".into(), ().into()),
            ("documents".into(), ().into()),
        ];
        for (name, value) in self.tokens.iter().chain(variables) {
            context.push((name.clone(), Value::deserialize(value).map_err(fail)?));
        }
        let tools = variables.get("tools").is_some_and(|tools| !tools.is_null());
        let named = |name| self.environment.get_template(name);
        let template = match named(TOOL_USE) {
            Ok(template) if tools => template,
            _ => named(DEFAULT).map_err(|e| describe(&self.origin, &e))?,
        };
        let mut out = Capped(Vec::new());
        let context = Value::from_pairs(context);
        template.render_captured_to(context, &mut out).map_err(|e| describe(&self.origin, &e))?;
        String::from_utf8(out.0).map_err(|e| Error::Template {
            origin: self.origin.clone(),
            line: None,
            message: format!("the output is not text: {e}"),
        })
    }
}

/// A buffer that refuses to grow without end.
struct Capped(Vec<u8>);

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other(format!("the prompt grew beyond {} MiB", MAX_OUTPUT >> 20)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

/// Opens `{% generation %}` blocks, which mark the assistant's part for training and render as their contents.
fn without_generation_blocks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        let Some((inside, after)) = tag.split_once("%}") else { break };
        out.push_str(before);
        let word = inside.trim_matches(['-', '+']).trim();
        let inside = match word {
            "generation" => inside.replace(word, "if true"),
            "endgeneration" => inside.replace(word, "endif"),
            _ => inside.to_owned(),
        };
        out.extend(["{%", &inside, "%}"]);
        rest = after;
    }
    out.push_str(rest);
    out
}

fn describe(origin: &str, error: &minijinja::Error) -> Error {
    let message = match error.detail() {
        Some(detail) if detail.starts_with(RAISED) => detail.to_owned(),
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        causes.push(format!(": {inner}"));
        cause = inner.source();
    }
    Error::Template { origin: origin.to_owned(), line: error.line(), message: message + &causes.concat() }
}
