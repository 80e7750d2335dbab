//! LoRA: instead of a weight, two small matrices beside it are trained. (Hu et al., 2021)
//!
//! ```text
//! y = base(x) + scale * (dropout(x) A) B        A [K, rank], B [rank, N]
//! ```
//!
//! B starts as 0, so a fresh adapter changes nothing. Names, orientation and `scale` are those of mlx-lm's adapters.
//!
//! DoRA also trains the length of each row of the weight. (Liu et al., 2024)
//!
//! ```text
//! y = (m / |W + scale * (A B)ᵀ|) * (x Wᵀ + scale * (dropout(x) A) B)        m [N], |.| row by row
//! ```
//!
//! ```
//! use mlx_core::nn::{self, Linear, lora};
//! use mlx_core::Array;
//!
//! # let key = mlx_core::random::key(7)?;
//! let mut model = Linear::init(32, 8, true, &key)?;
//! lora::apply(&mut model, lora::Config { rank: 4, ..Default::default() }, &key, |_| true)?;
//! let trainable = nn::trainable_parameters(&model, lora::is_adapter)?;
//! assert_eq!(trainable.keys().collect::<Vec<_>>(), ["lora_a", "lora_b"]);
//! assert_eq!(trainable.values().map(Array::size).sum::<usize>(), 4 * (32 + 8));
//! # Ok::<(), mlx_core::Error>(())
//! ```

use super::random::{Keys, uniform_for};
use super::{Dropout, DynModule, Linear, Weight, find_mut};
use crate::{Array, Blocks, DType, Error, Quantized, Result};

/// What a new adapter is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Columns of A and rows of B.
    pub rank: i32,
    /// Factor on what the adapter adds; `alpha / rank` where an alpha is given.
    pub scale: f32,
    /// The probability with which elements of the adapter's input are dropped in training.
    pub dropout: f32,
    /// Whether the lengths of the weight's rows are trained too: DoRA.
    pub dora: bool,
}

/// mlx-lm's: rank 8, scale 20, no dropout.
impl Default for Config {
    fn default() -> Self {
        Config { rank: 8, scale: 20.0, dropout: 0.0, dora: false }
    }
}

/// An adapter of a [`Linear`].
#[derive(Clone, Debug)]
pub struct Lora {
    /// `[K, rank]`
    pub lora_a: Array,
    /// `[rank, N]`
    pub lora_b: Array,
    /// Factor on what the adapter adds.
    pub scale: f32,
    /// What happens to the input in training.
    pub dropout: Dropout,
    /// What DoRA has beside A and B.
    pub magnitude: Option<Magnitude>,
}

super::module! { Lora { lora_a, lora_b, dropout as "", magnitude as ""; scale } }

/// The trained lengths of a weight's rows.
#[derive(Clone, Debug)]
pub struct Magnitude {
    /// Float32 `[N]`.
    pub m: Array,
    /// The squared lengths of the rows of the weight itself, float32 `[N]`.
    squares: Array,
}

super::module! { Magnitude { m; squares } }

impl Magnitude {
    /// The lengths that a weight's rows have, so that nothing changes until they are trained.
    ///
    /// # Errors
    /// When the weight cannot be unpacked.
    pub fn of(weight: &Weight) -> Result<Self> {
        let squares = wide(weight)?.1.square()?.sum(1, false)?;
        let m = squares.sqrt()?;
        crate::eval(&[&m, &squares])?;
        Ok(Magnitude { m, squares })
    }

