//! `mlx render`: a conversation, as the prompt that a model reads.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use mlx_models::{ChatTemplate, Checkpoint};
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::{input, output, progress};

/// Renders a conversation with the model's chat template, and prints the prompt.
///
/// The prompt is that of transformers' apply_chat_template, byte for byte: nothing is added at its end. No weights are
/// read.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    echo '[{\"role\":\"user\",\"content\":\"Hi\"}]' | mlx render --model smollm2-135m-instruct --messages -\n  \
    mlx render --model DIR --messages chat.json --tools tools.json --var enable_thinking=false")]
pub(crate) struct Args {
    /// A folder in Hugging Face layout, a .gguf file, or the name of a packaged model.
    #[arg(long)]
    model: String,
    /// A file with a JSON list of messages, or an object with `messages` and maybe `tools`; - is standard input.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    messages: PathBuf,
    /// A file with a JSON list of the tools that the model may call.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    tools: Option<PathBuf>,
    /// A variable of the template, JSON or else a text; may be given several times.
    ///
    /// The prompt opens the model's reply unless add_generation_prompt=false is given.
    #[arg(long = "var", value_name = "NAME=VALUE", allow_hyphen_values = true)]
    variables: Vec<Variable>,
}

/// A variable, given as `name=value`.
#[derive(Clone, Debug, PartialEq)]
struct Variable(String, Value);

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, value)) = text.split_once('=') else {
            return Err("a variable is given as NAME=VALUE".to_owned());
        };
        let letter = |c: char| c.is_alphabetic() || c == '_';
        if !name.starts_with(letter) || !name.chars().all(|c| letter(c) || c.is_numeric()) {
            return Err(format!("`{name}` can't name a variable; letters, digits and _ can"));
        }
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        Ok(Self(name.to_owned(), value))
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (messages, tools) = conversation(&args.messages, read_json(&args.messages)?)?;
    let given = match &args.tools {
        Some(_) if tools.is_some() => {
            let messages = name_of(&args.messages);
            return Err(Failure::new(format!("--tools: {messages} holds tools already; give them once")));
        }
        Some(path) => Some(read_json(path)?),
        None => tools,
    };
    let mut variables = Map::new();
    variables.extend(given.map(|tools| ("tools".to_owned(), tools)));
    for Variable(name, value) in &args.variables {
        if name == "messages" || variables.contains_key(name) {
            return Err(Failure::new(format!("--var {name}: it is given already")));
        }
        variables.insert(name.clone(), value.clone());
    }
    let template = template(&args.model)?;
    output::write(&template.render(&messages, true, &variables)?)
}

fn template(model: &str) -> Result<ChatTemplate, Failure> {
    let path = progress::locate(model)?;
    let template = if path.is_dir() {
        // Its files are enough, without a configuration or weights beside them.
        ChatTemplate::from_folder(&path)?
    } else {
        match Checkpoint::open(&path)? {
            Checkpoint::Folder(folder) => ChatTemplate::from_folder(folder.path())?,
            Checkpoint::Gguf(file) => ChatTemplate::from_gguf(&file)?,
        }
    };
    template.ok_or_else(|| {
        let path = path.display();
        Failure::new(format!("{path}: no chat template is here, as with models that were not made to chat"))
    })
}

/// Takes apart what a messages file may hold: the messages, and the tools if it has some.
fn conversation(path: &Path, file: Value) -> Result<(Value, Option<Value>), Failure> {
    let refuse = |message: &str| Err(Failure::new(format!("{}: {message}", name_of(path))));
    match file {
        Value::Array(_) => Ok((file, None)),
        Value::Object(mut fields) => match fields.remove("messages") {
            Some(messages) => Ok((messages, fields.remove("tools").filter(|tools| !tools.is_null()))),
            None => refuse("no list `messages` is in the JSON object"),
        },
        _ => refuse("neither a JSON list of messages nor an object with `messages`"),
    }
}

fn read_json(path: &Path) -> Result<Value, Failure> {
    let text = input::text_file(path)?;
    serde_json::from_str(&text).map_err(|e| Failure::new(format!("{}: not JSON: {e}", name_of(path))))
}

fn name_of(path: &Path) -> String {
    if path.as_os_str() == "-" { "stdin".to_owned() } else { path.display().to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variables_are_json_or_text() {
        for (text, name, value) in [
            ("a=false", "a", json!(false)),
            ("a=\"false\"", "a", json!("false")),
            ("n_1= 2 ", "n_1", json!(2)),
            ("a=null", "a", Value::Null),
            ("a=", "a", json!("")),
            ("a=x=y", "a", json!("x=y")),
            ("date_string=26 Jul 2024", "date_string", json!("26 Jul 2024")),
            ("_é={\"b\":[1.0]}", "_é", json!({"b": [1.0]})),
        ] {
            assert_eq!(text.parse(), Ok(Variable(name.to_owned(), value)), "{text}");
        }
        for text in ["", "a", "=1", "a b=1", "1a=1", "a-b=1"] {
            assert!(text.parse::<Variable>().is_err(), "{text}");
        }
    }
}
