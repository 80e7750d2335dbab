//! A mixture of experts: many feed-forward layers, of which a router picks a few for each token.

use mlx_core::nn::{self, Linear, Routing, Stacked, swiglu};
use mlx_core::{Array, DType};

use crate::Result;
use crate::checkpoint::Weights;

/// Sizes of a mixture of experts.
#[derive(Clone, Debug)]
pub(in crate::models) struct ExpertsShape {
    pub(in crate::models) hidden_size: usize,
    /// Width of one expert's hidden layer.
    pub(in crate::models) intermediate_size: usize,
    pub(in crate::models) num_experts: usize,
    pub(in crate::models) num_experts_per_tok: usize,
    /// The weights of the chosen experts are made to sum to 1.
    pub(in crate::models) norm_topk_prob: bool,
}

/// `Σ weight_e * down_e(silu(gate_e(x)) * up_e(x))` over the chosen experts `e`. (Shazeer et al., 2017)
#[derive(Clone)]
pub(in crate::models) struct Experts {
    /// The router, `[E, D]`.
    gate: Linear,
    /// `[E, I, D]`
    gate_proj: Stacked,
    /// `[E, I, D]`
    up_proj: Stacked,
    /// `[E, D, I]`
    down_proj: Stacked,
    num_experts_per_tok: i32,
    norm_topk_prob: bool,
}

nn::module! {
    Experts {
        gate,
        gate_proj as "switch_mlp.gate_proj",
        up_proj as "switch_mlp.up_proj",
        down_proj as "switch_mlp.down_proj";
        num_experts_per_tok, norm_topk_prob
    }
}

impl Experts {
    /// Takes router and experts under `path`.
    pub(in crate::models) fn new(
        shape: &ExpertsShape,
        weights: &mut Weights<'_>,
        path: &str,
    ) -> Result<Self> {
        let (e, d, inner) = (shape.num_experts, shape.hidden_size, shape.intermediate_size);
        let [gate_proj, up_proj] = weights.stacked_gate_and_up(path, [e, inner, d])?;
        Ok(Experts {
            gate: weights.linear(&format!("{path}.gate"), [e, d], false)?,
            gate_proj,
            up_proj,
            down_proj: weights.stacked(path, "down_proj", [e, d, inner])?,
            num_experts_per_tok: shape.num_experts_per_tok as i32,
            norm_topk_prob: shape.norm_topk_prob,
        })
    }

    /// `[B, L, D] -> [B, L, D]`
    pub(in crate::models) fn forward(&self, x: &Array) -> Result<Array> {
        let (batch, length, width) = (x.dim(0)?, x.dim(1)?, x.dim(2)?);
        let (experts, shares) = self.route(x)?; // [T, k] each
        let x = x.reshape(&[batch * length, width])?; // [B, L, D] -> [T, D]

        let routing = Routing::new(&experts, length)?;
        let rows = routing.rows(&x)?; // [T * k, D]
        let gate = self.gate_proj.project(&rows, &routing)?; // [T * k, I]
        let up = self.up_proj.project(&rows, &routing)?;
        let y = self.down_proj.project(&swiglu(&gate, &up)?, &routing)?; // [T * k, D]

        let y = routing.choices(&y)?.multiply(&shares.expand_dims(-1)?)?; // [T, k, D]
        Ok(y.sum(1, false)?.reshape(&[batch, length, width])?)
    }

    /// The experts of each token of `[B, L, D]` and their shares, `[T, k]`: the largest of the router's softmax.
    fn route(&self, x: &Array) -> Result<(Array, Array)> {
        let k = self.num_experts_per_tok;
        let scores = self.gate.forward(x)?.flatten(0, 1)?; // [B, L, D] -> [T, E]
        let chances = scores.as_type(DType::F32)?.softmax(-1, true)?;
        let experts = chances.negative()?.argpartition(k - 1, -1)?.slice_axis(1, 0, k)?;
        let shares = chances.take_along(&experts, -1)?;
        let shares = match self.norm_topk_prob {
            true => shares.divide(&shares.sum(-1, true)?)?,
            false => shares,
        };
        Ok((experts, shares.as_type(x.dtype())?))
    }
}
