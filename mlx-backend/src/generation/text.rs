//! From token ids to tokens with text.

use inference_api::{Token, ToolCall};
use mlx_models::reply::{Parser, Part, ReplyStyle};
use mlx_models::stop::StopStrings;
use mlx_models::{Detokenizer, TextTools};

/// Turns token ids into tokens with text, none of which ends inside a character, a possible stop string or a possible marker.
///
/// While text is held back, so is the last token: it must carry the rest if the stream ends there.
pub(crate) struct TextStream {
    /// `None` for a model without a tokenizer, whose tokens have no text.
    detokenizer: Option<Detokenizer>,
    /// What ends the answer.
    stops: StopStrings,
    /// Tells answer, reasoning and calls apart, in replies to conversations.
    parser: Option<Parser>,
    /// What the ids of the reply's calls begin with.
    call_id: String,
    held: Option<Token>,
    calls: usize,
    reasoning_tokens: usize,
}

impl TextStream {
    /// A stream of text that ends at a stop string. `style` is that of the reply to a conversation, and the ids of its calls
    /// begin with `call_id`.
    pub(crate) fn new(
        text: &TextTools,
        stops: StopStrings,
        style: Option<ReplyStyle>,
        call_id: String,
    ) -> Self {
        TextStream {
            detokenizer: text.tokenizer().ok().map(|tokenizer| tokenizer.detokenizer(true)),
            stops,
            parser: style.map(Parser::new),
            call_id,
            held: None,
            calls: 0,
            reasoning_tokens: 0,
        }
    }

    /// Calls of tools so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// Tokens of the reasoning so far, with those of its tags.
    pub(crate) fn reasoning_tokens(&self) -> usize {
        self.reasoning_tokens
    }

    /// Takes the next token, which spells nothing itself if it is `silent`; gives whether a stop string ended the text.
    pub(crate) fn push(&mut self, mut token: Token, silent: bool, emit: &mut dyn FnMut(Token)) -> bool {
        // The one error is an id that no token has: a head may be wider than the vocabulary, and such ids spell nothing.
        let piece = match &mut self.detokenizer {
            Some(detokenizer) if !silent => detokenizer.push(token.id).unwrap_or_default(),
            _ => String::new(),
        };
        let was_reasoning = self.is_reasoning();
        self.sort(&piece, &mut token);
        self.reasoning_tokens += usize::from(was_reasoning || self.is_reasoning());
        if let Some(held) = self.held.replace(token) {
            emit(held);
        }
        // Text that stayed behind belongs to this token if no other follows; one that is whole may go.
        let whole = self.held_back_bytes() == 0;
        if whole && let Some(token) = self.held.take() {
            emit(token);
        }
        self.stops.stopped()
    }

    /// Ends the stream; gives whether a stop string was in the text that was still held back.
    pub(crate) fn finish(&mut self, emit: &mut dyn FnMut(Token)) -> bool {
        let mut rest = Token::default();
        if !self.stops.stopped() {
            let tail = self.detokenizer.as_mut().map(Detokenizer::finish).unwrap_or_default();
            self.sort(&tail, &mut rest);
            let parts = self.parser.as_mut().map(Parser::finish).unwrap_or_default();
            self.add(parts, &mut rest);
            rest.text += &self.stops.finish();
        }
        if let Some(mut token) = self.held.take() {
            token.text += &rest.text;
            token.reasoning += &rest.reasoning;
            token.tool_calls.append(&mut rest.tool_calls);
            emit(token);
        }
        self.stops.stopped()
    }

    /// Puts what a piece of text makes certain where it belongs.
    fn sort(&mut self, piece: &str, token: &mut Token) {
        match &mut self.parser {
            Some(parser) => {
                let parts = parser.push(piece);
                self.add(parts, token);
            }
            None => token.text += &self.stops.push(piece).text,
        }
    }

    fn add(&mut self, parts: Vec<Part>, token: &mut Token) {
        for part in parts {
            match part {
                // Behind a stop string nothing counts.
                _ if self.stops.stopped() => return,
                Part::Answer(text) => token.text += &self.stops.push(&text).text,
                Part::Reasoning(text) => token.reasoning += &text,
                Part::ToolCall(call) => {
                    let id = format!("{}{}", self.call_id, self.calls);
                    self.calls += 1;
                    token.tool_calls.push(ToolCall { id, name: call.name, arguments: call.arguments });
                }
            }
        }
    }

    fn is_reasoning(&self) -> bool {
        self.parser.as_ref().is_some_and(Parser::is_reasoning)
    }

    fn held_back_bytes(&self) -> usize {
        self.stops.held_back()
            + self.parser.as_ref().map_or(0, Parser::held_back)
            + self.detokenizer.as_ref().map_or(0, Detokenizer::held_back)
    }
}
