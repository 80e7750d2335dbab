//! Chat templates, against what Hugging Face's `apply_chat_template` rendered (`data/make_chat_templates.py`), and against
//! templates that mean harm.

use std::collections::HashMap;
use std::time::Instant;

use mlx_models::gguf::GgufFile;
use mlx_models::{ChatTemplate, Error};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Cases {
    #[serde(default)]
    templates: HashMap<String, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    template: String,
    tokens: HashMap<String, String>,
    messages: Value,
    variables: Map<String, Value>,
    add_generation_prompt: bool,
    /// Absent where the reference raised an error.
    expected: Option<String>,
}

#[test]
fn renders_as_the_reference_does() {
    let (text, mut known) = match std::env::var("CHAT_TEMPLATE_CASES") {
        Ok(path) => (std::fs::read_to_string(path).unwrap(), HashMap::new()),
        Err(_) => (include_str!("data/chat_templates.json").to_owned(), HashMap::new()),
    };
    known.insert("turns".to_owned(), include_str!("data/templates/turns.jinja").to_owned());
    known.insert("tools".to_owned(), include_str!("data/templates/tools.jinja").to_owned());
    let Cases { templates, cases } = serde_json::from_str(&text).unwrap();
    known.extend(templates);
    let mut failed = 0;
    for case in &cases {
        let token = |name: &str| case.tokens.get(name).map(String::as_str);
        let template =
            ChatTemplate::new(&known[&case.template], token("bos_token"), token("eos_token")).unwrap();
        let rendered = template.render(&case.messages, case.add_generation_prompt, &case.variables);
        let agrees = match (&rendered, &case.expected) {
            (Ok(rendered), Some(expected)) => rendered == expected,
            (Err(_), None) => true,
            _ => false,
        };
        if !agrees {
            failed += 1;
            println!(
                "{} {:?}\n  got      {rendered:?}\n  expected {:?}",
                case.name, case.variables, case.expected
            );
        }
    }
    assert_eq!(failed, 0, "of {} cases", cases.len());
}

#[derive(Deserialize)]
struct Snippets {
    variables: Map<String, Value>,
    /// Templates, and what the reference makes of each; nothing where it raises an error.
    snippets: Vec<(String, Option<String>)>,
}

/// Where this crate renders otherwise than the reference: rare in chat templates, and not the engine's way.
const KNOWN: [&str; 17] = [
    // A template stands alone, so it needs no blocks.
    "{% block a %}b{% endblock %}{{ self.a() }}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}",
    // `%` is for numbers; the filter `format` does the same.
    "{{ '%s' % 'x' }}",
    "{{ '%s and %s' % ('x', 1) }}",
    // Filters and methods that are missing.
    "{{ 'a b' | wordcount }}",
    "{{ 'abc' | center(9) }}",
    "{{ 'long text here' | truncate(8) }}",
    "{{ list.copy() }}",
    "{{ s.format_map({}) }}",
    // An error rather than 0.
    "{{ 'x' | int }}",
    // Generators can be written as JSON.
    "{{ range(3) | tojson }}",
    "{{ map.items() | tojson }}",
    "{{ list | map('string') | tojson }}",
    // Nothing can be walked, as an empty list.
    "{% for x in none_ %}{% endfor %}",
    // A namespace may hold names that begin with `_`.
    "{% set ns = namespace(_a=1) %}{{ ns._a }}",
    // Macros take no further arguments.
    "{% macro m(a, b='d', c=n) %}[{{ a }}{{ b }}{{ c }}{{ varargs }}{{ kwargs }}]{% endmacro %}{{ m(1) }}{{ m(1, c=2) }}{{ m() }}",
    "{{ lipsum is defined }}{{ cycler is defined }}{{ joiner is defined }}{{ namespace is defined }}{{ strftime_now is defined }}{{ dict is defined }}",
];

#[test]
fn the_language_is_that_of_the_reference() {
    let Snippets { variables, snippets } =
        serde_json::from_str(include_str!("data/template_snippets.json")).unwrap();
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let mut failed = 0;
    for (source, expected) in &snippets {
        let rendered =
            ChatTemplate::new(source, None, None).and_then(|t| t.render(&messages, false, &variables));
        let agrees = rendered.as_ref().ok() == expected.as_ref();
        if agrees == KNOWN.contains(&source.as_str()) {
            failed += 1;
            println!("{source}\n  got      {rendered:?}\n  expected {expected:?}");
        }
    }
    assert_eq!(failed, 0, "of {} snippets", snippets.len());
}

fn render(source: &str) -> Result<String, Error> {
    ChatTemplate::new(source, None, None)?.render(
        &json!([{"role": "user", "content": "Hi"}]),
        true,
        &Map::new(),
    )
}

