//! Chat templates: from messages to the prompt that a model was trained on.
//!
//! Checkpoints carry their template as Jinja. Rendering follows Hugging Face's `apply_chat_template` byte for byte: the
//! same whitespace rules, the Python methods on strings and maps, `raise_exception`, `strftime_now`, `tojson` in Python's
//! spacing, `break` and `continue`, and the `generation` block.
//!
//! A template is code from whoever made the checkpoint, so its steps, memory, recursion and output are bounded.

mod context;
mod functions;
mod python_json;
mod python_text;
mod source;
mod sources;
mod strings;

use std::io::{self, Write};
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Template};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use self::functions::RAISED;
use self::sources::Sources;
use crate::gguf::GgufFile;
use crate::reply::{Reasoning, ReplyStyle, ToolDialect};
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
        Self::parse(Sources {
            origin: "chat template".into(),
            templates: vec![(DEFAULT.into(), source.into())],
            tokens: tokens.collect(),
        })
    }

    /// Finds the template of a checkpoint in a folder; `None` when there is none.
    ///
    /// It is `chat_template.jinja`, with named ones in `additional_chat_templates/`; else the one in
    /// `tokenizer_config.json`, a text or a list of named texts; else the one in `chat_template.json`. The special tokens
    /// come from `tokenizer_config.json`, or from `special_tokens_map.json` where that file is older.
    ///
    /// # Errors
    /// When a file can't be read, or a template doesn't parse.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Option<Self>> {
        sources::of_folder(folder.as_ref())?.map(Self::parse).transpose()
    }

    /// Finds the template in a GGUF file's metadata, `tokenizer.chat_template`, with named ones in
    /// `tokenizer.chat_template.NAME`; `None` when there is none.
    ///
    /// # Errors
    /// When a value has another type, or a template doesn't parse.
    pub fn from_gguf(file: &GgufFile) -> Result<Option<Self>> {
        sources::of_gguf(file)?.map(Self::parse).transpose()
    }

    fn parse(Sources { origin, templates, tokens }: Sources) -> Result<Self> {
        let fail = |message| Error::Template { origin: origin.clone(), line: None, message };
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| describe(&origin, &e))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION);
        functions::add_to(&mut environment);
        for (name, source) in templates {
            if source.len() as u64 > MAX_SOURCE {
                return Err(fail(format!(
                    "the template takes {} bytes; at most {MAX_SOURCE} may",
                    source.len()
                )));
            }
            let source = source::prepared(&source);
            environment.add_template_owned(name, source).map_err(|e| describe(&origin, &e))?;
        }
        Ok(Self { environment, origin, tokens })
    }

    /// Renders a conversation.
    ///
    /// `messages` is a list of maps, usually with `role` and `content`. As with Hugging Face, fields without a value are left
    /// out, and reasoning may be named `reasoning_content`, `thinking` or `reasoning`. `add_generation_prompt` opens the reply.
    /// `variables` are what else the template may read, such as `tools` or `enable_thinking`; they win over all else. With
    /// `tools`, a template named `tool_use` is taken where there is one.
    ///
    /// The special tokens in the result are text: encode it with
    /// [`Tokenizer::encode_prompt`](crate::Tokenizer::encode_prompt), and put what people typed through
    /// [`Tokenizer::guard`](crate::Tokenizer::guard) first.
    ///
    /// # Errors
    /// When there is no message, when `tools` or `documents` is no list of maps, and when the template refuses the
    /// conversation, or fails, or outgrows its bounds; the error names the line.
    pub fn render(
        &self,
        messages: &impl Serialize,
        add_generation_prompt: bool,
        variables: &Map<String, Json>,
    ) -> Result<String> {
        let fail = |message| Error::Template { origin: self.origin.clone(), line: None, message };
        let unreadable = |e: serde_json::Error| fail(format!("a variable of the template: {e}"));
        let messages = serde_json::to_value(messages).map_err(unreadable)?;
        let messages = context::messages(messages).map_err(fail)?;
        for name in ["tools", "documents"] {
            context::list_of_maps(name, variables).map_err(fail)?;
        }
        let mut context: Vec<(String, Value)> = vec![
            ("messages".into(), Value::deserialize(Json::from(messages)).map_err(unreadable)?),
            ("add_generation_prompt".into(), add_generation_prompt.into()),
            ("tools".into(), ().into()),
            ("documents".into(), ().into()),
        ];
        for (name, value) in self.tokens.iter().chain(variables) {
            context.push((name.clone(), Value::deserialize(value).map_err(unreadable)?));
        }
        let template = self.choose(variables.get("tools").is_some_and(|tools| !tools.is_null()))?;
        let mut out = Capped(Vec::new());
        let context = Value::from_pairs(context);
        template.render_captured_to(context, &mut out).map_err(|e| describe(&self.origin, &e))?;
        String::from_utf8(out.0).map_err(|e| fail(format!("the output is not text: {e}")))
    }

    /// How the model writes its reply to `prompt`, which this template rendered; `tools` says whether it was given some.
    ///
    /// The template's source shows what the model was trained on, and the end of the prompt whether it begins the reasoning
    /// or has ended it already.
    pub fn reply_style(&self, prompt: &str, tools: bool) -> ReplyStyle {
        let Ok(template) = self.choose(tools) else { return ReplyStyle::default() };
        let source = template.source();
        ReplyStyle {
            reasoning: Reasoning::of(source, prompt),
            tools: if tools { ToolDialect::of(source) } else { None },
        }
    }

    /// Whether the template puts tools into the prompt at all. Those for models that know none ignore them silently.
    ///
    /// The model may still call them in a dialect that is no [`ToolDialect`]; its calls are text then.
    pub fn writes_tools(&self) -> bool {
        self.choose(true).is_ok_and(|template| template.source().contains("tools"))
    }

    /// The template for a conversation with or without tools.
    fn choose(&self, tools: bool) -> Result<Template<'_, '_>> {
        let named = |name| self.environment.get_template(name).ok();
        tools.then(|| named(TOOL_USE)).flatten().or_else(|| named(DEFAULT)).ok_or_else(|| {
            let mut names: Vec<_> = self.environment.templates().map(|(name, _)| name).collect();
            names.sort_unstable();
            let message = format!("none of the chat templates [{}] is named {DEFAULT}", names.join(", "));
            Error::Template { origin: self.origin.clone(), line: None, message }
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
