//! Grouped-query attention over a cache.

use mlx_core::Array;
use mlx_core::nn::{self, Linear, RmsNorm, Rope};

use super::heads::{heads, merge_heads};
use crate::Result;
use crate::batch::LayerCaches;
use crate::checkpoint::Weights;

/// Sizes of the projections of an attention layer.
pub(in crate::models) struct AttentionShape {
    pub(in crate::models) hidden_size: usize,
    pub(in crate::models) num_attention_heads: usize,
    pub(in crate::models) num_key_value_heads: usize,
    pub(in crate::models) head_dim: usize,
    /// Queries, keys and values have a bias.
    pub(in crate::models) qkv_bias: bool,
    /// The output has a bias.
    pub(in crate::models) o_bias: bool,
}

/// Queries, keys and values of every head; positions by RoPE; each query head attends to the keys of its group.
#[derive(Clone)]
pub(in crate::models) struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    /// Norms over the features of each query and each key, in models that have them.
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    rope: Rope,
    num_attention_heads: i32,
    num_key_value_heads: i32,
    /// What scores are multiplied by before the softmax.
    scale: f32,
}

nn::module! {
    Attention {
        q_proj, k_proj, v_proj, o_proj, q_norm, k_norm;
        rope, num_attention_heads, num_key_value_heads, scale
    }
}

impl Attention {
    /// Takes the projections under `path`. `norms` are those of queries and keys.
    pub(in crate::models) fn new(
        shape: &AttentionShape,
        norms: Option<[RmsNorm; 2]>,
        rope: Rope,
        scale: f32,
        weights: &mut Weights<'_>,
        path: &str,
    ) -> Result<Self> {
        let (d, dh) = (shape.hidden_size, shape.head_dim);
        let (heads, kv_heads) = (shape.num_attention_heads, shape.num_key_value_heads);
        let [q_norm, k_norm] = norms.map_or([None, None], |norms| norms.map(Some));
        Ok(Attention {
            q_proj: weights.linear(&format!("{path}.q_proj"), [heads * dh, d], shape.qkv_bias)?,
            k_proj: weights.linear(&format!("{path}.k_proj"), [kv_heads * dh, d], shape.qkv_bias)?,
            v_proj: weights.linear(&format!("{path}.v_proj"), [kv_heads * dh, d], shape.qkv_bias)?,
            o_proj: weights.linear(&format!("{path}.o_proj"), [d, heads * dh], shape.o_bias)?,
            q_norm,
            k_norm,
            rope,
            num_attention_heads: heads as i32,
            num_key_value_heads: kv_heads as i32,
            scale,
        })
    }

    /// `[B, L, D] -> [B, L, D]`
    pub(in crate::models) fn forward(&self, x: &Array, caches: &mut LayerCaches<'_, '_>) -> Result<Array> {
        let qkv = Linear::forward_together([&self.q_proj, &self.k_proj, &self.v_proj], x)?;
        let out = caches.each(qkv, |[q, k, v], cache| {
            let q = heads(&q, self.num_attention_heads)?; // [B, L, Hq * Dh] -> [B, Hq, L, Dh]
            let k = heads(&k, self.num_key_value_heads)?; // [B, L, Hkv * Dh] -> [B, Hkv, L, Dh]
            let v = heads(&v, self.num_key_value_heads)?;

            let q = self.rope.forward(&normalized(self.q_norm.as_ref(), q)?, cache.offset())?;
            let k = self.rope.forward(&normalized(self.k_norm.as_ref(), k)?, cache.offset())?;

            merge_heads(&cache.attend(&q, &k, &v, self.scale)?) // [B, Hq, L, Dh] -> [B, L, Hq * Dh]
        })?;
        Ok(self.o_proj.forward(&out)?) // [B, L, Hq * Dh] -> [B, L, D]
    }
}

fn normalized(norm: Option<&RmsNorm>, x: Array) -> Result<Array> {
    Ok(match norm {
        Some(norm) => norm.forward(&x)?,
        None => x,
    })
}
