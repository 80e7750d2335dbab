//! `mlx finetune`: trains an adapter on examples.

mod report;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use mlx_core::optim::{AdamWConfig, Decay, Schedule};
use mlx_core::{DType, memory};
use mlx_models::LoadedModel;
use mlx_models::adapter::{self, Adapter, AdapterKind, AdapterOptions};
use mlx_models::training::{DataOptions, DataSet, STATE_FILE, Trainer, TrainingOptions};
use serde_json::{Map, Value, json};

use self::report::Reporter;
use crate::args::DeviceArg;
use crate::failure::Failure;
use crate::progress;

/// The picture of the losses, beside the adapter.
const PICTURE: &str = "loss.svg";

/// Trains an adapter on examples, in the formats of mlx-lm.
///
/// The data folder holds train.jsonl and, if you like, valid.jsonl and test.jsonl, with lines such as
/// {"messages": […]}, {"prompt": "…", "completion": "…"} or {"text": "…"}. The output folder gets the adapter, which mlx-lm
/// reads too, the state of the run, and a picture of the losses; each file is whole or not there, and --resume goes on after
/// a run was ended, by whatever. A step is one update: --grad-accumulation batches of --batch-size rows.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    mlx finetune --model smollm2-135m-instruct --data data --adapter-out adapter --iters 100 --mask-prompt\n  \
    mlx generate --model smollm2-135m-instruct --adapter adapter --prompt \"…\"")]
pub(crate) struct Args {
    /// A folder in Hugging Face layout, a .gguf file, the name of a packaged model, or a Hub id such as org/name.
    #[arg(long)]
    model: String,
    /// The folder with train.jsonl.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The folder to write to.
    #[arg(long, value_name = "DIR")]
    adapter_out: PathBuf,
    /// Steps to take.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    iters: u64,
    /// Rows that go through the model at once.
    #[arg(long, value_name = "B", default_value_t = 4, value_parser = positive)]
    batch_size: usize,
    /// Batches to a step: more rows in the same memory.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    grad_accumulation: usize,
    #[command(flatten)]
    rate: RateArgs,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Only completions and what the assistant says count in the loss.
    #[arg(long)]
    mask_prompt: bool,
    /// Tokens of a row from which on it is cut off; by default 2048, or the model's context if that is shorter.
    #[arg(long, value_name = "N", value_parser = positive)]
    max_seq_length: Option<usize>,
    /// Compute layers again in the backward pass: less memory, more time.
    #[arg(long)]
    grad_checkpoint: bool,
    /// Go on from the last saved state in the output folder; from the beginning, if there is none.
    #[arg(long)]
    resume: bool,
    /// What the adapter's first values, the order of the rows and dropout follow from.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Steps between two saved states.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    save_every: u64,
    /// Steps between two looks at valid.jsonl; there is one before the first step and one after the last, too.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    eval_every: u64,
    /// Batches of valid.jsonl to look at; by default all.
    #[arg(long, value_name = "N", value_parser = positive)]
    valid_batches: Option<usize>,
    /// Print a line of JSON for each step: step, loss (before the step), lr, tokens_per_sec and more.
    #[arg(long)]
    json: bool,
    /// Where to compute; by default the GPU if there is one.
    #[arg(long)]
    device: Option<DeviceArg>,
}

#[derive(clap::Args)]
struct RateArgs {
    /// The learning rate, the highest where it changes.
    #[arg(long, value_name = "X", default_value_t = 1e-4, value_parser = not_negative)]
    lr: f64,
    /// How the learning rate falls after the warm-up, to 0 behind the last step.
    #[arg(long, default_value = "constant")]
    schedule: ScheduleArg,
    /// Steps in which the learning rate rises from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    warmup: u64,
    /// The part of the trained numbers that each step takes off, times the learning rate.
    #[arg(long, value_name = "X", default_value_t = 0.01, value_parser = not_negative)]
    weight_decay: f64,
    /// Cut the norm of a step's gradient down to this.
    #[arg(long, value_name = "X", value_parser = above_zero)]
    max_grad_norm: Option<f32>,
}

