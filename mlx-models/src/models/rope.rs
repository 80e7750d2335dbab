//! How configurations describe rotary position embeddings, and how they stretch them over longer contexts.

use mlx_core::Array;
use mlx_core::nn::Rope;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::config::decimal;
use crate::Result;
use crate::gguf::GgufFile;

/// What is known by name, for errors about what is not.
const KNOWN: &str = "default, linear, llama3 and yarn are";

/// One kind of layers' positions.
#[derive(Clone, Debug)]
pub(super) struct RopeParameters {
    pub(super) theta: f32,
    pub(super) scaling: RopeScaling,
}

/// How a model is made to reach further than it was first trained for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RopeScaling {
    /// It is not.
    None,
    /// Positions are divided by `factor`. (Chen et al., 2023: <https://arxiv.org/abs/2306.15595>)
    Linear { factor: f32 },
    /// Pairs that turn slowly are slowed down by `factor`, fast ones are not, and those between in part; as published with
    /// Llama 3.1.
    Llama3 { factor: f32, low_freq_factor: f32, high_freq_factor: f32, original_context: f32 },
    /// The same by the number of turns within the original context, and larger scores.
    /// (Peng et al., 2023: <https://arxiv.org/abs/2309.00071>)
    Yarn {
        factor: f32,
        original_context: f32,
        beta_fast: f32,
        beta_slow: f32,
        attention_factor: f32,
        truncate: bool,
    },
    /// Pair `i` is slowed down by `factors[i]`, as GGUF files list it in the place of Llama 3's formula.
    Factors(Vec<f32>),
}

/// `rope_scaling`, or `rope_parameters`, of a `config.json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, expecting = "an object")]
pub(super) struct RopeJson {
    rope_type: Option<String>,
    /// The older name of `rope_type`; some files have both.
    #[serde(rename = "type")]
    old_type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<f32>,
    beta_fast: Option<f32>,
    beta_slow: Option<f32>,
    attention_factor: Option<f32>,
    mscale: Option<f32>,
    mscale_all_dim: Option<f32>,
    truncate: Option<bool>,
    partial_rotary_factor: Option<f32>,
}

/// What a configuration says outside `rope_scaling` and `rope_parameters`.
#[derive(Clone, Copy)]
pub(super) struct RopeDefaults {
    pub(super) theta: f32,
    /// Positions that the model is made for.
    pub(super) context: usize,
    /// `original_max_position_embeddings` at the top, which goes before all else.
    pub(super) original_context: Option<f32>,
}

impl RopeParameters {
    pub(super) fn plain(theta: f32) -> Self {
        RopeParameters { theta, scaling: RopeScaling::None }
    }

