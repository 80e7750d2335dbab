//! `mlx generate`: continues a prompt.

use std::io::Write;
use std::path::PathBuf;

use inference_api::{
    Completion, GenerateMetrics, GenerateOptions, LoadOptions, Prompt, TextModel, TokenStream,
};
use mlx_models::{ChatTemplate, Checkpoint, TextTools};
use serde_json::{Map, Value, json};

use crate::args::{DeviceArg, TokenIds};
use crate::failure::Failure;
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
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Do not put the prompt into the model's chat template.
    #[arg(long)]
    raw: bool,
    /// Print one JSON object at the end: text, tokens, prompt_tokens, finish_reason, metrics.
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

#[derive(clap::Args)]
struct SamplingArgs {
    /// The most tokens to make.
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// Randomness; 0 always takes the most probable token.
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    temp: f32,
    /// Choose among the K most probable tokens; 0 is off.
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Choose among the most probable tokens that together reach P; 1 is off.
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f32,
    /// Leave out tokens less probable than P times the most probable one; 0 is off.
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Make recent tokens less likely, by a factor; 1 is off.
    #[arg(long, value_name = "R", default_value_t = 1.0, allow_negative_numbers = true)]
    repetition_penalty: f32,
    /// How many of the last tokens the penalties look at; 0 switches them off.
    #[arg(long, value_name = "N", default_value_t = 20)]
    repetition_context_size: usize,
    /// Taken once from the logit of each recent token; 0 is off.
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Taken from the logit of a recent token for each time it occurs; 0 is off.
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// Makes random choices repeatable; by default they differ each time.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// End before this text; may be given several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
}

impl SamplingArgs {
    fn options(self) -> GenerateOptions {
        GenerateOptions {
            max_tokens: self.max_tokens,
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            repetition_context_size: self.repetition_context_size,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            seed: self.seed,
            stop: self.stop,
            ..GenerateOptions::default()
        }
    }
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
    let options = args.sampling.options();
    options.validate()?;
    let prompt = args.prompt.read()?;

    #[cfg(feature = "mlx-backend")]
    mlx_backend::register()?;
    let backend = args.device.map(DeviceArg::backend).transpose()?;
    let load =
        LoadOptions { backend, ..LoadOptions::default() }.with_progress(progress::of_loading(&args.model));
    let model = inference_api::load_model(&args.model, &load)?;

    let prompt = match prompt {
        Prompt::Text(text) if !args.raw => in_chat_template(&*model, text)?,
        prompt => prompt,
    };
    let stream = model.generate(prompt, &options)?;
    if args.json { print_object(stream) } else { print_text(stream) }
}

/// Makes of the text what a user says, if the model has a chat template.
fn in_chat_template(model: &dyn TextModel, text: String) -> Result<Prompt, Failure> {
    let Some(path) = model.info().path else { return Ok(Prompt::Text(text)) };
    let checkpoint = Checkpoint::open(&path)?;
    if !has_chat_template(&checkpoint)? {
        return Ok(Prompt::Text(text));
    }
    let tools = TextTools::of(&checkpoint)?;
    let Some(template) = &tools.chat_template else { return Ok(Prompt::Text(text)) };
    let tokenizer = tools.tokenizer()?;
    let messages = json!([{"role": "user", "content": tokenizer.guard(&text)}]);
    let prompt = template.render(&messages, true, &Map::new())?;
    Ok(Prompt::Tokens(tokenizer.encode_prompt(&prompt)?))
}

/// Quick, while [`TextTools`] reads the whole vocabulary.
fn has_chat_template(checkpoint: &Checkpoint) -> mlx_models::Result<bool> {
    Ok(match checkpoint {
        Checkpoint::Folder(folder) => ChatTemplate::from_folder(folder.path())?.is_some(),
        Checkpoint::Gguf(file) => file.metadata().optional_str("tokenizer.chat_template")?.is_some(),
    })
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
    let Completion { text, tokens, finish_reason, metrics } = stream.into_completion()?;
    let object = json!({
        "text": text,
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
        "generated_tokens": metrics.generated_tokens,
        "time_to_first_token": metrics.time_to_first_token.map(|time| time.as_secs_f64()),
        "prefill_duration": metrics.prefill_duration.as_secs_f64(),
        "decode_duration": metrics.decode_duration.as_secs_f64(),
        "prefill_tokens_per_second": metrics.prefill_tokens_per_second(),
        "decode_tokens_per_second": metrics.decode_tokens_per_second(),
        "peak_memory_bytes": metrics.peak_memory_bytes,
        "active_memory_bytes": metrics.active_memory_bytes,
    })
}
