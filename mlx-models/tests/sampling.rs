//! The sampler against mlx-lm's own functions, against probability theory, and against its promises about seeds.
//!
//! `data/sampling.json` holds the distributions that mlx-lm 0.32.2 draws from; `data/make_sampling.py` writes it.

use mlx_models::sampling::{Sampler, SamplingConfig, fresh_seed, logprob, top_logprobs};
use mlx_models::{Error, Result};
use serde_json::Value;

/// Both sides compute in f32, with different exponentials and orders of summation.
const TOLERANCE: f32 = 2e-5;

fn numbers(list: &Value) -> Vec<f32> {
    let list = list.as_array().expect("a list");
    list.iter().map(|x| x.as_f64().map_or(f32::NEG_INFINITY, |x| x as f32)).collect()
}

fn ids(list: &Value) -> Vec<u32> {
    numbers(list).into_iter().map(|x| x as u32).collect()
}

/// Reads mlx-lm's keyword arguments; an absent one keeps our default, which is mlx-lm's.
fn config(setting: &Value) -> SamplingConfig {
    let default = SamplingConfig::default();
    let number = |key: &str, or: f32| setting[key].as_f64().map_or(or, |x| x as f32);
    let count = |key: &str, or: usize| setting[key].as_u64().map_or(or, |x| x as usize);
    let bias = setting["logit_bias"].as_object().into_iter().flatten();
    SamplingConfig {
        temperature: number("temp", default.temperature),
        top_k: count("top_k", default.top_k),
        top_p: number("top_p", default.top_p),
        min_p: number("min_p", default.min_p),
        xtc_probability: number("xtc_probability", default.xtc_probability),
        xtc_threshold: number("xtc_threshold", default.xtc_threshold),
        xtc_special_tokens: if setting["xtc_special_tokens"].is_null() {
            Vec::new()
        } else {
            ids(&setting["xtc_special_tokens"])
        },
        repetition_penalty: number("repetition_penalty", default.repetition_penalty),
        repetition_context_size: count("repetition_context_size", default.repetition_context_size),
        presence_penalty: number("presence_penalty", default.presence_penalty),
        presence_context_size: count("presence_context_size", default.presence_context_size),
        frequency_penalty: number("frequency_penalty", default.frequency_penalty),
        frequency_context_size: count("frequency_context_size", default.frequency_context_size),
        logit_bias: bias
            .map(|(k, v)| (k.parse().expect("an id"), v.as_f64().expect("a bias") as f32))
            .collect(),
    }
}

fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= TOLERANCE * w.abs().max(1.0), "{what}[{i}] = {g}, not {w}");
    }
}

#[test]
fn kept_tokens_and_probabilities_equal_mlx_lm() {
    let data: Value = serde_json::from_str(include_str!("data/sampling.json")).expect("valid JSON");
    let history = ids(&data["history"]);
    let cases = data["cases"].as_array().expect("a list of cases");
    assert!(cases.len() >= 100);
    for case in cases {
        let (row, setting) = (case["row"].as_str().expect("a name"), &case["setting"]);
        let name = format!("{row} {setting}");
        let mut logits = numbers(&data["rows"][row]);
        let mut sampler = Sampler::new(config(setting), 1).expect("a valid setting");
        let got = sampler.distribution(&mut logits, &history).expect("a valid row");

        // Top-k at a tie: mlx-lm keeps any of the equals, we keep the lowest ids, so only the numbers can agree.
        let (got_ids, mut got_probs): (Vec<u32>, Vec<f32>) = got.into_iter().unzip();
        let (want_ids, mut want_probs) = (ids(&case["ids"]), numbers(&case["probs"]));
        if setting["top_k"].is_null() || row != "tied" {
            assert_eq!(got_ids, want_ids, "{name}");
            let all = top_logprobs(&logits, logits.len()).expect("a valid row");
            let of = |id: &u32| all.iter().find(|s| s.token == *id).map_or(f32::NAN, |s| s.logprob);
            assert_close(&name, &got_ids.iter().map(of).collect::<Vec<_>>(), &numbers(&case["logprobs"]));
        } else {
            got_probs.sort_by(f32::total_cmp);
            want_probs.sort_by(f32::total_cmp);
        }
        assert_close(&name, &got_probs, &want_probs);
    }
}

