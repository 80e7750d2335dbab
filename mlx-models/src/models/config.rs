//! Checks that the configurations of all architectures go through.

use serde::Deserialize;
use serde_json::Value;

/// Sizes that no real model comes near. They keep products of sizes inside 64 bits.
pub(super) const MAX_SIZE: usize = 1 << 24;
/// Features of a head that no real model comes near.
const MAX_HEAD_DIM: usize = 1 << 14;
/// Layers that no real model comes near.
pub(super) const MAX_LAYERS: usize = 4096;

/// Which keys a layer's queries see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum LayerType {
    #[serde(rename = "sliding_attention")]
    Sliding,
    #[serde(rename = "full_attention")]
    Full,
}

/// A number as people write it: the shortest decimal that stands for it, with a point only if it needs one.
pub(super) fn decimal(value: f32) -> Value {
    let text = value.to_string();
    let whole = text.parse::<i64>().map(Value::from);
    whole.or_else(|_| text.parse::<f64>().map(Value::from)).unwrap_or(Value::Null)
}

/// # Errors
/// For the first size that is 0, or larger than any model's.
pub(super) fn check_sizes(sizes: &[(&str, usize)]) -> Result<(), String> {
    match sizes.iter().find(|(_, size)| !(1..=MAX_SIZE).contains(size)) {
        Some((name, size)) => Err(format!("{name} is {size}; it must lie between 1 and {MAX_SIZE}")),
        None => Ok(()),
    }
}

/// Sizes that every architecture has.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_attention_heads: usize,
    pub(super) num_key_value_heads: usize,
    pub(super) head_dim: usize,
    pub(super) max_position_embeddings: usize,
}

impl Sizes {
    /// Names, as configurations have them, and sizes.
    pub(super) fn fields(&self) -> [(&'static str, usize); 7] {
        [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ]
    }

    /// Numbers that a layer keeps for one position: those of all keys and values.
    pub(super) fn key_value_values(&self) -> usize {
        2 * self.num_key_value_heads * self.head_dim
    }

    /// # Errors
    /// For the first size that no model has, or when the heads do not fit each other.
    pub(super) fn check(&self) -> Result<(), String> {
        check_sizes(&self.fields())?;
        check_heads(self.num_attention_heads, self.num_key_value_heads, self.head_dim)
    }
}

/// # Errors
/// For the first number that is not a positive one.
pub(super) fn check_positive(numbers: &[(&str, f32)]) -> Result<(), String> {
    match numbers.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
        Some((name, value)) => Err(format!("{name} is {value}; it must be a positive number")),
        None => Ok(()),
    }
}

/// # Errors
/// When queries cannot be shared out among keys, or features not be paired.
fn check_heads(heads: usize, kv_heads: usize, head_dim: usize) -> Result<(), String> {
    if !heads.is_multiple_of(kv_heads) {
        return Err(format!(
            "num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
        ));
    }
    if head_dim > MAX_HEAD_DIM {
        return Err(format!("head_dim is {head_dim}; it must not be more than {MAX_HEAD_DIM}"));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(format!("head_dim is {head_dim}; it must be even"));
    }
    if head_dim * heads > MAX_SIZE {
        return Err(format!(
            "head_dim {head_dim} times num_attention_heads {heads} must not be more than {MAX_SIZE}"
        ));
    }
    Ok(())
}

/// # Errors
/// When there are no layers, or more than any model has.
pub(super) fn check_layers(layers: usize) -> Result<(), String> {
    match layers {
        1..=MAX_LAYERS => Ok(()),
        layers => Err(format!("num_hidden_layers is {layers}; it must lie between 1 and {MAX_LAYERS}")),
    }
}

/// # Errors
/// When `layer_types` has not one entry for each layer.
pub(super) fn check_layer_types(types: &[LayerType], layers: usize) -> Result<(), String> {
    if types.len() != layers {
        let entries = types.len();
        return Err(format!("layer_types has {entries} entries for num_hidden_layers {layers}"));
    }
    check_layers(layers)
}
