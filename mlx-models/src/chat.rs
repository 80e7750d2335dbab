//! Conversations: from messages to the token ids of a prompt, and how the reply to it is written.
//!
//! ```
//! # fn main() -> mlx_models::Result<()> {
//! use mlx_models::ChatTemplate;
//! use mlx_models::chat::{Conversation, Turn};
//!
//! # let json = r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}, "decoder": {"type": "Fuse"},
//! #     "added_tokens": [{"id": 2, "content": "<end>", "special": true, "single_word": false, "lstrip": false,
//! #     "rstrip": false, "normalized": false}]}"#;
//! # let tokenizer = mlx_models::Tokenizer::from_json(json)?;
//! let template = ChatTemplate::new("{% for m in messages %}{{ m.content }}<end>{% endfor %}", None, None)?;
//! let conversation = Conversation { turns: vec![Turn::new("user", "ab")], ..Conversation::default() };
//! assert_eq!(conversation.prompt(&template, &tokenizer)?.tokens, [0, 1, 2]);
//! # Ok(())
//! # }
//! ```
//!
//! Whatever people typed, and whatever else comes from outside the template, goes through [`Tokenizer::guard`]:
//! contents, reasoning, names, ids, roles, arguments, tools and variables. So no message can end its turn or begin
//! another.

use serde_json::{Map, Value, json};

use crate::reply::ReplyStyle;
use crate::{ChatTemplate, Error, Result, Tokenizer};

/// A conversation, and what else a template may read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// The messages, oldest first.
    pub turns: Vec<Turn>,
    /// The functions that the model may call.
    pub tools: Vec<Tool>,
    /// What the template is given besides, such as `enable_thinking`.
    ///
    /// Not `messages`, `tools` and `add_generation_prompt`, which are set from the rest.
    pub variables: Map<String, Value>,
}

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks: `system`, `user`, `assistant`, `tool`, or whatever else the template knows.
    pub role: String,
    /// What is said; empty where an assistant only calls tools.
    pub content: String,
    /// What an assistant thought before it spoke.
    pub reasoning_content: Option<String>,
    /// What an assistant called.
    pub tool_calls: Vec<CallMade>,
    /// In a tool's message: the call that it answers.
    pub tool_call_id: Option<String>,
    /// In a tool's message: the function; else whatever the template makes of it.
    pub name: Option<String>,
}

impl Turn {
    /// A message of text alone.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), ..Self::default() }
    }
}

/// A call that an assistant made earlier in the conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallMade {
    /// What tells the call from others; left out if empty.
    pub id: String,
    /// The function.
    pub name: String,
    /// A JSON object; an empty text stands for `{}`.
    pub arguments: String,
}

/// A function that the model may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tool {
    /// The function.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments, an object; `None` for a function without any.
    pub parameters: Option<String>,
}

/// What a model is given to read, and how it will write its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatPrompt {
    /// Token ids, beginning-of-sequence token included.
    pub tokens: Vec<u32>,
    /// For [`reply::Parser`](crate::reply::Parser).
    pub reply: ReplyStyle,
}

/// Variables that a conversation sets itself.
const RESERVED: [&str; 3] = ["messages", "tools", "add_generation_prompt"];

impl Conversation {
    /// Renders the conversation with a model's template, up to where the reply begins, and encodes it.
    ///
    /// # Errors
    /// [`Error::Option`] for what is wrong with the conversation, naming the message, counted from 0, and the field:
    /// arguments or a schema that are no JSON object, a variable that is set otherwise, tools for a template that
    /// doesn't write them. [`Error::Template`] where the template refuses the conversation, with its own words, or
    /// fails.
    pub fn prompt(&self, template: &ChatTemplate, tokenizer: &Tokenizer) -> Result<ChatPrompt> {
        let mut messages: Value =
            self.turns.iter().enumerate().map(|(index, turn)| turn.json(index)).collect::<Result<_>>()?;
        tokenizer.guard_json(&mut messages);
        let mut variables = self.variables(template)?;
        variables.values_mut().for_each(|value| tokenizer.guard_json(value));
        let text = template.render(&messages, true, &variables)?;
        Ok(ChatPrompt {
            tokens: tokenizer.encode_prompt(&text)?,
            reply: template.reply_style(&text, !self.tools.is_empty()),
        })
    }

