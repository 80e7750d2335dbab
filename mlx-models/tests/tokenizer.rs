//! The tokenizer on small vocabularies made here: any stream of tokens, and files that mean harm.

use std::path::PathBuf;

use mlx_models::{Error, Tokenizer, Vocabulary, VocabularyKind};
use serde_json::{Value, json};
use tokenizers::{Decoder, DecoderWrapper};

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// Control tokens, all bytes, words of several scripts, and pieces that only look like something else.
fn sentence_piece() -> Vocabulary {
    let mut tokens: Vec<(String, f32, i32)> = vec![
        ("<unk>".into(), 0.0, UNKNOWN),
        ("<bos>".into(), 0.0, CONTROL),
        ("<eos>".into(), 0.0, CONTROL),
        ("<end>".into(), 0.0, CONTROL),
        ("<b>".into(), 0.0, USER_DEFINED),
        ("  ".into(), -1000.0, USER_DEFINED),
    ];
    tokens.extend((0..=u8::MAX).map(|byte| (format!("<0x{byte:02X}>"), 0.0, BYTE)));
    let pieces =
        "▁ a b ab ▁ab é 好 日本 שלום नि 👩\u{200d}👩 < > e n d <e nd nd> <0xAB \u{301} \u{fffd} ▁▁x x <0xZZ>";
    tokens.extend(pieces.split(' ').enumerate().map(|(rank, piece)| (piece.into(), -(rank as f32), NORMAL)));
    Vocabulary {
        kind: VocabularyKind::SentencePiece,
        scores: tokens.iter().map(|token| token.1).collect(),
        token_types: tokens.iter().map(|token| token.2).collect(),
        tokens: tokens.into_iter().map(|token| token.0).collect(),
        bos_id: Some(1),
        eos_id: Some(2),
        unk_id: Some(0),
        add_space_prefix: Some(false),
        ..Vocabulary::default()
    }
}

/// The 256 characters of GPT-2's alphabet, and some merges.
fn byte_level() -> Vocabulary {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut tokens: Vec<String> =
        (0..=u8::MAX).filter(printable).map(|byte| char::from(byte).to_string()).collect();
    tokens.extend(('\u{100}'..).take(256 - tokens.len()).map(String::from));
    let merges = ["h e", "Ġ he", "ã ģ", "Ã ©", "ðŁ ĺ"];
    tokens.push("ðŁ".into());
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    tokens.extend(["<|im_start|>".into(), "<|im_end|>".into(), "<think>".into(), "naïve 好".into()]);
    let normal = tokens.len() - 4;
    let kinds = [vec![NORMAL; normal], vec![CONTROL, CONTROL, USER_DEFINED, USER_DEFINED]].concat();
    Vocabulary {
        kind: VocabularyKind::ByteLevel,
        tokens,
        token_types: kinds,
        merges: merges.map(String::from).to_vec(),
        pre: Some("qwen2".into()),
        eos_id: Some(normal as u32 + 1),
        ..Vocabulary::default()
    }
}

