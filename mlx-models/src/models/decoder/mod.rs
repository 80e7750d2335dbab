//! The decoder that Llama made common: norms before attention and feed-forward layer, each added to what goes in.
//!
//! ```text
//! h   = x + self_attn(input_layernorm(x))
//! out = h + mlp(post_attention_layernorm(h))
//! ```
//!
//! A [`Family`] says what is particular to one architecture; its file stands beside this folder.

mod config;

use mlx_core::Array;
use mlx_core::nn::{self, Children, ChildrenMut, Embedding, Module, RmsNorm, Rope, swiglu};
use serde_json::Value;

use self::config::{Config, Layer};
use super::parts::{self, Attention, AttentionShape, Experts, Mlp, OutputHead, from_llama_cpp};
use super::{LanguageModel, ModelShape, Source};
use crate::batch::{Batch, LayerCaches};
use crate::checkpoint::Weights;
use crate::{Checkpoint, KvCache, Result};

/// What makes one architecture of this kind differ from another.
pub(super) struct Family {
    /// `model_type` in configurations.
    pub(super) model_type: &'static str,
    /// The class in transformers.
    pub(super) class: &'static str,
    /// What the metadata keys of GGUF files begin with.
    pub(super) gguf: &'static str,
    /// Queries and keys go through a norm before they turn.
    pub(super) qk_norm: bool,
    /// Which projections of the attention have a bias.
    pub(super) bias: AttentionBias,
    /// Width of a head where the configuration does not say; without it, the width of the model is shared out.
    pub(super) head_dim: Option<usize>,
    /// Layers may be mixtures of experts.
    pub(super) experts: bool,
    /// Which layers slide where the configuration asks for it.
    pub(super) sliding: Sliding,
    /// Positions where the configuration does not say.
    pub(super) context: usize,
    /// Rows of queries and keys in GGUF files are in the order of the original rotary embedding, which pairs neighbours.
    pub(super) pairs_neighbours: bool,
}

/// Which layers slide where the configuration asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sliding {
    None,
    All,
    /// Those that `layer_types` names, else those from `max_window_layers` on.
    Upper,
}

/// Which projections of the attention have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttentionBias {
    /// All of them or none, by `attention_bias`.
    Configured,
    /// Those of queries, keys and values.
    QueriesKeysValues,
}

/// What follows the attention in a layer.
#[derive(Clone)]
enum FeedForward {
    Mlp(Box<Mlp>),
    Experts(Box<Experts>),
}

impl Module for FeedForward {
    fn children(&self) -> Children<'_> {
        let inner: &nn::DynModule = match self {
            FeedForward::Mlp(mlp) => mlp,
            FeedForward::Experts(experts) => experts,
        };
        vec![(String::new(), inner)]
    }

    fn children_mut(&mut self) -> ChildrenMut<'_> {
        let inner: &mut nn::DynModule = match self {
            FeedForward::Mlp(mlp) => mlp,
            FeedForward::Experts(experts) => experts,
        };
        vec![(String::new(), inner)]
    }
}

impl FeedForward {
    /// `[B, L, D] -> [B, L, D]`
    fn forward(&self, x: &Array) -> Result<Array> {
        match self {
            FeedForward::Mlp(mlp) => mlp.forward(x),
            FeedForward::Experts(experts) => experts.forward(x),
        }
    }
}

#[derive(Clone)]
struct Block {
    self_attn: Attention,
    mlp: FeedForward,
    input_layernorm: RmsNorm,
    post_attention_layernorm: RmsNorm,
}

nn::module! { Block { self_attn, mlp, input_layernorm, post_attention_layernorm } }

impl Block {
    fn new(
        config: &Config,
        layer: &Layer,
        rope: &Rope,
        weights: &mut Weights<'_>,
        path: &str,
    ) -> Result<Self> {
        let (d, eps) = (config.sizes.hidden_size, config.rms_norm_eps);
        let mut norm = |name: &str, length| -> Result<RmsNorm> {
            Ok(RmsNorm { weight: weights.vector(&format!("{path}.{name}.weight"), length)?, eps })
        };
        let (input_layernorm, post_attention_layernorm) =
            (norm("input_layernorm", d)?, norm("post_attention_layernorm", d)?);
        let norms = match config.qk_norm {
            true => Some([
                norm("self_attn.q_norm", config.sizes.head_dim)?,
                norm("self_attn.k_norm", config.sizes.head_dim)?,
            ]),
            false => None,
        };
        let shape = AttentionShape {
            hidden_size: d,
            num_attention_heads: config.sizes.num_attention_heads,
            num_key_value_heads: config.sizes.num_key_value_heads,
            head_dim: config.sizes.head_dim,
            qkv_bias: config.qkv_bias,
            o_bias: config.o_bias,
        };
        let scale = config.attention_scale();
        let attention_path = format!("{path}.self_attn");
        let mlp_path = format!("{path}.mlp");
        Ok(Block {
            self_attn: Attention::new(&shape, norms, rope.clone(), scale, weights, &attention_path)?,
            mlp: match &config.experts {
                Some(experts) if layer.experts => {
                    FeedForward::Experts(Box::new(Experts::new(experts, weights, &mlp_path)?))
                }
                _ => {
                    let (inner, bias) = (config.sizes.intermediate_size, config.mlp_bias);
                    FeedForward::Mlp(Box::new(Mlp::new(d, inner, bias, swiglu, weights, &mlp_path)?))
                }
            },
            input_layernorm,
            post_attention_layernorm,
        })
    }

