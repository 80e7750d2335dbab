//! Any text as a chat template: rendering a conversation ends in text or an error, soon, and never in a panic.
//!
//! `cargo +nightly fuzz run chat_template`

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlx_models::ChatTemplate;
use serde_json::{Map, json};

fuzz_target!(|source: &str| {
    let Ok(template) = ChatTemplate::new(source, Some("<s>"), Some("</s>")) else { return };
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Grüße"}]},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
    ]);
    let _ = template.render(&messages, true, &Map::new());
});
