//! Examples.

use std::fs;
use std::path::PathBuf;

use mlx_models::training::{DataOptions, DataSet, Row};
use mlx_models::{Checkpoint, TextTools};
use serde_json::json;
use tempfile::TempDir;

/// Rendered in the manner of ChatML.
const PLAIN: &str = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}<e>\n{% endfor %}\
    {% if add_generation_prompt %}<s>assistant\n{% endif %}";

/// As Qwen 3's does, this one shows a reply's reasoning in the last turn alone.
const THINKING: &str = "{% for m in messages %}<s>{{ m.role }}\n\
    {% if m.role == 'assistant' and loop.last %}(think)\n{% endif %}{{ m.content }}<e>\n{% endfor %}\
    {% if add_generation_prompt %}<s>assistant\n{% endif %}";

const END: u32 = 1;

/// A model's folder without weights: a tokenizer of characters, bytes and the pair `ab`, and a template or none.
struct Model(TempDir);

impl Model {
    fn new(template: Option<&str>) -> Self {
        let folder = TempDir::new().unwrap();
        let special = ["<b>", "<e>", "<s>"];
        let mut pieces: Vec<String> = special.map(str::to_owned).to_vec();
        pieces.extend((' '..='~').map(String::from));
        pieces.extend(["\n", "ab", ")a"].map(str::to_owned));
        pieces.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
        let vocabulary: serde_json::Map<_, _> =
            pieces.iter().enumerate().map(|(id, piece)| (piece.clone(), id.into())).collect();
        let added: Vec<_> = special
            .iter()
            .enumerate()
            .map(|(id, content)| {
                json!({"id": id, "content": content, "special": true, "normalized": false, "single_word": false,
                       "lstrip": false, "rstrip": false})
            })
            .collect();
        let tokenizer = json!({
            "version": "1.0",
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": null,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<b>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [],
                "special_tokens": {"<b>": {"id": "<b>", "ids": [0], "tokens": ["<b>"]}},
            },
            "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": vocabulary, "merges": [["a", "b"], [")", "a"]],
            },
        });
        let config = json!({"eos_token": "<e>", "bos_token": "<b>", "chat_template": template});
        for (name, value) in [
            ("tokenizer.json", tokenizer),
            ("tokenizer_config.json", config),
            ("config.json", json!({"model_type": "llama"})),
        ] {
            fs::write(folder.path().join(name), value.to_string()).unwrap();
        }
        fs::copy(crate::data("tiny/llama-biases/model.safetensors"), folder.path().join("model.safetensors"))
            .unwrap();
        Model(folder)
    }

    fn text(&self) -> TextTools {
        TextTools::of(&Checkpoint::open(self.0.path()).unwrap()).unwrap()
    }

    fn file(&self, content: &[u8]) -> PathBuf {
        let path = self.0.path().join("train.jsonl");
        fs::write(&path, content).unwrap();
        path
    }

    fn read(&self, content: &[u8], options: &DataOptions) -> mlx_models::Result<DataSet> {
        DataSet::read(&self.file(content), &self.text(), options)
    }
}

fn options(mask_prompt: bool, max_tokens: usize) -> DataOptions {
    DataOptions { mask_prompt, max_tokens, end: Some(END) }
}

/// The text of a row, with what counts in brackets.
fn shown(model: &Model, row: &Row) -> String {
    let tools = model.text();
    let tokenizer = tools.tokenizer().unwrap();
    let mut text = String::new();
    for part in row.tokens.iter().zip(&row.counted).collect::<Vec<_>>().chunk_by(|a, b| a.1 == b.1) {
        let ids: Vec<u32> = part.iter().map(|(id, _)| **id).collect();
        let decoded = tokenizer.decode(&ids, false).unwrap();
        text += &if *part[0].1 { format!("[{decoded}]") } else { decoded };
    }
    text
}

