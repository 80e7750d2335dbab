//! The `mlx` command: language models on MLX.
//!
//! Results go to standard output; metrics, progress and errors to standard error. A failure is one line,
//! `mlx: …`, and exit status 1, or 2 for a command line that does not parse.

mod args;
mod commands;
mod failure;
mod input;
mod output;
mod progress;
mod sampling;
mod units;

use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand as HELP;
use clap::{Parser, Subcommand};
use mlx_core::kernels;

use crate::commands::{
    bench, chat, classify, convert, finetune, fuse, generate, info, logits, models, perplexity, render,
    tensor, tokenize,
};
use crate::failure::Failure;

/// Runs language models on MLX.
#[derive(Parser)]
#[command(name = "mlx", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Args),
    Chat(chat::Args),
    Classify(classify::Args),
    Convert(convert::Args),
    Finetune(Box<finetune::Args>),
    Fuse(fuse::Args),
    Generate(generate::Args),
    Info(info::Args),
    Logits(logits::Args),
    Models(models::Args),
    Perplexity(perplexity::Args),
    Render(render::Args),
    Tensor(tensor::Args),
    Tokenize(tokenize::Args),
}

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        // Help and the version, and what `mlx` alone prints.
        Err(error) if !error.use_stderr() || error.kind() == HELP => error.exit(),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "mlx: {}", failure::usage(&error));
            return ExitCode::from(2);
        }
    };
    match run(command) {
        // Whoever read the output has had enough, as in `mlx generate … | head -c 1`.
        Ok(()) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Err(Failure::Message(message)) => {
            // With standard error gone too, the status is all that is left to tell.
            let _ = writeln!(std::io::stderr(), "mlx: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    kernels::from_environment()?;
    match command {
        Command::Bench(args) => bench::run(&args),
        Command::Chat(args) => chat::run(args),
        Command::Classify(args) => classify::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Finetune(args) => finetune::run(&args),
        Command::Fuse(args) => fuse::run(&args),
        Command::Generate(args) => generate::run(args),
        Command::Info(args) => info::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Tensor(args) => tensor::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
    }
}
