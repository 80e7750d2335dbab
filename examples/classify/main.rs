//! Labels the sentences of a text file by their subject, without generating a word.
//!
//! ```console
//! cargo run --release --example classify
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use inference_api::{ClassifyOptions, LoadOptions, Prompt};

/// What a base model needs to see what is asked of it: the task, done a few times.
const EXAMPLES: &str = "\
Sentence: The bank lowered its interest rates.\nSubject: finance\n\
Sentence: She scored twice in the final.\nSubject: sports\n\
Sentence: Add the garlic and let it simmer.\nSubject: cooking\n\
Sentence: It will rain all weekend in the north.\nSubject: weather\n\
Sentence: The new phone has a better camera.\nSubject: technology\n";

/// Labels sentences with a language model.
#[derive(Parser)]
struct Args {
    /// A folder in Hugging Face layout, a .gguf file, or the name of a packaged model.
    #[arg(long, default_value = "gemma-3-270m")]
    model: String,
    /// A text file, a sentence a line.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/classify/sentences.txt"))]
    file: PathBuf,
    /// The labels, with commas between them.
    #[arg(long, value_delimiter = ',', default_value = "finance,sports,cooking,weather,technology")]
    labels: Vec<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let text = std::fs::read_to_string(&args.file)?;
    let sentences: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    mlx_backend::register()?;
    let model = inference_api::load_model(&args.model, &LoadOptions::default())?;

    let prompts =
        sentences.iter().map(|sentence| Prompt::Text(format!("{EXAMPLES}Sentence: {sentence}\nSubject:")));
    let options = ClassifyOptions::default().with_labels(args.labels.iter().map(|label| format!(" {label}")));
    let start = Instant::now();
    let results = model.classify(prompts.collect(), &options)?;
    let seconds = start.elapsed().as_secs_f64();

    let mut counts = BTreeMap::new();
    for (sentence, result) in sentences.iter().zip(results) {
        let found = result?;
        let Some(best) = found.best() else { continue };
        println!("{:<12} {:>4.0}%  {sentence}", args.labels[best], 100.0 * found.probabilities()[best]);
        *counts.entry(&args.labels[best]).or_insert(0) += 1;
    }
    println!();
    for (label, count) in counts {
        println!("{count:>4} {label}");
    }
    eprintln!("\n{} sentences, {:.1} a second", sentences.len(), sentences.len() as f64 / seconds);
    Ok(())
}
