//! Gemma 3, text only: <https://arxiv.org/abs/2503.19786>.
//!
//! What makes it itself:
//! - five layers with a sliding window for each one that sees everything, each kind with its own RoPE base;
//! - RMSNorm before *and* after attention and MLP, and on queries and keys, all scaling by `1 + weight`;
//! - embeddings multiplied by `√D`, the table doubling as the head, unless a checkpoint has a head of its own.
//!
//! ```text
//! h   = x + post_attention_layernorm(self_attn(input_layernorm(x)))
//! out = h + post_feedforward_layernorm(mlp(pre_feedforward_layernorm(h)))
//! ```

mod config;

use mlx_core::nn::{self, Embedding, RmsNorm, Rope, geglu_tanh};
use mlx_core::{Array, DType};
use serde_json::Value;

use self::config::Config;
use super::config::LayerType;
use super::parts::{self, Attention, AttentionShape, Mlp, OutputHead, Tying, from_llama_cpp};
use super::{LanguageModel, ModelShape, Source};
use crate::batch::{Batch, LayerCaches};
use crate::checkpoint::Weights;
use crate::{Checkpoint, KvCache, Result};

#[derive(Clone)]
struct Block {
    self_attn: Attention,
    mlp: Mlp,
    input_layernorm: RmsNorm,
    post_attention_layernorm: RmsNorm,
    pre_feedforward_layernorm: RmsNorm,
    post_feedforward_layernorm: RmsNorm,
}

nn::module! {
    Block {
        self_attn, mlp, input_layernorm, post_attention_layernorm, pre_feedforward_layernorm,
        post_feedforward_layernorm
    }
}

impl Block {
    fn new(config: &Config, rope: (Rope, f32), weights: &mut Weights<'_>, path: &str) -> Result<Self> {
        let (d, dh) = (config.sizes.hidden_size, config.sizes.head_dim);
        let mut norm =
            |name: &str, length| norm(weights, &format!("{path}.{name}"), length, config.rms_norm_eps);
        let [
            input_layernorm,
            post_attention_layernorm,
            pre_feedforward_layernorm,
            post_feedforward_layernorm,
        ] = [
            norm("input_layernorm", d)?,
            norm("post_attention_layernorm", d)?,
            norm("pre_feedforward_layernorm", d)?,
            norm("post_feedforward_layernorm", d)?,
        ];
        let norms = [norm("self_attn.q_norm", dh)?, norm("self_attn.k_norm", dh)?];
        let shape = AttentionShape {
            hidden_size: d,
            num_attention_heads: config.sizes.num_attention_heads,
            num_key_value_heads: config.sizes.num_key_value_heads,
            head_dim: dh,
            qkv_bias: false,
            o_bias: false,
        };
        let (rope, attention_factor) = rope;
        let scale = config.query_pre_attn_scalar.powf(-0.5) * attention_factor.powi(2);
        let (attention_path, mlp_path) = (format!("{path}.self_attn"), format!("{path}.mlp"));
        let inner = config.sizes.intermediate_size;
        Ok(Block {
            self_attn: Attention::new(&shape, Some(norms), rope, scale, weights, &attention_path)?,
            mlp: Mlp::new(d, inner, false, geglu_tanh, weights, &mlp_path)?,
            input_layernorm,
            post_attention_layernorm,
            pre_feedforward_layernorm,
            post_feedforward_layernorm,
        })
    }

    fn forward(&self, x: &Array, caches: &mut LayerCaches<'_, '_>) -> Result<Array> {
        let attended = self.self_attn.forward(&self.input_layernorm.forward(x)?, caches)?;
        let h = self.post_attention_layernorm.forward_onto(x, &attended)?;
        let mixed = self.mlp.forward(&self.pre_feedforward_layernorm.forward(&h)?)?;
        Ok(self.post_feedforward_layernorm.forward_onto(&h, &mixed)?)
    }
}

struct Gemma3 {
    embed_tokens: Embedding,
    layers: Vec<Block>,
    norm: RmsNorm,
    lm_head: OutputHead,
    /// `√D` in the dtype of the embeddings, rounded as the reference rounds it.
    embed_scale: Array,
    layer_types: Vec<LayerType>,
    sliding_window: i32,
    shape: ModelShape,
    config: Result<Value, String>,
}

nn::module! {
    Gemma3 {
        embed_tokens as "model.embed_tokens", layers as "model.layers", norm as "model.norm", lm_head as "";
        embed_scale, layer_types, sliding_window, shape, config
    }
}