#[derive(clap::Args)]
struct AdapterArgs {
    /// What to train.
    #[arg(long, default_value = "lora")]
    fine_tune_type: KindArg,
    /// Columns of one, and rows of the other matrix of an adapter; by default 8.
    #[arg(long, value_name = "R")]
    lora_rank: Option<i32>,
    /// What the adapter adds is multiplied by A / R; by default 16.
    #[arg(long, value_name = "A")]
    lora_alpha: Option<f32>,
    /// The part of an adapter's input that is left out in training, at random.
    #[arg(long, value_name = "P")]
    lora_dropout: Option<f32>,
    /// Which linear maps get an adapter, by the end of their names; by default all of the layers'.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    lora_targets: Vec<String>,
    /// Train only so many layers, the last ones.
    #[arg(long, value_name = "N")]
    lora_layers: Option<usize>,
    /// What the adapter is held in; by default float32.
    #[arg(long)]
    adapter_dtype: Option<DTypeArg>,
    /// Begin with the adapter of this folder, mlx-lm's or PEFT's, in place of a new one.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["fine_tune_type", "lora_rank", "lora_alpha", "lora_dropout", "lora_targets",
        "lora_layers", "adapter_dtype"])]
    init_adapter: Option<PathBuf>,
}

/// How the learning rate falls.
#[derive(Clone, Copy, ValueEnum)]
enum ScheduleArg {
    /// Not at all.
    Constant,
    /// By the same amount each step.
    Linear,
    /// Along half a cosine.
    Cosine,
}

/// What to train.
#[derive(Clone, Copy, ValueEnum)]
enum KindArg {
    /// Two small matrices beside each linear map.
    Lora,
    /// LoRA, and the lengths of the weights' rows.
    Dora,
    /// The weights themselves, which must not be packed.
    Full,
}

/// What an adapter is held in.
#[derive(Clone, Copy, ValueEnum)]
enum DTypeArg {
    /// float32
    F32,
    /// bfloat16
    Bf16,
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "must be a whole number above 0".to_owned())
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "must be a number of at least 0".to_owned())
}

fn above_zero(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|number: &f32| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "must be a number above 0".to_owned())
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let state = args.adapter_out.join(STATE_FILE);
    let train = args.data.join("train.jsonl");
    if !train.is_file() {
        return Err(Failure::new(format!("--data {}: no train.jsonl is in it", args.data.display())));
    }
    let (has_state, has_adapter) = (state.exists(), args.adapter_out.join("adapters.safetensors").exists());
    let there = match (args.resume, has_state, has_adapter) {
        (false, true, _) => {
            "a run is there already; --resume goes on with it, and another folder begins anew"
        }
        (_, false, true) => {
            "an adapter is there without the state of its training; --init-adapter begins with it, in another folder"
        }
        _ => "",
    };
    if !there.is_empty() {
        return Err(Failure::new(format!("--adapter-out {}: {there}", args.adapter_out.display())));
    }
    let path = progress::locate(&args.model)?;
    match args.device {
        Some(device) => device.device()?.scope(|| finetune(args, &path)),
        None => finetune(args, &path),
    }
}

fn finetune(args: &Args, path: &Path) -> Result<(), Failure> {
    let mut loaded = mlx_models::load(path, None)?;
    // A broken line should be told before anything is made.
    let data = read_data(args, path, &loaded)?;
    let adapter = make_adapter(&args.adapter, &mut loaded, args.seed)?;
    announce(&loaded, &adapter)?;
    let settings = settings(args, &loaded, &adapter);
    let options = TrainingOptions {
        batch_size: args.batch_size,
        accumulation: args.grad_accumulation,
        schedule: args.rate.schedule(args.iters),
        adamw: AdamWConfig { weight_decay: args.rate.weight_decay, ..AdamWConfig::default() },
        max_norm: args.rate.max_grad_norm,
        seed: args.seed,
        checkpoint: args.grad_checkpoint,
    };
    let [train, valid, test] = data;
    let train = train.unwrap_or_default();
    let trainer = Trainer::new(loaded.model, adapter, train, options)?;
    let mut run = Run { args, trainer, valid, settings };
    run.begin()?;
    run.steps()?;
    if let Some(test) = test {
        progress::note(&format!("test loss {:.4}", run.trainer.evaluate(&test, None)?));
    }
    progress::note(&format!("the adapter is in {}", args.adapter_out.display()));
    Ok(())
}

/// A run, from its first state to its last.
struct Run<'a> {
    args: &'a Args,
    trainer: Trainer,
    valid: Option<DataSet>,
    settings: Map<String, Value>,
}