    /// `m / |W + scale * (A B)ᵀ|`, `[N]`, in which the lengths count as constants to gradients.
    ///
    /// `|w + d|² = |w|² + 2 w d + |d|²`, so the sum of weight and adapter need not be made.
    pub(super) fn factors(&self, lora: &Lora, weight: &Weight) -> Result<Array> {
        let constant = |array: &Array| array.as_type(DType::F32)?.stop_gradient();
        let (a, b) = (constant(&lora.lora_a)?, constant(&lora.lora_b)?);
        let across = a.transpose(&[1, 0])?; // [rank, K]
        let scale = Array::scalar(lora.scale)?;
        let mixed = weight.project(&across)?.as_type(DType::F32)?.multiply(&b)?.sum(0, false)?; // [rank, N] -> [N]
        let added = across.matmul(&a)?.matmul(&b)?.multiply(&b)?.sum(0, false)?;
        let twice = mixed.add(&mixed)?.multiply(&scale)?;
        let squares = self.squares.add(&twice)?.add(&added.multiply(&scale.square()?)?)?;
        self.m.as_type(DType::F32)?.divide(&squares.sqrt()?.stop_gradient()?)
    }
}

impl Lora {
    /// A fresh adapter for a map from `input_dims` to `output_dims` numbers, in float32: A uniformly random within
    /// `±1 / √K`, B 0. It has no [`Magnitude`], which depends on a weight.
    ///
    /// # Errors
    /// When the rank is not positive, the scale not finite, the dropout none, a number negative, or `key` not a key.
    pub fn init(input_dims: i32, output_dims: i32, config: Config, key: &Array) -> Result<Self> {
        let Config { rank, scale, dropout, dora: _ } = config;
        if rank < 1 || !scale.is_finite() || !(0.0..1.0).contains(&dropout) {
            let message =
                format!("{config:?}: a positive rank, a finite scale, a dropout of at least 0 and below 1");
            return Err(Error::Shape { op: "lora", message });
        }
        Ok(Lora {
            lora_a: uniform_for(input_dims, &[input_dims, rank], key)?,
            lora_b: Array::zeros(&[rank, output_dims], DType::F32)?,
            scale,
            dropout: Dropout::new(dropout),
            magnitude: None,
        })
    }

    /// `scale * (dropout(x) A) B`, computed in the adapter's dtype or the input's if that is wider, and given in the
    /// input's.
    ///
    /// # Errors
    /// When the last axis of `x` is not `K`.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        let z = self.dropout.forward(x)?.matmul(&self.lora_a)?.matmul(&self.lora_b)?; // [.., K] -> [.., rank] -> [.., N]
        z.multiply(&z.scalar_like(self.scale)?)?.as_type(x.dtype())
    }

    /// What the adapter adds to the weight, `scale * (A B)ᵀ`, `[N, K]` in float32.
    ///
    /// # Errors
    /// When A and B do not belong together.
    pub fn delta(&self) -> Result<Array> {
        let (a, b) = (self.lora_a.as_type(DType::F32)?, self.lora_b.as_type(DType::F32)?);
        a.matmul(&b)?.transpose(&[1, 0])?.multiply(&Array::scalar(self.scale)?)
    }
}

impl Linear {
    /// One weight in place of a weight and its adapter; without an adapter, the map itself.
    ///
    /// The sum is computed in float32 and rounded to the weight's dtype. A quantized weight is quantized again in its own
    /// layout, which may round away much of what was learned, or stays dense with `dequantize`. The blocks of a GGUF file
    /// always become dense.
    ///
    /// # Errors
    /// When the adapter does not have the weight's shape.
    pub fn fused(&self, dequantize: bool) -> Result<Linear> {
        let Some(lora) = &self.lora else { return Ok(self.clone()) };
        let (dtype, base) = wide(&self.weight)?;
        let delta = lora.delta()?;
        if base.shape() != delta.shape() {
            let message = format!("an adapter of {:?} for a weight of {:?}", delta.shape(), base.shape());
            return Err(Error::Shape { op: "fused", message });
        }
        let mut sum = base.add(&delta)?;
        if let Some(magnitude) = &lora.magnitude {
            let lengths = sum.square()?.sum(1, true)?.sqrt()?;
            sum = sum.divide(&lengths)?.multiply(&magnitude.m.as_type(DType::F32)?.expand_dims(1)?)?;
        }
        let sum = sum.as_type(dtype)?;
        let weight = match &self.weight {
            Weight::Quantized(packed) if !dequantize => Weight::quantize(&sum, packed.quantization)?,
            _ => Weight::Dense(sum),
        };
        Ok(Linear::new(weight, self.bias.clone()))
    }
}

