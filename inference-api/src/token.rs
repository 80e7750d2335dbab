//! What comes out: tokens, and why a stream ended.

use crate::{Error, GenerateMetrics, ToolCall};
use std::fmt;

/// One generated token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Token {
    /// The token's id in the model's vocabulary.
    pub id: u32,
    /// The piece of text to print now. Pieces joined in order are the whole text. A piece is empty while its
    /// character is incomplete, while it may be the start of a stop string or of a marker, and while the model
    /// thinks or writes a call; the text then comes with a later token.
    pub text: String,
    /// The piece of what the model thinks before it answers, apart from the answer. Only replies to a
    /// [`Chat`](crate::Chat) have it, and only of models that think.
    pub reasoning: String,
    /// Calls of tools that this token completed. Only replies to a [`Chat`](crate::Chat) with tools have them.
    pub tool_calls: Vec<ToolCall>,
    /// Natural logarithm of the probability that the model itself gave this token, before temperature,
    /// penalties, bias and filters; `None` unless [`GenerateOptions::logprobs`](crate::GenerateOptions::logprobs)
    /// is on.
    pub logprob: Option<f32>,
    /// The most probable tokens at this place, the first the most probable, as many as
    /// [`GenerateOptions::top_logprobs`](crate::GenerateOptions::top_logprobs) asks for.
    pub top_logprobs: Vec<TokenLogprob>,
}

impl Token {
    /// Makes a token of the answer, without probabilities.
    pub fn new(id: u32, text: impl Into<String>) -> Token {
        Token { id, text: text.into(), ..Token::default() }
    }
}

/// A token that might have been chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token's id.
    pub id: u32,
    /// The text of the token by itself. Bytes that are no whole character by themselves are U+FFFD.
    pub text: String,
    /// As [`Token::logprob`].
    pub logprob: f32,
}

/// Why a generation ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model chose an end-of-sequence token, which the stream does not yield.
    Stop,
    /// The text reached one of the stop strings, which the text does not contain.
    StopString,
    /// The model ended its turn and called tools in it.
    ToolCalls,
    /// The generation reached `max_tokens`, or the end of the context.
    Length,
    /// The cancel token was used.
    Cancelled,
}

impl FinishReason {
    /// The word for programs: `stop` (for a stop string too, as in the OpenAI API), `tool_calls`, `length` or
    /// `cancelled`.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop | FinishReason::StopString => "stop",
            FinishReason::ToolCalls => "tool_calls",
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
    /// The pieces of the answer, joined.
    pub text: String,
    /// The pieces of what the model thought, joined.
    pub reasoning: String,
    /// What the model called.
    pub tool_calls: Vec<ToolCall>,
    /// The tokens, in order.
    pub tokens: Vec<Token>,
    /// Why the generation ended.
    pub finish_reason: FinishReason,
    /// What it cost.
    pub metrics: GenerateMetrics,
}

/// What became of one prompt of a batch.
pub type BatchResult<T> = Result<T, Error>;
