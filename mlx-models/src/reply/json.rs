//! Where a JSON list or object ends, found as its text arrives.

/// The deepest nesting: what `serde_json` reads without overflowing the stack.
const MAX_DEPTH: usize = 127;

/// Follows one list or object through its brackets and texts.
///
/// It refuses what can't become JSON as soon as that shows, so that little is withheld in vain, but doesn't know the
/// whole grammar: what it finds whole may still be no JSON.
#[derive(Debug, Clone, Default)]
pub(super) struct Scan {
    /// The closing brackets that are due.
    due: Vec<u8>,
    text: Text,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Text {
    #[default]
    Outside,
    Inside,
    /// Behind a backslash.
    Escaped,
}

/// What [`Scan::take`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes that belong to the value, or to the white space before it.
    pub(super) taken: usize,
    /// The value ends with the last byte taken.
    pub(super) whole: bool,
    /// The byte behind those taken can't go on with it.
    pub(super) broken: bool,
}

impl Scan {
    /// Takes from `text` until the value ends or breaks.
    pub(super) fn take(&mut self, text: &str) -> Step {
        for (at, byte) in text.bytes().enumerate() {
            match self.next(byte) {
                Some(false) => {}
                Some(true) => return Step { taken: at + 1, whole: true, broken: false },
                None => return Step { taken: at, whole: false, broken: true },
            }
        }
        Step { taken: text.len(), whole: false, broken: false }
    }

    /// Whether the value ends with this byte; nothing if the byte breaks it, which only ASCII and the first byte of a
    /// character do.
    fn next(&mut self, byte: u8) -> Option<bool> {
        match (self.text, byte) {
            (_, 0..=0x1f) if self.text != Text::Outside => return None,
            (Text::Escaped, _) | (Text::Outside, b'"') if !self.due.is_empty() => self.text = Text::Inside,
            (Text::Inside, b'"') => self.text = Text::Outside,
            (Text::Inside, b'\\') => self.text = Text::Escaped,
            (Text::Inside, _) => {}
            (_, b'{' | b'[') if self.due.len() < MAX_DEPTH => {
                self.due.push(if byte == b'{' { b'}' } else { b']' })
            }
            (_, b'}' | b']') => {
                if self.due.pop() != Some(byte) {
                    return None;
                }
                return Some(self.due.is_empty());
            }
            (_, b' ' | b'\t' | b'\n' | b'\r') => {}
            (_, b',' | b':' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
                if !self.due.is_empty() => {}
            _ => return None,
        }
        Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_wherever_the_text_is_cut() {
        // The value, and what follows it; nothing follows what breaks.
        for (value, rest) in [
            ("{}", "x"),
            (" \n{\"a\": [1, -2.5e+3, true, {}], \"b\": \"}]\"}", "}"),
            ("[]", "]"),
            ("[\"\\\"]\", \"\\\\\"]", ""),
            ("{\"é\": \"🎉{\"}", " "),
        ] {
            let text = format!("{value}{rest}");
            for cut in (0..=text.len()).filter(|&cut| text.is_char_boundary(cut)) {
                let mut scan = Scan::default();
                let first = scan.take(&text[..cut]);
                let taken =
                    if first.whole { first.taken } else { first.taken + scan.take(&text[cut..]).taken };
                assert_eq!(&text[..taken], value, "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_cannot_become_json_is_refused_at_once() {
        let deep = "[".repeat(128);
        for (text, taken) in [
            ("x", 0),
            ("\"a\"", 0),
            (" 1", 1),
            ("]", 0),
            ("{\"a\": <", 6),
            ("{]", 1),
            ("{'a'", 1),
            ("{\"a\nb\"}", 3),
            ("{\"a\\\nb\"}", 4),
            ("{é", 1),
            (&deep, 127),
        ] {
            assert_eq!(Scan::default().take(text), Step { taken, whole: false, broken: true }, "{text}");
        }
    }
}