    /// The variables, tools included.
    fn variables(&self, template: &ChatTemplate) -> Result<Map<String, Value>> {
        if let Some(name) = RESERVED.iter().find(|name| self.variables.contains_key(**name)) {
            return refuse("variables", format!("{name} is set from the conversation; leave it out"));
        }
        let mut variables = self.variables.clone();
        if !self.tools.is_empty() {
            if !template.writes_tools() {
                let message = "the model's chat template doesn't put tools into the prompt, so it would not know of \
                    them; leave them out, or describe them in a system message";
                return refuse("tools", message.to_owned());
            }
            let tools = self.tools.iter().enumerate().map(|(index, tool)| tool.json(index));
            variables.insert("tools".to_owned(), tools.collect::<Result<_>>()?);
        }
        Ok(variables)
    }
}

impl Turn {
    /// The message as templates read it, in the order of fields that chat APIs have.
    fn json(&self, index: usize) -> Result<Value> {
        let mut message = Map::new();
        message.insert("role".to_owned(), self.role.as_str().into());
        message.insert("content".to_owned(), self.content.as_str().into());
        let mut optional = |name: &str, text: &Option<String>| {
            if let Some(text) = text {
                message.insert(name.to_owned(), text.as_str().into());
            }
        };
        optional("reasoning_content", &self.reasoning_content);
        optional("tool_call_id", &self.tool_call_id);
        optional("name", &self.name);
        if !self.tool_calls.is_empty() {
            let calls = self.tool_calls.iter().enumerate().map(|(at, call)| {
                let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
                let arguments =
                    object("messages", &format!("message {index}: arguments of tool call {at}"), arguments)?;
                let mut entry = Map::new();
                if !call.id.is_empty() {
                    entry.insert("id".to_owned(), call.id.as_str().into());
                }
                entry.insert("type".to_owned(), "function".into());
                entry.insert("function".to_owned(), json!({"name": call.name, "arguments": arguments}));
                Ok(Value::Object(entry))
            });
            message.insert("tool_calls".to_owned(), calls.collect::<Result<_>>()?);
        }
        Ok(message.into())
    }
}

impl Tool {
    /// The tool as templates read it.
    fn json(&self, index: usize) -> Result<Value> {
        let mut function = Map::new();
        function.insert("name".to_owned(), self.name.as_str().into());
        if let Some(description) = &self.description {
            function.insert("description".to_owned(), description.as_str().into());
        }
        let parameters = match &self.parameters {
            Some(schema) => object("tools", &format!("tool {index} ({}): parameters", self.name), schema)?,
            // What transformers makes of a function without arguments; some templates read `properties`.
            None => json!({"type": "object", "properties": {}}),
        };
        function.insert("parameters".to_owned(), parameters);
        Ok(json!({"type": "function", "function": function}))
    }
}

/// Reads a JSON object that is given as text.
fn object(option: &'static str, what: &str, text: &str) -> Result<Value> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => refuse(option, format!("{what}: a JSON value that is no object")),
        Err(error) => refuse(option, format!("{what}: not JSON: {error}")),
    }
}

