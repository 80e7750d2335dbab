//! The configuration of such a decoder, from `config.json` (classic or newer layout) or GGUF metadata.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{AttentionBias, Family, Sliding};
use crate::checkpoint::refuse;
use crate::gguf::GgufFile;
use crate::models::config::{
    LayerType, Sizes, check_layer_types, check_layers, check_positive, check_sizes, decimal,
};
use crate::models::parts::{ExpertsShape, Tying};
use crate::models::rope::{BOTH_ROPES, RopeDefaults, RopeJson, RopeParameters};
use crate::{Checkpoint, Result};

/// What the model is made of, checked.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) sizes: Sizes,
    pub(super) rms_norm_eps: f32,
    pub(super) rope: RopeParameters,
    pub(super) tying: Tying,
    pub(super) qk_norm: bool,
    pub(super) qkv_bias: bool,
    pub(super) o_bias: bool,
    pub(super) mlp_bias: bool,
    pub(super) experts: Option<ExpertsShape>,
    pub(super) layers: Vec<Layer>,
}

/// What layers may differ in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    /// Positions that it sees, where it does not see all.
    pub(super) window: Option<usize>,
    /// It has a mixture of experts.
    pub(super) experts: bool,
}

/// The fields of `config.json`. Sizes must be there; the rest has the defaults of the reference's configuration classes.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Json {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    #[serde(default = "silu")]
    hidden_act: String,
    #[serde(default = "epsilon")]
    rms_norm_eps: f32,
    max_position_embeddings: Option<usize>,
    original_max_position_embeddings: Option<f32>,
    rope_theta: Option<f32>,
    partial_rotary_factor: Option<f32>,
    rope_scaling: Option<RopeJson>,
    rope_parameters: Option<RopeJson>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    use_sliding_window: Option<bool>,
    #[serde(default = "window")]
    sliding_window: Option<usize>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<LayerType>>,
    #[serde(alias = "num_local_experts")]
    num_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    moe_intermediate_size: Option<usize>,
    norm_topk_prob: Option<bool>,
    decoder_sparse_step: Option<usize>,
    mlp_only_layers: Option<Vec<usize>>,
}

fn silu() -> String {
    "silu".to_owned()
}

fn epsilon() -> f32 {
    1e-6
}

/// Where the field is missing; null means none.
fn window() -> Option<usize> {
    Some(4096)
}

impl Config {
    pub(super) fn read(family: &Family, checkpoint: &Checkpoint) -> Result<Self> {
        let (config, path) = match checkpoint {
            Checkpoint::Folder(folder) => {
                let path = folder.config_path();
                let config = Self::from_json(family, folder.config());
                (config.map_err(|message| refuse(&path, message))?, path)
            }
            Checkpoint::Gguf(file) => (Self::from_gguf(family, file)?, file.path().to_owned()),
        };
        config.validate().map_err(|message| refuse(&path, message))?;
        Ok(config)
    }

    /// # Errors
    /// What is wrong, naming the field.
    fn from_json(family: &Family, config: &Value) -> Result<Self, String> {
        let json: Json = serde_path_to_error::deserialize(config).map_err(|error| error.to_string())?;
        if json.hidden_act != "silu" {
            return Err(format!("hidden_act {:?} is not supported; silu is", json.hidden_act));
        }
        if let Some(part) = json.partial_rotary_factor.filter(|part| *part != 1.0) {
            return Err(format!("partial_rotary_factor is {part}; only 1 is supported"));
        }
        let experts = if family.experts { experts(&json)? } else { None };
        let layers = layers(&json, family.sliding, experts.is_some())?;
        let context = json.max_position_embeddings.unwrap_or(family.context);
        let attention_bias = json.attention_bias.unwrap_or(false);
        let qkv_bias = family.bias == AttentionBias::QueriesKeysValues || attention_bias;
        let (field, rope) = one_of(json.rope_parameters.as_ref(), json.rope_scaling.as_ref())?;
        let defaults = RopeDefaults {
            theta: json.rope_theta.unwrap_or(1e4),
            context,
            original_context: json.original_max_position_embeddings,
        };
        let shared_out = || json.hidden_size / json.num_attention_heads.max(1);
        Ok(Config {
            sizes: Sizes {
                vocab_size: json.vocab_size,
                hidden_size: json.hidden_size,
                intermediate_size: json.intermediate_size,
                num_attention_heads: json.num_attention_heads,
                num_key_value_heads: json.num_key_value_heads.unwrap_or(json.num_attention_heads),
                head_dim: json.head_dim.or(family.head_dim).unwrap_or_else(shared_out),
                max_position_embeddings: context,
            },
            rms_norm_eps: json.rms_norm_eps,
            rope: RopeParameters::from_json(field, rope, defaults)?,
            tying: if json.tie_word_embeddings == Some(true) { Tying::Tied } else { Tying::Untied },
            qk_norm: family.qk_norm,
            qkv_bias,
            o_bias: family.bias == AttentionBias::Configured && attention_bias,
            mlp_bias: json.mlp_bias.unwrap_or(false),
            experts,
            layers,
        })
    }

