//! `adapter_config.json`, as mlx-lm has it.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::targets::in_layer;
use super::{Adapter, AdapterKind, refuse};
use crate::Result;

/// What the configuration says that the tensors do not.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Config {
    pub(super) kind: AdapterKind,
    pub(super) scale: f32,
    pub(super) dropout: f32,
}

impl Config {
    /// Reads mlx-lm's fields.
    pub(super) fn read(path: &Path, json: &Value) -> Result<Self> {
        let kind = match json.get("fine_tune_type").map(|kind| kind.as_str().unwrap_or("?")) {
            None | Some("lora") => AdapterKind::Lora,
            Some("dora") => AdapterKind::Dora,
            Some("full") => AdapterKind::Full,
            Some(other) => {
                return Err(refuse(
                    path,
                    format!("fine_tune_type {other:?} is not supported; lora, dora and full are"),
                ));
            }
        };
        if kind == AdapterKind::Full {
            return Ok(Config { kind, scale: 1.0, dropout: 0.0 });
        }
        let Some(parameters) = json.get("lora_parameters").and_then(Value::as_object) else {
            return Err(refuse(path, "lora_parameters is missing; it holds rank, scale and dropout"));
        };
        if !parameters.contains_key("scale") && parameters.contains_key("alpha") {
            return Err(refuse(
                path,
                "lora_parameters has alpha and no scale, which is alpha / rank; write scale",
            ));
        }
        let number = |name: &str| match parameters.get(name).map(Value::as_f64) {
            Some(Some(number)) => Ok(Some(number as f32)),
            Some(None) => Err(refuse(path, format!("lora_parameters.{name} is no number"))),
            None => Ok(None),
        };
        let scale = number("scale")?.ok_or_else(|| refuse(path, "lora_parameters.scale is missing"))?;
        let dropout = number("dropout")?.unwrap_or(0.0);
        if !scale.is_finite() || !(0.0..1.0).contains(&dropout) {
            let message = format!(
                "lora_parameters has scale {scale} and dropout {dropout}; a finite scale, and a dropout of at least 0 and \
                 below 1"
            );
            return Err(refuse(path, message));
        }
        Ok(Config { kind, scale, dropout })
    }

    /// What mlx-lm needs to read the adapter of a model of so many layers, and the name of the model.
    pub(super) fn write(adapter: &Adapter, layers: usize, model: &str) -> Value {
        let mut keys: Vec<&str> = Vec::new();
        let mut first = layers;
        for name in &adapter.names {
            let key = match in_layer(name) {
                Some((layer, rest)) => {
                    first = first.min(layer);
                    rest
                }
                None => name,
            };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let mut json = Map::new();
        json.insert("fine_tune_type".into(), json!(adapter.kind.name()));
        json.insert("model".into(), json!(model));
        json.insert("num_layers".into(), json!(layers - first));
        let parameters = match adapter.kind {
            AdapterKind::Full => Value::Null,
            _ => json!({
                "rank": adapter.rank,
                "scale": decimal(adapter.scale),
                "dropout": decimal(adapter.dropout),
                "keys": keys,
            }),
        };
        json.insert("lora_parameters".into(), parameters);
        Value::Object(json)
    }
}

/// A float32 by its shortest digits: 0.1, and not 0.10000000149011612.
fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}