/// Pearson's chi-square of `draws` tokens against the sampler's own distribution, with its degrees of freedom.
fn chi_square(config: SamplingConfig, row: &[f32], draws: u32) -> (f64, f64) {
    let mut sampler = Sampler::new(config, 7).expect("a valid setting");
    let expected = sampler.distribution(&mut row.to_vec(), &[]).expect("a valid row");
    let mut counts = vec![0u32; row.len()];
    for _ in 0..draws {
        let sampled = sampler.sample(&mut row.to_vec(), &[]).expect("a valid row");
        counts[sampled.token as usize] += 1;
    }
    assert_eq!(
        expected.iter().map(|&(id, _)| counts[id as usize]).sum::<u32>(),
        draws,
        "a filtered token was drawn"
    );
    (pearson(&expected, &counts), expected.len() as f64 - 1.0)
}

fn pearson(expected: &[(u32, f32)], counts: &[u32]) -> f64 {
    let draws = f64::from(counts.iter().sum::<u32>());
    let term = |&(id, p): &(u32, f32)| {
        let mean = f64::from(p) * draws;
        (f64::from(counts[id as usize]) - mean).powi(2) / mean
    };
    expected.iter().map(term).sum()
}

/// The share of true samplers that a chi-square test of this file would fail: one in ten million a test, both sides
/// together. The seeds are fixed, so that a test that passes goes on passing. It is the tail beyond so many deviations of
/// a normal distribution.
const FALSE_ALARM: (f64, f64) = (1e-7, 5.3267);

/// The chi-square value of `freedom` degrees that a true sampler stays under, or over, but for half of
/// [`FALSE_ALARM`], by Wilson and Hilferty's approximation (PNAS 17, 1931),
/// whose limits are a little wider than the exact ones.
fn limit(freedom: f64, over: bool) -> f64 {
    let deviations = if over { FALSE_ALARM.1 } else { -FALSE_ALARM.1 };
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + deviations * spread.sqrt()).max(0.0).powi(3)
}

#[test]
fn frequencies_of_the_draw_follow_the_distribution() {
    let row: Vec<f32> = (0..24).map(|i| ((i * 37) % 24) as f32 / 10.0).collect();
    let off = SamplingConfig::default;
    let configs = [
        SamplingConfig { temperature: 1.0, ..off() },
        SamplingConfig { temperature: 0.4, top_k: 10, ..off() },
        SamplingConfig { temperature: 1.5, top_p: 0.8, min_p: 0.15, ..off() },
        SamplingConfig { temperature: 1.0, xtc_probability: 1.0, xtc_threshold: 0.05, ..off() },
        SamplingConfig { temperature: 0.8, xtc_probability: 0.5, xtc_threshold: 0.04, ..off() },
        SamplingConfig {
            temperature: 1.2,
            top_p: 0.9,
            top_k: 8,
            xtc_probability: 0.25,
            xtc_threshold: 0.0,
            xtc_special_tokens: vec![1, 11, 13],
            ..off()
        },
    ];
    for config in configs {
        let (statistic, freedom) = chi_square(config.clone(), &row, 40_000);
        assert!(statistic < limit(freedom, true), "{config:?}: chi-square {statistic:.1} of {freedom}");
        assert!(
            statistic > limit(freedom, false),
            "{config:?}: {statistic:.3} of {freedom} is too good to be random"
        );
    }
}

#[test]
fn a_wrong_distribution_fails_the_test() {
    let row: Vec<f32> = (0..24).map(|i| ((i * 37) % 24) as f32 / 10.0).collect();
    let config = |temperature| SamplingConfig { temperature, ..SamplingConfig::default() };
    let mut sampler = Sampler::new(config(1.1), 7).expect("a valid setting");
    let wrong = sampler.distribution(&mut row.clone(), &[]).expect("a valid row");
    let mut counts = [0u32; 24];
    let mut sampler = Sampler::new(config(1.0), 7).expect("a valid setting");
    for _ in 0..40_000 {
        counts[sampler.sample(&mut row.clone(), &[]).expect("a valid row").token as usize] += 1;
    }
    assert!(pearson(&wrong, &counts) > limit(23.0, true), "a temperature 10% off goes unnoticed");
}

