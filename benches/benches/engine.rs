//! What the engine makes of a model: batches against single requests, classification against a loop, warm prompts against
//! cold ones, and what it adds to the bare loop. Each pair in turns, medians of the ratios.
//!
//! ```console
//! cargo bench -p benches --bench engine -- [model] [rounds]
//! ```

use std::time::Instant;

use anyhow::{Result, anyhow};
use inference_api::{ClassifyOptions, GenerateOptions, LoadOptions, Prompt, TextModel};
use mlx_models::sampling::{Sampler, SamplingConfig};
use mlx_models::{LanguageModel, Sequence};

/// Tokens that each of several requests makes.
const TOKENS: usize = 128;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let name = arguments.next().unwrap_or_else(|| "gemma-3-270m".to_owned());
    let rounds: usize = arguments.next().map_or(Ok(3), |rounds| rounds.parse())?;
    mlx_backend::register()?;
    let options = LoadOptions::default().with_parallel_slots(8).with_context_len(8192);
    let model = inference_api::load_model(&name, &options)?;

    println!("{name}, {rounds} rounds");
    println!("overhead of the engine a token: {:.1}%", 100.0 * overhead(&*model, &name, rounds)?);
    for clients in [2, 4, 8] {
        println!(
            "{clients} requests at once, tokens per second against one: {:.2}x",
            together(&*model, clients, rounds)?
        );
    }
    println!("classification of 64 prompts against a loop: {:.2}x", classification(&*model, rounds)?);
    println!(
        "first token of the second turn after 4096 tokens, warm against cold: {:.1}x",
        second_turn(&*model, rounds)?
    );
    Ok(())
}

/// Greedy and to the end, whatever the model would rather do.
fn greedy(tokens: usize) -> GenerateOptions {
    GenerateOptions::default().with_max_tokens(tokens).with_ignore_eos(true).with_prompt_cache(false)
}

/// Ids that look like a text.
fn prompt(length: usize, seed: usize) -> Vec<u32> {
    (0..length).map(|position| (1000 + (position * 7919 + seed * 104_729) % 20_000) as u32).collect()
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// The share of a token's time that the engine adds to the loop round the model.
fn overhead(model: &dyn TextModel, name: &str, rounds: usize) -> Result<f64> {
    let bare = mlx_models::load(&mlx_models::locate(name, &mut |_| ())?, None)?;
    let mut ratios = Vec::new();
    for round in 0..=rounds {
        let ids = prompt(16, round);
        let start = bare_loop(&*bare.model, &ids)?;
        let completion = model.generate(Prompt::Tokens(ids), &greedy(TOKENS))?.into_completion()?;
        let engine = completion.metrics.decode_duration.as_secs_f64();
        // The first warms both up.
        if round > 0 {
            ratios.push(engine / start - 1.0);
        }
    }
    Ok(median(ratios))
}

/// Seconds from the first token to the last.
fn bare_loop(model: &dyn LanguageModel, ids: &[u32]) -> Result<f64> {
    let mut sequence = Sequence::new(model, Sampler::new(SamplingConfig::default(), 0)?);
    sequence.prefill(ids, || true)?;
    let mut token = sequence.sample()?.token;
    let start = Instant::now();
    for _ in 1..TOKENS {
        sequence.advance(token)?;
        token = sequence.sample()?.token;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Tokens per second of several requests at once over those of one.
fn together(model: &dyn TextModel, clients: usize, rounds: usize) -> Result<f64> {
    let rate = |clients: usize, round: usize| -> Result<f64> {
        let prompts = (0..clients).map(|client| Prompt::Tokens(prompt(16, round * 100 + client))).collect();
        let start = Instant::now();
        for result in model.batch_generate(prompts, &greedy(TOKENS))? {
            result?;
        }
        Ok((clients * TOKENS) as f64 / start.elapsed().as_secs_f64())
    };
    let ratios = (0..rounds).map(|round| Ok(rate(clients, round)? / rate(1, round)?));
    Ok(median(ratios.collect::<Result<_>>()?))
}

/// The time of a loop over 64 short sentences over that of one call.
fn classification(model: &dyn TextModel, rounds: usize) -> Result<f64> {
    const SUBJECTS: [&str; 8] = [
        "The bank",
        "Our team",
        "The senate",
        "A comet",
        "The nurse",
        "This recipe",
        "The court",
        "My phone",
    ];
    const ENDS: [&str; 8] = [
        "raised its rates again.",
        "won the last game of the year.",
        "was seen by thousands last night.",
        "needs a new battery.",
        "voted on the budget today.",
        "asks for two cups of flour.",
        "ruled in favour of the union.",
        "was late for the third time.",
    ];
    let options = ClassifyOptions::default().with_labels([" finance", " sports", " science", " politics"]);
    let prompts = || -> Vec<Prompt> {
        let pairs =
            SUBJECTS.iter().flat_map(|subject| ENDS.iter().map(move |end| format!("{subject} {end} Topic:")));
        pairs.map(Prompt::Text).collect()
    };
    let mut ratios = Vec::new();
    for round in 0..=rounds {
        let start = Instant::now();
        let at_once = model.classify(prompts(), &options)?;
        let together = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let mut differ = 0;
        for (prompt, expected) in prompts().into_iter().zip(at_once) {
            let alone =
                model.classify(vec![prompt], &options)?.pop().ok_or_else(|| anyhow!("no result"))??;
            differ += usize::from(alone.best() != expected?.best());
        }
        if round == 0 {
            println!("classification: {differ} of 64 labels differ alone");
        } else {
            ratios.push(start.elapsed().as_secs_f64() / together);
        }
    }
    Ok(median(ratios))
}

/// The time to the first token of a turn behind 4096 tokens that were read before, over that of one that was not.
fn second_turn(model: &dyn TextModel, rounds: usize) -> Result<f64> {
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let first = prompt(4096, round);
        let warm_options = greedy(16).with_prompt_cache(true);
        let reply = model.generate(Prompt::Tokens(first.clone()), &warm_options)?.into_completion()?;
        let mut second = first;
        second.extend(reply.tokens.iter().map(|token| token.id));
        second.extend(prompt(20, 7));
        let time = |options: &GenerateOptions| -> Result<(f64, Vec<u32>)> {
            let done = model.generate(Prompt::Tokens(second.clone()), options)?.into_completion()?;
            let time = done.metrics.time_to_first_token.ok_or_else(|| anyhow!("no token"))?;
            Ok((time.as_secs_f64(), done.tokens.iter().map(|token| token.id).collect()))
        };
        let (cold, cold_tokens) = time(&greedy(16))?;
        let (warm, warm_tokens) = time(&warm_options)?;
        if cold_tokens != warm_tokens {
            println!("warm and cold tokens differ");
        }
        ratios.push(cold / warm);
    }
    Ok(median(ratios))
}
