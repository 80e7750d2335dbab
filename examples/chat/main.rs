//! A conversation in the terminal: each line is a turn, and only what is new is read.
//!
//! ```console
//! cargo run --release --example chat
//! ```

use std::io::{BufRead, Write};

use anyhow::Result;
use clap::Parser;
use inference_api::{Chat, GenerateOptions, LoadOptions, Message};

/// Talks with a language model.
#[derive(Parser)]
struct Args {
    /// A folder in Hugging Face layout, a .gguf file, or the name of a packaged model; one with a chat template.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    model: String,
    /// Instructions for the whole conversation.
    #[arg(long, default_value = "You are a helpful assistant. Answer briefly.")]
    system: String,
    /// The most tokens of a reply.
    #[arg(long, default_value_t = 200)]
    max_tokens: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    mlx_backend::register()?;
    let model = inference_api::load_model(&args.model, &LoadOptions::default())?;
    let options = GenerateOptions::default().with_max_tokens(args.max_tokens).with_repetition_penalty(1.1);

    let mut chat = Chat::from(Message::system(args.system));
    for line in std::io::stdin().lock().lines() {
        chat.messages.push(Message::user(line?));
        let mut stream = model.chat(chat.clone(), &options)?;
        let mut reply = String::new();
        for token in &mut stream {
            let piece = token?.text;
            print!("{piece}");
            std::io::stdout().flush()?;
            reply += &piece;
        }
        println!();
        if let Some(metrics) = stream.metrics() {
            eprintln!("[{metrics}]");
        }
        chat.messages.push(Message::assistant(reply));
    }
    Ok(())
}