#[test]
fn errors_name_the_line() {
    for (source, line, message) in [
        ("a\nb\n{% if %}", 3, "syntax error"),
        ("a\n{{ raise_exception('no tools here') }}", 2, "the template says: no tools here"),
        ("{{ 1 }}\n\n{{ messages[0].content.nothing() }}", 3, "nothing"),
        ("\n{{ messages | nonsense }}", 2, "nonsense"),
    ] {
        match render(source) {
            Err(Error::Template { line: found, message: text, .. }) => {
                assert_eq!(found, Some(line), "{source}: {text}");
                assert!(text.contains(message), "{source}: {text}");
            }
            other => panic!("{source}: {other:?}"),
        }
    }
}

#[test]
fn harmful_templates_end_in_errors() {
    let doubling = "{% set x = x ~ x %}".repeat(60);
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a in range(99999) %}{{ 'x' * 100000 }}{% endfor %}",
        "{{ 'x' * 10000000000 }}",
        "{{ [1] * 10000000000 }}",
        "{{ range(99999999999) | list }}",
        &format!("{{% set x = 'xx' %}}{doubling}"),
        "{% set ns = namespace(l=[1]) %}{% for i in range(30) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l | length }}{{ ns.l | tojson }}",
        &format!("{{{{ {deep} }}}}"),
        "{% set ns = namespace(l=[1]) %}{% for i in range(30) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l.count(1) }}{{ ns.l }}",
        "{% set ns = namespace(l=['']) %}{% for i in range(30) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ''.join(ns.l) }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(90) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}",
        "{% set ns = namespace(l=['']) %}{% for i in range(30) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l == ns.l }}{{ 'a'.startswith(ns.l) }}{{ ns.l | join }}",
        "{% set x = 'x' * 1000000 %}{{ x.replace('x', x) }}",
        "{{ '{:>99999999999}'.format(1) }}",
        "{% set x = 'x' * 1000000 %}{{ ('{0}' * 100000).format(x) }}",
        "{% include 'default' %}",
        "{% set a = namespace() %}{% set a.a = a %}{{ a | tojson }}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns | string }}{{ ns == ns.a[0] }}{{ ns | tojson }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l | length }}",
        "{% macro m(l, n) %}{% if n %}{{ m(l + l, n - 1) }}{% endif %}{% endmacro %}{{ m([1], 60) }}",
        &("{% set l = [1] %}".to_owned()
            + &"{% with l = (l) + (l | list) %}".repeat(60)
            + &"{% endwith %}".repeat(60)),
        &("{% set l = [1] %}".to_owned()
            + &"{% for l in [[l, l] | sum(start=[])] %}".repeat(60)
            + &"{% endfor %}".repeat(60)),
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] | sum(start=[]) %}{% endfor %}",
        "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ 1 // 0 }}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% macro a() %}{% call a() %}{% endcall %}{% endmacro %}{{ a() }}",
        "{% extends 'default' %}",
        "{% import 'default' as d %}{{ d.x }}",
        "{% from 'default' import x %}{{ x }}",
        "{% block a %}{{ self.a() }}{% endblock %}",
        "{% for x in [[1]] recursive %}{{ loop([[x]]) }}{% endfor %}",
        "{{ 'a'.center(1000000000) }}",
        "{{ ('a ' * 3000000).split() | length }}",
        "{{ ('\n' * 5000000).splitlines() | length }}",
        "{% for i in range(99999) %}{{ ('a' * 100000).title() | length }}{% endfor %}",
        "{% for i in range(99999) %}{{ ('a' * 100000).find('b') }}{% endfor %}",
        "{% set ns = namespace(l=range(99999) | list) %}{% for i in range(99999) %}{% set ns.l = ns.l + [i] %}{% endfor %}",
        "{% set ns = namespace(l=range(99999) | list) %}{% for i in range(99999) %}{% set ns.l = [i] + ns.l %}{% endfor %}",
        "{{ [messages] * 100000000 }}",
        "{{ ('x' * 10000000) | indent(100000) }}{{ (('x\n') * 1000000) | indent(1000000) }}",
        "{{ range(99999) | map('string') | batch(1, 'x') | list | tojson(indent=16) }}{{ 1 // 0 }}",
        "{{ 9 ** 99999999 }}",
        "{{ '%s' | format }}{{ 1 // 0 }}",
        &"x".repeat(2 << 20),
    ] {
        let name = &source[..source.len().min(80)];
        let before = Instant::now();
        let error = render(source).expect_err(name);
        println!("{:8.3} s  {name}  {error}", before.elapsed().as_secs_f64());
    }
}

