//! The chat templates of real models, against what Hugging Face's `apply_chat_template` makes of the same conversations
//! (`data/make_chat_models.py`).
//!
//! SmolLM2's comes with its packaged GGUF file and is always tested. The others are not ours to commit; where
//! `CHAT_TEMPLATES` names a folder that has them as `NAME.jinja`, and `REFERENCE_TOKENIZERS` one with the folders `qwen3`
//! and `gemma3`, as in CI, they are tested as well.

mod chat_corpus;
mod real;

use std::path::PathBuf;

use chat_corpus::{Corpus, Model, Render, corpus};
use mlx_models::gguf::GgufFile;
use mlx_models::{ChatTemplate, Error};
use sha2::{Digest, Sha256};

/// Renders every conversation, and prints what differs.
fn differences(template: &ChatTemplate, model: &Model, corpus: &Corpus) -> usize {
    let mut failed = 0;
    for Render { conversation, variables, expected, error } in &model.renders {
        let rendered = template.render(&corpus.conversations[conversation], true, variables);
        let agrees = match (&rendered, expected, error) {
            (Ok(rendered), Some(expected), None) => rendered == expected,
            // What the template itself says has to arrive.
            (Err(found), None, Some(error)) => {
                error.strip_prefix("TemplateError: ").is_none_or(|said| found.to_string().contains(said))
            }
            _ => false,
        };
        if !agrees {
            failed += 1;
            let name = &model.name;
            println!(
                "{name}: {conversation} {variables:?}\n  got      {rendered:?}\n  expected {expected:?} {error:?}"
            );
        }
    }
    failed
}

#[test]
fn smollm2_renders_as_the_reference_does() {
    let file = GgufFile::open(real::fetch("smollm2-135m-instruct")).unwrap();
    let template = ChatTemplate::from_gguf(&file).unwrap().unwrap();
    let corpus = corpus();
    for model in corpus.models.iter().filter(|model| model.name == "smollm2") {
        assert!(model.renders.len() > 50);
        assert_eq!(differences(&template, model, &corpus), 0, "of {} renderings", model.renders.len());
    }
}

#[test]
fn folders_that_are_given_render_as_the_reference_does() {
    let Some(given) = std::env::var_os("REFERENCE_TOKENIZERS").map(PathBuf::from) else { return };
    let corpus = corpus();
    for (folder, name) in [("qwen3", "qwen3_first"), ("gemma3", "gemma3")] {
        let template = ChatTemplate::from_folder(given.join(folder)).unwrap().unwrap();
        for model in corpus.models.iter().filter(|model| model.name == name) {
            assert_eq!(differences(&template, model, &corpus), 0, "of {} renderings", model.renders.len());
        }
    }
}

#[test]
fn templates_that_are_given_render_as_the_reference_does() {
    let Some(folder) = std::env::var_os("CHAT_TEMPLATES").map(PathBuf::from) else { return };
    let corpus = corpus();
    let mut failed = 0;
    for model in corpus.models.iter().filter(|model| !["smollm2", "qwen3_first"].contains(&&*model.name)) {
        let path = folder.join(format!("{}.jinja", model.name));
        let source = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let digest: String = Sha256::digest(&source).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            digest,
            model.sha256,
            "{}: not the template that the expected texts are of",
            path.display()
        );
        let token = |name: &str| model.tokens.get(name).map(String::as_str);
        let template = ChatTemplate::new(&source, token("bos_token"), token("eos_token"));
        match template {
            Ok(template) => failed += differences(&template, model, &corpus),
            Err(error @ Error::Template { .. }) => {
                failed += 1;
                println!("{}: {error}", model.name);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(failed, 0, "renderings differ");
}