impl Run<'_> {
    /// Goes on from a saved state, or saves the first one: whenever a run is ended, there is one to go on from.
    fn begin(&mut self) -> Result<(), Failure> {
        let state = self.args.adapter_out.join(STATE_FILE);
        if self.args.resume && state.exists() {
            self.trainer.load_state(&state, &self.settings)?;
            match self.trainer.steps() {
                steps if steps >= self.args.iters => {
                    progress::note(&format!("step {steps} was taken already, of {}", self.args.iters));
                }
                steps => progress::note(&format!("going on after step {steps}")),
            }
            // A kill between the two files leaves the adapter of an earlier state.
            return self.save();
        }
        if self.args.resume {
            progress::note(&format!("{}: no state is there yet, so this is step 1", state.display()));
        }
        self.save()
    }

    /// The state first: it is what a run goes on from.
    fn save(&self) -> Result<(), Failure> {
        let folder = &self.args.adapter_out;
        std::fs::create_dir_all(folder).map_err(|error| Failure::io(folder.display(), &error))?;
        self.trainer.save_state(&folder.join(STATE_FILE), &self.settings)?;
        self.trainer.adapter().save(self.trainer.model(), folder, &self.args.model)?;
        Ok(self.trainer.curve().save(&folder.join(PICTURE))?)
    }

    /// The loss of valid.jsonl, if there is one.
    fn validate(&mut self) -> Result<Option<f64>, Failure> {
        let Some(valid) = &self.valid else { return Ok(None) };
        let loss = self.trainer.evaluate(valid, self.args.valid_batches)?;
        self.trainer.note_validation(loss);
        Ok(Some(loss))
    }

    fn steps(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let mut reporter = Reporter::new(args.iters, self.trainer.steps(), args.json);
        let mut first = match self.trainer.steps() {
            0 => self.validate()?,
            _ => None,
        };
        if let Some(loss) = first {
            reporter.note(&format!("validation loss {loss:.4} before the first step"));
        }
        memory::reset_peak_memory()?;
        while self.trainer.steps() < args.iters {
            let report = match self.trainer.step() {
                Ok(report) => report,
                Err(error) => {
                    // The trainer has gone back to the last good state.
                    self.save()?;
                    return Err(error.into());
                }
            };
            let last = report.step == args.iters;
            let valid =
                if last || report.step.is_multiple_of(args.eval_every) { self.validate()? } else { None };
            reporter.step(&report, first.take(), valid)?;
            // What made a loss that is no number is not what to go on from.
            if last || report.step.is_multiple_of(args.save_every) && !report.skipped {
                self.save()?;
            }
        }
        reporter.finish();
        Ok(())
    }
}

/// The rows of the data folder's three files, of which the first is there.
fn read_data(args: &Args, path: &Path, loaded: &LoadedModel) -> Result<[Option<DataSet>; 3], Failure> {
    let mut options = DataOptions { mask_prompt: args.mask_prompt, ..DataOptions::for_model(path, loaded)? };
    if let Some(length) = args.max_seq_length {
        options.max_tokens = length;
    }
    let read = |name: &str| -> Result<Option<DataSet>, Failure> {
        let file = args.data.join(name);
        if !file.exists() {
            return Ok(None);
        }
        let set = DataSet::read(&file, &loaded.text, &options)?;
        let mut line = format!("{}: {} rows", file.display(), set.rows.len());
        for (count, what) in [
            (set.truncated, format!("cut off at {} tokens", options.max_tokens)),
            (set.empty, "left out, as nothing in them counts".to_owned()),
            (set.split, "conversations taken turn by turn".to_owned()),
        ] {
            if count > 0 {
                line = format!("{line}, {count} {what}");
            }
        }
        progress::note(&line);
        if set.rows.is_empty() {
            return Err(Failure::new(format!("{}: no row in it counts", file.display())));
        }
        Ok(Some(set))
    };
    Ok([read("train.jsonl")?, read("valid.jsonl")?, read("test.jsonl")?])
}

