//! Checkpoints of a model and its adapter together.

use std::path::Path;

use mlx_core::nn::{Linear, Weight};
use mlx_core::{Array, DType};

use super::file::Stored;
use super::{AdapterKind, refuse};
use crate::checkpoint::Parameter;
use crate::convert::{ConvertOptions, Converted, convert_with};
use crate::{Checkpoint, Result};

/// What becomes of the weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct FuseOptions {
    /// Packed weights become floats. Otherwise they are packed again as they were, which rounds away part of what was
    /// learned; [`Fused::loss_of_effect`] says how much.
    pub dequantize: bool,
}

/// What fusing has made.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused {
    /// The checkpoint.
    pub converted: Converted,
    /// Arrays that the adapter has changed.
    pub changed: usize,
    /// Of weights that were packed again: `|change of the packed weights - change by the adapter| / |change by the
    /// adapter|`, over all of them. 0 is nothing lost; 1 or more is as if the adapter were noise.
    pub loss_of_effect: Option<f64>,
}

/// Writes the checkpoint at `from`, with the adapter in the folder `adapter` added to its weights, into the new folder
/// `out`, which mlx-lm loads too. A GGUF file becomes a dense bfloat16 checkpoint.
///
/// # Errors
/// As [`convert`](crate::convert()) and [`load`](super::load); then nothing is left behind.
pub fn fuse(from: &Path, adapter: &Path, out: &Path, options: &FuseOptions) -> Result<Fused> {
    let Stored { path, kind, dropout, mut maps, mut arrays, .. } = Stored::read(adapter)?;
    let expected = maps.len() + arrays.len();
    let mut changed = 0;
    let mut loss = Loss::default();
    let edit = &mut |name: &str, parameter: Parameter| -> Result<Parameter> {
        if kind == AdapterKind::Full {
            let Some(array) = arrays.remove(name) else { return Ok(parameter) };
            changed += 1;
            return replaced(&path, name, parameter, array);
        }
        let map = name.strip_suffix(".weight").unwrap_or(name);
        match (parameter, maps.remove(map)) {
            (parameter, None) => Ok(parameter),
            (Parameter::Matrix(weight), Some(matrices)) => {
                changed += 1;
                let mut linear = Linear::new(weight, None);
                linear.lora = Some(matrices.fit(&path, map, &linear, dropout)?);
                let packed = matches!(linear.weight, Weight::Quantized(_)) && !options.dequantize;
                let fused = linear.fused(!packed)?;
                if packed {
                    loss.add(&linear, &fused)?;
                }
                Ok(Parameter::Matrix(fused.weight))
            }
            (_, Some(_)) => Err(refuse(&path, format!("{map}.lora_a: {map} is no linear map of the model"))),
        }
    };
    let convert_options = ConvertOptions {
        dtype: match options.dequantize {
            true => Some(Checkpoint::open(from)?.dtype("embed_tokens")?),
            false => None,
        },
        quantization: None,
    };
    let written = convert_with(from, out, &convert_options, edit)?;
    if let Some(name) = maps.keys().chain(arrays.keys()).next() {
        let message = format!("the model has no {name}; {changed} of {expected} arrays fit it");
        return Err(refuse(adapter, message));
    }
    let converted = written.finish(out)?;
    Ok(Fused { converted, changed, loss_of_effect: loss.share() })
}

/// An array of a full fine-tune in the place of the model's.
fn replaced(path: &Path, name: &str, parameter: Parameter, array: Array) -> Result<Parameter> {
    let misfit = |shape: &[i32]| {
        Err(refuse(path, format!("{name} is {:?}, and the model's {shape:?}", array.shape())))
    };
    match parameter {
        Parameter::Vector(own) if own.shape() == array.shape() => Ok(Parameter::Vector(array)),
        Parameter::Vector(own) => misfit(own.shape()),
        Parameter::Matrix(own) if own.shape().map(|n| n as i32)[..] == *array.shape() => {
            Ok(Parameter::Matrix(Weight::Dense(array)))
        }
        Parameter::Matrix(own) => misfit(&own.shape().map(|n| n as i32)),
        Parameter::Stacked(own) => misfit(&own.shape().map(|n| n as i32)),
    }
}

/// How far packing moves the change from what it should be.
#[derive(Default)]
struct Loss {
    /// Sums of squares: of the difference, and of the change as it should be.
    difference: f64,
    change: f64,
}

impl Loss {
    fn add(&mut self, linear: &Linear, fused: &Linear) -> Result<()> {
        let base = linear.weight.dequantized()?.as_type(DType::F32)?;
        let wanted = linear.fused(true)?.weight.dequantized()?.as_type(DType::F32)?.subtract(&base)?;
        let became = fused.weight.dequantized()?.as_type(DType::F32)?.subtract(&base)?;
        let sum =
            |array: &Array| -> Result<f64> { Ok(f64::from(array.square()?.sum(.., false)?.item::<f32>()?)) };
        self.difference += sum(&became.subtract(&wanted)?)?;
        self.change += sum(&wanted)?;
        Ok(())
    }

    fn share(&self) -> Option<f64> {
        (self.change > 0.0).then(|| (self.difference / self.change).sqrt())
    }
}
