//! `mlx render`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Run, assert_refused, mlx};

const TEMPLATE: &str = "{{ bos_token }}{% if tools %}{{ tools | tojson }}\n{% endif %}{% for m in messages %}\
    [{{ m.role }}]{{ m.content | trim }}\n{% endfor %}\
    {% if mood is defined %}{{ mood is string }}:{{ mood }}\n{% endif %}\
    {% if messages | length > 3 %}{{ raise_exception('too long') }}{% endif %}\
    {% if add_generation_prompt %}[assistant]{% endif %}";

/// A folder with the configuration of a tokenizer, and nothing else.
struct Model(TempDir);

impl Model {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let config = json!({"bos_token": {"content": "<s>"}, "chat_template": TEMPLATE});
        fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, contents: impl ToString) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, contents.to_string()).unwrap();
        path
    }

    fn render(&self, messages: &Path, more: &[&str]) -> Run {
        let (model, messages) = (self.path().to_str().unwrap(), messages.to_str().unwrap());
        mlx(&[&["render", "--model", model, "--messages", messages], more].concat(), "")
    }
}

fn hello() -> Value {
    json!([{"role": "user", "content": " Grüße \n"}])
}

#[test]
fn prompts_are_printed_as_they_are() {
    let model = Model::new();
    let list = model.file("list.json", hello());
    let object =
        model.file("object.json", json!({"messages": hello(), "tools": [{"name": "é"}], "model": "x"}));
    let empty = model.file("empty.json", json!({"messages": hello(), "tools": null}));
    let tools = model.file("tools.json", json!([{"z": 1, "a": [1.0]}]));
    let tools = tools.to_str().unwrap();
    let cases: &[(&Path, &[&str], &str)] = &[
        (&list, &[], "<s>[user]Grüße\n[assistant]"),
        (&list, &["--var", "add_generation_prompt=false"], "<s>[user]Grüße\n"),
        (&list, &["--var", "add_generation_prompt=true"], "<s>[user]Grüße\n[assistant]"),
        (&list, &["--var", "bos_token=B"], "B[user]Grüße\n[assistant]"),
        (&list, &["--var", "mood=sunny side"], "<s>[user]Grüße\nTrue:sunny side\n[assistant]"),
        (&list, &["--var", "mood=12", "--var", "x=1"], "<s>[user]Grüße\nFalse:12\n[assistant]"),
        (&list, &["--tools", tools], "<s>[{\"z\": 1, \"a\": [1.0]}]\n[user]Grüße\n[assistant]"),
        (&list, &["--var", "tools=[{}]"], "<s>[{}]\n[user]Grüße\n[assistant]"),
        (&object, &[], "<s>[{\"name\": \"é\"}]\n[user]Grüße\n[assistant]"),
        (&empty, &["--tools", tools], "<s>[{\"z\": 1, \"a\": [1.0]}]\n[user]Grüße\n[assistant]"),
    ];
    for (messages, args, expected) in cases {
        assert_eq!(&model.render(messages, args).text(), expected, "{messages:?} {args:?}");
    }
    let model = model.path().to_str().unwrap();
    let piped = mlx(&["render", "--model", model, "--messages", "-"], hello().to_string());
    assert_eq!(piped.text(), "<s>[user]Grüße\n[assistant]");
}

#[test]
fn a_gguf_file_brings_its_template_along() {
    let model = Model::new();
    let list = model.file("list.json", hello());
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let pair = |key: &str, value: &str| [text(key), 8u32.to_le_bytes().to_vec(), text(value)].concat();
    let with = |pairs: &[Vec<u8>]| {
        let head = [b"GGUF", &3u32.to_le_bytes()[..], &[0; 8], &(pairs.len() as u64).to_le_bytes()].concat();
        let path = model.path().join("model.gguf");
        fs::write(&path, [head, pairs.concat()].concat()).unwrap();
        mlx(&["render", "--model", path.to_str().unwrap(), "--messages", list.to_str().unwrap()], "")
    };
    let template = pair("tokenizer.chat_template", "{{ messages[0].content | trim }}");
    assert_eq!(with(&[pair("general.architecture", "none"), template]).text(), "Grüße");
    assert_refused(&with(&[]), &["model.gguf: no chat template is here"]);
    let broken = pair("tokenizer.chat_template", "{{\n% }}");
    assert_refused(&with(&[broken]), &["model.gguf: chat template:", "syntax error"]);
}

#[test]
fn what_cannot_be_rendered_is_named() {
    let model = Model::new();
    let here = model.path().to_str().unwrap().to_owned();
    let list = model.file("list.json", hello());
    let object = model.file("object.json", json!({"messages": hello(), "tools": []}));
    let broken = model.file("broken.json", "[{\"role\":\n");
    let long = model.file("long.json", json!(vec![json!({"role": "user", "content": "a"}); 4]));
    let number = model.file("number.json", 7);
    let nothing = model.file("nothing.json", json!({"message": []}));
    let empty = model.file("empty.json", json!([]));
    let texts = model.file("texts.json", json!(["hi"]));
    let object_path = object.to_str().unwrap();
    let cases: &[(&Path, &[&str], &[&str])] = &[
        (Path::new("/nowhere/m.json"), &[], &["/nowhere/m.json: "]),
        (&broken, &[], &["broken.json: not JSON", "line 2"]),
        (&long, &[], &["tokenizer_config.json:", "the template says: too long"]),
        (&number, &[], &["number.json: neither a JSON list"]),
        (&nothing, &[], &["nothing.json: no list `messages`"]),
        (&empty, &[], &["tokenizer_config.json: ", "the conversation is empty"]),
        (&texts, &[], &["message 0 is a text"]),
        (&list, &["--tools", "/nowhere/t.json"], &["/nowhere/t.json: "]),
        (&list, &["--tools", object_path], &["tools is a map, not a list of maps"]),
        (&object, &["--tools", object_path], &["--tools: ", "object.json holds tools already"]),
        (&object, &["--var", "tools=[]"], &["--var tools: it is given already"]),
        (&list, &["--var", "messages=[]"], &["--var messages: it is given already"]),
        (&list, &["--var", "a=1", "--var", "a=2"], &["--var a: it is given already"]),
    ];
    for (messages, args, parts) in cases {
        assert_refused(&model.render(messages, args), parts);
    }

    fs::write(model.path().join("tokenizer_config.json"), "{\n").unwrap();
    assert_refused(&model.render(&list, &[]), &["tokenizer_config.json:2"]);
    fs::write(model.path().join("tokenizer_config.json"), "{}").unwrap();
    assert_refused(&model.render(&list, &[]), &[&format!("{here}: no chat template is here")]);
    let run = mlx(&["render", "--model", "/nowhere/model", "--messages", list.to_str().unwrap()], "");
    assert_refused(&run, &["/nowhere/model"]);
}
