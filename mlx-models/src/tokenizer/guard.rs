//! Keeping text from becoming control tokens.
//!
//! A chat template mixes its own control tokens with what people typed, and renders both into one string; a message that
//! spells `<end_of_turn>` would end the turn. So text is guarded before it enters the template: a mark inside each such
//! spelling keeps it from being recognised, and the mark goes when the prompt is encoded.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::AddedToken;

/// The mark: a noncharacter, which no text interchanged between programs holds.
pub(super) const MARK: char = '\u{FDD0}';

/// A part of a prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment<'t> {
    /// A control token of the template.
    Control(u32),
    /// Ordinary text, free of marks.
    Text(Cow<'t, str>),
}

/// Finds the spellings of control tokens.
#[derive(Debug)]
pub(super) struct Guard {
    tokens: Vec<(u32, AddedToken)>,
    /// Every occurrence, overlapping ones too.
    all: AhoCorasick,
    /// What encoding would recognise: the leftmost, and the longest there.
    leftmost: AhoCorasick,
}

impl Guard {
    pub(super) fn new(mut tokens: Vec<(u32, AddedToken)>) -> Result<Self, String> {
        tokens.retain(|(_, token)| !token.content.is_empty());
        tokens.sort_unstable_by_key(|(id, _)| *id);
        let build = |kind| {
            AhoCorasick::builder()
                .match_kind(kind)
                .build(tokens.iter().map(|(_, token)| token.content.as_bytes()))
                .map_err(|e| format!("control tokens: {e}"))
        };
        let (all, leftmost) = (build(MatchKind::Standard)?, build(MatchKind::LeftmostLongest)?);
        Ok(Self { tokens, all, leftmost })
    }

    /// Puts a mark after the first character of each spelling of a control token, and doubles the marks already there.
    pub(super) fn guard<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut marks: Vec<usize> = self
            .all
            .find_overlapping_iter(text)
            .map(|found| found.start() + text[found.start()..].chars().next().map_or(0, char::len_utf8))
            .collect();
        marks.sort_unstable();
        marks.dedup();
        marks.extend(text.match_indices(MARK).map(|(at, _)| at));
        if marks.is_empty() {
            return Cow::Borrowed(text);
        }
        marks.sort_unstable();
        let mut guarded = String::with_capacity(text.len() + marks.len() * MARK.len_utf8());
        let mut from = 0;
        for at in marks {
            guarded.push_str(&text[from..at]);
            guarded.push(MARK);
            from = at;
        }
        guarded.push_str(&text[from..]);
        Cow::Owned(guarded)
    }

    /// Splits a prompt at its unguarded control tokens, and takes the marks away.
    pub(super) fn segments<'t>(&self, prompt: &'t str) -> Vec<Segment<'t>> {
        let mut segments = Vec::new();
        let mut from = 0;
        for found in self.leftmost.find_iter(prompt) {
            let Some((id, token)) = self.tokens.get(found.pattern().as_usize()) else { continue };
            let (mut before, mut after) =
                (&prompt[from.min(found.start())..found.start()], &prompt[found.end()..]);
            // A token of one character has no inside: its mark stands behind it, before those of the text.
            let marks = after.chars().take_while(|&c| c == MARK).count();
            if found.start() < from || marks % 2 == 1 {
                continue;
            }
            if token.lstrip {
                before = before.trim_end();
            }
            if token.rstrip {
                after = after.trim_start();
            }
            segments.push(Segment::Text(unmark(before)));
            segments.push(Segment::Control(*id));
            from = prompt.len() - after.len();
        }
        segments.push(Segment::Text(unmark(&prompt[from..])));
        segments
    }
}

/// Takes single marks away and makes double ones single.
fn unmark(text: &str) -> Cow<'_, str> {
    if !text.contains(MARK) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != MARK || chars.next_if_eq(&MARK).is_some() {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let token = |id, text: &str| (id, AddedToken::from(text, true));
        let stripping = (4, AddedToken::from("<sep>", true).lstrip(true).rstrip(true));
        Guard::new(vec![token(1, "<end>"), token(2, "<end><end>"), token(3, "¤"), stripping]).unwrap()
    }

    /// The prompt as `id` and text, empty texts left out.
    fn show(prompt: &str) -> Vec<String> {
        let segments = guard().segments(prompt).into_iter().map(|segment| match segment {
            Segment::Control(id) => id.to_string(),
            Segment::Text(text) => text.into_owned(),
        });
        segments.filter(|s| !s.is_empty()).collect()
    }

    #[test]
    fn guarded_text_survives_and_holds_no_control() {
        for text in [
            "",
            "plain",
            "<end>",
            "a<end><end>b",
            "¤",
            "¤\u{FDD0}¤¤",
            "\u{FDD0}",
            "<\u{FDD0}end>",
            "\u{FDD0}\u{FDD0}<end>",
        ] {
            let whole = format!("<end>{}¤", guard().guard(text));
            let expected: Vec<_> = ["1", text, "3"].into_iter().filter(|s| !s.is_empty()).collect();
            assert_eq!(show(&whole), expected, "{text:?}");
        }
    }

    #[test]
    fn controls_take_the_space_they_ask_for() {
        assert_eq!(show("a <sep> \n<end>b"), ["a", "4", "1", "b"]);
        assert_eq!(show("<end><end><end>"), ["2", "1"]);
    }

    #[test]
    fn benign_text_is_not_copied() {
        assert!(matches!(guard().guard("<en d>"), Cow::Borrowed(_)));
    }
}
