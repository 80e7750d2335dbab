//! `mlx generate`: continues a prompt.

use std::io::Write;
use std::path::PathBuf;

use inference_api::{Completion, GenerateMetrics, LoadOptions, Message, Prompt, TokenStream};
use serde_json::{Value, json};

use crate::args::{DeviceArg, TokenIds};
use crate::failure::Failure;
use crate::sampling::SamplingArgs;
use crate::{input, output, progress};

/// Continues a prompt, printing the text as it is made.
///
/// Where the model has a chat template, the prompt is what a user says to it; --raw continues the bare text. Special
/// tokens spelled in the prompt are plain text either way; --tokens gives exact ids. Metrics follow on stderr.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  mlx generate --prompt \"The sky is\" --max-tokens 32 --temp 0.7 --seed 1"
)]
pub(crate) struct Args {
    /// A folder in Hugging Face layout, a .gguf file, the name of a packaged model, or a Hub id such as org/name.
    #[arg(long, default_value = "gemma-3-270m")]
    model: String,
    #[command(flatten)]
    prompt: PromptArgs,
    /// The most tokens to make.
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// The folder of an adapter for the model, in mlx-lm's or PEFT's format.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Do not put the prompt into the model's chat template.
    #[arg(long)]
    raw: bool,
    /// Print one JSON object at the end: text, reasoning, tokens, prompt_tokens, finish_reason, metrics.
    ///
    /// Times in the metrics are seconds.
    #[arg(long)]
    json: bool,
    /// Where to compute; by default the GPU if there is one.
    #[arg(long)]
    device: Option<DeviceArg>,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct PromptArgs {
    /// The text to continue.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// A file with the text to continue; - is standard input.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    prompt_file: Option<PathBuf>,
    /// Token ids to continue, used exactly as they are, such as 2,818,7217.
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    tokens: Option<TokenIds>,
}

impl PromptArgs {
    fn read(self) -> Result<Prompt, Failure> {
        match self {
            PromptArgs { tokens: Some(TokenIds(ids)), .. } => Ok(Prompt::Tokens(ids)),
            PromptArgs { prompt_file: Some(path), .. } => input::text_file(&path).map(Prompt::Text),
            PromptArgs { prompt, .. } => Ok(Prompt::Text(prompt.unwrap_or_default())),
        }
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let options = args.sampling.options(args.max_tokens);
    options.validate()?;
    let prompt = args.prompt.read()?;

    #[cfg(feature = "mlx-backend")]
    mlx_backend::register()?;
    let backend = args.device.map(DeviceArg::backend).transpose()?;
    let load = LoadOptions { backend, adapter: args.adapter.clone(), ..LoadOptions::default() }
        .with_progress(progress::of_loading(&args.model));
    let model = inference_api::load_model(&args.model, &load)?;

    let prompt = match prompt {
        Prompt::Text(text) if !args.raw && model.info().has_chat_template => {
            Prompt::Chat(Message::user(text).into())
        }
        prompt => prompt,
    };
    let stream = model.generate(prompt, &options)?;
    if args.json { print_object(stream) } else { print_text(stream) }
}

fn print_text(mut stream: TokenStream) -> Result<(), Failure> {
    let outcome = stream.by_ref().try_for_each(|token| output::write(&token?.text));
    // Ends the line of a text that broke off, too, so that the error stands on its own.
    if !matches!(outcome, Err(Failure::ClosedPipe)) {
        output::write("\n")?;
    }
    outcome?;
    if let Some(metrics) = stream.metrics() {
        // The text is out; nobody reading the numbers is no failure.
        let _ = writeln!(std::io::stderr(), "{metrics}");
    }
    Ok(())
}

fn print_object(stream: TokenStream) -> Result<(), Failure> {
    let Completion { text, reasoning, tokens, finish_reason, metrics, .. } = stream.into_completion()?;
    let object = json!({
        "text": text,
        "reasoning": reasoning,
        "tokens": tokens.iter().map(|token| token.id).collect::<Vec<_>>(),
        "prompt_tokens": metrics.prompt_tokens,
        "finish_reason": finish_reason.as_str(),
        "metrics": metrics_object(&metrics),
    });
    output::write(&format!("{object}\n"))
}

fn metrics_object(metrics: &GenerateMetrics) -> Value {
    json!({
        "prompt_tokens": metrics.prompt_tokens,
        "cached_prompt_tokens": metrics.cached_prompt_tokens,
        "generated_tokens": metrics.generated_tokens,
        "reasoning_tokens": metrics.reasoning_tokens,
        "time_to_first_token": metrics.time_to_first_token.map(|time| time.as_secs_f64()),
        "prefill_duration": metrics.prefill_duration.as_secs_f64(),
        "decode_duration": metrics.decode_duration.as_secs_f64(),
        "prefill_tokens_per_second": metrics.prefill_tokens_per_second(),
        "decode_tokens_per_second": metrics.decode_tokens_per_second(),
        "peak_memory_bytes": metrics.peak_memory_bytes,
        "active_memory_bytes": metrics.active_memory_bytes,
    })
}