fn refuse<T>(option: &'static str, message: String) -> Result<T> {
    Err(Error::Option { option, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        let token = |id: u32, content: &str| {
            json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false})
        };
        let vocabulary: Map<String, Value> =
            (32u8..127).map(|byte| (char::from(byte).to_string(), (byte - 32).into())).collect();
        let json = json!({
            "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
            "decoder": {"type": "Fuse"},
            "added_tokens": [token(95, "<end>")],
        });
        Tokenizer::from_json(&json.to_string()).unwrap()
    }

    /// A template that writes all it is given.
    const ALL: &str =
        "{% for m in messages %}{{ m | tojson }}<end>{% endfor %}{{ tools | tojson }}{{ x | tojson }}";

    fn prompt(template: &str, conversation: &Conversation) -> Result<String> {
        let template = ChatTemplate::new(template, None, None)?;
        let tokenizer = tokenizer();
        tokenizer.decode(&conversation.prompt(&template, &tokenizer)?.tokens, false)
    }

    #[test]
    fn templates_read_the_fields_that_transformers_gives_them() {
        let call = CallMade { id: "c1".into(), name: "f".into(), arguments: "{\"b\": 1, \"a\": []}".into() };
        let conversation = Conversation {
            turns: vec![
                Turn {
                    reasoning_content: Some("r".into()),
                    tool_calls: vec![call],
                    ..Turn::new("assistant", "")
                },
                Turn { tool_call_id: Some("c1".into()), name: Some("f".into()), ..Turn::new("tool", "1") },
                Turn {
                    tool_calls: vec![CallMade { name: "g".into(), ..CallMade::default() }],
                    ..Turn::new("a", "b")
                },
            ],
            tools: vec![
                Tool {
                    name: "f".into(),
                    description: Some("d".into()),
                    parameters: Some("{\"z\": 1}".into()),
                },
                Tool { name: "g".into(), ..Tool::default() },
            ],
            variables: Map::from_iter([("x".to_owned(), json!({"y": [true]}))]),
        };
        let expected = concat!(
            r#"{"thinking": "r", "role": "assistant", "content": "", "reasoning_content": "r", "tool_calls": "#,
            r#"[{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": []}}}]}<end>"#,
            r#"{"role": "tool", "content": "1", "tool_call_id": "c1", "name": "f"}<end>"#,
            r#"{"role": "a", "content": "b", "tool_calls": "#,
            r#"[{"type": "function", "function": {"name": "g", "arguments": {}}}]}<end>"#,
            r#"[{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"z": 1}}}, "#,
            r#"{"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}]"#,
            r#"{"y": [true]}"#,
        );
        assert_eq!(prompt(ALL, &conversation).unwrap(), expected);
    }

    #[test]
    fn no_field_of_a_conversation_makes_a_control_token() {
        let end = || "<end>".to_owned();
        let call = CallMade { id: end(), name: end(), arguments: "{\"<end>\": \"<end>\"}".into() };
        let conversation = Conversation {
            turns: vec![Turn {
                role: end(),
                content: end(),
                reasoning_content: Some(end()),
                tool_calls: vec![call],
                tool_call_id: Some(end()),
                name: Some(end()),
            }],
            tools: vec![Tool {
                name: end(),
                description: Some(end()),
                parameters: Some("{\"<end>\": \"<end>\"}".into()),
            }],
            variables: Map::from_iter([("x".to_owned(), json!({"<end>": ["<end>"]}))]),
        };
        let template = ChatTemplate::new(ALL, None, None).unwrap();
        let tokenizer = tokenizer();
        let tokens = conversation.prompt(&template, &tokenizer).unwrap().tokens;
        assert_eq!(tokens.iter().filter(|&&id| id == 95).count(), 1);
        // Reasoning goes by two names.
        assert_eq!(tokenizer.decode(&tokens, false).unwrap().matches("<end>").count(), 1 + 10 + 4 + 2);
    }

    #[test]
    fn errors_name_the_message_and_the_field() {
        let turns = |arguments: &str| {
            let call = CallMade { name: "f".into(), arguments: arguments.into(), ..CallMade::default() };
            let calls = Turn { tool_calls: vec![CallMade::default(), call], ..Turn::new("assistant", "") };
            Conversation { turns: vec![Turn::new("user", "Hi"), calls], ..Conversation::default() }
        };
        let tools = |schema: &str| Conversation {
            turns: vec![Turn::new("user", "Hi")],
            tools: vec![Tool { name: "f".into(), parameters: Some(schema.into()), ..Tool::default() }],
            ..Conversation::default()
        };
        let variable = |name: &str| Conversation {
            turns: vec![Turn::new("user", "Hi")],
            variables: Map::from_iter([(name.to_owned(), Value::Null)]),
            ..Conversation::default()
        };
        let raising = "{{ raise_exception('no role ' + messages[0].role) }}{{ tools }}";
        for (template, conversation, expected) in [
            (ALL, turns("{"), "messages: message 1: arguments of tool call 1: not JSON: EOF"),
            (
                ALL,
                turns("[1]"),
                "messages: message 1: arguments of tool call 1: a JSON value that is no object",
            ),
            (ALL, tools("{\"a\"}"), "tools: tool 0 (f): parameters: not JSON: expected `:`"),
            (ALL, tools("true"), "tools: tool 0 (f): parameters: a JSON value that is no object"),
            (
                "{{ messages }}",
                tools("{}"),
                "tools: the model's chat template doesn't put tools into the prompt",
            ),
            (ALL, variable("messages"), "variables: messages is set from the conversation"),
            (ALL, variable("tools"), "variables: tools is set from the conversation"),
            (ALL, variable("add_generation_prompt"), "variables: add_generation_prompt is set"),
            (ALL, Conversation::default(), "chat template: the conversation is empty"),
            (raising, tools("{}"), "chat template:1: the template says: no role user"),
        ] {
            let error = prompt(template, &conversation).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(1000), "]".repeat(1000));
        assert!(prompt(ALL, &turns(&deep)).unwrap_err().to_string().contains("recursion limit exceeded"));
    }
}
