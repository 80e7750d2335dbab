//! `mlx info`: what a checkpoint is.

use std::fmt::Write;

use mlx_models::{Checkpoint, Description, Head, TextTools};
use serde_json::{Value, json};

use crate::args::DeviceArg;
use crate::failure::Failure;
use crate::{output, progress, units};

/// Tells what a model is: architecture, sizes, quantization, tokenizer, and the memory that it takes.
///
/// No weights are loaded, and the architecture need not be one that mlx runs. A model that is not on this machine is
/// fetched first. Memory is an estimate: of the weights as they are held, and of the keys and values of one sequence.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    mlx info --model gemma-3-270m\n  \
    mlx info --model org/name --json")]
pub(crate) struct Args {
    /// A folder in Hugging Face layout, a .gguf file, the name of a packaged model, or a Hub id such as org/name.
    #[arg(long)]
    model: String,
    /// Print one JSON object; what is not known is null, and sizes are bytes.
    #[arg(long)]
    json: bool,
    /// Where the model would compute, which decides how weights are held; by default the GPU if there is one.
    #[arg(long)]
    device: Option<DeviceArg>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let checkpoint = Checkpoint::open(&progress::locate(&args.model)?)?;
    let description = match args.device {
        Some(device) => device.device()?.scope(|| Description::of(&checkpoint)),
        None => Description::of(&checkpoint),
    };
    let text = TextSide::of(&checkpoint);
    match args.json {
        true => output::write(&format!("{}\n", object(&description, &text))),
        false => output::write(&lines(&description, &text)),
    }
}

/// Tokenizer and chat template, or why they cannot be used.
struct TextSide {
    kind: Option<&'static str>,
    tools: Result<TextTools, String>,
}

impl TextSide {
    fn of(checkpoint: &Checkpoint) -> Self {
        let kind = match checkpoint {
            Checkpoint::Folder(folder) => {
                folder.path().join("tokenizer.json").exists().then_some("BPE, in tokenizer.json")
            }
            Checkpoint::Gguf(file) => match file.metadata().optional_str("tokenizer.ggml.model") {
                Ok(Some("llama")) => Some("SentencePiece, in the file"),
                Ok(Some("gpt2")) => Some("byte-level BPE, in the file"),
                _ => None,
            },
        };
        TextSide { kind, tools: TextTools::of(checkpoint).map_err(|error| error.to_string()) }
    }

    fn vocab_size(&self) -> Option<usize> {
        self.tools.as_ref().ok()?.tokenizer().ok().map(|tokenizer| tokenizer.vocab_size())
    }

    fn eos_ids(&self) -> Vec<u32> {
        self.tools.iter().flat_map(|tools| tools.eos_ids.iter().copied()).collect()
    }

    fn has_template(&self) -> Option<bool> {
        self.tools.as_ref().ok().map(|tools| tools.chat_template.is_some())
    }
}

fn object(of: &Description, text: &TextSide) -> Value {
    json!({
        "path": of.path.display().to_string(),
        "format": of.format,
        "model_type": of.model_type,
        "supported": of.unsupported.is_none(),
        "unsupported": of.unsupported,
        "parameters": of.parameters,
        "file_bytes": of.file_bytes,
        "quantization": of.quantization,
        "stored_as": of.stored_as.iter().map(|stored| json!({
            "name": stored.name, "tensors": stored.tensors, "bytes": stored.bytes,
        })).collect::<Vec<_>>(),
        "dtype": of.dtype.map(|dtype| dtype.to_string()),
        "layers": of.layers,
        "hidden_size": of.hidden_size,
        "attention_heads": of.attention_heads,
        "key_value_heads": of.key_value_heads,
        "head_dim": of.head_dim,
        "vocab_size": of.vocab_size,
        "context_len": of.context_len,
        "sliding_window": of.sliding_window.map(|(size, layers)| json!({"size": size, "layers": layers})),
        "head": of.head.map(|head| match head { Head::Tied => "tied", Head::Own => "own" }),
        "tokenizer": {
            "kind": text.kind,
            "vocab_size": text.vocab_size(),
            "error": text.tools.as_ref().err(),
        },
        "eos_ids": text.eos_ids(),
        "chat_template": text.has_template(),
        "load_bytes": of.load_bytes,
        "kv_bytes_per_token": of.kv_bytes_per_token,
        "kv_bytes_at_context": of.kv_bytes_at_context,
    })
}

/// A line for each thing that is known.
fn lines(of: &Description, text: &TextSide) -> String {
    let mut lines = String::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // Names in a file may hold anything, and a line is a line.
            let value = value.replace(char::is_control, "\u{FFFD}");
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{name:<18} {value}");
        }
    };
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    line("path", Some(of.path.display().to_string()));
    line("format", Some(of.format.to_owned()));
    line("architecture", of.model_type.clone());
    line(
        "supported",
        Some(of.unsupported.as_ref().map_or("yes".to_owned(), |reason| format!("no: {reason}"))),
    );
    line("parameters", Some(units::count(of.parameters)));
    line("size on disk", Some(units::bytes(of.file_bytes)));
    line("quantization", Some(of.quantization.clone().unwrap_or("none".to_owned())));
    for (index, stored) in of.stored_as.iter().enumerate() {
        let value = format!("{}: {} tensors, {}", stored.name, stored.tensors, units::bytes(stored.bytes));
        line(if index == 0 { "stored as" } else { "" }, Some(value));
    }
    line("computes in", of.dtype.map(|dtype| dtype.to_string()));
    line("layers", number(of.layers));
    line("hidden size", number(of.hidden_size));
    line("attention heads", number(of.attention_heads));
    line("key-value heads", number(of.key_value_heads));
    line("head width", number(of.head_dim));
    line("vocabulary", number(of.vocab_size));
    line("context", number(of.context_len));
    line("sliding window", of.sliding_window.map(|(size, layers)| format!("{size}, in {layers} layers")));
    line(
        "output head",
        of.head.map(|head| match head {
            Head::Tied => "the embeddings".to_owned(),
            Head::Own => "its own weights".to_owned(),
        }),
    );
    line(
        "tokenizer",
        Some(match (&text.tools, text.kind, text.vocab_size()) {
            (Err(error), ..) => format!("cannot be used: {error}"),
            (Ok(_), Some(kind), Some(size)) => format!("{kind}, {size} ids"),
            (Ok(_), ..) => "none".to_owned(),
        }),
    );
    let ids: Vec<String> = text.eos_ids().iter().map(u32::to_string).collect();
    line("end of text ids", Some(ids.join(", ")).filter(|ids| !ids.is_empty()));
    line("chat template", text.has_template().map(|has| if has { "yes" } else { "no" }.to_owned()));
    line("weights in memory", Some(format!("about {}", units::bytes(of.load_bytes))));
    line(
        "keys and values",
        of.kv_bytes_per_token.map(|token| {
            let whole = of
                .kv_bytes_at_context
                .map_or(String::new(), |whole| format!(", {} with the context full", units::bytes(whole)));
            format!("{} a token{whole}", units::bytes(token))
        }),
    );
    lines
}
