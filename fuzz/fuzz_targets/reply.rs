//! Any text as a model's reply: it comes apart without a panic, and into the same parts wherever it is cut.
//!
//! `cargo +nightly fuzz run reply`
//!
//! The first byte chooses the style, the second one the length of the pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlx_models::reply::{Parser, Part, Reasoning, ReplyStyle, ToolDialect};

fuzz_target!(|input: (u8, u8, &str)| {
    let (style, length, text) = input;
    let style = ReplyStyle {
        reasoning: [Reasoning::None, Reasoning::MayBegin, Reasoning::Begun][usize::from(style % 3)],
        tools: [None, Some(ToolDialect::Hermes), Some(ToolDialect::Llama)][usize::from(style / 3 % 3)],
    };
    let mut parser = Parser::new(style);
    let mut whole = parser.push(text);
    whole.extend(parser.finish());

    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = (usize::from(length) + 1..rest.len()).find(|&end| rest.is_char_boundary(end)).unwrap_or(rest.len());
        pieces.extend(parser.push(&rest[..end]));
        rest = &rest[end..];
    }
    pieces.extend(parser.finish());
    assert_eq!(joined(whole), joined(pieces));
});

/// Joins neighbouring texts of a kind, and checks the arguments of calls.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut out: Vec<Part> = Vec::new();
    for part in parts {
        match (out.last_mut(), part) {
            (Some(Part::Answer(before)), Part::Answer(text)) => before.push_str(&text),
            (Some(Part::Reasoning(before)), Part::Reasoning(text)) => before.push_str(&text),
            (_, part) => {
                if let Part::ToolCall(call) = &part {
                    assert!(serde_json::from_str::<serde_json::Map<_, _>>(&call.arguments).is_ok());
                }
                out.push(part);
            }
        }
    }
    out
}
