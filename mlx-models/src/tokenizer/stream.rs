//! Text from tokens as they arrive.

use super::Tokenizer;
use super::decoding::TextState;
use crate::Result;

/// Turns a stream of token ids into text, a piece for each token.
///
/// The pieces, joined, are what [`Tokenizer::decode`] makes of the same ids, for any ids at all. A piece never ends
/// inside a character: a token that holds part of one gives an empty piece, and the character comes with the token that
/// completes it. A token costs time in proportion to its own text, however long the stream.
///
/// Where a vocabulary falls back to byte tokens (`<0xF0>`), a run of them is held back until another token, or
/// [`finish`](Self::finish), ends it. That is the only exact way: a run that isn't UTF-8 as a whole decodes to one
/// replacement character a byte, its valid start included.
///
/// ```no_run
/// # fn main() -> mlx_models::Result<()> {
/// let tokenizer = mlx_models::Tokenizer::from_file("model/tokenizer.json")?;
/// let mut text = tokenizer.detokenizer(true);
/// for id in tokenizer.encode("Grüße 🎉", false, false)? {
///     print!("{}", text.push(id)?);
/// }
/// println!("{}", text.finish());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    skip_special: bool,
    state: TextState,
}

impl Detokenizer {
    pub(super) fn new(tokenizer: Tokenizer, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, state: TextState::new() }
    }

    /// Takes the next token; returns the text that is now certain, which may be empty.
    ///
    /// # Errors
    /// When no token has this id. The stream is as before then, and can go on.
    pub fn push(&mut self, id: u32) -> Result<String> {
        let mut out = String::new();
        self.tokenizer.push_text(&mut self.state, id, self.skip_special, &mut out)?;
        Ok(out)
    }

    /// Bytes of which it is not yet certain what text they are.
    pub fn held_back(&self) -> usize {
        self.state.held_back()
    }

    /// Returns the text still held back, and makes ready for another stream.
    ///
    /// What is no whole character by now becomes replacement characters.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        self.state.finish(self.tokenizer.decoding(), &mut out);
        out
    }
}
