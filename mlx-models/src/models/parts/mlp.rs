//! The gated feed-forward layer.

use mlx_core::Array;
use mlx_core::nn::{self, Linear};

use crate::Result;
use crate::checkpoint::Weights;

/// `f(gate, up)`, such as `silu(gate) * up`.
type Gate = fn(&Array, &Array) -> mlx_core::Result<Array>;

/// `down(f(gate(x), up(x)))`
#[derive(Clone)]
pub(in crate::models) struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    gate: Gate,
}

nn::module! { Mlp { gate_proj, up_proj, down_proj; gate } }

impl Mlp {
    /// Takes the projections under `path`, from `hidden_size` to `intermediate_size` and back.
    pub(in crate::models) fn new(
        hidden_size: usize,
        intermediate_size: usize,
        bias: bool,
        gate: Gate,
        weights: &mut Weights<'_>,
        path: &str,
    ) -> Result<Self> {
        let (d, inner) = (hidden_size, intermediate_size);
        Ok(Mlp {
            gate_proj: weights.linear(&format!("{path}.gate_proj"), [inner, d], bias)?,
            up_proj: weights.linear(&format!("{path}.up_proj"), [inner, d], bias)?,
            down_proj: weights.linear(&format!("{path}.down_proj"), [d, inner], bias)?,
            gate,
        })
    }

    /// `[B, L, D] -> [B, L, D]`
    pub(in crate::models) fn forward(&self, x: &Array) -> Result<Array> {
        let [gate, up] = Linear::forward_together([&self.gate_proj, &self.up_proj], x)?; // [B, L, D] -> [B, L, I]
        Ok(self.down_proj.forward(&(self.gate)(&gate, &up)?)?)
    }
}