    fn forward(&self, x: &Array, caches: &mut LayerCaches<'_, '_>) -> Result<Array> {
        let h = x.add(&self.self_attn.forward(&self.input_layernorm.forward(x)?, caches)?)?;
        Ok(h.add(&self.mlp.forward(&self.post_attention_layernorm.forward(&h)?)?)?)
    }
}

struct Decoder {
    embed_tokens: Embedding,
    layers: Vec<Block>,
    norm: RmsNorm,
    lm_head: OutputHead,
    /// Positions that each layer sees, where it does not see all.
    windows: Vec<Option<i32>>,
    model_type: &'static str,
    shape: ModelShape,
    config: Result<Value, String>,
}

nn::module! {
    Decoder {
        embed_tokens as "model.embed_tokens", layers as "model.layers", norm as "model.norm", lm_head as "";
        windows, model_type, shape, config
    }
}

impl Decoder {
    fn new(family: &Family, config: &Config, weights: &mut Weights<'_>) -> Result<Self> {
        let (v, d) = (config.sizes.vocab_size, config.sizes.hidden_size);
        let embed_tokens = Embedding { weight: weights.matrix("model.embed_tokens.weight", [v, d])? };
        let rope = config.rope.rope(config.sizes.head_dim)?;
        let mut layers = Vec::new();
        for (index, layer) in config.layers.iter().enumerate() {
            layers.push(Block::new(config, layer, &rope, weights, &format!("model.layers.{index}"))?);
        }
        let norm = RmsNorm { weight: weights.vector("model.norm.weight", d)?, eps: config.rms_norm_eps };
        let lm_head = OutputHead::new(weights, &embed_tokens, [v, d], config.tying)?;
        Ok(Decoder {
            embed_tokens,
            layers,
            norm,
            lm_head,
            windows: config.layers.iter().map(|layer| layer.window.map(|window| window as i32)).collect(),
            model_type: family.model_type,
            shape: ModelShape {
                vocab_size: v,
                hidden_size: d,
                head_dim: config.sizes.head_dim,
                key_value_bytes: config.sizes.key_value_values() * weights.dtype().size(),
                num_hidden_layers: config.layers.len(),
                context_len: config.sizes.max_position_embeddings,
                parameters: weights.parameters(),
                weight_bytes: weights.nbytes(),
                dtype: weights.dtype(),
            },
            config: config.to_json(family),
        })
    }
}

impl LanguageModel for Decoder {
    fn model_type(&self) -> &'static str {
        self.model_type
    }

    fn shape(&self) -> &ModelShape {
        &self.shape
    }

    fn config(&self) -> Result<Value, String> {
        self.config.clone()
    }

    fn make_caches(&self) -> Vec<KvCache> {
        self.windows.iter().map(|window| window.map_or_else(KvCache::new, KvCache::sliding)).collect()
    }

    fn forward_batch(&self, tokens: &Array, batch: &mut Batch<'_>) -> Result<Array> {
        batch.check(self.layers.len(), tokens)?;
        let mut h = self.embed_tokens.forward(tokens)?; // [B, L] -> [B, L, D]
        for (index, layer) in self.layers.iter().enumerate() {
            h = parts::layer(layer, &h, batch.layer(index), Block::forward)?;
        }
        Ok(self.norm.forward(&h)?)
    }

    fn logits(&self, hidden: &Array) -> Result<Array> {
        self.lm_head.forward(hidden, &self.embed_tokens)
    }
}

/// Loads a checkpoint of `family`.
pub(super) fn load(family: &Family, source: &Source<'_>) -> Result<Box<dyn LanguageModel>> {
    let config = Config::read(family, source.checkpoint)?;
    if source.listener.is_some() {
        // Who wants the configuration should not wait for the weights to learn that there is none.
        config.to_json(family).map_err(|message| source.checkpoint.refuse(message))?;
    }
    let dtype = source.dtype()?;
    let weights = match source.checkpoint {
        Checkpoint::Folder(_) => source.weights(dtype, from_hugging_face)?,
        Checkpoint::Gguf(_) => source.weights(dtype, from_gguf)?,
    };
    let weights = match source.checkpoint {
        Checkpoint::Gguf(_) if family.pairs_neighbours => {
            let (heads, kv_heads) = (config.sizes.num_attention_heads, config.sizes.num_key_value_heads);
            weights.with_paired_neighbours(move |name| {
                let projection = name.rsplit('.').nth(1)?;
                [("q_proj", heads), ("k_proj", kv_heads)]
                    .iter()
                    .find(|(p, _)| *p == projection)
                    .map(|(_, h)| *h)
            })
        }
        _ => weights,
    };
    Ok(Box::new(weights.assign(|weights| Decoder::new(family, &config, weights))?))
}

/// Some checkpoints carry tables of angles, which follow from the configuration.
fn from_hugging_face(name: &str) -> Option<String> {
    (!name.ends_with(".rotary_emb.inv_freq")).then(|| name.to_owned())
}

/// llama.cpp's names. Its factors of the angles are part of the configuration here.
fn from_gguf(name: &str) -> Option<String> {
    const LAYER: [(&str, &str); 5] = [
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_gate_inp", "mlp.gate"),
        ("ffn_gate_exps", "mlp.switch_mlp.gate_proj"),
        ("ffn_up_exps", "mlp.switch_mlp.up_proj"),
        ("ffn_down_exps", "mlp.switch_mlp.down_proj"),
    ];
    (name != super::rope::ROPE_FACTORS).then(|| from_llama_cpp(name, &LAYER))
}
