//! Which arrays of a model an adapter is about.

use mlx_core::nn::{self, Linear};

use crate::{Error, LanguageModel, Result};

/// What the names of a model's layers begin with.
const LAYERS: &str = "model.layers.";

/// The router of a mixture of experts.
const ROUTER: &str = "mlp.gate";

/// A name inside a layer: the layer's number, and the rest.
pub(super) fn in_layer(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.strip_prefix(LAYERS)?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// The first layer of the last `wanted`.
pub(super) fn first_layer(layers: usize, wanted: Option<usize>) -> Result<usize> {
    match wanted {
        None => Ok(0),
        Some(wanted) if (1..=layers).contains(&wanted) => Ok(layers - wanted),
        Some(wanted) => Err(Error::Option {
            option: "lora layers",
            message: format!("{wanted} of a model of {layers} layers; 1 to {layers} can be trained"),
        }),
    }
}

/// Whether `target` is the end of `name`, in whole parts.
fn ends_with(name: &str, target: &str) -> bool {
    name.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The linear maps that `targets` name, in layers from `first` on.
pub(super) fn maps(model: &dyn LanguageModel, targets: &[String], first: usize) -> Result<Vec<String>> {
    let all: Vec<String> = nn::find::<Linear>(model).into_iter().map(|(name, _)| name).collect();
    for target in targets {
        if !all.iter().any(|name| ends_with(name, target)) {
            return Err(unknown(target, &all));
        }
    }
    let wanted = |name: &String| match in_layer(name) {
        Some((layer, _)) if layer < first => false,
        Some((_, rest)) if targets.is_empty() => rest != ROUTER,
        None if targets.is_empty() => false,
        _ => targets.iter().any(|target| ends_with(name, target)),
    };
    let names: Vec<String> = all.iter().filter(|name| wanted(name)).cloned().collect();
    if names.is_empty() {
        return Err(unknown(&targets.join(","), &all));
    }
    Ok(names)
}

fn unknown(target: &str, all: &[String]) -> Error {
    let mut known: Vec<&str> = Vec::new();
    for name in all {
        let name = in_layer(name).map_or(name.as_str(), |(_, rest)| rest);
        if !known.contains(&name) {
            known.push(name);
        }
    }
    let target: String = target.chars().take(100).collect();
    Error::Option {
        option: "lora targets",
        message: format!(
            "no linear map that can be trained is named {target:?}; this model has {}",
            known.join(", ")
        ),
    }
}

/// A rank above a map's sides only costs, and one far above takes all memory.
pub(super) fn check_rank(model: &dyn LanguageModel, names: &[String], rank: i32) -> Result<()> {
    let refuse = |message| Err(Error::Option { option: "lora rank", message });
    let Ok(wanted) = usize::try_from(rank) else { return refuse(format!("{rank} is no rank")) };
    for (name, map) in nn::find::<Linear>(model).into_iter().filter(|(name, _)| names.contains(name)) {
        let [rows, columns] = map.weight.shape();
        if wanted == 0 || wanted > rows.min(columns) {
            return refuse(format!(
                "{rank} for {name}, a map from {columns} to {rows} numbers; 1 to {} will do",
                rows.min(columns)
            ));
        }
    }
    Ok(())
}

/// The arrays that are trained themselves: those of layers from `first` on, or, where that is all of them, of the whole
/// model; with `targets`, those of the maps that they name.
pub(super) fn arrays(model: &dyn LanguageModel, targets: &[String], first: usize) -> Result<Vec<String>> {
    for (name, map) in nn::find::<nn::Weight>(model) {
        if !matches!(map, nn::Weight::Dense(_)) {
            return Err(Error::Option {
                option: "fine-tune type",
                message: format!(
                    "full fine-tuning moves the weights themselves, and {name} is packed; make a dense checkpoint with \
                     `mlx convert --dtype f32`, or train an adapter"
                ),
            });
        }
    }
    let maps = match targets {
        [] => None,
        _ => Some(maps(model, targets, first)?),
    };
    let wanted = |name: &str| match &maps {
        Some(maps) => name.rsplit_once('.').is_some_and(|(path, _)| maps.iter().any(|map| map == path)),
        None => in_layer(name).map_or(first == 0, |(layer, _)| layer >= first),
    };
    let found = nn::trainable_parameters(model, |name| !nn::lora::is_adapter(name) && wanted(name))?;
    Ok(found.into_keys().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_whole_parts_at_the_end_of_names() {
        let name = "model.layers.3.self_attn.q_proj";
        for (target, expected) in [
            ("q_proj", true),
            ("self_attn.q_proj", true),
            (name, true),
            ("proj", false),
            ("mlp.q_proj", false),
        ] {
            assert_eq!(ends_with(name, target), expected, "{target}");
        }
        assert_eq!(in_layer(name), Some((3, "self_attn.q_proj")));
        assert_eq!(in_layer("lm_head"), None);
    }
}
