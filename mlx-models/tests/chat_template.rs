//! Chat templates, against what Hugging Face's `apply_chat_template` rendered (`data/make_chat_templates.py`), and against
//! templates that mean harm.

use std::collections::HashMap;

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
        ("\n{{ strftime_now('%!') }}", 2, "strftime_now"),
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
        "{{ '%s' | format }}{{ 1 // 0 }}",
        &"x".repeat(2 << 20),
    ] {
        assert!(render(source).is_err(), "{}", &source[..source.len().min(80)]);
    }
}

#[test]
fn folders_are_searched_in_order() {
    let folder = std::env::temp_dir().join(format!("chat-template-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let render = |variables: Value| {
        let template = ChatTemplate::from_folder(&folder).unwrap()?;
        Some(template.render(&json!([]), false, variables.as_object().unwrap()).unwrap())
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
    write("chat_template.jinja", "file {{ bos_token }}");
    assert_eq!(render(json!({})).as_deref(), Some("file <s>"));
    write("tokenizer_config.json", "{");
    assert!(matches!(ChatTemplate::from_folder(&folder), Err(Error::Template { line: Some(1), .. })));
    std::fs::remove_dir_all(&folder).unwrap();
}
