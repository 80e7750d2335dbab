//! `mlx logits`: what a model computes for given tokens.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mlx_core::io::{TensorView, write_safetensors};
use mlx_core::{DType, kernels};
use mlx_models::sampling::{Sampler, SamplingConfig};
use mlx_models::{LanguageModel, Sequence, for_each_logits};

use crate::args::{DeviceArg, TokenIds};
use crate::failure::Failure;
use crate::{output, progress};

const BYTES: usize = size_of::<f32>();

/// Writes the logits of given tokens to a safetensors file.
///
/// The file holds one tensor, `logits`, float32 of shape [tokens, vocabulary]: row i scores what may follow token i.
/// All is computed in float32, whatever the weights are stored as. Checkpoints without a tokenizer will do. An existing file is replaced once the new one is complete.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  mlx logits --model gemma-3-270m --tokens 2,818,7217 --last --out next.safetensors"
)]
pub(crate) struct Args {
    /// A folder in Hugging Face layout, a .gguf file, the name of a packaged model, or a Hub id such as org/name.
    #[arg(long)]
    model: String,
    /// The token ids, used exactly as they are, such as 2,818,7217.
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    tokens: TokenIds,
    /// The folder of an adapter for the model, in mlx-lm's or PEFT's format.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Keep the last token's row alone.
    #[arg(long)]
    last: bool,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where to compute; by default the GPU if there is one.
    #[arg(long)]
    device: Option<DeviceArg>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    output::check_file(&args.out)?;
    let path = progress::locate(&args.model)?;
    let rows = || {
        let loaded = mlx_models::load_with_adapter(&path, Some(DType::F32), args.adapter.as_deref())?;
        // Who asks for numbers wants them as they are.
        kernels::exactly(|| Rows::compute(&*loaded.model, &args.tokens.0, args.last))
    };
    let rows = match args.device {
        Some(device) => device.device()?.scope(rows)?,
        None => rows()?,
    };
    let tensor = TensorView { name: "logits", dtype: DType::F32, shape: &rows.shape, data: &rows.bytes };
    Ok(write_safetensors(&args.out, &[tensor], &BTreeMap::new())?)
}

/// Rows of logits as a file holds them.
struct Rows {
    shape: [usize; 2],
    bytes: Vec<u8>,
}

impl Rows {
    fn compute(model: &dyn LanguageModel, tokens: &[u32], last: bool) -> Result<Rows, Failure> {
        let width = model.shape().vocab_size;
        if let Some(at) = tokens.iter().position(|id| *id as usize >= width) {
            let message =
                format!("--tokens: entry {} is {}, outside the vocabulary of {width}", at + 1, tokens[at]);
            return Err(Failure::new(message));
        }
        let shape = [if last { 1 } else { tokens.len() }, width];
        let mut bytes = Vec::new();
        let size = shape[0].saturating_mul(width).saturating_mul(BYTES);
        bytes.try_reserve_exact(size).map_err(|_| {
            Failure::new(format!(
                "--tokens: the logits of {} tokens take {size} bytes, more than there is",
                shape[0]
            ))
        })?;
        let mut keep = |rows: &[f32]| bytes.extend(rows.iter().flat_map(|logit| logit.to_le_bytes()));
        if last {
            // A sequence puts the last position alone through the head.
            let mut sequence = Sequence::new(model, Sampler::new(SamplingConfig::default(), 0)?);
            sequence.prefill(tokens, || true)?;
            keep(sequence.logits());
        } else {
            for_each_logits(model, tokens, |rows| {
                keep(&rows);
                Ok(())
            })?;
        }
        Ok(Rows { shape, bytes })
    }
}