/// A xorshift generator: the same streams in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// What Hugging Face's decoder makes of the tokens.
fn reference(decoder: &DecoderWrapper, tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> String {
    let kept = ids.iter().filter(|&&id| !(skip_special && tokenizer.is_special(id)));
    decoder.decode(kept.map(|&id| tokenizer.token_text(id).unwrap()).collect()).unwrap()
}

#[test]
fn any_stream_gives_the_text_of_all_at_once() {
    let replace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
    let steps = vec![replace, json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
    let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    let stripping = [steps.clone(), vec![strip]].concat();
    let byte_level_decoder =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let prefixed = Vocabulary { add_space_prefix: None, ..sentence_piece() };
    for (vocabulary, decoder) in [
        (sentence_piece(), json!({"type": "Sequence", "decoders": steps})),
        (prefixed, json!({"type": "Sequence", "decoders": stripping})),
        (byte_level(), byte_level_decoder),
    ] {
        let decoder: DecoderWrapper = serde_json::from_value(decoder).unwrap();
        let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let bytes_of = "é好👩\u{200d}👩שि\u{301}";
        for round in 0..4000 {
            // Some streams spell text in bytes, with a fault here and there; the others are of anything.
            let length = random.below(24);
            let ids: Vec<u32> = (0..length)
                .map(|at| match round % 3 {
                    0 if vocabulary.kind == VocabularyKind::SentencePiece && random.below(8) > 0 => {
                        6 + u32::from(bytes_of.as_bytes()[(round + at) % bytes_of.len()])
                    }
                    1 => random.below(262.min(vocabulary.tokens.len())) as u32,
                    _ => random.below(vocabulary.tokens.len()) as u32,
                })
                .collect();
            let skip_special = random.below(2) == 0;
            let whole = tokenizer.decode(&ids, skip_special).unwrap();
            assert_eq!(whole, reference(&decoder, &tokenizer, &ids, skip_special), "{ids:?}");
            let mut stream = tokenizer.detokenizer(skip_special);
            for _ in 0..2 {
                let mut text: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
                text += &stream.finish();
                assert_eq!(text, whole, "{ids:?}");
            }
        }
    }
}

#[test]
fn text_comes_as_soon_as_it_is_certain() {
    let tokenizer = Tokenizer::from_vocabulary(&sentence_piece()).unwrap();
    let byte = |byte: u8| tokenizer.id_of(&format!("<0x{byte:02X}>")).unwrap();
    let ab = tokenizer.id_of("▁ab").unwrap();
    let mut stream = tokenizer.detokenizer(true);
    let pieces: Vec<String> =
        [ab, byte(0xC3), byte(0xA9), ab, byte(0xC3), 2, ab].map(|id| stream.push(id).unwrap()).into();
    assert_eq!(pieces, [" ab", "", "", "é ab", "", "", "\u{fffd} ab"]);
    assert!(stream.push(99_999).is_err());
    assert_eq!(stream.push(byte(0xF0)).unwrap(), "");
    assert_eq!(stream.finish(), "\u{fffd}");
    assert_eq!(stream.finish(), "");
}

#[test]
fn control_text_stays_text() {
    let tokenizer = Tokenizer::from_vocabulary(&sentence_piece()).unwrap();
    let end = tokenizer.id_of("<end>").unwrap();
    assert_eq!(tokenizer.encode("a<end>", true, true).unwrap()[2..], [end]);
    for text in ["<end>", "<bos><end>a<eos>", "<0xAB>", "a<unk>b"] {
        let ids = tokenizer.encode(text, false, false).unwrap();
        assert!(!ids.iter().any(|&id| tokenizer.is_special(id)), "{text}: {ids:?}");
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
        let prompt = tokenizer.encode_prompt(&format!("{}<end>", tokenizer.guard(text))).unwrap();
        assert_eq!(prompt, [&[1], &ids[..], &[end]].concat(), "{text}");
    }
    assert!(tokenizer.encode("a<b>", false, false).unwrap().contains(&4));
}

#[test]
fn messages_are_guarded_in_depth() {
    let tokenizer = Tokenizer::from_vocabulary(&sentence_piece()).unwrap();
    let original =
        json!([{"role": "a<end>", "content": [{"text": "b", "<bos>": [1, null, "<eos>"]}], "z": 1}]);
    let mut messages = original.clone();
    tokenizer.guard_json(&mut messages);
    let ids = tokenizer.encode_prompt(&messages.to_string()).unwrap();
    assert!(ids[1..].iter().all(|&id| !tokenizer.is_special(id) || id == 0));
    assert_eq!(messages.to_string().replace('\u{FDD0}', ""), original.to_string());
}

#[test]
fn endless_white_space_is_an_error_where_it_would_be_cut_wrongly() {
    let spaces = " ".repeat(950_000) + "a";
    let tokenizer = Tokenizer::from_vocabulary(&byte_level()).unwrap();
    assert!(tokenizer.encode(&spaces, false, true).unwrap_err().to_string().contains("white-space"));
    assert!(tokenizer.encode(&"ab \n".repeat(300_000), false, true).is_ok());
}

#[test]
fn one_bos_only() {
    let tokenizer = Tokenizer::from_vocabulary(&sentence_piece()).unwrap();
    let text = tokenizer.encode("ab", false, true).unwrap();
    for prompt in ["ab", "<bos>ab"] {
        assert_eq!(tokenizer.encode_prompt(prompt).unwrap(), [&[1], &text[..]].concat());
    }
    assert_eq!(tokenizer.encode("<bos>ab", true, true).unwrap()[..2], [1, 1]);
    assert_eq!(tokenizer.encode("", true, true).unwrap(), [1]);
    let none = Tokenizer::from_vocabulary(&Vocabulary { add_bos: Some(false), ..sentence_piece() }).unwrap();
    assert_eq!(none.encode_prompt("ab").unwrap(), text);
    assert_eq!(none.bos_id(), Some(1));
}

#[test]
fn end_tokens_are_united() {
    let tokenizer = Tokenizer::from_vocabulary(&byte_level()).unwrap();
    let end = tokenizer.id_of("<|im_end|>").unwrap();
    assert_eq!(tokenizer.eos_ids(), [end]);
    let more = tokenizer.clone().with_eos_ids(&[end, 5]).unwrap();
    assert_eq!((more.eos_ids(), tokenizer.eos_ids()), (&[5, end][..], &[end][..]));
    assert!(tokenizer.with_eos_ids(&[1 << 20]).is_err());
}

#[test]
fn contradictory_vocabularies_are_refused() {
    let with = |change: fn(&mut Vocabulary)| {
        let mut vocabulary = sentence_piece();
        change(&mut vocabulary);
        Tokenizer::from_vocabulary(&vocabulary)
    };
    type Change = fn(&mut Vocabulary);
    let cases: [(&str, Change); 11] = [
        ("scores", |v| v.scores.truncate(3)),
        ("types", |v| v.token_types.push(1)),
        ("unknown type 9", |v| v.token_types[7] = 9),
        ("both", |v| v.tokens[8] = "<0x01>".into()),
        ("id 70000", |v| v.bos_id = Some(70_000)),
        ("id 70000", |v| v.eot_id = Some(70_000)),
        ("id 70000", |v| v.unk_id = Some(70_000)),
        ("BOS", |v| v.bos_id = None),
        ("NaN", |v| *v.scores.last_mut().unwrap() = f32::NAN),
        ("bytes", |v| *v.tokens.last_mut().unwrap() = "y".repeat(1 << 20)),
        ("pre-tokenizer \"tekken\"", |v| {
            *v = Vocabulary { pre: Some("tekken".into()), ..byte_level() };
        }),
    ];
    for (named, change) in cases {
        let error = with(change).unwrap_err().to_string();
        assert!(error.starts_with("GGUF vocabulary: ") && error.contains(named), "{named}: {error}");
    }
    for merge in ["h", "h  e", " e", "h zz", "a b"] {
        let vocabulary = Vocabulary { merges: vec![merge.into()], ..byte_level() };
        assert!(Tokenizer::from_vocabulary(&vocabulary).is_err(), "{merge:?}");
    }
    assert!(
        Tokenizer::from_vocabulary(&Vocabulary { add_bos: Some(false), ..Vocabulary::default() }).is_ok()
    );
}

fn small_file() -> Value {
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "added_tokens": [{"id": 4, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "▁": 3}, "merges": [["a", "b"]]},
    })
}

