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

use mlx_core::nn::{Embedding, Linear, RmsNorm, Rope, geglu_tanh};
use mlx_core::{Array, DType};

use self::config::{Config, LayerType};
use super::heads::{heads, merge_heads};
use super::{LanguageModel, ModelShape};
use crate::checkpoint::Weights;
use crate::{Checkpoint, KvCache, Result};

/// Grouped-query attention with normalized queries and keys.
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    rope: Rope,
    num_attention_heads: i32,
    num_key_value_heads: i32,
    scale: f32,
}

impl Attention {
    fn new(config: &Config, layer_type: LayerType, weights: &mut Weights<'_>, path: &str) -> Result<Self> {
        let (d, dh) = (config.hidden_size, config.head_dim);
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        Ok(Attention {
            q_proj: linear(weights, &format!("{path}.q_proj"), heads * dh, d)?,
            k_proj: linear(weights, &format!("{path}.k_proj"), kv_heads * dh, d)?,
            v_proj: linear(weights, &format!("{path}.v_proj"), kv_heads * dh, d)?,
            o_proj: linear(weights, &format!("{path}.o_proj"), d, heads * dh)?,
            q_norm: norm(weights, &format!("{path}.q_norm"), dh, config.rms_norm_eps)?,
            k_norm: norm(weights, &format!("{path}.k_norm"), dh, config.rms_norm_eps)?,
            rope: config.rope(layer_type),
            num_attention_heads: heads as i32,
            num_key_value_heads: kv_heads as i32,
            scale: config.query_pre_attn_scalar.powf(-0.5),
        })
    }

    fn forward(&self, x: &Array, cache: &mut KvCache) -> Result<Array> {
        let [q, k, v] = Linear::forward_together([&self.q_proj, &self.k_proj, &self.v_proj], x)?;
        let q = heads(&q, self.num_attention_heads)?; // [B, L, Hq * Dh] -> [B, Hq, L, Dh]
        let k = heads(&k, self.num_key_value_heads)?; // [B, L, Hkv * Dh] -> [B, Hkv, L, Dh]
        let v = heads(&v, self.num_key_value_heads)?;

        let q = self.rope.forward(&self.q_norm.forward(&q)?, cache.offset())?;
        let k = self.rope.forward(&self.k_norm.forward(&k)?, cache.offset())?;

        let out = cache.attend(&q, &k, &v, self.scale)?;
        Ok(self.o_proj.forward(&merge_heads(&out)?)?) // [B, Hq, L, Dh] -> [B, L, Hq * Dh] -> [B, L, D]
    }
}

/// `down(gelu(gate(x)) * up(x))`
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl Mlp {
    fn new(config: &Config, weights: &mut Weights<'_>, path: &str) -> Result<Self> {
        let (d, inner) = (config.hidden_size, config.intermediate_size);
        Ok(Mlp {
            gate_proj: linear(weights, &format!("{path}.gate_proj"), inner, d)?,
            up_proj: linear(weights, &format!("{path}.up_proj"), inner, d)?,
            down_proj: linear(weights, &format!("{path}.down_proj"), d, inner)?,
        })
    }

    fn forward(&self, x: &Array) -> Result<Array> {
        let [gate, up] = Linear::forward_together([&self.gate_proj, &self.up_proj], x)?; // [B, L, D] -> [B, L, I]
        Ok(self.down_proj.forward(&geglu_tanh(&gate, &up)?)?)
    }
}

struct Block {
    self_attn: Attention,
    mlp: Mlp,
    input_layernorm: RmsNorm,
    post_attention_layernorm: RmsNorm,
    pre_feedforward_layernorm: RmsNorm,
    post_feedforward_layernorm: RmsNorm,
}

impl Block {
    fn new(config: &Config, layer_type: LayerType, weights: &mut Weights<'_>, path: &str) -> Result<Self> {
        let mut norm =
            |name: &str| norm(weights, &format!("{path}.{name}"), config.hidden_size, config.rms_norm_eps);
        Ok(Block {
            input_layernorm: norm("input_layernorm")?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            pre_feedforward_layernorm: norm("pre_feedforward_layernorm")?,
            post_feedforward_layernorm: norm("post_feedforward_layernorm")?,
            self_attn: Attention::new(config, layer_type, weights, &format!("{path}.self_attn"))?,
            mlp: Mlp::new(config, weights, &format!("{path}.mlp"))?,
        })
    }

    fn forward(&self, x: &Array, cache: &mut KvCache) -> Result<Array> {
        let attended = self.self_attn.forward(&self.input_layernorm.forward(x)?, cache)?;
        let h = self.post_attention_layernorm.forward_onto(x, &attended)?;
        let mixed = self.mlp.forward(&self.pre_feedforward_layernorm.forward(&h)?)?;
        Ok(self.post_feedforward_layernorm.forward_onto(&h, &mixed)?)
    }
}

struct Gemma3 {
    embed_tokens: Embedding,
    layers: Vec<Block>,
    norm: RmsNorm,
    /// The output head, where it is not the embeddings.
    lm_head: Option<Linear>,
    /// `√D` in the dtype of the embeddings, rounded as the reference rounds it.
    embed_scale: Array,
    layer_types: Vec<LayerType>,
    sliding_window: i32,
    shape: ModelShape,
}