    fn from_gguf(family: &Family, file: &GgufFile) -> Result<Self> {
        let metadata = file.metadata();
        let key = |name: &str| format!("{}.{name}", family.gguf);
        let size = |name: &str| metadata.u32(&key(name)).map(|n| n as usize);
        let optional = |name: &str| metadata.optional_u32(&key(name)).map(|n| n.map(|n| n as usize));
        let has = |tensor: &str| file.tensor(tensor).is_some();

        let (hidden_size, heads) = (size("embedding_length")?, size("attention.head_count")?);
        let layers = size("block_count")?;
        check_layers(layers).map_err(|message| refuse(file.path(), message))?;
        let max_position_embeddings = size("context_length")?;
        let experts = match optional("expert_count")?.filter(|count| *count > 0) {
            Some(_) if !family.experts => {
                let message = format!(
                    "{} is set, and {} models have no experts here",
                    key("expert_count"),
                    family.gguf
                );
                return Err(refuse(file.path(), message));
            }
            Some(num_experts) => Some(ExpertsShape {
                hidden_size,
                intermediate_size: size("expert_feed_forward_length")?,
                num_experts,
                num_experts_per_tok: size("expert_used_count")?,
                // As llama.cpp has it for all models of this architecture.
                norm_topk_prob: true,
            }),
            None => None,
        };
        let head_dim = optional("attention.key_length")?.unwrap_or(hidden_size / heads.max(1));
        let vocabulary = file.tensor("token_embd.weight").and_then(|tensor| tensor.shape.first().copied());
        let no_table = || refuse(file.path(), "tensor token_embd.weight is missing");
        let sees_all = Layer { window: None, experts: experts.is_some() };
        Ok(Config {
            sizes: Sizes {
                vocab_size: vocabulary.ok_or_else(no_table)?,
                hidden_size,
                intermediate_size: match optional("feed_forward_length")? {
                    Some(size) => size,
                    // A model of nothing but experts has no other width.
                    None => experts.as_ref().map_or(0, |experts| experts.intermediate_size),
                },
                num_attention_heads: heads,
                num_key_value_heads: optional("attention.head_count_kv")?.unwrap_or(heads),
                head_dim,
                max_position_embeddings,
            },
            rms_norm_eps: metadata.f32(&key("attention.layer_norm_rms_epsilon"))?,
            rope: RopeParameters::from_gguf(file, family.gguf, head_dim, max_position_embeddings)?,
            // Files that tie the two leave the head out.
            tying: Tying::Tied,
            qk_norm: family.qk_norm,
            qkv_bias: family.bias == AttentionBias::QueriesKeysValues || has("blk.0.attn_q.bias"),
            o_bias: has("blk.0.attn_output.bias"),
            mlp_bias: has("blk.0.ffn_up.bias"),
            experts,
            layers: vec![sees_all; layers],
        })
    }

    /// `config.json` in the layout of older releases, which newer ones read as well.
    ///
    /// # Errors
    /// What it has no field for.
    pub(super) fn to_json(&self, family: &Family) -> Result<Value, String> {
        let fields = match family.bias {
            AttentionBias::Configured => self.qkv_bias == self.o_bias,
            AttentionBias::QueriesKeysValues => self.qkv_bias && !self.o_bias && !self.mlp_bias,
        };
        if !fields {
            return Err(format!("{} has no field for biases of some projections alone", family.class));
        }
        let mut config = Map::new();
        let mut set = |field: &str, value: Value| {
            config.insert(field.to_owned(), value);
        };
        set("architectures", json!([family.class]));
        set("model_type", json!(family.model_type));
        for (field, size) in self.sizes.fields() {
            set(field, json!(size));
        }
        set("num_hidden_layers", json!(self.layers.len()));
        set("hidden_act", json!("silu"));
        set("rms_norm_eps", decimal(self.rms_norm_eps));
        if family.bias == AttentionBias::Configured {
            set("attention_bias", json!(self.qkv_bias));
            set("mlp_bias", json!(self.mlp_bias));
        }
        if let Some(window) = self.layers.iter().find_map(|layer| layer.window) {
            let types = self.layers.iter().map(|layer| match layer.window {
                Some(_) => "sliding_attention",
                None => "full_attention",
            });
            set("use_sliding_window", json!(true));
            set("sliding_window", json!(window));
            set("layer_types", json!(types.collect::<Vec<_>>()));
            let first = self.layers.iter().position(|layer| layer.window.is_some());
            set("max_window_layers", json!(first));
        }
        if let Some(experts) = &self.experts {
            let dense = self.layers.iter().enumerate().filter(|(_, layer)| !layer.experts);
            set("num_experts", json!(experts.num_experts));
            set("num_experts_per_tok", json!(experts.num_experts_per_tok));
            set("moe_intermediate_size", json!(experts.intermediate_size));
            set("norm_topk_prob", json!(experts.norm_topk_prob));
            set("decoder_sparse_step", json!(1));
            set("mlp_only_layers", json!(dense.map(|(index, _)| index).collect::<Vec<_>>()));
        }
        self.rope.write(&mut config)?;
        Ok(Value::Object(config))
    }

