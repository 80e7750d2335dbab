//! What a tokenizer of somebody else's gives for hostile texts and streams of ids.

use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Expected {
    pub(crate) texts: Vec<Text>,
    pub(crate) streams: Vec<Stream>,
}

#[derive(Deserialize)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// With what the model expects around a text, special tokens parsed.
    pub(crate) ids: Vec<u32>,
    /// Without either.
    pub(crate) ids_plain: Vec<u32>,
    pub(crate) decoded: String,
    pub(crate) decoded_skip: String,
}

#[derive(Deserialize)]
pub(crate) struct Stream {
    pub(crate) ids: Vec<u32>,
    pub(crate) decoded: String,
    pub(crate) decoded_skip: String,
}