impl Gemma3 {
    fn new(config: &Config, mut weights: Weights<'_>, dtype: DType) -> Result<Self> {
        let (v, d) = (config.vocab_size, config.hidden_size);
        let embed_tokens = Embedding { weight: weights.matrix("model.embed_tokens.weight", [v, d])? };
        let mut layers = Vec::new();
        for (index, layer_type) in config.layer_types.iter().enumerate() {
            layers.push(Block::new(config, *layer_type, &mut weights, &format!("model.layers.{index}"))?);
        }
        let norm = norm(&mut weights, "model.norm", d, config.rms_norm_eps)?;
        let lm_head = lm_head(&mut weights, &embed_tokens, [v, d], config.tie_word_embeddings)?;
        let (parameters, weight_bytes) = weights.finish()?;
        Ok(Gemma3 {
            embed_tokens,
            layers,
            norm,
            lm_head,
            embed_scale: Array::scalar((d as f32).sqrt())?.as_type(dtype)?,
            layer_types: config.layer_types.clone(),
            sliding_window: config.sliding_window as i32,
            shape: ModelShape {
                vocab_size: v,
                hidden_size: d,
                num_hidden_layers: config.layer_types.len(),
                head_dim: config.head_dim,
                context_len: config.max_position_embeddings,
                parameters,
                weight_bytes,
                dtype,
            },
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

    fn make_caches(&self) -> Vec<KvCache> {
        let cache = |kind: &LayerType| match kind {
            LayerType::Sliding => KvCache::sliding(self.sliding_window),
            LayerType::Full => KvCache::new(),
        };
        self.layer_types.iter().map(cache).collect()
    }

    fn forward(&self, tokens: &Array, caches: &mut [KvCache]) -> Result<Array> {
        super::check_caches(caches, self.layers.len())?;
        let mut h = self.embed_tokens.forward(tokens)?.multiply(&self.embed_scale)?; // [B, L] -> [B, L, D]
        for (layer, cache) in self.layers.iter().zip(caches) {
            h = layer.forward(&h, cache)?;
        }
        Ok(self.norm.forward(&h)?)
    }

    fn logits(&self, hidden: &Array) -> Result<Array> {
        // [B, L, D] -> [B, L, V]
        Ok(match &self.lm_head {
            Some(lm_head) => lm_head.forward(hidden)?,
            None => self.embed_tokens.as_linear(hidden)?,
        })
    }
}

fn linear(weights: &mut Weights<'_>, path: &str, rows: usize, columns: usize) -> Result<Linear> {
    Ok(Linear::new(weights.matrix(&format!("{path}.weight"), [rows, columns])?, None))
}

/// No head, or a second copy of the embeddings, means that the two are tied, whatever the configuration says.
fn lm_head(
    weights: &mut Weights<'_>,
    embed_tokens: &Embedding,
    shape: [usize; 2],
    tied: bool,
) -> Result<Option<Linear>> {
    match weights.matrix_apart_from(&embed_tokens.weight, "lm_head.weight", shape)? {
        Some(_) if tied => Err(weights.checkpoint().refuse(
            "tensor lm_head.weight differs from the embeddings, which tie_word_embeddings makes the output head",
        )),
        head => Ok(head.map(|weight| Linear::new(weight, None))),
    }
}

/// Gemma's norms scale by `1 + weight`. GGUF files have the one added already.
fn norm(weights: &mut Weights<'_>, path: &str, length: usize, eps: f32) -> Result<RmsNorm> {
    let weight = weights.vector(&format!("{path}.weight"), length)?;
    let weight = match weights.checkpoint() {
        Checkpoint::Folder(_) => weight.add(&weight.scalar_like(1.0)?)?,
        Checkpoint::Gguf(_) => weight,
    };
    weight.eval()?;
    Ok(RmsNorm { weight, eps })
}

pub(super) fn load(checkpoint: &Checkpoint, dtype: Option<DType>) -> Result<Box<dyn LanguageModel>> {
    let config = Config::read(checkpoint)?;
    let dtype = match dtype {
        Some(dtype) => dtype,
        None => checkpoint.dtype("embed_tokens")?,
    };
    // Gemma 3's activations outgrow float16, whose largest number is 65504.
    let dtype = if dtype == DType::F16 { DType::F32 } else { dtype };
    let weights = match checkpoint {
        Checkpoint::Folder(_) => checkpoint.weights(dtype, from_hugging_face)?,
        Checkpoint::Gguf(_) => checkpoint.weights(dtype, from_llama_cpp)?,
    };
    Ok(Box::new(Gemma3::new(&config, weights, dtype)?))
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

/// llama.cpp's names for the same tensors.
fn from_llama_cpp(name: &str) -> Option<String> {
    const LAYER: [(&str, &str); 13] = [
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("post_attention_norm", "post_attention_layernorm"),
        ("ffn_norm", "pre_feedforward_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
    ];
    let renamed = match name {
        "token_embd.weight" => Some("model.embed_tokens.weight".to_owned()),
        "output_norm.weight" => Some("model.norm.weight".to_owned()),
        "output.weight" => Some("lm_head.weight".to_owned()),
        _ => name.strip_prefix("blk.").and_then(|rest| {
            let (layer, tensor) = rest.strip_suffix(".weight")?.split_once('.')?;
            let (_, ours) = LAYER.iter().find(|(theirs, _)| *theirs == tensor)?;
            Some(format!("model.layers.{layer}.{ours}.weight"))
        }),
    };
    // An unknown name stays as it is, and loading reports it as left over.
    Some(renamed.unwrap_or_else(|| name.to_owned()))
}