#[test]
fn what_counts_is_what_the_assistant_says() {
    let chat = r#"{"messages": [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes"}, {"role": "user", "content": "so"}, {"role": "assistant", "content": "no"}]}"#
        .replace('\n', " ");
    let completion = r#"{"prompt": "hia", "completion": "b c"}"#;
    let text = r#"{"text": "ab c"}"#;
    let ended = r#"{"text": "abc<e>"}"#;
    let cases: [(Option<&str>, bool, &str, &[&str]); 10] = [
        (
            Some(PLAIN),
            false,
            &chat,
            &[
                "<b>[<s>system\nbe<e>\n<s>user\nhi<e>\n<s>assistant\nyes<e>\n<s>user\nso<e>\n<s>assistant\nno<e>\n]",
            ],
        ),
        (
            Some(PLAIN),
            true,
            &chat,
            &[
                "<b><s>system\nbe<e>\n<s>user\nhi<e>\n<s>assistant\n[yes<e>\n]<s>user\nso<e>\n<s>assistant\n[no<e>\n]",
            ],
        ),
        (
            Some(THINKING),
            true,
            &chat,
            &[
                "<b><s>system\nbe<e>\n<s>user\nhi<e>\n<s>assistant\n[(think)\nyes<e>\n]",
                "<b><s>system\nbe<e>\n<s>user\nhi<e>\n<s>assistant\nyes<e>\n<s>user\nso<e>\n<s>assistant\n[(think)\nno<e>\n]",
            ],
        ),
        (Some(PLAIN), true, completion, &["<b><s>user\nhia<e>\n<s>assistant\n[b c<e>\n]"]),
        // A token must not reach across from the prompt: `a` and `b` stay two.
        (None, true, completion, &["<b>hia[b c<e>]"]),
        (None, false, completion, &["<b>[hiab c<e>]"]),
        (None, false, text, &["<b>[ab c<e>]"]),
        (Some(PLAIN), false, ended, &["<b>[abc<e>]"]),
        // What spells a control token in a conversation is text.
        (
            Some(PLAIN),
            true,
            r#"{"prompt": "<e>", "completion": "<s>"}"#,
            &["<b><s>user\n<e><e>\n<s>assistant\n[<s><e>\n]"],
        ),
        (Some(PLAIN), true, r#"{"messages": [{"role": "user", "content": "hi"}]}"#, &[]),
    ];
    for (template, mask, line, expected) in cases {
        let model = Model::new(template);
        let set = model.read(line.as_bytes(), &options(mask, 1000)).unwrap();
        let found: Vec<String> = set.rows.iter().map(|row| shown(&model, row)).collect();
        assert_eq!(found, expected, "{line}");
        assert_eq!(
            (set.split, set.empty),
            (usize::from(expected.len() > 1), usize::from(expected.is_empty()))
        );
    }
    let model = Model::new(Some(PLAIN));
    let rows = model.read(br#"{"prompt": "<e>", "completion": "<s>"}"#, &options(true, 1000)).unwrap().rows;
    let controls = rows[0].tokens.iter().filter(|id| **id <= 2).count();
    assert_eq!(controls, 5, "one begin, two starts and two ends are the template's");
}

#[test]
fn long_rows_are_cut_and_empty_ones_left_out_and_both_are_counted() {
    let model = Model::new(None);
    let lines = "{\"prompt\": \"abcd\", \"completion\": \"efgh\"}\n\n{\"prompt\": \"abcdefghijk\", \"completion\": \"l\"}\n";
    let set = model.read(lines.as_bytes(), &options(true, 6)).unwrap();
    // <b> ab c d e f: what is cut off does not count.
    assert_eq!((set.rows.len(), set.truncated, set.empty), (1, 2, 1));
    assert_eq!(shown(&model, &set.rows[0]), "<b>abcd[ef]");
    let set = model.read(lines.as_bytes(), &options(true, 100)).unwrap();
    assert_eq!((set.rows.len(), set.truncated, set.empty), (2, 0, 0));
    assert_eq!(model.read(b"", &options(true, 6)).unwrap(), DataSet::default());
}

#[test]
fn a_bad_line_is_told_by_file_line_and_reason() {
    let cases: [(&[u8], &str); 15] = [
        (b"{", "no JSON: EOF while parsing an object at column 1"),
        (b"[1]", "is no JSON object"),
        (b"\xff", "not UTF-8 text"),
        (b"{}", "has [], and none of messages, prompt with completion, and text"),
        (b"{\"prompt\": \"a\", \"answer\": \"b\"}", "has [prompt, answer], and none of"),
        (b"{\"prompt\": 1, \"completion\": \"b\"}", "prompt is a number, and must be a string"),
        (b"{\"prompt\": \"a\", \"completion\": null}", "completion is null, and must be a string"),
        (b"{\"messages\": {}}", "messages is an object, and must be a list of objects"),
        (b"{\"messages\": []}", "messages is an empty list"),
        (b"{\"messages\": [1]}", "messages[0] is a number, and must be an object"),
        (b"{\"messages\": [{\"content\": \"a\"}]}", "messages[0].role is missing"),
        (b"{\"messages\": [{\"role\": \"user\"}]}", "messages[0].content is missing"),
        (b"{\"messages\": [{\"role\": \"user\", \"content\": 3}]}", "messages[0].content is a number"),
        (b"{\"text\": \"a\"}", "a text has no prompt to mask"),
        (b"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", "no chat template"),
    ];
    let model = Model::new(None);
    for (line, reason) in cases {
        let content = [b"{\"prompt\": \"a\", \"completion\": \"b\"}\n \n", line, b"\n"].concat();
        let error = model.read(&content, &options(true, 100)).unwrap_err().to_string();
        let place = format!("{}:3: ", model.0.path().join("train.jsonl").display());
        assert!(error.starts_with(&place) && error.contains(reason), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let missing = DataSet::read(&model.0.path().join("valid.jsonl"), &model.text(), &options(true, 100));
    assert!(missing.unwrap_err().to_string().contains("valid.jsonl"));
}
