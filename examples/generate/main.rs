//! Continues a prompt with Gemma 3, streaming the text as it is made.
//!
//! ```console
//! cargo run --release --example generate -- --prompt "Once upon a time"
//! ```

use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use anyhow::Result;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use inference_api::{GenerateOptions, LoadOptions, LoadProgress, LoadStage};

/// Continues a prompt with a language model.
#[derive(Parser)]
struct Args {
    /// A folder in Hugging Face layout, a .gguf file, or the name of a packaged model.
    #[arg(long, default_value = "gemma-3-270m")]
    model: String,
    /// The text to go on from.
    #[arg(long, default_value = "The three primary colors are")]
    prompt: String,
    /// The most tokens to make.
    #[arg(long, default_value_t = 48)]
    max_tokens: usize,
    /// Randomness: 0 always takes the likeliest token.
    #[arg(long, default_value_t = 0.0)]
    temp: f32,
    /// Makes random choices repeatable.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    mlx_backend::register()?;
    let model = inference_api::load_model(&args.model, &LoadOptions::default().with_progress(progress()))?;

    let options = GenerateOptions { seed: args.seed, ..GenerateOptions::default() }
        .with_max_tokens(args.max_tokens)
        .with_temperature(args.temp);
    print!("{}", args.prompt);
    let mut stream = model.generate(args.prompt.as_str().into(), &options)?;
    for token in &mut stream {
        print!("{}", token?.text);
        std::io::stdout().flush()?;
    }
    println!();
    if let Some(metrics) = stream.metrics() {
        eprintln!("\n{metrics}");
    }
    Ok(())
}

/// Draws a bar while the model is fetched; on something other than a terminal, says once that it is.
fn progress() -> impl Fn(&LoadProgress) + Send + Sync {
    let bar = Mutex::new(None::<ProgressBar>);
    move |progress| {
        let Ok(mut bar) = bar.lock() else { return };
        if progress.stage != LoadStage::Fetch {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
            return;
        }
        let bar = bar.get_or_insert_with(|| {
            if !std::io::stderr().is_terminal() {
                eprintln!(
                    "fetching {} ({} MB)",
                    progress.label,
                    progress.total_bytes.unwrap_or(0) / 1_000_000
                );
            }
            let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_message(progress.label.clone());
        bar.set_length(progress.total_bytes.unwrap_or(0));
        bar.set_position(progress.done_bytes);
    }
}
