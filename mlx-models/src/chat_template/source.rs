//! A pass over a template's source before the engine reads it.
//!
//! It makes line ends one of a kind, opens the `generation` blocks of Hugging Face, which mark the assistant's part for
//! training and render as their contents, and makes additions pay. The engine joins two lists without a charge, and
//! mostly without copying them, so a list that is added to itself some forty times would outgrow memory; here both sides
//! of each `+` that may be lists go through the filter [`COUNTED`], which charges for their length.

use std::ops::Range;

/// The filter that charges for a list's length.
pub(super) const COUNTED: &str = "counted_";

/// What the source gets to call it.
const THROUGH_COUNTED: &str = "|counted_";

/// Words that are no operand, so that a `+` behind them is a sign.
const OPERATORS: [&str; 8] = ["and", "or", "not", "in", "is", "if", "else", "elif"];

/// Rewrites a template; line numbers stay what they are.
pub(super) fn prepared(source: &str) -> String {
    // Jinja takes every kind of line end for the one.
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = rest.find('{') {
        let (text, tag) = rest.split_at(at);
        out.push_str(text);
        let edited = match tag.as_bytes().get(1) {
            Some(b'#') => unedited(tag.find("#}").map(|end| end + 2)),
            Some(b'%') => raw_block(tag).map_or_else(|| edited(tag, "%}"), |length| unedited(Some(length))),
            Some(b'{') => edited(tag, "}}"),
            _ => unedited(Some(1)),
        };
        // What a tag without an end misses is for the engine to say.
        let (length, edits) = edited.unwrap_or((tag.len(), Vec::new()));
        let mut from = 0;
        for (range, text) in edits {
            out.push_str(&tag[from..range.start]);
            out.push_str(text);
            from = range.end;
        }
        out.push_str(&tag[from..length]);
        rest = &tag[length..];
    }
    out.push_str(rest);
    out
}