fn make_adapter(args: &AdapterArgs, loaded: &mut LoadedModel, seed: u64) -> Result<Adapter, Failure> {
    if let Some(folder) = &args.init_adapter {
        return Ok(adapter::load(&mut *loaded.model, folder)?);
    }
    if matches!(args.fine_tune_type, KindArg::Full) {
        let of_adapters = [
            ("--lora-rank", args.lora_rank.is_some()),
            ("--lora-alpha", args.lora_alpha.is_some()),
            ("--lora-dropout", args.lora_dropout.is_some()),
            ("--adapter-dtype", args.adapter_dtype.is_some()),
        ];
        if let Some((option, _)) = of_adapters.iter().find(|(_, is_given)| *is_given) {
            return Err(Failure::new(format!(
                "{option}: there is no adapter with --fine-tune-type full; leave it out"
            )));
        }
    }
    let defaults = AdapterOptions::default();
    let rank = args.lora_rank.unwrap_or(defaults.rank);
    let options = AdapterOptions {
        kind: match args.fine_tune_type {
            KindArg::Lora => AdapterKind::Lora,
            KindArg::Dora => AdapterKind::Dora,
            KindArg::Full => AdapterKind::Full,
        },
        rank,
        scale: args.lora_alpha.unwrap_or(16.0) / rank.max(1) as f32,
        dropout: args.lora_dropout.unwrap_or(0.0),
        targets: args.lora_targets.clone(),
        layers: args.lora_layers,
        dtype: match args.adapter_dtype {
            Some(DTypeArg::Bf16) => DType::BF16,
            Some(DTypeArg::F32) | None => DType::F32,
        },
    };
    Ok(adapter::attach(&mut *loaded.model, &options, seed)?)
}

/// Says what is trained.
fn announce(loaded: &LoadedModel, adapter: &Adapter) -> Result<(), Failure> {
    let trained: usize = adapter.parameters(&*loaded.model)?.values().map(mlx_core::Array::size).sum();
    let all = loaded.model.shape().parameters;
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for name in &adapter.names {
        let kind = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        let kind = kind.map_or(name.as_str(), |(_, rest)| rest);
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let list: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    progress::note(&format!(
        "trained: {trained} numbers, {:.3} % of the model's {all}, in {}",
        100.0 * trained as f64 / all.max(1) as f64,
        list.join(", ")
    ));
    Ok(())
}

impl RateArgs {
    fn schedule(&self, iters: u64) -> Schedule {
        let steps = iters.saturating_sub(self.warmup);
        Schedule {
            peak: self.lr,
            warmup_steps: self.warmup,
            decay: match self.schedule {
                ScheduleArg::Constant => Decay::Constant,
                ScheduleArg::Linear => Decay::Linear { steps, end: 0.0 },
                ScheduleArg::Cosine => Decay::Cosine { steps, end: 0.0 },
            },
        }
    }
}

/// What the numbers of a run depend on, by the names of the options.
fn settings(args: &Args, loaded: &LoadedModel, adapter: &Adapter) -> Map<String, Value> {
    let shape = loaded.model.shape();
    let mut settings = Map::new();
    let mut set = |name: &str, value: Value| drop(settings.insert(name.to_owned(), value));
    set("model", json!(loaded.model.model_type()));
    set("parameters", json!(shape.parameters));
    set("weights", json!(loaded.quantization));
    set("weight bytes", json!(shape.weight_bytes));
    set("dtype", json!(shape.dtype.to_string()));
    set("batch-size", json!(args.batch_size));
    set("grad-accumulation", json!(args.grad_accumulation));
    // As text, which is read back as it was written.
    set("lr", json!(args.rate.lr.to_string()));
    set("warmup", json!(args.rate.warmup));
    let schedule = args.rate.schedule.to_possible_value();
    set("schedule", json!(schedule.as_ref().map(|value| value.get_name())));
    // Where the rate falls, each step's depends on how many there are.
    let falls = !matches!(args.rate.schedule, ScheduleArg::Constant);
    set("iters", if falls { json!(args.iters) } else { Value::Null });
    set("weight-decay", json!(args.rate.weight_decay.to_string()));
    set("max-grad-norm", json!(args.rate.max_grad_norm.map(|norm| norm.to_string())));
    set("fine-tune-type", json!(adapter.kind.name()));
    set("lora-rank", json!(adapter.rank));
    set("lora scale", json!(adapter.scale.to_string()));
    set("lora-dropout", json!(adapter.dropout.to_string()));
    set("lora-targets", json!(args.adapter.lora_targets));
    set("lora-layers", json!(args.adapter.lora_layers));
    set("init-adapter", json!(args.adapter.init_adapter.as_ref().map(|path| path.display().to_string())));
    set("seed", json!(args.seed));
    settings
}
