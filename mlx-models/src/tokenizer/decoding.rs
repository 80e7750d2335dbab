//! From tokens back to text, piece by piece.
//!
//! There is one decoder: decoding a whole list pushes its tokens one after another into the same state as streaming
//! does, so the two cannot disagree. It gives the text that Hugging Face's `tokenizers` gives.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

/// How a vocabulary writes text in its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decoding {
    /// Each character of a token stands for a byte, in GPT-2's alphabet.
    ByteLevel,
    /// Tokens are text.
    Pieces {
        /// What each token's text has replaced, such as `▁` by a space.
        replace: Vec<(String, String)>,
        /// Whether tokens such as `<0xE2>` stand for bytes.
        byte_fallback: bool,
        /// A character, and how many of it the start of a text loses.
        strip: Option<(char, usize)>,
    },
}

impl Decoding {
    /// The decoding of a SentencePiece-style vocabulary; `space_prefix` when encoding puts a space before the text.
    pub(super) fn sentence_piece(space_prefix: bool) -> Self {
        Self::Pieces {
            replace: vec![("▁".into(), " ".into())],
            byte_fallback: true,
            strip: space_prefix.then_some((' ', 1)),
        }
    }

    /// Reads the `decoder` of a `tokenizer.json`.
    ///
    /// # Errors
    /// When the decoder is none of the kinds whose text can be streamed exactly: `ByteLevel`, or `Replace`,
    /// `ByteFallback`, `Fuse` and `Strip` in this order.
    pub(super) fn from_json(decoder: &Value) -> Result<Self, String> {
        let kind = |value: &Value| value["type"].as_str().unwrap_or_default().to_owned();
        if kind(decoder) == "ByteLevel" {
            return Ok(Self::ByteLevel);
        }
        let single = [decoder.clone()];
        let steps = match decoder["decoders"].as_array() {
            Some(steps) if kind(decoder) == "Sequence" => steps.as_slice(),
            _ => &single,
        };
        let (mut replace, mut byte_fallback, mut fused, mut strip) = (Vec::new(), false, false, None);
        for step in steps {
            match kind(step).as_str() {
                "ByteLevel" if steps.len() == 1 => return Ok(Self::ByteLevel),
                "Replace" if !byte_fallback && !fused => match (&step["pattern"]["String"], &step["content"])
                {
                    (Value::String(from), Value::String(to)) if !from.is_empty() => {
                        replace.push((from.clone(), to.clone()));
                    }
                    _ => {
                        return Err(format!(
                            "decoder: Replace takes a plain pattern and content, not {step}"
                        ));
                    }
                },
                "ByteFallback" if !fused => byte_fallback = true,
                "Fuse" => fused = true,
                "Strip" if fused && strip.is_none() && step["stop"].as_u64() == Some(0) => {
                    let content = step["content"].as_str().and_then(|s| s.chars().next());
                    let start = step["start"].as_u64().and_then(|n| usize::try_from(n).ok());
                    let (Some(content), Some(start)) = (content, start) else {
                        return Err(format!("decoder: Strip takes a character and a count, not {step}"));
                    };
                    strip = Some((content, start));
                }
                _ => return Err(format!("decoder: {step} isn't supported here")),
            }
        }
        if !fused && !byte_fallback && replace.is_empty() {
            return Err("decoder: none given".into());
        }
        Ok(Self::Pieces { replace, byte_fallback, strip })
    }
}

/// The text of a token stream so far, as far as it is not yet certain.
#[derive(Debug, Clone, Default)]
pub(super) struct TextState {
    /// Bytes whose text the next token may still change.
    ///
    /// With byte fallback that is the whole run of byte tokens: if one of them turns out wrong, each becomes a
    /// replacement character, those before it included. With byte-level tokens it is at most three bytes, the start of
    /// a character.
    pending: Vec<u8>,
    /// How many characters the start of the text has lost to [`Decoding::Pieces`]'s `strip`; `None` once it has begun.
    stripped: Option<usize>,
}

impl TextState {
    pub(super) fn new() -> Self {
        Self { pending: Vec::new(), stripped: Some(0) }
    }