/// The length of a tag, and what takes the place of parts of it.
type Edited = Option<(usize, Vec<(Range<usize>, &'static str)>)>;

fn unedited(length: Option<usize>) -> Edited {
    length.map(|length| (length, Vec::new()))
}

/// The length of a whole `raw` block, if `tag` begins one.
fn raw_block(tag: &str) -> Option<usize> {
    let is = |inside: &str, word: &str| inside.trim_matches(['-', '+']).trim() == word;
    let (first, _) = tag.get(2..)?.split_once("%}")?;
    if !is(first, "raw") {
        return None;
    }
    let mut at = 2 + first.len() + 2;
    loop {
        at += tag.get(at..)?.find("{%")? + 2;
        let (inside, _) = tag.get(at..)?.split_once("%}")?;
        if is(inside, "endraw") {
            return Some(at + inside.len() + 2);
        }
    }
}

/// Reads a tag that ends with `close`; `None` if it has no end.
fn edited(tag: &str, close: &str) -> Edited {
    let tokens = Tokens::read(tag, close)?;
    let mut edits = Vec::new();
    match tokens.list.as_slice() {
        [word] if &tag[word.clone()] == "generation" && close == "%}" => edits.push((word.clone(), "with")),
        [word] if &tag[word.clone()] == "endgeneration" && close == "%}" => {
            edits.push((word.clone(), "endwith"))
        }
        list => {
            let mut ends: Vec<usize> =
                (1..list.len()).filter_map(|at| tokens.addends(at)).flatten().collect();
            ends.sort_unstable();
            ends.dedup();
            edits.extend(ends.into_iter().map(|end| (end..end, THROUGH_COUNTED)));
        }
    }
    Some((tokens.length, edits))
}

/// The tokens inside a tag, as far as this pass tells them apart: strings, words, numbers and single characters.
struct Tokens<'t> {
    tag: &'t str,
    list: Vec<Range<usize>>,
    /// Of the whole tag.
    length: usize,
}

impl<'t> Tokens<'t> {
    fn read(tag: &'t str, close: &str) -> Option<Self> {
        let mut list: Vec<Range<usize>> = Vec::new();
        // Behind the opening and before the closing, a sign says how to treat the white space outside.
        let mut at = if matches!(tag.as_bytes().get(2), Some(b'-' | b'+')) { 3 } else { 2 };
        let mut open = 0usize;
        loop {
            let rest = tag.get(at..)?;
            if open == 0 && rest.starts_with(close) {
                if list.last().is_some_and(|last| last.end == at && matches!(&tag[last.clone()], "-" | "+")) {
                    list.pop();
                }
                return Some(Self { tag, list, length: at + close.len() });
            }
            let first = rest.chars().next()?;
            let length = match first {
                '\'' | '"' => string(rest, first)?,
                c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                c => c.len_utf8(),
            };
            match first {
                '(' | '[' | '{' => open += 1,
                ')' | ']' | '}' => open = open.saturating_sub(1),
                _ => {}
            }
            if !first.is_whitespace() {
                list.push(at..at + length);
            }
            at += length;
        }
    }

    fn text(&self, at: usize) -> &'t str {
        self.list.get(at).map_or("", |range| &self.tag[range.clone()])
    }

    /// Where the operands of the binary `+` at `at` end, if there is one there and they may be lists.
    fn addends(&self, at: usize) -> Option<[usize; 2]> {
        let names = |word: &str| word.starts_with(|c: char| is_word(c) && !c.is_ascii_digit());
        let (before, after) = (self.text(at.checked_sub(1)?), self.text(at + 1));
        let left = (names(before) && !OPERATORS.contains(&before)) || matches!(before, ")" | "]" | "}");
        let right = (names(after) && after != "not") || matches!(after, "(" | "[" | "{");
        if self.text(at) != "+" || !left || !right {
            return None;
        }
        let mut last = self.closing(at + 1)?;
        loop {
            last = match self.text(last + 1) {
                "." | "|" => last + 2,
                "(" | "[" => self.closing(last + 1)?,
                _ => return Some([self.list.get(at - 1)?.end, self.list.get(last)?.end]),
            };
        }
    }

    /// The token that closes the bracket at `at`; `at` itself if there is none.
    fn closing(&self, at: usize) -> Option<usize> {
        let mut open = 0usize;
        for index in at..self.list.len() {
            match self.text(index) {
                "(" | "[" | "{" => open += 1,
                ")" | "]" | "}" => open = open.saturating_sub(1),
                _ => {}
            }
            if open == 0 {
                return Some(index);
            }
        }
        None
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the string that `text` begins with.
fn string(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_pay_where_they_are_added() {
        assert_eq!(THROUGH_COUNTED.trim_start_matches('|'), COUNTED);
        let shown = |source| prepared(source).replace(THROUGH_COUNTED, "¤");
        for (source, expected) in [
            ("{{ a + b }}", "{{ a¤ + b¤ }}"),
            ("{{a+b+c}}", "{{a¤+b¤+c¤}}"),
            ("{% set x = x + x %}", "{% set x = x¤ + x¤ %}"),
            ("{%+ set x=(x)+[x, '%}'] +%}", "{%+ set x=(x)¤+[x, '%}']¤ +%}"),
            ("{{ a + b.c[0](d + e)|f(g)|h * 2 }}", "{{ a¤ + b.c[0](d¤ + e¤)|f(g)|h¤ * 2 }}"),
            ("{{ {'a': {'b': x + y}} }}", "{{ {'a': {'b': x¤ + y¤}} }}"),
            ("{{ a + 'text' + 1 + -b - c + 2 + e }} + d", "{{ a + 'text' + 1 + -b - c + 2 + e }} + d"),
            ("{{ 'it''s \\' + }}' ~ (+a) }}", "{{ 'it''s \\' + }}' ~ (+a) }}"),
            (
                "{# a + b #}{% raw %}{{ a + b }}{% endraw %}{{ a + b -}}",
                "{# a + b #}{% raw %}{{ a + b }}{% endraw %}{{ a¤ + b¤ -}}",
            ),
            ("{%- raw -%} {% x %} {%- endraw %}{{ a+b }}", "{%- raw -%} {% x %} {%- endraw %}{{ a¤+b¤ }}"),
            ("{% if a == +b or not +c %}", "{% if a == +b or not +c %}"),
            ("{ a + b } {{ a +", "{ a + b } {{ a +"),
        ] {
            assert_eq!(shown(source), expected, "{source}");
        }
    }

    #[test]
    fn generation_blocks_are_opened() {
        for (source, expected) in [
            ("{% generation %}a{% endgeneration %}", "{% with %}a{% endwith %}"),
            ("{%- generation -%}\n{%+endgeneration+%}", "{%- with -%}\n{%+endwith+%}"),
            ("{{ generation }}{# {% generation %} #}", "{{ generation }}{# {% generation %} #}"),
            ("{% raw %}{% generation %}{% endraw %}", "{% raw %}{% generation %}{% endraw %}"),
            ("{{ '{% generation %}' }}", "{{ '{% generation %}' }}"),
        ] {
            assert_eq!(prepared(source), expected, "{source}");
        }
    }
}
