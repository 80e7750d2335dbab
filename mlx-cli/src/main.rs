//! The `mlx` command: language models on MLX.
//!
//! Results go to standard output; metrics, progress and errors to standard error. A failure is one line,
//! `mlx: …`, and exit status 1; a command line that does not parse is exit status 2.

mod args;
mod commands;
mod failure;
mod input;
mod output;
mod progress;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mlx_core::kernels;

use crate::commands::{bench, generate, logits, render, tokenize};
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
    Generate(generate::Args),
    Logits(logits::Args),
    Render(render::Args),
    Tokenize(tokenize::Args),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
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
        Command::Generate(args) => generate::run(args),
        Command::Logits(args) => logits::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
    }
}