    /// Appends to `out` the text that `token` makes certain: whole characters only.
    pub(super) fn push(&mut self, decoding: &Decoding, token: &str, out: &mut String) {
        match decoding {
            Decoding::ByteLevel => {
                match token.chars().map(|c| BYTE_OF_CHAR.get(&c).copied()).collect::<Option<Vec<u8>>>() {
                    Some(bytes) => self.pending.extend(bytes),
                    None => self.pending.extend(token.as_bytes()),
                }
                self.drain_utf8(out);
            }
            Decoding::Pieces { replace, byte_fallback, strip } => {
                let mut text = std::borrow::Cow::Borrowed(token);
                for (from, to) in replace {
                    if text.contains(from.as_str()) {
                        text = text.replace(from.as_str(), to).into();
                    }
                }
                if *byte_fallback && let Some(byte) = fallback_byte(&text) {
                    self.pending.push(byte);
                } else {
                    self.end_byte_run(*strip, out);
                    self.append(*strip, &text, out);
                }
            }
        }
    }

    /// Bytes whose text is not yet certain.
    pub(super) fn held_back(&self) -> usize {
        self.pending.len()
    }

    /// Appends the rest, and starts afresh.
    pub(super) fn finish(&mut self, decoding: &Decoding, out: &mut String) {
        match decoding {
            Decoding::ByteLevel => out.push_str(&String::from_utf8_lossy(&self.pending)),
            Decoding::Pieces { strip, .. } => self.end_byte_run(*strip, out),
        }
        *self = Self::new();
    }

    /// Moves whole characters out of `pending`, and what can no longer become one as replacement characters.
    fn drain_utf8(&mut self, out: &mut String) {
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    out.push_str(valid);
                    self.pending.clear();
                    return;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    out.push_str(&String::from_utf8_lossy(valid));
                    let Some(invalid) = error.error_len() else {
                        self.pending = after.to_vec();
                        return;
                    };
                    out.push(char::REPLACEMENT_CHARACTER);
                    rest = after.get(invalid..).unwrap_or_default();
                }
            }
        }
    }

    fn end_byte_run(&mut self, strip: Option<(char, usize)>, out: &mut String) {
        if self.pending.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.pending);
        match std::str::from_utf8(&bytes) {
            Ok(text) => self.append(strip, text, out),
            Err(_) => self.append(strip, &char::REPLACEMENT_CHARACTER.to_string().repeat(bytes.len()), out),
        }
    }

    fn append(&mut self, strip: Option<(char, usize)>, mut text: &str, out: &mut String) {
        if let (Some((character, most)), Some(mut stripped)) = (strip, self.stripped) {
            while stripped < most
                && let Some(rest) = text.strip_prefix(character)
            {
                text = rest;
                stripped += 1;
            }
            self.stripped = (stripped < most && text.is_empty()).then_some(stripped);
        }
        out.push_str(text);
    }
}

/// The byte that a token such as `<0x0A>` stands for.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for the characters from U+0100 on.
static BYTE_OF_CHAR: LazyLock<HashMap<char, u8>> = LazyLock::new(|| {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = ('\u{100}'..).zip((0..=u8::MAX).filter(|&byte| !printable(byte)));
    (0..=u8::MAX).filter(|&byte| printable(byte)).map(|byte| (char::from(byte), byte)).chain(others).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_covers_every_byte_once() {
        let mut bytes: Vec<u8> = BYTE_OF_CHAR.values().copied().collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=u8::MAX).collect::<Vec<_>>());
        assert_eq!(BYTE_OF_CHAR.get(&'Ġ'), Some(&b' '));
    }

    #[test]
    fn decoders_that_cannot_stream_are_named() {
        for (json, named) in [
            (r#"{"type":"WordPiece","prefix":"@","cleanup":true}"#, "WordPiece"),
            (r#"{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"ByteFallback"}]}"#, "ByteFallback"),
            (r#"{"type":"Sequence","decoders":[]}"#, "none given"),
            ("null", "isn't supported"),
        ] {
            let error = Decoding::from_json(&serde_json::from_str(json).unwrap()).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
