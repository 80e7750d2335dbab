//! `mlx bench`: how fast a model is.

use clap::value_parser;
use mlx_core::{Device, kernels};
use mlx_models::bench::{Speed, Test};
use mlx_models::{Checkpoint, LanguageModel, models};
use serde_json::{Value, json};

use crate::args::DeviceArg;
use crate::failure::Failure;
use crate::{output, progress};

/// Measures how fast a model reads a prompt (pp) and decodes (tg).
///
/// The tests, their names and the columns are those of llama.cpp's llama-bench. Each test runs once to warm up, then
/// some times on the clock, from an empty cache each time; t/s is tokens per second, the mean ± the standard deviation.
/// Token ids are arbitrary and none is sampled. size is that of the tensors in their files, threads is those that
/// a CPU's kernels are spread over. Checkpoints without a tokenizer will do.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  mlx bench --model gemma-3-270m -p 128 -n 32 -r 3")]
pub(crate) struct Args {
    /// A folder in Hugging Face layout, a .gguf file, the name of a packaged model, or a Hub id such as org/name.
    #[arg(long)]
    model: String,
    /// Tokens of the prompt; 0 leaves the test out.
    #[arg(short, value_name = "TOKENS", default_value_t = 512)]
    p: u32,
    /// Tokens to decode; 0 leaves the test out.
    #[arg(short, value_name = "TOKENS", default_value_t = 128)]
    n: u32,
    /// How often each test runs on the clock.
    #[arg(short, value_name = "TIMES", default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    r: u32,
    /// Decode this many sequences together; t/s is of all of them.
    #[arg(long, value_name = "SEQUENCES", default_value_t = 1, value_parser = value_parser!(u16).range(1..))]
    batch: u16,
    /// Print one JSON object at the end.
    #[arg(long)]
    json: bool,
    /// Where to compute; by default the GPU if there is one.
    #[arg(long)]
    device: Option<DeviceArg>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let tests = args.tests()?;
    let path = progress::locate(&args.model)?;
    let bench = || {
        let checkpoint = Checkpoint::open(&path)?;
        let model = models::load(&checkpoint, None)?;
        args.check_context(model.shape().context_len)?;
        let subject = Subject::of(&checkpoint, &*model)?;
        if args.json {
            print_object(args, &tests, &*model, &subject)
        } else {
            print_table(args, &tests, &*model, &subject)
        }
    };
    match args.device {
        Some(device) => device.device()?.scope(bench),
        None => bench(),
    }
}

impl Args {
    fn tests(&self) -> Result<Vec<Test>, Failure> {
        if self.n == 0 && self.batch > 1 {
            return Err(Failure::new(format!("--batch {}: -n 0 leaves out what it is for", self.batch)));
        }
        let prefill = Test::Prefill { tokens: self.p as usize };
        let decode = Test::Decode { tokens: self.n as usize, batch: self.batch.into() };
        let tests: Vec<Test> = [prefill, decode].into_iter().filter(|test| test.tokens() > 0).collect();
        if tests.is_empty() { Err(Failure::new("-p 0 -n 0: no test is left")) } else { Ok(tests) }
    }

    fn check_context(&self, context_len: usize) -> Result<(), Failure> {
        match [("-p", self.p), ("-n", self.n)].into_iter().find(|(_, tokens)| *tokens as usize > context_len)
        {
            Some((option, tokens)) => Err(Failure::new(format!(
                "{option} {tokens}: the model's context holds {context_len} tokens"
            ))),
            None => Ok(()),
        }
    }
}

/// What is measured, and on what.
struct Subject {
    model: String,
    size_bytes: u64,
    weight_bytes: usize,
    parameters: usize,
    backend: &'static str,
    threads: usize,
}

impl Subject {
    fn of(checkpoint: &Checkpoint, model: &dyn LanguageModel) -> Result<Self, Failure> {
        let shape = model.shape();
        let stored = checkpoint.quantization().unwrap_or_else(|| shape.dtype.to_string());
        Ok(Subject {
            model: format!("{} {stored}", model.model_type()),
            size_bytes: checkpoint.stored_bytes(),
            weight_bytes: shape.weight_bytes,
            parameters: shape.parameters,
            backend: match Device::current() {
                Device::Cpu => "CPU",
                Device::Gpu if Device::has_metal() => "Metal",
                Device::Gpu => "CUDA",
            },
            threads: kernels::threads(),
        })
    }
}

