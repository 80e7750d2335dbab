//! `mlx fuse`: a checkpoint of a model and its adapter.

use std::path::PathBuf;

use mlx_models::adapter::{self, FuseOptions};

use crate::failure::Failure;
use crate::progress;

/// Adds an adapter to a model's weights, and writes the checkpoint, which mlx-lm loads too.
///
/// Packed weights are packed again as they were, which rounds away part of what was learned; how much is printed. With
/// --dequantize they become floats, and nothing is lost. A .gguf file becomes a dense bfloat16 checkpoint. The folder
/// appears once it is complete.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  mlx fuse --model gemma-3-270m --adapter adapter --out gemma-fused")]
pub(crate) struct Args {
    /// A folder in Hugging Face layout, a .gguf file, the name of a packaged model, or a Hub id such as org/name.
    #[arg(long)]
    model: String,
    /// The folder of the adapter, in mlx-lm's or PEFT's format.
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Unpack packed weights.
    #[arg(long)]
    dequantize: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let path = progress::locate(&args.model)?;
    let options = FuseOptions { dequantize: args.dequantize };
    let fused = adapter::fuse(&path, &args.adapter, &args.out, &options)?;
    progress::note(&format!(
        "{}: {} arrays changed, {:.1} MB, {:.2} bits per weight",
        args.out.display(),
        fused.changed,
        fused.converted.nbytes as f64 / 1e6,
        fused.converted.bits_per_weight(),
    ));
    if let Some(loss) = fused.loss_of_effect {
        progress::note(&format!(
            "packing the weights again moved the change that the adapter makes by {:.1} % of its size; --dequantize keeps \
             it whole",
            100.0 * loss
        ));
    }
    Ok(())
}
