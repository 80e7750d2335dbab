//! `mlx classify`: labels lines of text.

use std::time::Instant;

use inference_api::{BatchResult, Classification, ClassifyOptions, LoadOptions, Message, Prompt};
use serde_json::{Map, Value, json};

use crate::args::DeviceArg;
use crate::failure::Failure;
use crate::{input, output, progress};

/// Lines that are given to the model at a time: results come in steps of so many.
const AT_ONCE: usize = 64;

/// Labels each line of standard input by which label the model would most probably go on with.
///
/// The prompt is the line, or what --template makes of it. Where the model has a chat template, it is what a user says;
/// --raw continues the bare text. A label stands behind the prompt, after a space unless one is there or the prompt is a
/// chat. Each line but blank ones gives one line: its label, the label's probability among the labels, and the line.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    mlx classify --model gemma-3-270m --labels finance,sports,science --template 'Text: {}\\nTopic:' < lines.txt")]
pub(crate) struct Args {
    /// A folder in Hugging Face layout, a .gguf file, the name of a packaged model, or a Hub id such as org/name.
    #[arg(long, default_value = "gemma-3-270m")]
    model: String,
    /// The labels, with commas between them.
    #[arg(long, value_name = "A,B,C", required = true, value_delimiter = ',')]
    labels: Vec<String>,
    /// The prompt, with {} where the line goes; \n is a line break.
    #[arg(long, value_name = "TEXT", default_value = "{}")]
    template: String,
    /// Do not put the prompt into the model's chat template.
    #[arg(long)]
    raw: bool,
    /// Print a JSON object for each line: text, label, probability, scores (log-probabilities of the labels).
    #[arg(long)]
    json: bool,
    /// Where to compute; by default the GPU if there is one.
    #[arg(long)]
    device: Option<DeviceArg>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.labels.iter().any(|label| label.trim().is_empty()) {
        return Err(Failure::new("--labels: one of the labels is empty"));
    }
    let template = args.template.replace("\\n", "\n");
    if !template.contains("{}") {
        return Err(Failure::new("--template: it has no {} where the line would go"));
    }
    let text = input::stdin()?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();

    #[cfg(feature = "mlx-backend")]
    mlx_backend::register()?;
    let backend = args.device.map(DeviceArg::backend).transpose()?;
    let load =
        LoadOptions { backend, ..LoadOptions::default() }.with_progress(progress::of_loading(&args.model));
    let model = inference_api::load_model(&args.model, &load)?;
    let is_chat = !args.raw && model.info().has_chat_template;
    let needs_space = !is_chat && !template.ends_with(char::is_whitespace);
    let labels = args.labels.iter().map(|label| match needs_space {
        true => format!(" {}", label.trim()),
        false => label.trim().to_owned(),
    });
    let options = ClassifyOptions::default().with_labels(labels);

    let start = Instant::now();
    for lines in lines.chunks(AT_ONCE) {
        let prompts = lines.iter().map(|line| {
            let prompt = template.replace("{}", line);
            if is_chat { Prompt::Chat(Message::user(prompt).into()) } else { Prompt::Text(prompt) }
        });
        let results = model.classify(prompts.collect(), &options)?;
        for (line, result) in lines.iter().zip(results) {
            print(args, line, result)?;
        }
    }
    let (count, seconds) = (lines.len(), start.elapsed().as_secs_f64());
    progress::note(&format!("{count} lines, {:.1} lines/s", count as f64 / seconds));
    Ok(())
}

fn print(args: &Args, line: &str, result: BatchResult<Classification>) -> Result<(), Failure> {
    let found = result.map_err(|error| {
        let start: String = line.chars().take(40).collect();
        Failure::new(format!("line {start:?}: {error:#}"))
    })?;
    let Some(best) = found.best() else { return Err(Failure::new("--labels: there are none")) };
    let (label, probability) = (args.labels[best].trim(), found.probabilities()[best]);
    if !args.json {
        return output::write(&format!("{label}\t{probability:.3}\t{line}\n"));
    }
    let scores = args.labels.iter().zip(&found.scores);
    let scores: Map<String, Value> =
        scores.map(|(label, score)| (label.trim().to_owned(), json!(score))).collect();
    let object = json!({"text": line, "label": label, "probability": probability, "scores": scores});
    output::write(&format!("{object}\n"))
}
