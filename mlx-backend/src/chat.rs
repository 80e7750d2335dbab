//! Conversations of the contract, as those of the models.

use inference_api::{Chat, Error, ErrorKind, Message, Result, Tool};
use mlx_models::TextTools;
use mlx_models::chat::{self, CallMade, ChatPrompt, Conversation, Turn};
use serde_json::{Map, Value};

/// Renders a conversation with the model's template.
///
/// # Errors
/// When the model has none, or it refuses the conversation.
pub(crate) fn prompt(text: &TextTools, chat: &Chat) -> Result<ChatPrompt> {
    let Some(template) = &text.chat_template else {
        let message = "the model has no chat template: it continues text and was not made for conversations";
        return Err(Error::new(ErrorKind::Unsupported, message));
    };
    let tokenizer =
        text.tokenizer().map_err(|error| Error::new(ErrorKind::Unsupported, error.to_string()))?;
    let conversation = Conversation {
        turns: chat.messages.iter().map(turn).collect(),
        tools: chat.tools.iter().map(tool).collect(),
        variables: chat.variables.iter().map(variable).collect::<Result<Map<_, _>>>()?,
    };
    let refused = |error: mlx_models::Error| Error::new(ErrorKind::InvalidPrompt, error.to_string());
    conversation.prompt(template, tokenizer).map_err(refused)
}

fn turn(message: &Message) -> Turn {
    let calls = message.tool_calls.iter().map(|call| CallMade {
        id: call.id.clone(),
        name: call.name.clone(),
        arguments: call.arguments.clone(),
    });
    Turn {
        reasoning_content: message.reasoning.clone(),
        tool_calls: calls.collect(),
        tool_call_id: message.tool_call_id.clone(),
        name: message.name.clone(),
        ..Turn::new(message.role.as_str(), message.content.as_str())
    }
}

fn tool(tool: &Tool) -> chat::Tool {
    let given = |text: &str| (!text.trim().is_empty()).then(|| text.to_owned());
    chat::Tool {
        name: tool.name.clone(),
        description: given(&tool.description),
        parameters: given(&tool.parameters),
    }
}

fn variable((name, value): &(String, String)) -> Result<(String, Value)> {
    let value = serde_json::from_str(value).map_err(|error| {
        let message = format!("variables: the value of {name} is not JSON: {error}");
        Error::new(ErrorKind::InvalidPrompt, message)
    })?;
    Ok((name.clone(), value))
}
