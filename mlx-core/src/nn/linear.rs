//! Linear maps and token embeddings: `y = x Wᵀ + b`.

use super::random::{Keys, uniform_for};
use super::{Lora, Weight};
use crate::{Array, DType, Result, random};

/// A linear map, `[.., K] -> [.., N]`, with dense or quantized weights, and a LoRA adapter or none.
///
/// ```
/// use mlx_core::{Array, nn::{Linear, Weight}};
///
/// let weight = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
/// let linear = Linear::new(Weight::Dense(weight), None);
/// let y = linear.forward(&Array::from_slice(&[1.0f32, 10.0], &[1, 2])?)?;
/// assert_eq!(y.to_vec::<f32>()?, [21.0, 43.0]);
/// # Ok::<(), mlx_core::Error>(())
/// ```
///
/// Its arrays are named `weight` (`scales` and `biases` too, if it is quantized), `bias`, `lora_a`, `lora_b` and `m`.
#[derive(Clone, Debug)]
#[doc(alias = "QuantizedLinear")]
#[doc(alias = "LoraLinear")]
pub struct Linear {
    /// `[N, K]`
    pub weight: Weight,
    /// `[N]`
    pub bias: Option<Array>,
    /// What is trained instead of the weight; see [`lora::apply`](super::lora::apply).
    pub lora: Option<Lora>,
}

impl Linear {
    /// A linear map without an adapter.
    pub fn new(weight: Weight, bias: Option<Array>) -> Self {
        Linear { weight, bias, lora: None }
    }

    /// A linear map to be trained: float32 weights, and a bias if asked for, uniformly random within `±1 / √K`.
    ///
    /// # Errors
    /// When a number is negative, the size is above the memory limit, or `key` is not a key.
    pub fn init(input_dims: i32, output_dims: i32, bias: bool, key: &Array) -> Result<Self> {
        let keys = Keys::split(key, 2)?;
        let weight = uniform_for(input_dims, &[output_dims, input_dims], &keys.get(0)?)?;
        let bias = match bias {
            true => Some(uniform_for(input_dims, &[output_dims], &keys.get(1)?)?),
            false => None,
        };
        Ok(Linear::new(Weight::Dense(weight), bias))
    }

    /// `x Wᵀ + b`, and what the adapter adds.
    ///
    /// # Errors
    /// When the last axis of `x` is not `K`.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        self.complete(self.weight.project(x)?, x)
    }

    /// [`forward`](Self::forward) of several maps of the same `x`, which a CPU computes in one go.
    ///
    /// # Errors
    /// As there.
    pub fn forward_together<const N: usize>(linears: [&Linear; N], x: &Array) -> Result<[Array; N]> {
        let mut outputs = Weight::project_together(x, linears.map(|linear| &linear.weight))?;
        for (linear, y) in linears.iter().zip(&mut outputs) {
            *y = linear.complete(y.clone(), x)?;
        }
        Ok(outputs)
    }

    /// Adds the bias and the adapter to `y`, which is `x Wᵀ`.
    fn complete(&self, y: Array, x: &Array) -> Result<Array> {
        let with_bias = |y: Array| match &self.bias {
            Some(bias) => y.add(bias),
            None => Ok(y),
        };
        match &self.lora {
            None => with_bias(y),
            Some(lora @ Lora { magnitude: None, .. }) => with_bias(y)?.add(&lora.forward(x)?),
            Some(lora @ Lora { magnitude: Some(magnitude), .. }) => {
                let y = y.add(&lora.forward(x)?)?;
                with_bias(y.multiply(&magnitude.factors(lora, &self.weight)?.as_type(y.dtype())?)?)
            }
        }
    }
}

super::module! { Linear { weight as "", bias, lora as "" } }

/// A table of `V` vectors, looked up by token id.
///
/// Its array is named `weight`; `scales` and `biases` stand beside it, if it is quantized.
#[derive(Clone, Debug)]
#[doc(alias = "QuantizedEmbedding")]
pub struct Embedding {
    /// `[V, D]`
    pub weight: Weight,
}

impl Embedding {
    /// A table to be trained: float32, normally distributed with the variance `1 / D`.
    ///
    /// # Errors
    /// When a number is negative, the size is above the memory limit, or `key` is not a key.
    pub fn init(count: i32, dims: i32, key: &Array) -> Result<Self> {
        let scale = (dims.max(1) as f32).sqrt().recip();
        Ok(Embedding { weight: Weight::Dense(random::normal(key, &[count, dims], DType::F32, 0.0, scale)?) })
    }

    /// The vectors of `tokens`: `[..] -> [.., D]`
    ///
    /// # Errors
    /// When an id lies outside the table.
    pub fn forward(&self, tokens: &Array) -> Result<Array> {
        self.weight.rows(tokens)
    }

    /// The table as an output head, for models that tie both: `[.., D] -> [.., V]`
    ///
    /// # Errors
    /// When the last axis of `x` is not `D`.
    pub fn as_linear(&self, x: &Array) -> Result<Array> {
        self.weight.project(x)
    }
}

super::module! { Embedding { weight as "" } }
