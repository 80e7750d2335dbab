//! `mlx convert`: a checkpoint in MLX's layout.

use std::path::PathBuf;

use clap::ValueEnum;
use mlx_core::{DType, Quantization};
use mlx_models::ConvertOptions;

use crate::args::DeviceArg;
use crate::failure::Failure;
use crate::progress;

/// Writes a checkpoint as MLX has it: a folder of safetensors, dense or quantized, that mlx-lm loads too.
///
/// Without options, weights stay as they are: packed ones packed, floats in their own type. A GGUF file becomes bfloat16.
/// Quantizing packs every matrix whose rows are whole groups, embeddings included. The folder appears once it is complete.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    mlx convert --model gemma-3-270m --out gemma-4bit --quantize 4 --group-size 64\n  \
    mlx convert --model model.gguf --out model-bf16 --dtype bf16")]
pub(crate) struct Args {
    /// A folder in Hugging Face layout, a .gguf file, or the name of a packaged model.
    #[arg(long)]
    model: String,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Bits of a packed weight: 2, 3, 4, 5, 6 or 8.
    #[arg(long, value_name = "BITS", value_parser = ["2", "3", "4", "5", "6", "8"])]
    quantize: Option<String>,
    /// Weights that share a scale: 32, 64 or 128.
    #[arg(long, value_name = "G", requires = "quantize", default_value = "64", value_parser = ["32", "64", "128"])]
    group_size: String,
    /// What floats are stored as.
    #[arg(long)]
    dtype: Option<DTypeArg>,
    /// Where to compute; by default the GPU if there is one.
    #[arg(long)]
    device: Option<DeviceArg>,
}

/// What floats are stored as.
#[derive(Clone, Copy, ValueEnum)]
enum DTypeArg {
    /// bfloat16
    Bf16,
    /// float16
    F16,
    /// float32
    F32,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let number = |text: &str| text.parse::<i32>().unwrap_or_default();
    let options = ConvertOptions {
        dtype: args.dtype.map(|dtype| match dtype {
            DTypeArg::Bf16 => DType::BF16,
            DTypeArg::F16 => DType::F16,
            DTypeArg::F32 => DType::F32,
        }),
        quantization: args
            .quantize
            .as_deref()
            .map(|bits| Quantization::affine(number(&args.group_size), number(bits))),
    };
    let path = progress::locate(&args.model)?;
    let convert = || mlx_models::convert(&path, &args.out, &options);
    let converted = match args.device {
        Some(device) => device.device()?.scope(convert)?,
        None => convert()?,
    };
    progress::note(&format!(
        "{}: {:.1} million parameters, {:.1} MB, {:.2} bits per weight",
        args.out.display(),
        converted.parameters as f64 / 1e6,
        converted.nbytes as f64 / 1e6,
        converted.bits_per_weight(),
    ));
    if let Some(first) = converted.left_dense.first() {
        progress::note(&format!(
            "{} matrices stayed dense, as their rows are not whole groups of {}: {first} …",
            converted.left_dense.len(),
            args.group_size
        ));
    }
    Ok(())
}