/// A file that is gone when the test is over.
struct Temporary(PathBuf);

impl Temporary {
    fn load(name: &str, contents: &[u8]) -> Result<Tokenizer, Error> {
        let file = Self(std::env::temp_dir().join(format!("tokenizer-{}-{name}.json", std::process::id())));
        std::fs::write(&file.0, contents).unwrap();
        Tokenizer::from_file(&file.0)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn small_files_load() {
    let tokenizer = Temporary::load("small", small_file().to_string().as_bytes()).unwrap();
    assert_eq!(
        tokenizer.encode("ab ba", true, true).unwrap(),
        [4, 2, 3, 1, 0],
        "the file's truncation is ignored"
    );
    assert_eq!(tokenizer.decode(&[4, 2, 3, 1], true).unwrap(), "ab b");
    assert_eq!((tokenizer.bos_id(), tokenizer.vocab_size()), (Some(4), 5));
}

#[test]
fn damaged_files_are_refused() {
    let whole = small_file().to_string();
    for end in 0..whole.len() {
        let error = Temporary::load("cut", &whole.as_bytes()[..end]).unwrap_err();
        assert!(matches!(error, Error::Tokenizer { .. } | Error::Io { .. }), "{error}");
    }
    let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]]});
    let lonely = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {}});
    for (pointer, value, named) in [
        ("/model", unigram, "\"Unigram\" isn't supported"),
        ("/model/merges", json!([["ab", "ab"]]), "\"abab\" is not in the vocabulary"),
        ("/model/merges", json!([["zz", "b"]]), "\"zz\" is not in the vocabulary"),
        ("/model/merges", json!(["a b c"]), "not two pieces"),
        ("/model/vocab", json!({"a": 0, "b": 0}), "id 0 stands for both"),
        ("/model/unk_token", json!("?"), "unknown token"),
        ("/model/continuing_subword_prefix", json!("##"), "prefix"),
        ("/post_processor", lonely, "\"<x>\" has no ids"),
        ("/post_processor/special_tokens/<s>/ids", json!([77]), "id 77"),
        ("/post_processor/single", json!([]), "one text"),
        ("/added_tokens/0/id", json!(9), "should have the id 9, but gets 4"),
        ("/decoder", json!({"type": "CTC"}), "decoder"),
        ("/decoder", Value::Null, "decoder"),
        (
            "/normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
            "Precompiled isn't supported",
        ),
        ("/normalizer", json!({"type": "Replace"}), "normalizer"),
        (
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}),
            "pre_tokenizer",
        ),
        (
            "/pre_tokenizer",
            json!({"type": "Sequence", "pretokenizers": [{"type": "FixedLength", "length": 0}]}),
            "FixedLength isn't supported",
        ),
    ] {
        let mut file = small_file();
        match file.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => drop(
                file["model"]
                    .as_object_mut()
                    .unwrap()
                    .insert(pointer.rsplit('/').next().unwrap().into(), value),
            ),
        }
        let error = Temporary::load("bad", file.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(named), "{pointer}: {error}");
    }
    assert!(matches!(Tokenizer::from_file("/nowhere/tokenizer.json"), Err(Error::Io { .. })));
}
