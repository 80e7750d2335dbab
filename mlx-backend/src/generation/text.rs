//! From token ids to tokens with text.

use inference_api::Token;
use mlx_models::stop::StopStrings;
use mlx_models::{Detokenizer, TextTools};

/// Turns token ids into tokens with text, none of which ends inside a character or inside a possible stop string.
///
/// While text is held back, so is the last token: it must carry the rest if the stream ends there.
pub(crate) struct TextStream {
    /// `None` for a model without a tokenizer, whose tokens have no text.
    detokenizer: Option<Detokenizer>,
    stops: StopStrings,
    held: Option<Token>,
}

impl TextStream {
    pub(crate) fn new(text: &TextTools, stops: StopStrings) -> Self {
        let detokenizer = text.tokenizer().ok().map(|tokenizer| tokenizer.detokenizer(true));
        TextStream { detokenizer, stops, held: None }
    }

    /// Takes the next token, which spells nothing itself if it is `silent`; gives whether a stop string ended the text.
    pub(crate) fn push(&mut self, mut token: Token, silent: bool, emit: &mut dyn FnMut(Token)) -> bool {
        // The one error is an id that no token has: a head may be wider than the vocabulary, and such ids spell nothing.
        let piece = match &mut self.detokenizer {
            Some(detokenizer) if !silent => detokenizer.push(token.id).unwrap_or_default(),
            _ => String::new(),
        };
        let outcome = self.stops.push(&piece);
        token.text = outcome.text;
        if let Some(held) = self.held.replace(token) {
            emit(held);
        }
        // Text that stayed behind belongs to this token if no other follows; one that is whole may go.
        let whole = self.held_back_bytes() == 0;
        if whole && let Some(token) = self.held.take() {
            emit(token);
        }
        outcome.stopped
    }

    /// Ends the stream; gives whether a stop string was in the text that was still held back.
    pub(crate) fn finish(&mut self, emit: &mut dyn FnMut(Token)) -> bool {
        let mut rest = String::new();
        if !self.stops.stopped() {
            let tail = self.detokenizer.as_mut().map(Detokenizer::finish).unwrap_or_default();
            rest = self.stops.push(&tail).text;
            rest += &self.stops.finish();
        }
        if let Some(mut token) = self.held.take() {
            token.text += &rest;
            emit(token);
        }
        self.stops.stopped()
    }

    fn held_back_bytes(&self) -> usize {
        self.stops.held_back() + self.detokenizer.as_ref().map_or(0, Detokenizer::held_back)
    }
}