#[test]
fn folders_are_searched_in_order() {
    let folder = std::env::temp_dir().join(format!("chat-template-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let render = |variables: Value| {
        let template = ChatTemplate::from_folder(&folder).unwrap()?;
        let messages = json!([{"role": "user", "content": ""}]);
        Some(template.render(&messages, false, variables.as_object().unwrap()).unwrap())
    };
    assert_eq!(render(json!({})), None);
    write("chat_template.json", r#"{"chat_template": "processor"}"#);
    assert_eq!(render(json!({})).as_deref(), Some("processor"));
    let named = r#"[{"name": "default", "template": "{{ bos_token }}{{ eos_token }}"}, {"name": "tool_use", "template": "tools"}]"#;
    write(
        "tokenizer_config.json",
        &format!(r#"{{"bos_token": {{"content": "<s>"}}, "eos_token": "</s>", "chat_template": {named}}}"#),
    );
    assert_eq!(render(json!({})).as_deref(), Some("<s></s>"));
    assert_eq!(render(json!({"tools": []})).as_deref(), Some("tools"));
    // A configuration of an older kind leaves the tokens to a file of their own.
    write(
        "special_tokens_map.json",
        r#"{"eos_token": {"content": "<e>"}, "additional_special_tokens": ["x"]}"#,
    );
    assert_eq!(render(json!({})).as_deref(), Some("<s><e>"));
    std::fs::remove_file(folder.join("special_tokens_map.json")).unwrap();
    write("chat_template.jinja", "file {{ bos_token }}");
    assert_eq!(render(json!({})).as_deref(), Some("file <s>"));
    assert_eq!(render(json!({"tools": []})).as_deref(), Some("file <s>"));
    std::fs::create_dir(folder.join("additional_chat_templates")).unwrap();
    write("additional_chat_templates/tool_use.jinja", "file with {{ tools | length }} tools");
    write("additional_chat_templates/README.md", "{% not a template");
    assert_eq!(render(json!({})).as_deref(), Some("file <s>"));
    assert_eq!(render(json!({"tools": [{}]})).as_deref(), Some("file with 1 tools"));
    std::fs::remove_file(folder.join("chat_template.jinja")).unwrap();
    assert_eq!(render(json!({"tools": []})).as_deref(), Some("file with 0 tools"));
    let template = ChatTemplate::from_folder(&folder).unwrap().unwrap();
    let error = template.render(&json!([{"role": "user"}]), false, &Map::new()).unwrap_err().to_string();
    assert!(error.contains("none of the chat templates [tool_use] is named default"), "{error}");
    write("tokenizer_config.json", "{");
    assert!(matches!(ChatTemplate::from_folder(&folder), Err(Error::Template { line: Some(1), .. })));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A GGUF file without tensors: strings, lists of strings, and numbers of 32 bits.
fn gguf(pairs: &[(&str, Value)]) -> GgufFile {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut bytes = [b"GGUF", &3u32.to_le_bytes()[..], &[0; 8], &(pairs.len() as u64).to_le_bytes()].concat();
    for (key, value) in pairs {
        bytes.extend(text(key));
        let (kind, value) = match value {
            Value::String(value) => (8u32, text(value)),
            Value::Array(list) => {
                let head = [&8u32.to_le_bytes()[..], &(list.len() as u64).to_le_bytes()].concat();
                (
                    9,
                    head.into_iter()
                        .chain(list.iter().flat_map(|item| text(item.as_str().unwrap())))
                        .collect(),
                )
            }
            number => (4, (number.as_u64().unwrap() as u32).to_le_bytes().to_vec()),
        };
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
    }
    GgufFile::from_bytes(bytes).unwrap()
}

#[test]
fn gguf_files_hold_a_default_template_and_named_ones() {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let render = |file: &GgufFile, variables: Value| {
        ChatTemplate::from_gguf(file)?.unwrap().render(&messages, true, variables.as_object().unwrap())
    };
    let tokens = ("tokenizer.ggml.tokens", json!(["<s>", "</s>", "<pad>"]));
    let ids = [("tokenizer.ggml.bos_token_id", json!(0)), ("tokenizer.ggml.eos_token_id", json!(1))];
    let template =
        ("tokenizer.chat_template", json!("{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}"));
    let tool_use = ("tokenizer.chat_template.tool_use", json!("{{ tools | length }} tools"));
    let [bos, eos] = ids;

    assert!(ChatTemplate::from_gguf(&gguf(std::slice::from_ref(&tokens))).unwrap().is_none());
    let file = gguf(&[tokens.clone(), bos.clone(), eos, template.clone(), tool_use.clone()]);
    assert_eq!(render(&file, json!({})).unwrap(), "<s></s>False");
    assert_eq!(render(&file, json!({"tools": [{}]})).unwrap(), "1 tools");
    // An id without a token is for the tokenizer to refuse.
    let file = gguf(&[tokens, ("tokenizer.ggml.bos_token_id", json!(7)), template]);
    assert_eq!(render(&file, json!({})).unwrap(), "False");
    let file = gguf(&[tool_use]);
    assert_eq!(render(&file, json!({"tools": []})).unwrap(), "0 tools");
    assert!(render(&file, json!({})).unwrap_err().to_string().contains("[tool_use]"));
    for (key, value) in [("tokenizer.chat_template", json!(1)), ("tokenizer.chat_template.x", json!(["a"]))] {
        let error = ChatTemplate::from_gguf(&gguf(&[(key, value)])).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}
