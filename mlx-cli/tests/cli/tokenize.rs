//! `mlx tokenize`.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{BOS, Run, TURN, id, ids, mlx, with_tokenizer};

fn tokenize(folder: &TempDir, args: &[&str], stdin: &str) -> Run {
    mlx(&[&["tokenize", "--model", folder.path().to_str().unwrap()], args].concat(), stdin)
}

/// A tokenizer alone: the command needs neither weights nor a configuration.
fn tokenizer() -> TempDir {
    let folder = with_tokenizer();
    for file in ["config.json", "model.safetensors"] {
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    folder
}

#[test]
fn text_becomes_ids() {
    let folder = tokenizer();
    let cases = [
        ("", vec![]),
        ("abc b\n", vec![id("abc"), id("▁"), id("b"), id("<0x0A>")]),
        ("aé", vec![id("a"), id("<0xC3>"), id("<0xA9>")]),
        ("<turn>a<bos>", vec![TURN, id("a"), BOS]),
    ];
    for (text, body) in cases {
        let whole = [&[BOS][..], &body].concat();
        for (args, expected) in [(&["--json"][..], &whole), (&["--json", "--no-special"], &body)] {
            let answer = tokenize(&folder, args, text).json();
            assert_eq!(&ids(&answer["ids"]), expected, "{text:?}");
        }
        let words: Vec<String> = whole.iter().map(u32::to_string).collect();
        assert_eq!(tokenize(&folder, &[], text).text(), words.join(" ") + "\n", "{text:?}");
    }
}

#[test]
fn ids_become_text_at_once_and_in_pieces() {
    let folder = tokenizer();
    let bytes = |text: &str| text.bytes().map(|byte| id(&format!("<0x{byte:02X}>"))).collect::<Vec<_>>();
    let cases = [
        ("nothing", vec![], "", 0),
        ("special tokens stay", vec![BOS, id("abc"), TURN], "<bos>abc<turn>", 3),
        ("an emoji in four tokens", [&[id("a")], &bytes("🎉")[..], &[id("b")]].concat(), "a🎉b", 2),
        ("bytes at the end", [vec![id("a")], bytes("é")].concat(), "aé", 2),
        ("half a character", vec![id("a"), bytes("é")[0]], "a\u{FFFD}", 2),
    ];
    for (name, ids, text, most_pieces) in cases {
        let input = json!({ "ids": ids }).to_string();
        let whole = tokenize(&folder, &["--decode", "--json"], &input).json();
        assert_eq!(whole, json!({ "text": text }), "{name}");
        let streamed = tokenize(&folder, &["--decode", "--stream", "--json"], &input).text();
        let pieces: Vec<String> = streamed
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(pieces.concat(), text, "{name}");
        assert!(
            pieces.len() <= most_pieces && pieces.iter().all(|piece| !piece.is_empty()),
            "{name}: {pieces:?}"
        );
        for args in [&["--decode"][..], &["--decode", "--stream"]] {
            assert_eq!(tokenize(&folder, args, &input).text(), text, "{name}");
        }
    }
}

#[test]
fn what_encodes_decodes_to_itself() {
    let folder = tokenizer();
    let text = " Grüße, 世界! 🎉\r\n\t<turn>\u{0}";
    for args in [&["--no-special"][..], &["--no-special", "--json"]] {
        let ids = tokenize(&folder, args, text).text();
        assert_eq!(tokenize(&folder, &["--decode"], &ids).text(), text);
    }
}
