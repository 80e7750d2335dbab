//! Gemma 3's configuration, from `config.json` (classic or newer layout, plain or nested) or GGUF metadata.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::checkpoint::refuse;
use crate::gguf::GgufFile;
use crate::models::config::{
    LayerType, Sizes, check_layer_types, check_layers, check_positive, check_sizes, decimal,
};
use crate::models::rope::{BOTH_ROPES, RopeDefaults, RopeJson, RopeParameters, RopeScaling, linear_of_gguf};
use crate::{Checkpoint, Error, Result};

/// Every sixth layer sees everything.
const SLIDING_WINDOW_PATTERN: usize = 6;

/// What the model is made of, checked.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) sizes: Sizes,
    pub(super) rms_norm_eps: f32,
    /// Queries are multiplied by this to the power of -1/2.
    pub(super) query_pre_attn_scalar: f32,
    pub(super) sliding_window: usize,
    pub(super) layer_types: Vec<LayerType>,
    sliding_rope: RopeParameters,
    full_rope: RopeParameters,
}

/// The fields of `config.json`, with the defaults that the reference's configuration class has.
#[derive(Deserialize)]
#[serde(default)]
struct Json {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    hidden_activation: String,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    attention_bias: bool,
    query_pre_attn_scalar: f32,
    sliding_window: usize,
    sliding_window_pattern: Option<usize>,
    layer_types: Option<Vec<LayerType>>,
    rope_theta: f32,
    rope_local_base_freq: f32,
    rope_scaling: Option<RopeJson>,
    rope_parameters: Option<JsonRopes>,
    final_logit_softcapping: Option<f32>,
    attn_logit_softcapping: Option<f32>,
    use_bidirectional_attention: Option<bool>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct JsonRopes {
    sliding_attention: RopeJson,
    full_attention: RopeJson,
}

impl Default for Json {
    fn default() -> Self {
        Json {
            vocab_size: 262_208,
            hidden_size: 2304,
            intermediate_size: 9216,
            num_hidden_layers: 26,
            num_attention_heads: 8,
            num_key_value_heads: 4,
            head_dim: 256,
            hidden_activation: "gelu_pytorch_tanh".to_owned(),
            max_position_embeddings: 131_072,
            rms_norm_eps: 1e-6,
            attention_bias: false,
            query_pre_attn_scalar: 256.0,
            sliding_window: 4096,
            sliding_window_pattern: None,
            layer_types: None,
            rope_theta: 1e6,
            rope_local_base_freq: 1e4,
            rope_scaling: None,
            rope_parameters: None,
            final_logit_softcapping: None,
            attn_logit_softcapping: None,
            use_bidirectional_attention: None,
        }
    }
}

impl Config {
    pub(super) fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let (config, path) = match checkpoint {
            Checkpoint::Folder(folder) => {
                let path = folder.path().join("config.json");
                (Self::from_json(folder.config()).map_err(|message| refuse(&path, message))?, path)
            }
            Checkpoint::Gguf(file) => (Self::from_gguf(file)?, file.path().to_owned()),
        };
        config.validate().map_err(|message| refuse(&path, message))?;
        Ok(config)
    }

    /// # Errors
    /// What is wrong, naming the field.
    fn from_json(config: &Value) -> Result<Self, String> {
        let text = config.get("text_config").unwrap_or(config);
        if !text.is_object() {
            return Err("text_config is not an object".to_owned());
        }
        let json: Json = serde_path_to_error::deserialize(text).map_err(|error| error.to_string())?;
        let unsupported = [
            (
                json.hidden_activation != "gelu_pytorch_tanh",
                "hidden_activation",
                json.hidden_activation.clone(),
            ),
            (json.attention_bias, "attention_bias", "true".to_owned()),
            (json.final_logit_softcapping.is_some(), "final_logit_softcapping", "a number".to_owned()),
            (json.attn_logit_softcapping.is_some(), "attn_logit_softcapping", "a number".to_owned()),
            (
                json.use_bidirectional_attention == Some(true),
                "use_bidirectional_attention",
                "true".to_owned(),
            ),
        ];
        if let Some((_, field, value)) = unsupported.iter().find(|(is_set, ..)| *is_set) {
            return Err(format!(
                "{field} is {value}, which Gemma 3 models do not have and this crate does not support"
            ));
        }
        let (sliding_rope, full_rope) = ropes(&json)?;
        let layer_types = match json.layer_types {
            Some(types) => {
                check_layer_types(&types, json.num_hidden_layers)?;
                types
            }
            None => pattern(
                json.num_hidden_layers,
                json.sliding_window_pattern.unwrap_or(SLIDING_WINDOW_PATTERN),
            )?,
        };
        Ok(Config {
            sizes: Sizes {
                vocab_size: json.vocab_size,
                hidden_size: json.hidden_size,
                intermediate_size: json.intermediate_size,
                num_attention_heads: json.num_attention_heads,
                num_key_value_heads: json.num_key_value_heads,
                head_dim: json.head_dim,
                max_position_embeddings: json.max_position_embeddings,
            },
            rms_norm_eps: json.rms_norm_eps,
            query_pre_attn_scalar: json.query_pre_attn_scalar,
            sliding_window: json.sliding_window,
            layer_types,
            sliding_rope,
            full_rope,
        })
    }

