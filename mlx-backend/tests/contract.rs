//! What `inference-api` promises of backends and models, on checkpoints of a few kilobytes; the greedy tokens are
//! those of transformers.

mod common;

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use common::{EOS, Folder, PROMPT, data, expected_ids, load, load_with, tokens};
use inference_api::{
    CancelToken, ClassifyOptions, Completion, ErrorKind, FinishReason, GenerateOptions, LoadOptions, Prompt,
    TextModel, TokenStream,
};
use mlx_models::Tokenizer;

/// Nothing here takes a tenth of this, on a machine that does other work as well.
const HANGS: Duration = Duration::from_secs(60);

/// Fails when `work` does not come to an end.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, waiting) = channel();
    let worker = thread::spawn(move || {
        let outcome = work();
        // The test waits for it, unless it gave up.
        let _ = done.send(());
        outcome
    });
    if let Err(RecvTimeoutError::Timeout) = waiting.recv_timeout(HANGS) {
        panic!("this hangs");
    }
    worker.join().unwrap()
}

fn prompt() -> Prompt {
    Prompt::from(&PROMPT[..])
}

fn complete(model: &dyn TextModel, prompt: impl Into<Prompt>, options: &GenerateOptions) -> Completion {
    model.generate(prompt.into(), options).unwrap().into_completion().unwrap()
}

fn ids(completion: &Completion) -> Vec<u32> {
    completion.tokens.iter().map(|token| token.id).collect()
}

/// Reads a stream that a close ended: tokens, then one error and nothing more.
#[track_caller]
fn assert_closed(mut stream: TokenStream) {
    let error = stream.by_ref().find_map(Result::err).expect("an error");
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(stream.next().is_none());
    assert_eq!((stream.finish_reason(), stream.metrics()), (None, None));
}

/// Random text: the same for the same seed, and full of byte runs, wide characters and ids that spell nothing.
fn random(max: usize, seed: u64) -> GenerateOptions {
    tokens(max).with_temperature(8.0).with_seed(seed)
}

#[test]
fn three_backends_are_there_and_those_that_cannot_run_say_so() {
    mlx_backend::register().unwrap();
    mlx_backend::register().unwrap();
    let names: Vec<String> = inference_api::list().iter().map(|backend| backend.name().to_owned()).collect();
    assert_eq!(names, ["metal", "cuda", "cpu"]);
    for backend in inference_api::list() {
        let options = LoadOptions::default().with_backend(backend.name());
        let path = data("gemma3-classic");
        let (path, name) = (path.to_str().unwrap(), backend.name());
        match backend.is_available() {
            true => {
                let model = inference_api::load_model(path, &options).unwrap();
                assert_eq!(model.info().backend, name);
            }
            false => {
                assert_ne!(name, "cpu");
                for outcome in [
                    inference_api::load_model(path, &options),
                    backend.load_model(path, &LoadOptions::default()),
                ] {
                    let error = outcome.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{name}");
                    assert!(error.to_string().contains(name), "{error}");
                }
            }
        }
    }
}

