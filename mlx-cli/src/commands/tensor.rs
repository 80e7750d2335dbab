//! `mlx tensor`: one weight of a model.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mlx_core::io::save_safetensors;
use mlx_core::{Array, DType};
use mlx_models::checkpoint::Parameter;
use mlx_models::{Checkpoint, models};

use crate::args::DeviceArg;
use crate::failure::Failure;
use crate::{output, progress};

/// Writes one weight to a safetensors file, as float32.
///
/// Packed weights are unpacked. Names are those of Hugging Face's checkpoints, whatever the file calls them; the file that
/// is written has the tensor under the same name. In a GGUF file, a name of llama.cpp's gives the tensor as it lies there.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  mlx tensor --model gemma-3-270m --name model.layers.0.mlp.up_proj.weight --out up.safetensors"
)]
pub(crate) struct Args {
    /// A folder in Hugging Face layout, a .gguf file, or the name of a packaged model.
    #[arg(long)]
    model: String,
    /// The weight, such as model.layers.0.self_attn.q_proj.weight.
    #[arg(long)]
    name: String,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where to compute; by default the GPU if there is one.
    #[arg(long)]
    device: Option<DeviceArg>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    output::check_file(&args.out)?;
    let checkpoint = Checkpoint::open(&progress::locate(&args.model)?)?;
    let read = || -> Result<Array, Failure> {
        let array = read(&checkpoint, &args.name)?.as_type(DType::F32)?;
        array.eval()?;
        Ok(array)
    };
    let array = match args.device {
        Some(device) => device.device()?.scope(read)?,
        None => read()?,
    };
    let arrays = BTreeMap::from([(args.name.clone(), array)]);
    Ok(save_safetensors(&args.out, &arrays, &BTreeMap::new())?)
}

/// The weight `name`, unpacked.
fn read(checkpoint: &Checkpoint, name: &str) -> Result<Array, Failure> {
    Ok(match checkpoint {
        Checkpoint::Gguf(file) if file.tensor(name).is_some() => {
            let shape = file.tensor(name).map(|tensor| tensor.shape.clone()).unwrap_or_default();
            let shape: Vec<i32> =
                shape.iter().map(|length| i32::try_from(*length).unwrap_or(i32::MAX)).collect();
            Array::from_slice(&file.dequantize(name)?, &shape)?
        }
        _ => match models::parameter(checkpoint, name, DType::F32)? {
            Parameter::Vector(vector) => vector,
            Parameter::Matrix(weight) => weight.dequantized()?,
            Parameter::Stacked(stacked) => {
                stacked.weight.dequantized()?.reshape(&stacked.shape().map(|length| length as i32))?
            }
        },
    })
}