impl Gemma3 {
    fn new(config: &Config, weights: &mut Weights<'_>) -> Result<Self> {
        let (v, d) = (config.sizes.vocab_size, config.sizes.hidden_size);
        let embed_tokens = Embedding { weight: weights.matrix("model.embed_tokens.weight", [v, d])? };
        let turns = |kind| -> Result<(Rope, f32)> {
            let rope = config.rope(kind);
            Ok((rope.rope(config.sizes.head_dim)?, rope.attention_factor()))
        };
        let (sliding, full) = (turns(LayerType::Sliding)?, turns(LayerType::Full)?);
        let mut layers = Vec::new();
        for (index, layer_type) in config.layer_types.iter().enumerate() {
            let rope = if *layer_type == LayerType::Sliding { &sliding } else { &full };
            layers.push(Block::new(config, rope.clone(), weights, &format!("model.layers.{index}"))?);
        }
        let norm = norm(weights, "model.norm", d, config.rms_norm_eps)?;
        // A checkpoint without a head has the embeddings for it, whatever its configuration says.
        let lm_head = OutputHead::new(weights, &embed_tokens, [v, d], Tying::Tied)?;
        Ok(Gemma3 {
            embed_tokens,
            layers,
            norm,
            lm_head,
            embed_scale: Array::scalar((d as f32).sqrt())?.as_type(weights.dtype())?,
            layer_types: config.layer_types.clone(),
            sliding_window: config.sliding_window as i32,
            shape: ModelShape {
                vocab_size: v,
                hidden_size: d,
                num_hidden_layers: config.layer_types.len(),
                head_dim: config.sizes.head_dim,
                key_value_bytes: config.sizes.key_value_values() * weights.dtype().size(),
                context_len: config.sizes.max_position_embeddings,
                parameters: weights.parameters(),
                weight_bytes: weights.nbytes(),
                dtype: weights.dtype(),
            },
            config: config.to_json(),
        })
    }
}

impl LanguageModel for Gemma3 {
    fn model_type(&self) -> &'static str {
        "gemma3_text"
    }

    fn shape(&self) -> &ModelShape {
        &self.shape
    }

    fn config(&self) -> Result<Value, String> {
        self.config.clone()
    }

    fn norms_above_one(&self) -> bool {
        true
    }

    fn make_caches(&self) -> Vec<KvCache> {
        let cache = |kind: &LayerType| match kind {
            LayerType::Sliding => KvCache::sliding(self.sliding_window),
            LayerType::Full => KvCache::new(),
        };
        self.layer_types.iter().map(cache).collect()
    }

    fn forward_batch(&self, tokens: &Array, batch: &mut Batch<'_>) -> Result<Array> {
        batch.check(self.layers.len(), tokens)?;
        let mut h = self.embed_tokens.forward(tokens)?.multiply(&self.embed_scale)?; // [B, L] -> [B, L, D]
        for (index, layer) in self.layers.iter().enumerate() {
            h = parts::layer(layer, &h, batch.layer(index), Block::forward)?;
        }
        Ok(self.norm.forward(&h)?)
    }

    fn logits(&self, hidden: &Array) -> Result<Array> {
        self.lm_head.forward(hidden, &self.embed_tokens)
    }
}

/// Gemma's norms scale by `1 + weight`.
fn norm(weights: &mut Weights<'_>, path: &str, length: usize, eps: f32) -> Result<RmsNorm> {
    Ok(RmsNorm { weight: weights.vector_above_one(&format!("{path}.weight"), length)?, eps })
}

pub(super) fn load(source: &Source<'_>) -> Result<Box<dyn LanguageModel>> {
    let config = Config::read(source.checkpoint)?;
    if source.listener.is_some() {
        // Who wants the configuration should not wait for the weights to learn that there is none.
        config.to_json().map_err(|message| source.checkpoint.refuse(message))?;
    }
    // Gemma 3's activations outgrow float16, whose largest number is 65504.
    let dtype = match source.dtype()? {
        DType::F16 if source.listener.is_none() => DType::F32,
        dtype => dtype,
    };
    let weights = match source.checkpoint {
        Checkpoint::Folder(_) => source.weights(dtype, from_hugging_face)?,
        Checkpoint::Gguf(_) => source.weights(dtype, from_gguf)?,
    };
    Ok(Box::new(weights.assign(|weights| Gemma3::new(&config, weights))?))
}

/// Names of Hugging Face checkpoints: those of multimodal ones have a prefix, and a vision tower that is not used here.
fn from_hugging_face(name: &str) -> Option<String> {
    const VISION: [&str; 4] =
        ["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."];
    if VISION.iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    let name = name.strip_prefix("language_model.").unwrap_or(name);
    Some(match name.strip_prefix("model.language_model.") {
        Some(rest) => format!("model.{rest}"),
        None => name.to_owned(),
    })
}

fn from_gguf(name: &str) -> Option<String> {
    const LAYER: [(&str, &str); 3] = [
        ("post_attention_norm", "post_attention_layernorm"),
        ("ffn_norm", "pre_feedforward_layernorm"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
    ];
    Some(from_llama_cpp(name, &LAYER))
}
