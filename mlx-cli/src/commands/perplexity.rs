//! `mlx perplexity`: how well a model foresees a text.

use std::path::{Path, PathBuf};

use mlx_core::{DType, kernels};
use serde_json::json;

use crate::args::DeviceArg;
use crate::failure::Failure;
use crate::{input, output, progress};

/// Measures how well a model foresees a text: lower is better.
///
/// Prints exp of the mean negative log-likelihood of the text's tokens, each given those before it, in one window,
/// computed in float32. Special tokens spelled in the text are taken as text.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  mlx perplexity --model gemma-3-270m --text-file letter.txt --json")]
pub(crate) struct Args {
    /// A folder in Hugging Face layout, a .gguf file, or the name of a packaged model.
    #[arg(long)]
    model: String,
    /// The text; `-` reads standard input.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    text_file: PathBuf,
    /// The folder of an adapter for the model, in mlx-lm's or PEFT's format.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Print {"perplexity":…,"tokens":…}.
    #[arg(long)]
    json: bool,
    /// Where to compute; by default the GPU if there is one.
    #[arg(long)]
    device: Option<DeviceArg>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let text = input::text_file(&args.text_file)?;
    let path = progress::locate(&args.model)?;
    let measure = || measure(&path, args.adapter.as_deref(), &text);
    let (perplexity, tokens) = match args.device {
        Some(device) => device.device()?.scope(measure)?,
        None => measure()?,
    };
    output::write(&match args.json {
        true => format!("{}\n", json!({ "perplexity": perplexity, "tokens": tokens })),
        false => format!("{perplexity:.4}\n"),
    })
}

fn measure(path: &Path, adapter: Option<&Path>, text: &str) -> Result<(f64, usize), Failure> {
    let loaded = mlx_models::load_with_adapter(path, Some(DType::F32), adapter)?;
    let tokens = loaded.text.tokenizer()?.encode(text, true, false)?;
    // Who asks for numbers wants them as they are.
    let perplexity = kernels::exactly(|| mlx_models::perplexity(&*loaded.model, &tokens));
    let perplexity = perplexity.map_err(|error| match error {
        mlx_models::Error::Option { message, .. } => Failure::new(format!("--text-file: {message}")),
        other => other.into(),
    })?;
    Ok((perplexity, tokens.len()))
}