/// The dtype that a weight is meant to have as floats, and these floats in float32, `[N, K]`.
fn wide(weight: &Weight) -> Result<(DType, Array)> {
    Ok(match weight {
        Weight::Dense(weight) => (weight.dtype(), weight.as_type(DType::F32)?),
        // Affine scales and biases decide the dtype of what they give, which is to be wide.
        Weight::Quantized(Quantized { weight, scales, biases: Some(biases), quantization }) => {
            let wide = Quantized {
                weight: weight.clone(),
                scales: scales.as_type(DType::F32)?,
                biases: Some(biases.as_type(DType::F32)?),
                quantization: *quantization,
            };
            (scales.dtype(), wide.dequantize()?)
        }
        Weight::Quantized(packed) => {
            let base = packed.dequantize()?;
            (base.dtype(), base.as_type(DType::F32)?)
        }
        Weight::Blocks(blocks) => {
            let wide = Blocks { dtype: DType::F32, ..blocks.clone() };
            (blocks.dtype, wide.dequantize()?)
        }
    })
}

/// Gives fresh adapters to the linear maps of a model whose names `targets` accepts, and returns these names.
///
/// A map that has an adapter gets a new one. What is random depends on `key` and on the order of the maps alone.
///
/// # Errors
/// When `targets` accepts no map, and as [`Lora::init`]; the model is as before then.
pub fn apply(
    model: &mut DynModule,
    config: Config,
    key: &Array,
    targets: impl Fn(&str) -> bool,
) -> Result<Vec<String>> {
    let mut linears = find_mut::<Linear>(model);
    let names: Vec<String> = linears.iter().take(4).map(|(name, _)| name.clone()).collect();
    linears.retain(|(name, _)| targets(name));
    if linears.is_empty() {
        let message =
            format!("no linear map has a name that is asked for; the first are {}", names.join(", "));
        return Err(Error::Shape { op: "lora", message });
    }
    let keys = Keys::split(key, linears.len())?;
    let adapters = linears
        .iter()
        .enumerate()
        .map(|(index, (_, linear))| {
            let [output_dims, input_dims] =
                linear.weight.shape().map(|n| i32::try_from(n).unwrap_or(i32::MAX));
            let mut lora = Lora::init(input_dims, output_dims, config, &keys.get(index)?)?;
            if config.dora {
                lora.magnitude = Some(Magnitude::of(&linear.weight)?);
            }
            Ok(lora)
        })
        .collect::<Result<Vec<_>>>()?;
    let place = |((name, linear), adapter): ((String, &mut Linear), Lora)| {
        linear.lora = Some(adapter);
        name
    };
    Ok(linears.into_iter().zip(adapters).map(place).collect())
}

/// Replaces every adapted linear map of a model by [`fused`](Linear::fused) ones.
///
/// # Errors
/// As [`Linear::fused`]; the model is as before then.
pub fn fuse(model: &mut DynModule, dequantize: bool) -> Result<()> {
    let linears = find_mut::<Linear>(model);
    let fused = linears.iter().map(|(_, linear)| linear.fused(dequantize)).collect::<Result<Vec<_>>>()?;
    for ((_, linear), fused) in linears.into_iter().zip(fused) {
        *linear = fused;
    }
    Ok(())
}

/// Whether the name of an array is that of an adapter's: what to train, save and load when everything else is frozen.
pub fn is_adapter(name: &str) -> bool {
    matches!(name.rsplit('.').next(), Some("lora_a" | "lora_b" | "m"))
}
