//! JSON as Python's `json.dumps` writes it, byte for byte.
//!
//! Chat templates put tool definitions into prompts with the `tojson` filter, and models were trained on Python's spacing.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::python_text;

/// The arguments of `json.dumps` that templates use.
#[derive(Debug, Clone)]
pub(super) struct Style {
    /// Whether characters beyond ASCII become `\u` escapes.
    pub(super) ensure_ascii: bool,
    /// What a level is indented by; `None` writes one line.
    pub(super) indent: Option<String>,
    /// Between items, and between a key and its value.
    pub(super) separators: (String, String),
}

impl Style {
    /// Python's defaults for one line, or for an indented text.
    pub(super) fn new(indent: Option<String>) -> Self {
        let items = if indent.is_some() { "," } else { ", " };
        Self { ensure_ascii: false, indent, separators: (items.into(), ": ".into()) }
    }
}

pub(super) fn dumps(value: &impl Serialize, style: Style) -> Result<String, serde_json::Error> {
    let mut out = Vec::new();
    let formatter = PythonFormatter { style, depth: 0, filled: false };
    value.serialize(&mut Serializer::with_formatter(&mut out, formatter))?;
    // `serde_json` writes UTF-8 alone.
    Ok(String::from_utf8_lossy(&out).into_owned())
}

struct PythonFormatter {
    style: Style,
    depth: usize,
    /// Whether the innermost list or map holds anything.
    filled: bool,
}

impl PythonFormatter {
    fn begin<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        out.write_all(bracket)
    }

    fn end<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        if self.filled {
            self.new_line(out)?;
        }
        self.filled = true;
        out.write_all(bracket)
    }

    fn begin_item<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.filled = true;
        if !first {
            out.write_all(self.style.separators.0.as_bytes())?;
        }
        self.new_line(out)
    }

    fn new_line<W: ?Sized + Write>(&self, out: &mut W) -> io::Result<()> {
        let Some(indent) = &self.style.indent else { return Ok(()) };
        out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| out.write_all(indent.as_bytes()))
    }
}

impl Formatter for PythonFormatter {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.begin_item(out, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.begin_item(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(self.style.separators.1.as_bytes())
    }

    fn write_f64<W: ?Sized + Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        out.write_all(python_text::float(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if !self.style.ensure_ascii {
            return out.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if matches!(c, ' '..='~') {
                write!(out, "{c}")?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_line() {
        let value = json!({"b": [1, -2, 1.0, 1e16, 1.5e-7, 1e15, 0.0001, null], "a": {}, "é\"\n": [], "<": "\u{7f}😀"});
        let expected = r#"{"b": [1, -2, 1.0, 1e+16, 1.5e-07, 1000000000000000.0, 0.0001, null], "a": {}, "é\"\n": [], "<": ""#;
        assert_eq!(dumps(&value, Style::new(None)).unwrap(), format!("{expected}\u{7f}😀\"}}"));
    }

    #[test]
    fn indented() {
        let value = json!({"a": [1, {"b": []}], "c": {}});
        let expected = "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}";
        assert_eq!(dumps(&value, Style::new(Some("  ".into()))).unwrap(), expected);
    }

    #[test]
    fn ascii_alone() {
        let style = Style { ensure_ascii: true, ..Style::new(None) };
        assert_eq!(dumps(&"é😀\u{7f}~", style).unwrap(), r#""\u00e9\ud83d\ude00\u007f~""#);
    }
}