#[test]
fn log_probabilities_are_those_of_a_softmax_in_double_precision() {
    let long = (0..262_144u32).map(|i| ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6) - 12.0).collect();
    let rows: [Vec<f32>; 5] = [
        long,
        (0..1000).map(|i| ((i * 7919) % 1000) as f32 / 4.0).collect(),
        vec![50.0, -50.0, 0.0, 49.999, f32::NEG_INFINITY, -1e30],
        vec![1e4, 1e4 - 1.0, 1e4 - 80.0, -1e4],
        vec![0.0; 5],
    ];
    for row in rows {
        let max = row.iter().copied().fold(f32::MIN, f32::max);
        let total: f64 = row.iter().map(|&x| (f64::from(x) - f64::from(max)).exp()).sum();
        let exact = |x: f32| f64::from(x) - f64::from(max) - total.ln();
        let close = |got: f32, x: f32, what: &str| {
            let (got, want) = (f64::from(got), exact(x));
            assert!((got - want).abs() <= 1e-6 * want.abs().max(1.0), "{what} of {x} is {got}, not {want}");
        };
        let top = top_logprobs(&row, 20).expect("a valid row");
        let mut sorted: Vec<(f32, u32)> =
            row.iter().copied().zip(0..).filter(|x| x.0 > f32::NEG_INFINITY).collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let wanted: Vec<u32> = sorted.iter().take(20).map(|x| x.1).collect();
        assert_eq!(top.iter().map(|s| s.token).collect::<Vec<_>>(), wanted);
        for sampled in top {
            close(sampled.logprob, row[sampled.token as usize], "the top log-probability");
        }
        for token in (0..row.len()).step_by(1 + row.len() / 997) {
            if row[token] > f32::NEG_INFINITY {
                close(logprob(&row, token as u32).expect("a valid row"), row[token], "the log-probability");
            }
        }
        for temperature in [0.0, 1.0, 3.0] {
            let config = SamplingConfig { temperature, ..SamplingConfig::default() };
            let mut sampler = Sampler::new(config, 5).expect("a valid setting");
            let sampled = sampler.sample(&mut row.clone(), &[]).expect("a valid row");
            close(sampled.logprob, row[sampled.token as usize], "the sampled log-probability");
        }
    }
}

#[test]
fn however_cold_xtc_never_draws_what_it_leaves_out() {
    let row = [3.0, 2.0, 1.0, 0.0];
    for temperature in [1e-4, f32::MIN_POSITIVE, 1.0] {
        let config = |xtc_special_tokens| SamplingConfig {
            temperature,
            xtc_probability: 1.0,
            xtc_threshold: 0.05,
            xtc_special_tokens,
            ..SamplingConfig::default()
        };
        // The probabilities are 0.64, 0.24, 0.09 and 0.03.
        for (special, allowed) in [(vec![], &[2, 3][..]), (vec![1], &[1, 2, 3])] {
            let mut sampler = Sampler::new(config(special), 1).expect("a valid setting");
            let token = sampler.sample(&mut row.clone(), &[]).expect("a valid row").token;
            assert!(allowed.contains(&token), "{token} at {temperature}");
            let mut likeliest = sampler.distribution(&mut row.clone(), &[]).expect("a valid row");
            likeliest.sort_by(|a, b| b.1.total_cmp(&a.1));
            assert_eq!(likeliest[0].0, allowed[0], "{likeliest:?}");
        }
    }
}

#[test]
fn xtc_off_draws_as_if_it_were_not_there() {
    let row: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1000) as f32 / 400.0).collect();
    let plain = SamplingConfig { temperature: 0.9, top_k: 100, ..SamplingConfig::default() };
    let off = SamplingConfig { xtc_threshold: 0.0, xtc_special_tokens: vec![9999], ..plain.clone() };
    assert_eq!(tokens(&off, 42, &row), tokens(&plain, 42, &row));
    let on = SamplingConfig { xtc_probability: 0.5, ..off };
    let refused =
        Sampler::new(on, 1).and_then(|mut s| s.sample(&mut row.clone(), &[])).expect_err("no such token");
    assert_eq!(refused.to_string(), "xtc_special_tokens: token 9999 is outside the vocabulary of 1000");
}

fn tokens(config: &SamplingConfig, seed: u64, row: &[f32]) -> Vec<u32> {
    let mut sampler = Sampler::new(config.clone(), seed).expect("a valid setting");
    (0..20).map(|_| sampler.sample(&mut row.to_vec(), &[]).expect("a valid row").token).collect()
}

#[test]
fn a_seed_decides_the_tokens_whatever_runs_beside_it() {
    let row: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1000) as f32 / 400.0).collect();
    let config = SamplingConfig { temperature: 1.0, top_p: 0.95, ..SamplingConfig::default() };
    let alone = tokens(&config, 11, &row);

    let mut one = Sampler::new(config.clone(), 11).expect("a valid setting");
    let mut other = Sampler::new(config.clone(), 12).expect("a valid setting");
    let mut beside = Vec::new();
    for _ in 0..20 {
        other.sample(&mut row.clone(), &[]).expect("a valid row");
        beside.push(one.sample(&mut row.clone(), &[]).expect("a valid row").token);
        other.distribution(&mut row.clone(), &[]).expect("a valid row");
    }
    assert_eq!(beside, alone);
    assert_ne!(tokens(&config, 12, &row), alone);

    let fresh: std::collections::HashSet<Vec<u32>> =
        (0..10).map(|_| tokens(&config, fresh_seed().expect("the system has entropy"), &row)).collect();
    assert!(fresh.len() >= 9, "only {} of 10 unseeded runs differ", fresh.len());
}

