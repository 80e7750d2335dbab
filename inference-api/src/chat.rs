//! Conversations: what a chat prompt is made of.

use std::fmt;

/// A conversation to continue, with the tools that the model may call.
///
/// The backend renders it with the chat template that the model was trained on.
///
/// ```
/// use inference_api::{Chat, Message};
///
/// let chat = Chat::from([Message::system("Be brief."), Message::user("Hello!")]).with_thinking(false);
/// assert_eq!(chat.messages.len(), 2);
/// assert_eq!(chat.variables, [("enable_thinking".to_owned(), "false".to_owned())]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chat {
    /// The turns so far, the oldest first. The model answers the last one.
    pub messages: Vec<Message>,
    /// What the model may call. Default none: the reply is then never read as a call.
    pub tools: Vec<Tool>,
    /// Variables for the template, each a name and a JSON value, such as `enable_thinking` and `false`. A template
    /// ignores those that it does not know.
    pub variables: Vec<(String, String)>,
}

impl Chat {
    /// Adds a message.
    #[must_use]
    pub fn with_message(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// Adds a tool.
    #[must_use]
    pub fn with_tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// Sets a variable of the template; `value` is JSON.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.variables.retain(|(other, _)| *other != name);
        self.variables.push((name, value.into()));
        self
    }

    /// Asks a model that can think before it answers, such as Qwen 3, to do so or not. Without this the template decides.
    #[must_use]
    pub fn with_thinking(self, thinking: bool) -> Self {
        self.with_variable("enable_thinking", thinking.to_string())
    }
}

impl From<Vec<Message>> for Chat {
    fn from(messages: Vec<Message>) -> Chat {
        Chat { messages, ..Chat::default() }
    }
}

impl From<&[Message]> for Chat {
    fn from(messages: &[Message]) -> Chat {
        messages.to_vec().into()
    }
}

impl<const N: usize> From<[Message; N]> for Chat {
    fn from(messages: [Message; N]) -> Chat {
        Vec::from(messages).into()
    }
}

impl From<Message> for Chat {
    fn from(message: Message) -> Chat {
        vec![message].into()
    }
}

/// One turn of a conversation.
///
/// Whoever wrote it, its text is plain text: a special token spelled in it becomes ordinary tokens and controls nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whose turn it is.
    pub role: Role,
    /// What was said.
    pub content: String,
    /// What the model thought before it answered; templates mostly leave it out of earlier turns.
    pub reasoning: Option<String>,
    /// What the model called in this turn.
    pub tool_calls: Vec<ToolCall>,
    /// In a turn of a tool, the [`ToolCall::id`] that it answers.
    pub tool_call_id: Option<String>,
    /// The name of who speaks, where a template tells participants apart; in a turn of a tool, its name.
    pub name: Option<String>,
}

impl Message {
    /// Makes a message of text.
    pub fn new(role: impl Into<Role>, content: impl Into<String>) -> Message {
        let (role, content) = (role.into(), content.into());
        Message { role, content, reasoning: None, tool_calls: Vec::new(), tool_call_id: None, name: None }
    }

    /// Instructions that hold for the whole conversation.
    pub fn system(content: impl Into<String>) -> Message {
        Message::new(Role::System, content)
    }

    /// What a person says.
    pub fn user(content: impl Into<String>) -> Message {
        Message::new(Role::User, content)
    }

    /// What the model said before.
    pub fn assistant(content: impl Into<String>) -> Message {
        Message::new(Role::Assistant, content)
    }

    /// What a tool answered to the call `id`.
    pub fn tool(id: impl Into<String>, content: impl Into<String>) -> Message {
        Message { tool_call_id: Some(id.into()), ..Message::new(Role::Tool, content) }
    }
}

/// Whose turn a message is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions.
    System,
    /// A person.
    User,
    /// The model.
    Assistant,
    /// The answer of a tool.
    Tool,
    /// Another one that the model's template knows; templates refuse those that they do not.
    Other(String),
}

impl Role {
    /// The role as templates spell it: `system`, `user`, `assistant`, `tool`.
    pub fn as_str(&self) -> &str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            Role::Other(role) => role,
        }
    }
}

impl From<&str> for Role {
    fn from(role: &str) -> Role {
        match role {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            other => Role::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A function that the model may call. It is the program that runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The name by which the model calls it.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// The JSON schema of its arguments, an object, as text.
    pub parameters: String,
}

/// A call that the model made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Tells the calls of a conversation apart; never empty.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// A JSON object with the arguments, as text. Valid JSON, but not checked against the tool's schema.
    pub arguments: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_as_they_are_written() {
        for role in ["system", "user", "assistant", "tool", "developer"] {
            assert_eq!(Role::from(role).as_str(), role);
        }
        assert_eq!(Role::from("tool"), Role::Tool);
        assert_eq!(Role::from("Tool"), Role::Other("Tool".to_owned()));
    }

    #[test]
    fn a_variable_that_is_set_again_has_its_last_value() {
        let chat =
            Chat::from(Message::user("hi")).with_thinking(true).with_variable("n", "1").with_thinking(false);
        let expected = [("n", "1"), ("enable_thinking", "false")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(chat.variables, expected);
    }
}
