//! A vocabulary of a GGUF file as the `tokenizer.json` that says the same.

use serde_json::{Map, Value, json};

use super::decoding::Decoding;
use super::model::Merge;
use super::pipeline::Parts;

impl Parts {
    /// The file's content. Added tokens are listed in the order of their ids.
    pub(super) fn to_json(&self) -> Result<Value, String> {
        let text = |e: serde_json::Error| e.to_string();
        let mut added = Vec::with_capacity(self.added.len());
        for (id, token) in &self.added {
            let mut fields = Map::from_iter([("id".to_owned(), json!(id))]);
            if let Value::Object(of_token) = serde_json::to_value(token).map_err(text)? {
                fields.extend(of_token);
            }
            added.push(Value::Object(fields));
        }
        let mut vocabulary: Vec<(&String, &u32)> = self.model.vocab.iter().collect();
        vocabulary.sort_unstable_by_key(|(_, id)| **id);
        let merges = self.model.merges.iter().map(|Merge(left, right)| json!([left, right]));
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": serde_json::to_value(&self.normalizer).map_err(text)?,
            "pre_tokenizer": serde_json::to_value(&self.pre_tokenizer).map_err(text)?,
            "post_processor": self.post_processor()?,
            "decoder": decoder(&self.decoding),
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": self.model.unk_token,
                "continuing_subword_prefix": self.model.continuing_subword_prefix,
                "end_of_word_suffix": self.model.end_of_word_suffix,
                "fuse_unk": self.model.fuse_unk,
                "byte_fallback": self.model.byte_fallback,
                "ignore_merges": self.model.ignore_merges,
                "vocab": vocabulary.into_iter().map(|(piece, id)| (piece.clone(), json!(id))).collect::<Map<_, _>>(),
                "merges": merges.collect::<Vec<_>>(),
            },
        }))
    }

    /// What goes round a text; none if nothing does.
    fn post_processor(&self) -> Result<Value, String> {
        if self.prefix.is_empty() && self.suffix.is_empty() {
            return Ok(Value::Null);
        }
        let spelled = |id: &u32| {
            let token = self.model.vocab.iter().find(|(_, other)| *other == id).map(|(piece, _)| piece);
            token.ok_or_else(|| format!("id {id} goes round texts, but has no token"))
        };
        let pieces = |ids: &[u32]| -> Result<Vec<Value>, String> {
            ids.iter().map(|id| Ok(json!({"SpecialToken": {"id": spelled(id)?, "type_id": 0}}))).collect()
        };
        let text = |name: &str, kind: u32| json!({"Sequence": {"id": name, "type_id": kind}});
        let (before, after) = (pieces(&self.prefix)?, pieces(&self.suffix)?);
        let mut tokens = Map::new();
        for id in self.prefix.iter().chain(&self.suffix) {
            let token = spelled(id)?;
            tokens.insert(token.clone(), json!({"id": token, "ids": [id], "tokens": [token]}));
        }
        let single = [before.clone(), vec![text("A", 0)], after.clone()].concat();
        let pair = [before, vec![text("A", 0), text("B", 1)], after].concat();
        Ok(json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens}))
    }
}

fn decoder(decoding: &Decoding) -> Value {
    let Decoding::Pieces { replace, byte_fallback, strip } = decoding else {
        return json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    };
    let mut steps: Vec<Value> = replace
        .iter()
        .map(|(from, to)| json!({"type": "Replace", "pattern": {"String": from}, "content": to}))
        .collect();
    if *byte_fallback {
        steps.push(json!({"type": "ByteFallback"}));
    }
    steps.push(json!({"type": "Fuse"}));
    if let Some((character, count)) = strip {
        steps.push(json!({"type": "Strip", "content": character, "start": count, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}
