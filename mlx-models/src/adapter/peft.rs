//! Adapters of PEFT: `adapter_model.safetensors`, with the matrices the other way round.
//!
//! ```text
//! base_model.model.<map>.lora_A.weight              [rank, K]
//! base_model.model.<map>.lora_B.weight              [N, rank]
//! base_model.model.<map>.lora_magnitude_vector      [N], with DoRA
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use mlx_core::io::load_safetensors;
use mlx_core::{Array, DType};
use serde_json::Value;

use super::file::{Matrices, Stored};
use super::{AdapterKind, refuse};
use crate::Result;

const TENSORS: &str = "adapter_model.safetensors";
const PICKLE: &str = "adapter_model.bin";
const PREFIX: &str = "base_model.model.";

/// Fields that ask for something that is not supported unless they have one of these values.
const USUAL: [(&str, &[&str]); 11] = [
    ("bias", &["\"none\""]),
    ("fan_in_fan_out", &["false"]),
    ("modules_to_save", &["null", "[]"]),
    ("alpha_pattern", &["{}", "null"]),
    ("lora_bias", &["false"]),
    ("use_qalora", &["false"]),
    ("trainable_token_indices", &["null"]),
    ("layer_replication", &["null"]),
    ("target_parameters", &["null", "[]"]),
    ("alora_invocation_tokens", &["null"]),
    // Others begin with a base that they change.
    ("init_lora_weights", &["true", "false", "null", "\"gaussian\"", "\"orthogonal\"", "\"eva\""]),
];

pub(super) fn read(folder: &Path, config: &Path, json: &Value) -> Result<Stored> {
    match json["peft_type"].as_str() {
        Some("LORA") => {}
        other => {
            let name = other.unwrap_or("?");
            return Err(refuse(config, format!("peft_type {name:?} is not supported; LORA is")));
        }
    }
    for (field, usual) in USUAL {
        if let Some(value) = json.get(field).filter(|value| !usual.contains(&value.to_string().as_str())) {
            let value: String = value.to_string().chars().take(100).collect();
            return Err(refuse(
                config,
                format!("{field} {value} is not supported; the usual value {} is", usual[0]),
            ));
        }
    }
    let flag = |name: &str| json.get(name).and_then(Value::as_bool).unwrap_or(false);
    let number = |name: &str| {
        let value = json.get(name).and_then(Value::as_f64).filter(|value| value.is_finite());
        value.ok_or_else(|| refuse(config, format!("{name} is missing or no number")))
    };
    let alpha = number("lora_alpha")?;
    let dropout = json.get("lora_dropout").and_then(Value::as_f64).unwrap_or(0.0);
    if !(0.0..1.0).contains(&dropout) {
        return Err(refuse(config, format!("lora_dropout is {dropout}; at least 0 and below 1 will do")));
    }
    let scale = |rank: i32| match flag("use_rslora") {
        true => alpha / f64::from(rank).sqrt(),
        false => alpha / f64::from(rank),
    } as f32;

    let path = folder.join(TENSORS);
    if !path.exists() && folder.join(PICKLE).exists() {
        return Err(refuse(
            folder.join(PICKLE),
            format!("pickled tensors are not read, as they may run code; save the adapter as {TENSORS}"),
        ));
    }
    let (arrays, _) = load_safetensors(&path)?;
    let mut parts: BTreeMap<String, [Option<Array>; 3]> = BTreeMap::new();
    for (name, array) in arrays {
        let inner = name.strip_prefix(PREFIX).unwrap_or(&name);
        const ENDS: [(&str, usize); 4] = [
            (".lora_A.weight", 0),
            (".lora_B.weight", 1),
            (".lora_magnitude_vector", 2),
            (".lora_magnitude_vector.weight", 2),
        ];
        let found = ENDS.iter().find_map(|(end, part)| Some((inner.strip_suffix(end)?, *part)));
        let Some((map, part)) = found else {
            return Err(refuse(
                path,
                format!("tensor {name} is not supported; adapters of linear maps are, lora_A and lora_B"),
            ));
        };
        parts.entry(map.to_owned()).or_default()[part] = Some(array);
    }
    let mut maps: BTreeMap<String, Matrices> = BTreeMap::new();
    let mut kind = AdapterKind::Lora;
    for (name, [a, b, m]) in parts {
        let (Some(a), Some(b)) = (a, b) else {
            return Err(refuse(path, format!("{name} has not both of lora_A and lora_B")));
        };
        if m.is_some() {
            kind = AdapterKind::Dora;
        }
        let (&[rank, _], 2) = (a.shape(), b.ndim()) else {
            let message =
                format!("{name}: lora_A {:?} and lora_B {:?} are no matrices", a.shape(), b.shape());
            return Err(refuse(path, message));
        };
        let turned = |array: &Array| -> Result<Array> {
            // In rows of its own, as if it had been read so.
            let turned = array.transpose(&[1, 0])?;
            Ok(Array::from_bytes(&turned.to_bytes()?, turned.shape(), turned.dtype())?)
        };
        let m = m.map(|m| m.reshape(&[-1])?.as_type(DType::F32)).transpose()?;
        maps.insert(name, Matrices { a: turned(&a)?, b: turned(&b)?, m, scale: scale(rank.max(1)) });
    }
    if maps.is_empty() {
        return Err(refuse(path, "there is no tensor in it"));
    }
    if flag("use_dora") && kind != AdapterKind::Dora {
        return Err(refuse(path, "use_dora is set, and there are no magnitude vectors"));
    }
    let largest = maps.values().filter_map(|matrices| matrices.a.shape().get(1)).max();
    let scale = largest.map_or(1.0, |rank| scale(*rank));
    // Maps of another rank have another scale; one for all is what can be written again.
    for matrices in maps.values_mut().filter(|matrices| matrices.scale != scale) {
        matrices.b = matrices.b.multiply(&matrices.b.scalar_like(matrices.scale / scale)?)?;
        matrices.scale = scale;
    }
    if let Some(odd) = maps.values().find(|matrices| matrices.m.is_some() != (kind == AdapterKind::Dora)) {
        let missing = odd.a.shape().to_vec();
        return Err(refuse(path, format!("a map with lora_A {missing:?} lacks its magnitude vector")));
    }
    Ok(Stored { path, kind, scale, dropout: dropout as f32, maps, arrays: BTreeMap::new() })
}