    fn validate(&self) -> Result<(), String> {
        self.sizes.check()?;
        if let Some(window) = self.layers.iter().find_map(|layer| layer.window) {
            check_sizes(&[("sliding_window", window)])?;
        }
        check_positive(&[("rms_norm_eps", self.rms_norm_eps)])?;
        if let Some(ExpertsShape { intermediate_size, num_experts, num_experts_per_tok, .. }) = self.experts {
            check_sizes(&[
                ("moe_intermediate_size", intermediate_size),
                ("num_experts", num_experts),
                ("num_experts_per_tok", num_experts_per_tok),
            ])?;
            if num_experts_per_tok > num_experts {
                return Err(format!(
                    "num_experts_per_tok {num_experts_per_tok} is more than num_experts {num_experts}"
                ));
            }
        }
        self.rope.validate("", self.sizes.head_dim)
    }

    /// What scores are multiplied by before the softmax.
    pub(super) fn attention_scale(&self) -> f32 {
        (self.sizes.head_dim as f32).powf(-0.5) * self.rope.attention_factor().powi(2)
    }
}

/// The mixture of experts that the layers have which are not dense.
fn experts(json: &Json) -> Result<Option<ExpertsShape>, String> {
    let Some(num_experts) = json.num_experts.filter(|count| *count > 0) else { return Ok(None) };
    let required = |name: &str, value: Option<usize>| {
        value.ok_or_else(|| format!("{name} is missing, and num_experts is {num_experts}"))
    };
    Ok(Some(ExpertsShape {
        hidden_size: json.hidden_size,
        intermediate_size: required("moe_intermediate_size", json.moe_intermediate_size)?,
        num_experts,
        num_experts_per_tok: required("num_experts_per_tok", json.num_experts_per_tok)?,
        norm_topk_prob: json.norm_topk_prob.unwrap_or(false),
    }))
}

/// `rope_parameters`, or the older `rope_scaling`, of which a configuration has one.
fn one_of<'j>(
    newer: Option<&'j RopeJson>,
    older: Option<&'j RopeJson>,
) -> Result<(&'static str, Option<&'j RopeJson>), String> {
    match (newer, older) {
        (Some(_), Some(_)) => Err(BOTH_ROPES.to_owned()),
        (Some(rope), None) => Ok(("rope_parameters", Some(rope))),
        (None, rope) => Ok(("rope_scaling", rope)),
    }
}

/// Windows: of none, unless `use_sliding_window` is set. Experts: of every `decoder_sparse_step`-th layer, but for those
/// that `mlp_only_layers` lists.
fn layers(json: &Json, sliding: Sliding, experts: bool) -> Result<Vec<Layer>, String> {
    let count = json.num_hidden_layers;
    check_layers(count)?;
    if let Some(types) = &json.layer_types {
        check_layer_types(types, count)?;
    }
    let window = json.sliding_window.filter(|_| json.use_sliding_window == Some(true));
    let slides = |index: usize| match (sliding, &json.layer_types) {
        (Sliding::None, _) => false,
        (Sliding::All, _) => true,
        (Sliding::Upper, Some(types)) => types[index] == LayerType::Sliding,
        (Sliding::Upper, None) => index >= json.max_window_layers.unwrap_or(28),
    };
    let listed = sliding == Sliding::Upper && json.layer_types.is_some();
    if window.is_none() && listed && (0..count).any(slides) {
        return Err("layer_types has sliding_attention, but use_sliding_window and sliding_window do not give a width".to_owned());
    }
    let step = json.decoder_sparse_step.unwrap_or(1);
    if step == 0 {
        return Err("decoder_sparse_step is 0; it must be at least 1".to_owned());
    }
    let dense = json.mlp_only_layers.as_deref().unwrap_or_default();
    let layer = |index: usize| Layer {
        window: window.filter(|_| slides(index)),
        experts: experts && (index + 1).is_multiple_of(step) && !dense.contains(&index),
    };
    Ok((0..count).map(layer).collect())
}