#[test]
fn a_model_that_cannot_be_loaded_is_one_line_with_the_file() {
    let broken = Folder::new();
    let weights = std::fs::read(broken.path().join("model.safetensors")).unwrap();
    std::fs::write(broken.path().join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    let missing = Folder::new();
    std::fs::remove_file(missing.path().join("model.safetensors")).unwrap();
    let pickled = Folder::new().write("pytorch_model.bin", "");
    std::fs::remove_file(pickled.path().join("model.safetensors")).unwrap();
    let empty = tempfile::tempdir().unwrap();

    use ErrorKind::{InvalidModel, NotFound, Unsupported};
    let cases = [
        (empty.path().join("absent"), NotFound, "absent"),
        (empty.path().to_owned(), NotFound, "config.json"),
        (missing.path().to_owned(), InvalidModel, "safetensors"),
        (broken.path().to_owned(), InvalidModel, "model.safetensors"),
        (Folder::new().write("config.json", "{").keep(), InvalidModel, "config.json"),
        (Folder::new().write("tokenizer.json", "{").keep(), InvalidModel, "tokenizer.json"),
        (Folder::new().with_config("hidden_size", 33).keep(), InvalidModel, ""),
        (Folder::new().with_config("model_type", "gpt5").keep(), Unsupported, "gpt5"),
        (pickled.path().to_owned(), Unsupported, "pytorch_model.bin"),
    ];
    for (path, kind, named) in cases {
        let error = load_with(&path, &LoadOptions::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let (short, long) = (error.to_string(), format!("{error:#}"));
        assert!(short.contains(named) && short.contains(path.to_str().unwrap()), "{short}");
        assert!(!long.contains('\n') && long.matches(path.to_str().unwrap()).count() == 1, "{long}");
    }
}

#[test]
fn probing_says_what_loading_gives() {
    mlx_backend::register().unwrap();
    let cpu = inference_api::get("cpu").unwrap();
    for name in ["gemma3-classic", "gemma3-new", "gemma3-multimodal", "gemma3-mlx-q4"] {
        let found = cpu.probe(&data(name)).unwrap().expect(name);
        let info = load(&data(name)).info();
        assert_eq!(
            (&found.model_type, &found.quantization),
            (&info.model_type, &info.quantization),
            "{name}"
        );
        assert_eq!((info.name.as_str(), info.path.as_deref()), (name, Some(data(name).as_path())));
    }
    assert!(cpu.probe(data("sampling.json").as_path()).unwrap().is_none());
    assert!(cpu.probe(Folder::new().with_config("model_type", "gpt5").path()).unwrap().is_none());
    assert_eq!(cpu.probe(&data("absent")).unwrap_err().kind(), ErrorKind::NotFound);
    let broken = Folder::new().write("config.json", "{");
    assert_eq!(cpu.probe(broken.path()).unwrap_err().kind(), ErrorKind::InvalidModel);
}

#[test]
fn greedy_tokens_are_those_of_the_reference() {
    let name = "gemma3-classic";
    let model = load(&data(name));
    assert!(model.metrics().is_none());
    let prompt = expected_ids(name, "generate_prompt");
    let start = Instant::now();
    let completion = complete(&*model, prompt.clone(), &tokens(30).with_seed(1).with_logprobs(true));
    let took = start.elapsed();
    assert_eq!(ids(&completion), expected_ids(name, "expected_generate"));
    assert!(completion.text.is_empty() && completion.tokens.iter().all(|token| token.logprob < Some(0.0)));

    let metrics = completion.metrics;
    assert_eq!(model.metrics(), Some(metrics));
    assert_eq!((metrics.prompt_tokens, metrics.generated_tokens), (prompt.len(), 30));
    assert!(metrics.prefill_duration > Duration::ZERO && metrics.decode_duration > Duration::ZERO);
    assert!(metrics.prefill_duration + metrics.decode_duration <= took);
    assert!(metrics.time_to_first_token >= Some(metrics.prefill_duration));
    assert!(metrics.time_to_first_token <= Some(took));
    assert!(metrics.active_memory_bytes >= Some(model.info().weight_bytes));
    assert!(metrics.peak_memory_bytes >= metrics.active_memory_bytes);

    // A prompt of several chunks, from which the same last tokens must follow twice.
    let long: Vec<u32> = prompt.iter().copied().cycle().take(300).collect();
    let twice = [0, 1].map(|_| ids(&complete(&*model, long.clone(), &tokens(3))));
    assert_eq!(twice[0], twice[1]);
}

#[test]
fn a_seed_repeats_and_no_seed_does_not() {
    let model = load(&data("gemma3-classic"));
    let options = tokens(20).with_temperature(1.0);
    let seeded = [0, 1].map(|_| ids(&complete(&*model, prompt(), &options.clone().with_seed(7))));
    assert_eq!(seeded[0], seeded[1]);
    let mut unseeded: Vec<Vec<u32>> = (0..10).map(|_| ids(&complete(&*model, prompt(), &options))).collect();
    unseeded.sort();
    unseeded.dedup();
    assert!(unseeded.len() >= 9, "{} of 10 differ", unseeded.len());
}

#[test]
fn xtc_leaves_the_most_probable_tokens_out() {
    let model = load(&data("gemma3-classic"));
    let greedy = complete(&*model, prompt(), &tokens(8));
    // So cold that only the most probable token is drawn, of those that are left.
    let cold = tokens(8).with_temperature(1e-4).with_seed(1);
    // At most one token has more than half, and one alone stays.
    let nothing = complete(&*model, prompt(), &cold.clone().with_xtc(1.0, 0.5));
    assert_eq!(ids(&nothing), ids(&greedy));
    let excluded = complete(&*model, prompt(), &cold.with_xtc(1.0, 0.0));
    assert_ne!(ids(&excluded).first(), ids(&greedy).first());
}

#[test]
fn log_probabilities_are_those_before_penalties() {
    let model = load(&data("gemma3-classic"));
    let prompt = expected_ids("gemma3-classic", "generate_prompt");
    let plain = complete(&*model, prompt.clone(), &tokens(1).with_logprobs(true));
    assert!(prompt.contains(&plain.tokens[0].id), "the penalty would change nothing");
    // Too small for another token to be chosen.
    let penalty = tokens(1).with_logprobs(true).with_frequency_penalty(0.01);
    assert_eq!(complete(&*model, prompt.clone(), &penalty).tokens, plain.tokens);
    assert_eq!(complete(&*model, prompt, &tokens(1)).tokens[0].logprob, None);
}

#[test]
fn prompts_and_options_that_cannot_work_are_refused_at_once() {
    let model = load(&data("gemma3-classic"));
    let many = (0..65).fold(tokens(1), |options, n| options.with_stop(format!("stop {n}")));
    let cases = [
        (Prompt::Tokens(vec![]), tokens(1), ErrorKind::InvalidPrompt, "empty"),
        (Prompt::Tokens(vec![2, 96]), tokens(1), ErrorKind::InvalidPrompt, "96"),
        (Prompt::Tokens(vec![2; 512]), tokens(1), ErrorKind::ContextLength, "512"),
        (
            Prompt::Tokens(vec![2; 700]),
            tokens(1),
            ErrorKind::ContextLength,
            "700 tokens; the context holds 512",
        ),
        (Prompt::from("text"), tokens(1), ErrorKind::Unsupported, "tokenizer"),
        (prompt(), tokens(1).with_stop("x"), ErrorKind::Unsupported, "tokenizer"),
        (prompt(), tokens(0), ErrorKind::InvalidOption, "max_tokens"),
        (prompt(), many, ErrorKind::InvalidOption, "65"),
    ];
    for (prompt, options, kind, named) in cases {
        let error = model.generate(prompt, &options).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
    assert_eq!(complete(&*model, prompt(), &tokens(2)).tokens.len(), 2);
}

#[test]
fn a_reply_ends_with_the_context() {
    let model = load(&data("gemma3-classic"));
    let completion = complete(&*model, vec![2; 509], &tokens(usize::MAX));
    assert_eq!((completion.tokens.len(), completion.finish_reason), (3, FinishReason::Length));

    let short = load_with(&data("gemma3-classic"), &LoadOptions::default().with_context_len(10)).unwrap();
    assert_eq!(short.info().context_len, 10);
    let completion = complete(&*short, prompt(), &tokens(100));
    assert_eq!((completion.tokens.len(), completion.finish_reason), (6, FinishReason::Length));
    assert_eq!(short.generate(vec![2; 10].into(), &tokens(1)).unwrap_err().kind(), ErrorKind::ContextLength);

    let error =
        load_with(&data("gemma3-classic"), &LoadOptions::default().with_context_len(513)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains("513") && error.to_string().contains("512"), "{error}");
}

#[test]
fn pieces_of_text_are_the_whole_text_whatever_ends_it() {
    let folder = Folder::new().with_text();
    let model = load(folder.path());
    let tokenizer = Tokenizer::from_file(folder.path().join("tokenizer.json")).unwrap();
    let decode = |ids: &[u32]| {
        let spelled: Vec<u32> = ids.iter().copied().filter(|id| *id < 90).collect();
        tokenizer.decode(&spelled, true).unwrap()
    };
    let (mut ends, mut held_back) = (0, 0);
    for seed in 0..8 {
        let whole = complete(&*model, "abc", &random(40, seed));
        assert_eq!((whole.tokens.len(), whole.finish_reason), (40, FinishReason::Length));
        assert_eq!(whole.metrics.prompt_tokens, 2, "the start token and `abc`");
        assert_eq!(whole.text, decode(&ids(&whole)), "seed {seed}");
        held_back +=
            whole.tokens.windows(2).filter(|pair| pair[0].text.is_empty() && pair[1].text.len() > 1).count();
        for token in whole.tokens.iter().take(39).filter(|token| token.id == EOS) {
            assert_eq!(token.text, "");
        }

        // Every shorter length cuts runs of bytes at another place.
        for length in [1, 2, 5, 13] {
            let cut = complete(&*model, "abc", &random(length, seed));
            assert_eq!(ids(&cut), ids(&whole)[..length]);
            assert_eq!(cut.text, decode(&ids(&cut)), "seed {seed}, length {length}");
        }

        // Without `ignore_eos` the same tokens come, up to the first that ends a reply.
        let stopped = complete(&*model, "abc", &random(40, seed).with_ignore_eos(false));
        let before: Vec<u32> = ids(&whole).into_iter().take_while(|id| *id != EOS).collect();
        assert_eq!(ids(&stopped), before);
        assert_eq!(stopped.text, decode(&before));
        assert_eq!(stopped.metrics.generated_tokens, before.len());
        assert_eq!(stopped.metrics.time_to_first_token.is_none(), before.is_empty());
        if before.len() < 40 {
            ends += 1;
            assert_eq!(stopped.finish_reason, FinishReason::Stop);
        }
    }
    assert!(ends > 0 && held_back > 0, "the seeds show nothing: {ends} ends, {held_back} texts held back");
}

#[test]
fn stop_strings_end_the_text_before_them() {
    let folder = Folder::new().with_text();
    let model = load(folder.path());
    let mut reached = 0;
    for seed in 0..3 {
        let whole = complete(&*model, "abc", &random(24, seed));
        let chars: Vec<char> = whole.text.chars().collect();
        for (from, length) in (0..chars.len()).step_by(4).flat_map(|from| [(from, 1), (from, 2), (from, 5)]) {
            let stop: String = chars.iter().skip(from).take(length).collect();
            let options = random(24, seed).with_stop("never in the text").with_stop(&stop);
            let stopped = complete(&*model, "abc", &options);
            let end = whole.text.find(&stop).unwrap();
            assert_eq!(stopped.text, whole.text[..end], "seed {seed}, stop {stop:?}");
            assert_eq!(stopped.finish_reason, FinishReason::StopString, "seed {seed}, stop {stop:?}");
            assert_eq!(stopped.metrics.generated_tokens, stopped.tokens.len());
            assert_eq!(ids(&stopped), ids(&whole)[..stopped.tokens.len()]);
            reached += usize::from(stopped.tokens.len() < 24);
        }
        // What could become a stop string comes out at the end when it did not.
        let last: String = chars.iter().skip(chars.len() - 2).collect();
        let open = complete(&*model, "abc", &random(24, seed).with_stop(last + "never"));
        assert_eq!((open.text, open.finish_reason), (whole.text, FinishReason::Length));
    }
    assert!(reached > 30, "only {reached} generations ended early");
}

#[test]
fn special_tokens_in_a_prompt_are_plain_text() {
    let model = load(Folder::new().with_text().path());
    let prompt_tokens = |text: &str| complete(&*model, text, &tokens(1)).metrics.prompt_tokens;
    // The start token comes first; neither `<` nor `>` is in the vocabulary.
    assert_eq!((prompt_tokens("abc"), prompt_tokens("<eos>")), (1 + 1, 1 + 5));
    assert_eq!(model.generate("".into(), &tokens(1)).unwrap_err().kind(), ErrorKind::InvalidPrompt);
}

#[test]
fn a_cancelled_generation_ends_with_metrics() {
    in_time(|| {
        let model = load(Folder::endless().with_text().path());
        let cancel = CancelToken::new();
        let mut stream = model.generate(prompt(), &tokens(1 << 19).with_cancel(cancel.clone())).unwrap();
        let read = stream.by_ref().take(3).map(Result::unwrap).count();
        cancel.cancel();
        let read = read + stream.by_ref().map(Result::unwrap).count();
        assert_eq!(stream.finish_reason(), Some(FinishReason::Cancelled));
        let metrics = stream.metrics().unwrap();
        assert_eq!((metrics.prompt_tokens, metrics.generated_tokens), (PROMPT.len(), read));
        assert_eq!(model.metrics(), Some(metrics));

        // A token that was used before: nothing is generated. The prompt would take much longer than the rest.
        let late = complete(&*model, vec![2; 100_000], &tokens(5).with_cancel(cancel));
        assert_eq!((late.tokens.len(), late.finish_reason), (0, FinishReason::Cancelled));
        assert_eq!(late.metrics.time_to_first_token, None);
        assert!(late.metrics.peak_memory_bytes >= late.metrics.active_memory_bytes);
    });
}

#[test]
fn cancelling_and_dropping_end_a_prefill_too() {
    in_time(|| {
        let model = load(Folder::endless().path());
        let long = || Prompt::Tokens(vec![2; 200_000]);
        let cancel = CancelToken::new();
        let stream = model.generate(long(), &tokens(1).with_cancel(cancel.clone())).unwrap();
        thread::sleep(Duration::from_millis(20));
        cancel.cancel();
        assert_eq!(stream.into_completion().unwrap().finish_reason, FinishReason::Cancelled);

        drop(model.generate(long(), &tokens(1)).unwrap());
        assert_eq!(complete(&*model, prompt(), &tokens(2)).tokens.len(), 2);
    });
}

#[test]
fn a_request_that_waits_can_be_cancelled() {
    in_time(|| {
        let one_slot = LoadOptions::default().with_parallel_slots(1);
        let model = load_with(Folder::endless().path(), &one_slot).unwrap();
        let mut endless = model.generate(prompt(), &tokens(1 << 19)).unwrap();
        assert!(endless.next().is_some());
        let cancel = CancelToken::new();
        let waiting = model.generate(prompt(), &tokens(5).with_cancel(cancel.clone())).unwrap();
        let behind = model.generate(prompt(), &tokens(5)).unwrap();
        cancel.cancel();
        let completion = waiting.into_completion().unwrap();
        assert_eq!((completion.tokens.len(), completion.finish_reason), (0, FinishReason::Cancelled));
        assert!(endless.next().is_some(), "the generation before it goes on");
        drop(endless);
        assert_eq!(behind.into_completion().unwrap().tokens.len(), 5);
    });
}

#[test]
fn a_dropped_stream_frees_the_engine_and_does_not_count() {
    in_time(|| {
        let model = load(Folder::endless().path());
        let dropped_unread = model.generate(prompt(), &tokens(1 << 19)).unwrap();
        drop(dropped_unread);
        let mut dropped_later = model.generate(prompt(), &tokens(1 << 19)).unwrap();
        assert!(dropped_later.next().is_some());
        drop(dropped_later);
        assert_eq!(complete(&*model, prompt(), &tokens(4)).tokens.len(), 4);
        let last = model.metrics();
        // The engine makes both whole; nobody reads the first to its end.
        drop(model.generate(prompt(), &tokens(2)).unwrap());
        assert_eq!(model.metrics(), last);
        let unread = model.generate(prompt(), &tokens(2)).unwrap();
        let completion = complete(&*model, prompt(), &tokens(3));
        drop(unread);
        assert_eq!(model.metrics(), Some(completion.metrics));
    });
}

#[test]
fn a_slow_reader_holds_nobody_up() {
    in_time(|| {
        let model = load(&data("gemma3-classic"));
        let slow = model.generate(prompt(), &tokens(100)).unwrap();
        let quick = complete(&*model, prompt(), &tokens(100));
        assert_eq!(ids(&slow.into_completion().unwrap()), ids(&quick));
    });
}

#[test]
fn closing_ends_what_runs_and_what_waits() {
    in_time(|| {
        let model: Arc<dyn TextModel> = load(Folder::endless().path()).into();
        let info = model.info();
        let mut running = model.generate(prompt(), &tokens(1 << 19)).unwrap();
        assert!(running.next().is_some());
        // More than anyone would bound a queue by: `generate` never blocks.
        let waiting: Vec<TokenStream> =
            (0..1000).map(|_| model.generate(prompt(), &tokens(1 << 19)).unwrap()).collect();
        let closers: Vec<_> = (0..2)
            .map(|_| {
                let model = Arc::clone(&model);
                thread::spawn(move || model.close())
            })
            .collect();
        assert_closed(running);
        waiting.into_iter().for_each(assert_closed);
        for closer in closers {
            closer.join().unwrap().unwrap();
        }
        model.close().unwrap();
        assert_eq!(model.generate(prompt(), &tokens(1)).unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!((model.info(), model.model_type(), model.metrics()), (info, "gemma3_text", None));
    });
}

#[test]
fn dropping_the_model_ends_streams_on_other_threads() {
    in_time(|| {
        let model = load(Folder::endless().path());
        let (started, reading) = channel();
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let stream = model.generate(prompt(), &tokens(1 << 19)).unwrap();
                let started = started.clone();
                thread::spawn(move || {
                    started.send(()).unwrap();
                    assert_closed(stream);
                })
            })
            .collect();
        reading.iter().take(4).for_each(drop);
        drop(model);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn a_finished_generation_outlives_the_model() {
    let model = load_with(&data("gemma3-classic"), &LoadOptions::default().with_parallel_slots(1)).unwrap();
    let stream = model.generate(prompt(), &tokens(3)).unwrap();
    // Behind the first, so that one has ended when this has.
    complete(&*model, prompt(), &tokens(1));
    drop(model);
    assert_eq!(stream.into_completion().unwrap().tokens.len(), 3);
}

/// Xorshift64: the same choices in every run.
struct Choices(u64);

impl Choices {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// One client: it reads, cancels, drops and classifies as it likes until the model is closed; gives what it asked for.
fn client(model: &dyn TextModel, number: u64) -> u32 {
    let mut choices = Choices(number * 0x9E37_79B9 + 1);
    for streams in 0.. {
        let cancel = CancelToken::new();
        let options = random(1 + choices.below(20) as usize, number)
            .with_ignore_eos(choices.below(2) == 0)
            .with_top_k(choices.below(30) as usize)
            .with_top_p(0.5 + choices.below(50) as f32 / 100.0)
            .with_repetition_penalty(1.0 + choices.below(3) as f32 / 10.0)
            .with_logprobs(choices.below(2) == 0)
            .with_stop(["ab", "好", "yz"][choices.below(3) as usize])
            .with_cancel(cancel.clone());
        if choices.below(8) == 0 {
            let options = ClassifyOptions::default().with_labels(["ab", "xyz"]).with_cancel(cancel.clone());
            if choices.below(3) == 0 {
                cancel.cancel();
            }
            match model.classify(vec!["abc".into(), vec![2; 40].into()], &options) {
                Ok(results) => assert!(results.iter().all(Result::is_ok)),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Closed | ErrorKind::Cancelled), "{error}")
                }
            }
            continue;
        }
        let prompt = match choices.below(3) {
            0 => Prompt::from("abc xyz"),
            length => Prompt::Tokens(vec![2; 1 + 90 * length as usize]),
        };
        let mut stream = match model.generate(prompt, &options) {
            Ok(stream) => stream,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed);
                return streams;
            }
        };
        match choices.below(4) {
            0 => drop(stream),
            1 => {
                // What is left of it is dropped.
                stream.by_ref().take(2).for_each(drop);
            }
            choice => {
                if choice == 2 {
                    cancel.cancel();
                }
                let mut errors = 0;
                for token in stream.by_ref() {
                    errors += usize::from(token.is_err_and(|error| error.kind() == ErrorKind::Closed));
                }
                assert_eq!(errors, usize::from(stream.finish_reason().is_none()));
            }
        }
    }
    unreachable!()
}

#[test]
fn many_clients_and_a_close() {
    in_time(|| {
        let model: Arc<dyn TextModel> = load(Folder::new().with_text().path()).into();
        let clients: Vec<_> = (0..64)
            .map(|number| {
                let model = Arc::clone(&model);
                thread::spawn(move || client(&*model, number))
            })
            .collect();
        thread::sleep(Duration::from_millis(1000));
        model.close().unwrap();
        let streams: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(streams >= 64, "{streams} streams in all");
    });
}
