//! Fine-tunes a real model on a processor: SmolLM2 135M learns to turn what is said in a house into commands.
//!
//! ```console
//! cargo run --release --example finetune
//! ```
//!
//! The 92 sentences are in `data/`. Only the commands count in the loss. What the model says to sentences that it was not
//! trained on is printed before and after, and the adapter is written to `target/finetune-example`.

use std::path::Path;

use anyhow::{Context, Result};
use mlx_core::optim::{AdamWConfig, Decay, Schedule};
use mlx_models::adapter::{self, AdapterOptions};
use mlx_models::chat::{Conversation, Turn};
use mlx_models::sampling::{Sampler, SamplingConfig};
use mlx_models::training::{DataOptions, DataSet, Trainer, TrainingOptions};
use mlx_models::{LanguageModel, Sequence, TextTools};

const MODEL: &str = "smollm2-135m-instruct";
const STEPS: u64 = 40;
const SENTENCES: [&str; 3] =
    ["Dim the kitchen to thirty percent.", "Will it rain on Friday?", "Six minutes for the rice."];

fn main() -> Result<()> {
    let path = mlx_models::locate(MODEL, &mut |_| ())?;
    let mut loaded = mlx_models::load(&path, None)?;
    let text = loaded.text.clone();
    say(&*loaded.model, &text, "before")?;

    // The model's weights stay as they are, four bits and a half each; small matrices beside them are trained.
    let options = AdapterOptions { rank: 8, ..AdapterOptions::default() };
    let adapter = adapter::attach(&mut *loaded.model, &options, 7)?;
    let trained: usize = adapter.parameters(&*loaded.model)?.values().map(|array| array.size()).sum();
    println!("\n{trained} numbers are trained, beside the model's {}\n", loaded.model.shape().parameters);

    let data = DataOptions { mask_prompt: true, ..DataOptions::for_model(&path, &loaded)? };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("finetune/data");
    let train = DataSet::read(&folder.join("train.jsonl"), &text, &data)?;
    let valid = DataSet::read(&folder.join("valid.jsonl"), &text, &data)?;

    let schedule =
        Schedule { peak: 1e-3, warmup_steps: 5, decay: Decay::Cosine { steps: STEPS - 5, end: 0.0 } };
    let options = TrainingOptions {
        schedule,
        adamw: AdamWConfig::default(),
        max_norm: Some(1.0),
        seed: 7,
        ..TrainingOptions::default()
    };
    let mut trainer = Trainer::new(loaded.model, adapter, train, options)?;
    println!("validation loss {:.3}", trainer.evaluate(&valid, None)?);
    while trainer.steps() < STEPS {
        let report = trainer.step()?;
        if report.step % 10 == 0 {
            let loss = trainer.evaluate(&valid, None)?;
            println!(
                "step {:2}: training loss {:.3}, validation loss {loss:.3}, {:.0} tokens/s",
                report.step,
                report.loss,
                report.tokens as f64 / report.seconds
            );
        }
    }

    // mlx-lm reads this folder, too; `mlx generate --adapter` takes it.
    let out = Path::new("target/finetune-example");
    trainer.adapter().save(trainer.model(), out, MODEL)?;
    println!("\nthe adapter is in {}\n", out.display());
    say(trainer.model(), &text, "after")
}

/// What a model answers to the sentences, taking the most probable token each time.
fn say(model: &dyn LanguageModel, text: &TextTools, when: &str) -> Result<()> {
    println!("{when}:");
    let (tokenizer, template) = (text.tokenizer()?, text.chat_template.as_ref().context("no chat template")?);
    for sentence in SENTENCES {
        let said = Conversation { turns: vec![Turn::new("user", sentence)], ..Conversation::default() };
        let prompt = said.prompt(template, tokenizer)?.tokens;
        let mut sequence = Sequence::new(model, Sampler::new(SamplingConfig::default(), 0)?);
        sequence.prefill(&prompt, || true)?;
        let mut reply = Vec::new();
        while reply.len() < 24 {
            let token = sequence.sample()?.token;
            if text.eos_ids.contains(&token) {
                break;
            }
            reply.push(token);
            sequence.advance(token)?;
        }
        println!("  {sentence}  ->  {}", tokenizer.decode(&reply, true)?.replace('\n', " "));
    }
    Ok(())
}