#[test]
fn these_tokens_belong_to_this_seed_on_every_platform() {
    let row: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1000) as f32 / 400.0).collect();
    let config = SamplingConfig { temperature: 0.9, top_k: 100, ..SamplingConfig::default() };
    assert_eq!(tokens(&config, 42, &row)[..8], GOLDEN);
}

/// Recorded once; a change here means that users' seeds no longer give the same text.
const GOLDEN: [u32; 8] = [334, 284, 495, 359, 828, 75, 495, 260];

#[test]
fn temperature_zero_is_the_lowest_id_of_the_highest_logit() {
    let row = [0.0, 2.5, -1.0, 2.5, 2.5];
    for seed in 0..10 {
        let config = SamplingConfig { top_k: 3, top_p: 0.2, min_p: 0.9, ..SamplingConfig::default() };
        let mut sampler = Sampler::new(config, seed).expect("a valid setting");
        let sampled = sampler.sample(&mut row.clone(), &[]).expect("a valid row");
        assert_eq!((sampled.token, sampled.logprob.to_bits()), (1, sampler_logprob(&row).to_bits()));
    }
}

/// ln(e^2.5 / Σ e^x) of the row above, by the crate's other road to it.
fn sampler_logprob(row: &[f32]) -> f32 {
    top_logprobs(row, 1).expect("a valid row")[0].logprob
}

#[test]
fn extreme_numbers_still_give_a_kept_token() {
    let rows: [&[f32]; 4] = [
        &[f32::MAX, f32::MIN, 0.0],
        &[f32::NEG_INFINITY, -3e38, f32::NEG_INFINITY],
        &[-1e-45, 0.0, 1e-45],
        &[5.0],
    ];
    for temperature in [f32::MIN_POSITIVE, 1e-45, 1.0, f32::MAX] {
        for (top_k, top_p, min_p) in
            [(0, 1.0, 0.0), (1, 1e-30, 1.0), (2, 0.999_999_9, 1e-45), (usize::MAX, 0.5, 0.5)]
        {
            let config = SamplingConfig { temperature, top_k, top_p, min_p, ..SamplingConfig::default() };
            for row in rows {
                let mut sampler = Sampler::new(config.clone(), 3).expect("a valid setting");
                let sampled = sampler.sample(&mut row.to_vec(), &[]).expect("a valid row");
                assert!(row[sampled.token as usize] > f32::NEG_INFINITY, "{config:?} on {row:?}");
                assert!(sampled.logprob <= 0.0, "{config:?} on {row:?}: {sampled:?}");
            }
        }
    }
}

#[test]
fn a_row_without_an_answer_is_an_error_and_not_token_zero() {
    let hot = SamplingConfig { temperature: 1.0, ..SamplingConfig::default() };
    for config in [SamplingConfig::default(), hot] {
        for row in [vec![], vec![1.0, f32::NAN], vec![f32::NEG_INFINITY; 3], vec![f32::INFINITY, 0.0]] {
            let sampled: Result<_> =
                Sampler::new(config.clone(), 0).and_then(|mut s| s.sample(&mut row.clone(), &[]));
            assert!(matches!(sampled, Err(Error::Sampling { .. })), "{row:?} gives {sampled:?}");
        }
    }
    let banned = SamplingConfig { logit_bias: vec![(0, f32::NEG_INFINITY)], ..SamplingConfig::default() };
    let error =
        Sampler::new(banned, 0).and_then(|mut s| s.sample(&mut [1.0], &[])).expect_err("all are banned");
    assert!(error.to_string().contains("every token is ruled out"), "{error}");
}

#[test]
fn top_logprobs_are_sorted_and_sum_to_one() {
    let row = [0.0, 2.0, f32::NEG_INFINITY, 2.0, 1.0];
    let all = top_logprobs(&row, 99).expect("a valid row");
    assert_eq!(all.iter().map(|s| s.token).collect::<Vec<_>>(), [1, 3, 4, 0]);
    assert!((all.iter().map(|s| s.logprob.exp()).sum::<f32>() - 1.0).abs() < 1e-6);
    assert_eq!(top_logprobs(&row, 2).expect("a valid row"), all[..2]);
    assert!(top_logprobs(&row, 0).expect("a valid row").is_empty());
}