/// Prints each row as soon as its test is done.
fn print_table(
    args: &Args,
    tests: &[Test],
    model: &dyn LanguageModel,
    subject: &Subject,
) -> Result<(), Failure> {
    let mut head = HEAD.map(line).concat();
    for test in tests {
        let speed = test.measure(model, args.r as usize)?;
        output::write(&(std::mem::take(&mut head) + &row(subject, *test, &speed)))?;
    }
    Ok(())
}

/// The names of the columns, and the line below them, in which a colon makes numbers end at the right.
const HEAD: [[&str; 7]; 2] = [
    ["model", "size", "params", "backend", "threads", "test", "t/s"],
    [
        "------------------------------",
        "---------:",
        "---------:",
        "----------",
        "------:",
        "--------------:",
        "-------------------:",
    ],
];

fn line(cells: [&str; 7]) -> String {
    let [model, size, params, backend, threads, test, rate] = cells;
    format!(
        "| {model:30} | {size:>10} | {params:>10} | {backend:10} | {threads:>7} | {test:>15} | {rate:>20} |\n"
    )
}

fn row(subject: &Subject, test: Test, speed: &Speed) -> String {
    line([
        &subject.model,
        &in_units(subject.size_bytes as f64 / (1 << 20) as f64, 1024.0, ["MiB", "GiB"]),
        &in_units(subject.parameters as f64 / 1e6, 1000.0, ["M", "B"]),
        subject.backend,
        &subject.threads.to_string(),
        &test.to_string(),
        &format!("{:.2} ± {:.2}", speed.mean(), speed.standard_deviation()),
    ])
}

/// A number of small units, or of large ones where there is at least one of them.
fn in_units(number: f64, large: f64, units: [&str; 2]) -> String {
    match number {
        n if n < large => format!("{n:.2} {}", units[0]),
        n => format!("{:.2} {}", n / large, units[1]),
    }
}

fn print_object(
    args: &Args,
    tests: &[Test],
    model: &dyn LanguageModel,
    subject: &Subject,
) -> Result<(), Failure> {
    let measure = |test: &Test| -> Result<Value, Failure> {
        let speed = test.measure(model, args.r as usize)?;
        Ok(json!({
            "test": test.to_string(),
            "tokens": test.tokens(),
            "batch": test.batch(),
            "tokens_per_second": speed.mean(),
            "standard_deviation": speed.standard_deviation(),
            "samples": speed.samples,
        }))
    };
    let object = json!({
        "model": subject.model,
        "size_bytes": subject.size_bytes,
        "weight_bytes": subject.weight_bytes,
        "parameters": subject.parameters,
        "backend": subject.backend,
        "threads": subject.threads,
        "tests": tests.iter().map(measure).collect::<Result<Vec<_>, _>>()?,
    });
    output::write(&format!("{object}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_llama_bench() {
        let subject = Subject {
            model: "gemma3_text Q4_0".to_owned(),
            size_bytes: 246_581_760,
            weight_bytes: 0,
            parameters: 268_098_176,
            backend: "CPU",
            threads: 2,
        };
        let speed = Speed { samples: vec![100.0, 110.0, 120.0] };
        // Printed by llama-bench, but for the names of the model and the figures at the end.
        let theirs = "\
            | model                          |       size |     params | backend    | threads |            test |                  t/s |\n\
            | ------------------------------ | ---------: | ---------: | ---------- | ------: | --------------: | -------------------: |\n\
            | gemma3_text Q4_0               | 235.16 MiB |   268.10 M | CPU        |       2 |           pp512 |       110.00 ± 10.00 |\n";
        let ours = HEAD.map(line).concat() + &row(&subject, Test::Prefill { tokens: 512 }, &speed);
        assert_eq!(ours, theirs);
    }

    #[test]
    fn large_models_are_told_in_large_units() {
        for (number, text) in [(0.39, "0.39 M"), (999.9, "999.90 M"), (1000.0, "1.00 B"), (8190.7, "8.19 B")]
        {
            assert_eq!(in_units(number, 1000.0, ["M", "B"]), text);
        }
    }
}
