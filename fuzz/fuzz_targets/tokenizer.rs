//! Any text as a `tokenizer.json`: what is accepted encodes, and decodes what it encoded, without a panic.
//!
//! `cargo +nightly fuzz run tokenizer`

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlx_models::Tokenizer;

fuzz_target!(|json: &str| {
    let Ok(tokenizer) = Tokenizer::from_json(json) else { return };
    for text in ["", "Grüße, 世界 🎉", "<s> a  b\n"] {
        if let Ok(ids) = tokenizer.encode(text, true, true) {
            tokenizer.decode(&ids, false).expect("an id that was given has a token");
        }
    }
});
