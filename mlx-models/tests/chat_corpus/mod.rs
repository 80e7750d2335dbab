//! Conversations as transformers renders them with the templates of real models; `data/make_chat_models.py` makes them.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
pub(crate) struct Corpus {
    pub(crate) conversations: BTreeMap<String, Value>,
    pub(crate) models: Vec<Model>,
}

#[derive(Deserialize)]
pub(crate) struct Model {
    pub(crate) name: String,
    /// Of the template.
    pub(crate) sha256: String,
    pub(crate) tokens: BTreeMap<String, String>,
    pub(crate) renders: Vec<Render>,
}

#[derive(Deserialize)]
pub(crate) struct Render {
    pub(crate) conversation: String,
    pub(crate) variables: Map<String, Value>,
    /// Absent where the reference raised an error.
    pub(crate) expected: Option<String>,
    pub(crate) error: Option<String>,
}

pub(crate) fn corpus() -> Corpus {
    let text = match std::env::var("CHAT_TEMPLATE_MODELS") {
        Ok(path) => std::fs::read_to_string(path).unwrap(),
        Err(_) => include_str!("../data/chat_template_models.json").to_owned(),
    };
    serde_json::from_str(&text).unwrap()
}