    fn from_gguf(file: &GgufFile) -> Result<Self> {
        let metadata = file.metadata();
        let size = |key: &str| metadata.u32(&format!("gemma3.{key}")).map(|n| n as usize);
        let optional = |key: &str| metadata.optional_f32(&format!("gemma3.{key}"));
        let bad = |message: String| -> Error { refuse(file.path(), message) };

        let (layers, hidden_size, heads) =
            (size("block_count")?, size("embedding_length")?, size("attention.head_count")?);
        let head_dim = size("attention.key_length")?;
        // The file does not carry it: 27B, the model with 62 layers, divides by its head width, the others by head_dim.
        let query_pre_attn_scalar =
            if layers == 62 { hidden_size as f32 / heads.max(1) as f32 } else { head_dim as f32 };
        let scaling = match metadata.optional_str("gemma3.rope.scaling.type")? {
            Some("none") => RopeScaling::None,
            None | Some("linear") => linear_of_gguf(file, "gemma3")?,
            Some(other) => {
                return Err(bad(format!("rope.scaling.type {other:?} is not supported; linear is")));
            }
        };
        let vocabulary = file.tensor("token_embd.weight").and_then(|tensor| tensor.shape.first().copied());
        Ok(Config {
            sizes: Sizes {
                vocab_size: vocabulary
                    .ok_or_else(|| bad("tensor token_embd.weight is missing".to_owned()))?,
                hidden_size,
                intermediate_size: size("feed_forward_length")?,
                num_attention_heads: heads,
                num_key_value_heads: size("attention.head_count_kv")?,
                head_dim,
                max_position_embeddings: size("context_length")?,
            },
            rms_norm_eps: metadata.f32("gemma3.attention.layer_norm_rms_epsilon")?,
            query_pre_attn_scalar,
            sliding_window: size("attention.sliding_window")?,
            layer_types: pattern(layers, SLIDING_WINDOW_PATTERN).map_err(bad)?,
            sliding_rope: RopeParameters::plain(optional("rope.freq_base_swa")?.unwrap_or(1e4)),
            full_rope: RopeParameters { theta: optional("rope.freq_base")?.unwrap_or(1e6), scaling },
        })
    }

    /// `config.json` as Gemma 3 was released with; layers that do not follow a pattern are listed one by one.
    ///
    /// # Errors
    /// What it has no field for.
    pub(super) fn to_json(&self) -> Result<Value, String> {
        if self.sliding_rope.scaling != RopeScaling::None {
            return Err("Gemma3ForCausalLM has no field for scaled positions of sliding layers".to_owned());
        }
        let layers = self.layer_types.len();
        let period = (1..=layers).find(|period| pattern(layers, *period).as_ref() == Ok(&self.layer_types));
        let types = self.layer_types.iter().map(|kind| match kind {
            LayerType::Sliding => "sliding_attention",
            LayerType::Full => "full_attention",
        });
        let mut config = Map::new();
        for (field, value) in [
            ("architectures", json!(["Gemma3ForCausalLM"])),
            ("model_type", json!("gemma3_text")),
            ("num_hidden_layers", json!(layers)),
            ("hidden_activation", json!("gelu_pytorch_tanh")),
            ("rms_norm_eps", decimal(self.rms_norm_eps)),
            ("query_pre_attn_scalar", decimal(self.query_pre_attn_scalar)),
            ("sliding_window", json!(self.sliding_window)),
            ("sliding_window_pattern", json!(period)),
            ("layer_types", json!(types.collect::<Vec<_>>())),
            ("rope_local_base_freq", decimal(self.sliding_rope.theta)),
        ] {
            config.insert(field.to_owned(), value);
        }
        config.extend(self.sizes.fields().map(|(field, size)| (field.to_owned(), json!(size))));
        self.full_rope.write(&mut config)?;
        Ok(Value::Object(config))
    }

    fn validate(&self) -> Result<(), String> {
        self.sizes.check()?;
        check_sizes(&[("sliding_window", self.sliding_window)])?;
        check_positive(&[
            ("rms_norm_eps", self.rms_norm_eps),
            ("query_pre_attn_scalar", self.query_pre_attn_scalar),
        ])?;
        self.sliding_rope.validate(" of sliding layers", self.sizes.head_dim)?;
        self.full_rope.validate(" of full layers", self.sizes.head_dim)
    }

    pub(super) fn rope(&self, layer_type: LayerType) -> &RopeParameters {
        match layer_type {
            LayerType::Sliding => &self.sliding_rope,
            LayerType::Full => &self.full_rope,
        }
    }
}

/// Parameters for sliding and full layers: `rope_parameters`, else the classic fields, whose scaling is for full layers.
fn ropes(json: &Json) -> Result<(RopeParameters, RopeParameters), String> {
    let rope = |field: &str, rope: Option<&RopeJson>, theta: f32| {
        let context = json.max_position_embeddings;
        RopeParameters::from_json(field, rope, RopeDefaults { theta, context, original_context: None })
    };
    let (local, global) = (json.rope_local_base_freq, json.rope_theta);
    match &json.rope_parameters {
        Some(_) if json.rope_scaling.is_some() => Err(BOTH_ROPES.to_owned()),
        Some(ropes) => Ok((
            rope("rope_parameters.sliding_attention", Some(&ropes.sliding_attention), local)?,
            rope("rope_parameters.full_attention", Some(&ropes.full_attention), global)?,
        )),
        None => Ok((
            rope("rope_local_base_freq", None, local)?,
            rope("rope_scaling", json.rope_scaling.as_ref(), global)?,
        )),
    }
}

/// Every `period`-th layer sees everything, the others slide.
fn pattern(layers: usize, period: usize) -> Result<Vec<LayerType>, String> {
    check_layers(layers)?;
    if period == 0 {
        return Err("sliding_window_pattern is 0; it must be at least 1".to_owned());
    }
    let kind =
        |layer: usize| if (layer + 1).is_multiple_of(period) { LayerType::Full } else { LayerType::Sliding };
    Ok((0..layers).map(kind).collect())
}
