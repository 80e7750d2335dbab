//! What goes in.

use crate::{Chat, Message};

/// What a model continues.
///
/// Backends refuse an empty prompt and token ids outside the vocabulary with
/// [`ErrorKind::InvalidPrompt`](crate::ErrorKind::InvalidPrompt), and one that does not fit the context with
/// [`ErrorKind::ContextLength`](crate::ErrorKind::ContextLength). A kind of prompt that a backend does not
/// know is [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prompt {
    /// Raw text to continue, with no chat template around it. The backend puts the start tokens that the
    /// checkpoint asks for before it. All of it is plain text: a special token spelled in it, such as
    /// `<eos>`, becomes ordinary tokens and controls nothing, so text from a stranger is safe here.
    Text(String),
    /// Token ids, used exactly as they are: nothing is put before them.
    Tokens(Vec<u32>),
    /// A conversation, put into the model's chat template. A model without one refuses it with
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    Chat(Chat),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Prompt {
        Prompt::Text(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Prompt {
        Prompt::Text(text)
    }
}

impl From<Vec<u32>> for Prompt {
    fn from(tokens: Vec<u32>) -> Prompt {
        Prompt::Tokens(tokens)
    }
}

impl From<&[u32]> for Prompt {
    fn from(tokens: &[u32]) -> Prompt {
        Prompt::Tokens(tokens.to_vec())
    }
}

impl From<Chat> for Prompt {
    fn from(chat: Chat) -> Prompt {
        Prompt::Chat(chat)
    }
}

impl From<Vec<Message>> for Prompt {
    fn from(messages: Vec<Message>) -> Prompt {
        Prompt::Chat(messages.into())
    }
}