    /// Reads `field` of a `config.json`.
    ///
    /// # Errors
    /// What is unknown or missing, naming the field.
    pub(super) fn from_json(
        field: &str,
        json: Option<&RopeJson>,
        defaults: RopeDefaults,
    ) -> Result<Self, String> {
        let Some(json) = json else { return Ok(Self::plain(defaults.theta)) };
        if let Some(part) = json.partial_rotary_factor.filter(|part| *part != 1.0) {
            return Err(format!("{field}: partial_rotary_factor is {part}; only 1 is supported"));
        }
        let kind = json.rope_type.as_deref().or(json.old_type.as_deref()).unwrap_or("default");
        let required = |name: &str, value: Option<f32>| {
            value.ok_or_else(|| format!("{field}: {kind} scaling without {name}"))
        };
        let original = defaults.original_context.or(json.original_max_position_embeddings);
        let original_context = original.unwrap_or(defaults.context as f32);
        let scaling = match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: required("factor", json.factor)? },
            "llama3" => RopeScaling::Llama3 {
                factor: required("factor", json.factor)?,
                low_freq_factor: required("low_freq_factor", json.low_freq_factor)?,
                high_freq_factor: required("high_freq_factor", json.high_freq_factor)?,
                original_context,
            },
            "yarn" => {
                let factor = json.factor.unwrap_or(defaults.context as f32 / original_context);
                RopeScaling::Yarn {
                    factor,
                    original_context,
                    beta_fast: json.beta_fast.filter(|beta| *beta != 0.0).unwrap_or(32.0),
                    beta_slow: json.beta_slow.filter(|beta| *beta != 0.0).unwrap_or(1.0),
                    attention_factor: json.attention_factor.unwrap_or_else(|| {
                        match (json.mscale, json.mscale_all_dim) {
                            (Some(scale), Some(all)) if scale != 0.0 && all != 0.0 => {
                                yarn_scale(factor, scale) / yarn_scale(factor, all)
                            }
                            _ => yarn_scale(factor, 1.0),
                        }
                    }),
                    truncate: json.truncate.unwrap_or(true),
                }
            }
            other => return Err(format!("{field}: rope type {other:?} is not supported; {KNOWN}")),
        };
        Ok(RopeParameters { theta: json.rope_theta.unwrap_or(defaults.theta), scaling })
    }

    /// Writes `rope_theta` and `rope_scaling` into a configuration, as older releases have them and newer ones read them.
    ///
    /// # Errors
    /// When a list of factors follows no formula.
    pub(super) fn write(&self, config: &mut Map<String, Value>) -> Result<(), String> {
        config.insert("rope_theta".to_owned(), decimal(self.theta));
        let scaling = match &self.scaling {
            RopeScaling::None => Value::Null,
            RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": decimal(*factor)}),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => json!({
                "rope_type": "llama3",
                "factor": decimal(*factor),
                "low_freq_factor": decimal(*low_freq_factor),
                "high_freq_factor": decimal(*high_freq_factor),
                "original_max_position_embeddings": *original_context as u64,
            }),
            RopeScaling::Yarn {
                factor,
                original_context,
                beta_fast,
                beta_slow,
                attention_factor,
                truncate,
            } => json!({
                "rope_type": "yarn",
                "factor": decimal(*factor),
                "original_max_position_embeddings": *original_context as u64,
                "beta_fast": decimal(*beta_fast),
                "beta_slow": decimal(*beta_slow),
                "attention_factor": decimal(*attention_factor),
                "truncate": truncate,
            }),
            RopeScaling::Factors(factors) => {
                let formula = self.formula(factors).ok_or_else(|| {
                    format!("the factors of {ROPE_FACTORS} follow no formula that a configuration can name")
                })?;
                return formula.write(config);
            }
        };
        config.insert("rope_scaling".to_owned(), scaling);
        Ok(())
    }

    /// Reads the keys `<architecture>.rope.*`, and the tensor that lists factors where there is one.
    pub(super) fn from_gguf(
        file: &GgufFile,
        architecture: &str,
        head_dim: usize,
        context: usize,
    ) -> Result<Self> {
        let metadata = file.metadata();
        let refuse = |message: String| Err(crate::checkpoint::refuse(file.path(), message));
        let number = |key: &str| metadata.optional_f32(&format!("{architecture}.rope.{key}"));
        let theta = number("freq_base")?.unwrap_or(1e4);
        let dims = metadata.optional_u32(&format!("{architecture}.rope.dimension_count"))?;
        if let Some(dims) = dims.filter(|dims| *dims as usize != head_dim) {
            return refuse(format!(
                "rope.dimension_count is {dims}; only whole heads of {head_dim} are supported"
            ));
        }
        if file.tensor(ROPE_FACTORS).is_some() {
            let factors = file.dequantize(ROPE_FACTORS)?;
            return Ok(RopeParameters { theta, scaling: RopeScaling::Factors(factors) });
        }
        let kind = metadata.optional_str(&format!("{architecture}.rope.scaling.type"))?;
        let scaling = match kind {
            Some("none") => RopeScaling::None,
            // llama.cpp takes a factor without a type for a linear one.
            None | Some("linear") => linear_of_gguf(file, architecture)?,
            Some("yarn") => {
                if let Some(scale) = number("scaling.yarn_log_multiplier")?.filter(|scale| *scale != 0.0) {
                    return refuse(format!(
                        "rope.scaling.yarn_log_multiplier is {scale}; only 0 is supported"
                    ));
                }
                let factor = number("scaling.factor")?.unwrap_or(1.0);
                let original = format!("{architecture}.rope.scaling.original_context_length");
                let original = metadata.optional_u32(&original)?;
                RopeScaling::Yarn {
                    factor,
                    original_context: original.map_or(context as f32, |length| length as f32),
                    beta_fast: number("scaling.yarn_beta_fast")?.unwrap_or(32.0),
                    beta_slow: number("scaling.yarn_beta_slow")?.unwrap_or(1.0),
                    attention_factor: number("scaling.attn_factor")?.unwrap_or(1.0) * yarn_scale(factor, 1.0),
                    truncate: true,
                }
            }
            Some(other) => {
                return refuse(format!(
                    "rope.scaling.type {other:?} is not supported; none, linear and yarn are"
                ));
            }
        };
        Ok(RopeParameters { theta, scaling })
    }

    /// # Errors
    /// Which number is out of its range, `layers` saying whose.
    pub(super) fn validate(&self, layers: &str, head_dim: usize) -> Result<(), String> {
        let mut positive = vec![("rope_theta", self.theta)];
        match &self.scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => positive.push(("rope factor", *factor)),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                positive.extend([
                    ("rope factor", *factor),
                    ("low_freq_factor", *low_freq_factor),
                    ("high_freq_factor", *high_freq_factor),
                    ("original_max_position_embeddings", *original_context),
                ]);
                if low_freq_factor == high_freq_factor {
                    return Err(format!(
                        "low_freq_factor and high_freq_factor{layers} are both {low_freq_factor}"
                    ));
                }
            }
            RopeScaling::Yarn {
                factor, original_context, beta_fast, beta_slow, attention_factor, ..
            } => {
                positive.extend([
                    ("rope factor", *factor),
                    ("original_max_position_embeddings", *original_context),
                    ("beta_fast", *beta_fast),
                    ("beta_slow", *beta_slow),
                    ("attention_factor", *attention_factor),
                ]);
                // The correction range divides by its logarithm.
                if self.theta == 1.0 {
                    return Err(format!("rope_theta{layers} is 1, which yarn scaling cannot take"));
                }
            }
            RopeScaling::Factors(factors) => {
                if factors.len() != head_dim / 2 {
                    let (found, pairs) = (factors.len(), head_dim / 2);
                    return Err(format!(
                        "tensor {ROPE_FACTORS} has {found} numbers for {pairs} pairs of features"
                    ));
                }
                positive.extend(factors.iter().map(|factor| (ROPE_FACTORS, *factor)));
            }
        }
        match positive.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            Some((name, value)) => Err(format!("{name}{layers} is {value}; it must be a positive number")),
            None => Ok(()),
        }
    }

    /// What queries and keys are multiplied by, each. As it falls on both, its square belongs to the scores.
    pub(super) fn attention_factor(&self) -> f32 {
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }

    /// The embedding for heads of `head_dim` features.
    pub(super) fn rope(&self, head_dim: usize) -> Result<Rope> {
        let rope = Rope::new(head_dim as i32, self.theta);
        let pairs = || (0..head_dim / 2).map(|pair| (pair, self.wavelength(pair, head_dim)));
        let wavelengths: Vec<f32> = match &self.scaling {
            RopeScaling::None => return Ok(rope),
            RopeScaling::Linear { factor } => return Ok(Rope { scale: 1.0 / factor, ..rope }),
            RopeScaling::Factors(factors) => {
                pairs().map(|(pair, w)| (w * f64::from(factors[pair])) as f32).collect()
            }
            RopeScaling::Llama3 { .. } => pairs().map(|(_, w)| self.slowed(w) as f32).collect(),
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, .. } => {
                // The pair that makes this many turns within the original context.
                let pair_of = |turns: f32| {
                    let ratio = f64::from(*original_context) / (f64::from(turns) * std::f64::consts::TAU);
                    head_dim as f64 * ratio.ln() / (2.0 * f64::from(self.theta).ln())
                };
                let (mut first, mut last) = (pair_of(*beta_fast), pair_of(*beta_slow));
                if *truncate {
                    (first, last) = (first.floor(), last.ceil());
                }
                (first, last) = (first.max(0.0), last.min(head_dim as f64 - 1.0));
                // A range without width would divide by zero.
                let width = if first == last { 0.001 } else { last - first };
                let slowed = |(pair, w): (usize, f64)| {
                    let share = ((pair as f64 - first) / width).clamp(0.0, 1.0);
                    w / (share / f64::from(*factor) + (1.0 - share))
                };
                pairs().map(|pair| slowed(pair) as f32).collect()
            }
        };
        Ok(Rope { wavelengths: Some(Array::from_slice(&wavelengths, &[head_dim as i32 / 2])?), ..rope })
    }

    /// The formula of Llama 3 that makes a list of factors, if one does: with the numbers of all its releases but for the
    /// original context, which may be any power of two.
    fn formula(&self, factors: &[f32]) -> Option<RopeParameters> {
        let factor = factors.iter().copied().fold(1.0, f32::max);
        let formulas = (5..=20).map(|power| RopeParameters {
            theta: self.theta,
            scaling: RopeScaling::Llama3 {
                factor,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: (1u32 << power) as f32,
            },
        });
        let head_dim = 2 * factors.len();
        let makes = |formula: &RopeParameters| {
            let same = |(pair, factor): (usize, &f32)| {
                let w = formula.wavelength(pair, head_dim);
                (formula.slowed(w) / w / f64::from(*factor) - 1.0).abs() < 1e-4
            };
            factors.iter().enumerate().all(same)
        };
        formulas.into_iter().find(makes)
    }

    /// What Llama 3's scaling makes of a wavelength.
    fn slowed(&self, w: f64) -> f64 {
        let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } =
            self.scaling
        else {
            return w;
        };
        let [factor, low, high] = [factor, low_freq_factor, high_freq_factor].map(f64::from);
        // Turns of the pair within the original context.
        match f64::from(original_context) / (w * std::f64::consts::TAU) {
            turns if turns < low => w * factor,
            turns if turns > high => w,
            turns => {
                let share = (turns - low) / (high - low);
                w / ((1.0 - share) / factor + share)
            }
        }
    }

    /// Positions for a turn of a pair, divided by 2π: `theta^(2 pair / head_dim)`.
    fn wavelength(&self, pair: usize, head_dim: usize) -> f64 {
        f64::from(self.theta).powf(2.0 * pair as f64 / head_dim as f64)
    }
}

/// The tensor in which GGUF files list factors.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// For configurations that describe RoPE in both ways, of which references take different ones.
pub(super) const BOTH_ROPES: &str =
    "rope_scaling and rope_parameters are both given; keep the one that is meant, and delete the other";

/// Linear scaling as a GGUF file has it, by its newer or its older key; 0 and 1 are none.
pub(super) fn linear_of_gguf(file: &GgufFile, architecture: &str) -> Result<RopeScaling> {
    let number = |key: &str| file.metadata().optional_f32(&format!("{architecture}.rope.{key}"));
    let factor = match number("scaling.factor")? {
        Some(factor) => Some(factor),
        None => number("scale_linear")?,
    };
    Ok(match factor.filter(|factor| *factor != 0.0 && *factor != 1.0) {
        Some(factor) => RopeScaling::Linear { factor },
        None => RopeScaling::None,
    })
}

/// `0.1 scale ln(factor) + 1`, the temperature that YaRN recommends.
fn yarn_scale(factor: f32, scale: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
}
