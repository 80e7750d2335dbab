//! What goes in and what comes out: prompts, tokens, and why a stream ended.

use crate::GenerateMetrics;
use std::fmt;

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

/// One generated token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Token {
    /// The token's id in the model's vocabulary.
    pub id: u32,
    /// The piece of text to print now. Pieces joined in order are the whole text. A piece is empty while its
    /// character is incomplete or while it may be the start of a stop string; the text then comes with a
    /// later token.
    pub text: String,
    /// Natural logarithm of the probability that the model itself gave this token, before temperature,
    /// penalties and filters; `None` unless [`GenerateOptions::logprobs`](crate::GenerateOptions::logprobs)
    /// is on.
    pub logprob: Option<f32>,
}

impl Token {
    /// Makes a token without a log-probability.
    pub fn new(id: u32, text: impl Into<String>) -> Token {
        Token { id, text: text.into(), logprob: None }
    }
}

/// Why a generation ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model chose an end-of-sequence token, which the stream does not yield.
    Stop,
    /// The text reached one of the stop strings, which the text does not contain.
    StopString,
    /// The generation reached `max_tokens`, or the end of the context.
    Length,
    /// The cancel token was used.
    Cancelled,
}

impl FinishReason {
    /// The word for programs: `stop` (for a stop string too, as in the OpenAI API), `length` or `cancelled`.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop | FinishReason::StopString => "stop",
            FinishReason::Length => "length",
            FinishReason::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A whole generation, collected from its stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The pieces of text, joined.
    pub text: String,
    /// The tokens, in order.
    pub tokens: Vec<Token>,
    /// Why the generation ended.
    pub finish_reason: FinishReason,
    /// What it cost.
    pub metrics: GenerateMetrics,
}
