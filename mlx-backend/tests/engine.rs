//! Requests beside one another: each has the tokens that it has alone, whatever joins, leaves, fails or was read before.

mod common;

use std::sync::Arc;
use std::thread;

use common::{BOS, Folder, data, load, load_with, tokens};
use inference_api::{
    CancelToken, Chat, ClassifyOptions, Completion, ErrorKind, FinishReason, GenerateOptions, LoadOptions,
    LoraOptions, Message, Prompt, TextModel, Tool,
};

/// Numbers that look random; splitmix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    fn ids(&mut self, length: usize) -> Vec<u32> {
        (0..length).map(|_| 3 + self.below(61) as u32).collect()
    }
}

fn ids(completion: &Completion) -> Vec<u32> {
    completion.tokens.iter().map(|token| token.id).collect()
}

fn complete(model: &dyn TextModel, prompt: &[u32], options: &GenerateOptions) -> Completion {
    model.generate(Prompt::from(prompt), options).unwrap().into_completion().unwrap()
}

fn with_slots(slots: usize) -> LoadOptions {
    LoadOptions::default().with_parallel_slots(slots)
}

/// A copy of `gemma3-classic` with room for a thousand tokens; its window is 8.
fn roomy() -> Folder {
    Folder::new().with_config("max_position_embeddings", 1024)
}

/// A request with a will of its own: short and long prompts, greedy and not, stops and penalties.
fn any_request(numbers: &mut Numbers) -> (Vec<u32>, GenerateOptions) {
    let length = [1, 3, 9, 40, 300, 600][numbers.below(6)];
    let mut options = tokens(1 + numbers.below(40)).with_prompt_cache(false);
    if numbers.below(3) > 0 {
        options =
            options.with_temperature(1.5).with_seed(numbers.below(1000) as u64).with_top_k(numbers.below(40));
    }
    if numbers.below(3) == 0 {
        options = options.with_repetition_penalty(1.3).with_logit_bias(7, 2.0);
    }
    let mut prompt = vec![BOS];
    prompt.extend(numbers.ids(length));
    (prompt, options)
}

#[test]
fn tokens_do_not_depend_on_the_company() {
    let folder = roomy();
    let alone = load_with(folder.path(), &with_slots(1)).unwrap();
    for slots in [2, 5] {
        let model: Arc<dyn TextModel> = load_with(folder.path(), &with_slots(slots)).unwrap().into();
        let mut numbers = Numbers(slots as u64);
        let requests: Vec<_> = (0..24).map(|_| any_request(&mut numbers)).collect();
        let expected: Vec<_> =
            requests.iter().map(|(prompt, options)| ids(&complete(&*alone, prompt, options))).collect();
        thread::scope(|scope| {
            for client in 0..6 {
                let (requests, expected, model) = (&requests, &expected, Arc::clone(&model));
                scope.spawn(move || {
                    for index in (client..requests.len()).step_by(6) {
                        let (prompt, options) = &requests[index];
                        // Some come and go in the meantime.
                        let leaver = model.generate(Prompt::from(&prompt[..]), &tokens(400)).unwrap();
                        let done = complete(&*model, prompt, options);
                        assert_eq!(ids(&done), expected[index], "request {index} of {slots} slots");
                        drop(leaver);
                    }
                });
            }
        });
    }
}

#[test]
fn a_request_that_fails_fails_alone() {
    let model = load_with(&data("gemma3-classic"), &with_slots(4)).unwrap();
    let expected = ids(&complete(&*model, &[BOS, 54, 61], &tokens(30)));
    // With every token ruled out there is nothing to choose.
    let mut hopeless = tokens(5);
    hopeless.logit_bias = (0..96).map(|token| (token, f32::NEG_INFINITY)).collect();
    let good: Vec<_> =
        (0..3).map(|_| model.generate(vec![BOS, 54, 61].into(), &tokens(30)).unwrap()).collect();
    let bad = model.generate(vec![BOS, 54, 61].into(), &hopeless).unwrap();
    let error = bad.into_completion().unwrap_err();
    assert!(error.to_string().contains("token"), "{error}");
    for stream in good {
        assert_eq!(ids(&stream.into_completion().unwrap()), expected);
    }
}

#[test]
fn what_was_read_before_is_not_read_again_and_changes_nothing() {
    for name in ["gemma3-classic", "tiny/qwen3", "tiny/llama3"] {
        let path = data(name);
        let cold = load_with(&path, &LoadOptions::default().with_prompt_cache_bytes(0)).unwrap();
        let warm = load(&path);
        let limit = cold.info().context_len;
        let mut numbers = Numbers(3);
        let mut conversation = vec![2];
        conversation.extend(numbers.ids(40));
        let mut saved = 0;
        for turn in 0..12 {
            let options = tokens(1 + numbers.below(12));
            let expected = complete(&*cold, &conversation, &options);
            let found = complete(&*warm, &conversation, &options);
            assert_eq!(ids(&found), ids(&expected), "{name}, turn {turn}");
            assert_eq!(expected.metrics.cached_prompt_tokens, 0);
            let cached = found.metrics.cached_prompt_tokens;
            assert!(cached < conversation.len());
            saved += cached;
            match numbers.below(4) {
                // The same again, as for another answer.
                0 => {
                    let again = complete(&*warm, &conversation, &options);
                    assert_eq!(ids(&again), ids(&expected), "{name}, turn {turn} again");
                    assert_eq!(
                        again.metrics.cached_prompt_tokens,
                        conversation.len() - 1,
                        "{name}, turn {turn}"
                    );
                }
                // The prompt without its answer: a template that leaves out what was thought.
                1 => conversation.extend(numbers.ids(3)),
                // What was said, and more.
                _ => {
                    conversation.extend(ids(&found));
                    conversation.extend(numbers.ids(5));
                }
            }
            if conversation.len() + 20 > limit {
                conversation.truncate(20);
            }
        }
        assert!(saved > 200, "{name}: {saved} tokens saved");
    }
}

#[test]
fn the_next_turn_reads_what_is_new() {
    let model = load(roomy().path());
    let mut conversation = vec![BOS];
    conversation.extend(Numbers(9).ids(500));
    let first = complete(&*model, &conversation, &tokens(200));
    assert_eq!(first.metrics.cached_prompt_tokens, 0);
    // Asked again: a window of 8 has moved on by 200 tokens, and what it held at the end of the prompt is there.
    let again = complete(&*model, &conversation, &tokens(200));
    assert_eq!(again.metrics.cached_prompt_tokens, 500);
    assert_eq!(ids(&again), ids(&first));
    let mut next = conversation.clone();
    next.extend(ids(&first));
    next.extend([5, 6, 7]);
    // The last token of a reply was chosen and never read.
    let second = complete(&*model, &next, &tokens(5));
    assert_eq!(second.metrics.cached_prompt_tokens, next.len() - 4);
    // Who wants none of it gets none.
    let cold = complete(&*model, &next, &tokens(5).with_prompt_cache(false));
    assert_eq!((cold.metrics.cached_prompt_tokens, ids(&cold)), (0, ids(&second)));
}

#[test]
fn the_least_recently_used_prompts_go_when_there_is_no_room() {
    let folder = roomy();
    let prompt = |first: u32| [vec![BOS, first], vec![9; 100]].concat();
    // Room for about two of these.
    let probe = load_with(folder.path(), &LoadOptions::default()).unwrap();
    complete(&*probe, &prompt(3), &tokens(1));
    let cached = |model: &dyn TextModel, first| {
        complete(model, &prompt(first), &tokens(1)).metrics.cached_prompt_tokens
    };
    assert_eq!(cached(&*probe, 3), 101);
    let bytes = entry_bytes();
    let options = LoadOptions::default().with_prompt_cache_bytes(2 * bytes + bytes / 2);
    let model = load_with(folder.path(), &options).unwrap();
    for first in [3, 4] {
        assert_eq!(cached(&*model, first), 0);
    }
    assert_eq!(cached(&*model, 3), 101, "used now, so 4 is the oldest");
    assert_eq!(cached(&*model, 5), 0);
    assert_eq!(cached(&*model, 3), 101);
    assert_eq!(cached(&*model, 4), 0);
}

/// Bytes that 102 tokens take in the caches of `gemma3-classic`, with the copy of its sliding layers at the end of the prompt.
fn entry_bytes() -> u64 {
    let model = mlx_models::load(&data("gemma3-classic"), None).unwrap().model;
    let sampler = mlx_models::sampling::Sampler::new(Default::default(), 0).unwrap();
    let mut sequence = mlx_models::Sequence::new(&*model, sampler);
    sequence.prefill(&[vec![BOS, 3], vec![9; 100]].concat(), || true).unwrap();
    let sliding = sequence.caches().unwrap().iter().filter(|cache| cache.window().is_some());
    (sequence.cache_bytes() + sliding.map(mlx_models::KvCache::nbytes).sum::<usize>() + 4 * 102) as u64
}

#[test]
fn more_than_may_wait_is_refused_and_what_waits_is_served() {
    let options = with_slots(1).with_queue_len(2);
    let model = load_with(Folder::endless().path(), &options).unwrap();
    let mut endless = model.generate(vec![BOS].into(), &tokens(1 << 19)).unwrap();
    endless.next().unwrap().unwrap();
    let waiting: Vec<_> = (0..2).map(|_| model.generate(vec![BOS].into(), &tokens(3)).unwrap()).collect();
    let error = model.generate(vec![BOS].into(), &tokens(3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("2 requests wait"), "{error}");
    drop(endless);
    for stream in waiting {
        assert_eq!(stream.into_completion().unwrap().tokens.len(), 3);
    }
    // A batch is larger than the queue, and waits for its own.
    let batch = model.batch_generate(vec![vec![BOS].into(); 9], &tokens(4)).unwrap();
    assert!(batch.iter().all(|result| result.as_ref().is_ok_and(|done| done.tokens.len() == 4)));
}

#[test]
fn a_batch_has_a_result_for_each_prompt_in_their_order() {
    let model = load(&data("gemma3-classic"));
    let prompts = [vec![BOS, 54], vec![], vec![BOS, 61, 27], vec![1 << 20]];
    let results =
        model.batch_generate(prompts.iter().map(|p| p.clone().into()).collect(), &tokens(6)).unwrap();
    for (prompt, result) in prompts.iter().zip(results) {
        match result {
            Ok(done) => assert_eq!(ids(&done), ids(&complete(&*model, prompt, &tokens(6)))),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidPrompt);
                assert!(prompt.is_empty() || prompt == &[1 << 20]);
            }
        }
    }
}

#[test]
fn requests_share_the_room_for_caches_and_lose_nothing() {
    let folder = roomy();
    let alone = load_with(folder.path(), &with_slots(1)).unwrap();
    let model = mlx_models::load(folder.path(), None).unwrap().model;
    // Two sequences fit when they begin, and do not when they have grown.
    let room = 2 * model.cache_bytes(300) as u64;
    let options = with_slots(4).with_kv_cache_bytes(room);
    let shared = load_with(folder.path(), &options).unwrap();
    let mut numbers = Numbers(5);
    let prompts: Vec<Vec<u32>> = (0..5).map(|_| numbers.ids(200)).collect();
    let options = tokens(300).with_temperature(1.0).with_seed(4).with_prompt_cache(false);
    let results =
        shared.batch_generate(prompts.iter().map(|p| p.clone().into()).collect(), &options).unwrap();
    for (prompt, result) in prompts.iter().zip(results) {
        assert_eq!(ids(&result.unwrap()), ids(&complete(&*alone, prompt, &options)));
    }
    // What cannot fit even by itself ends with an error that has both numbers.
    let small = model.cache_bytes(300) as u64;
    let small = load_with(folder.path(), &with_slots(4).with_kv_cache_bytes(small)).unwrap();
    let error = small.generate(numbers.ids(200).into(), &tokens(300)).unwrap().into_completion().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(error.to_string().contains("bytes"), "{error}");
    assert_eq!(complete(&*small, &[BOS], &tokens(3)).tokens.len(), 3);
}

#[test]
fn log_probabilities_of_the_best_tokens_are_those_of_the_softmax() {
    let model = load(Folder::new().with_text().path());
    let plain = complete(&*model, &[BOS, 54], &tokens(1).with_logprobs(true).with_top_logprobs(20));
    let token = &plain.tokens[0];
    assert_eq!((token.top_logprobs.len(), token.top_logprobs[0].id), (20, token.id));
    assert_eq!(token.logprob, Some(token.top_logprobs[0].logprob));
    assert!(token.top_logprobs.is_sorted_by(|a, b| a.logprob >= b.logprob));
    let all =
        model.classify(vec![vec![BOS, 54].into()], &ClassifyOptions::default().with_logits(true)).unwrap();
    let logits = all[0].as_ref().unwrap().logits.clone().unwrap();
    let total = logits.iter().map(|logit| f64::from(*logit).exp()).sum::<f64>().ln();
    for top in &token.top_logprobs {
        let expected = f64::from(logits[top.id as usize]) - total;
        assert!((f64::from(top.logprob) - expected).abs() < 1e-5, "{top:?}: {expected}");
    }
    // Bias moves the choice and not what the model thought of it.
    let other = token.top_logprobs[7].clone();
    let biased =
        complete(&*model, &[BOS, 54], &tokens(1).with_logprobs(true).with_logit_bias(other.id, 50.0));
    assert_eq!(biased.tokens[0].id, other.id);
    assert!((biased.tokens[0].logprob.unwrap() - other.logprob).abs() < 1e-5);
}

#[test]
fn labels_are_scored_as_text_that_follows_the_prompt() {
    let model = load(Folder::new().with_text().path());
    // One token, several, one that begins with another, and the same twice.
    let labels = ["a", "xyq", "xy", "好b", "a"];
    let options = ClassifyOptions::default().with_labels(labels).with_logits(true);
    let mut numbers = Numbers(2);
    let prompts: Vec<Vec<u32>> = (0..40).map(|n| [vec![BOS], numbers.ids(1 + n % 30)].concat()).collect();
    let asked: Vec<Prompt> = prompts.iter().map(|prompt| prompt.clone().into()).collect();
    let results = model.classify(asked, &options).unwrap();

    let loaded = mlx_models::load(Folder::new().with_text().path(), None).unwrap();
    let tokenizer = loaded.text.tokenizer().unwrap();
    for (prompt, result) in prompts.iter().zip(results) {
        let result = result.unwrap();
        assert_eq!(result.prompt_tokens, prompt.len());
        assert_eq!(result.scores[0], result.scores[4]);
        for (label, score) in labels.iter().zip(&result.scores) {
            let label = tokenizer.encode(label, false, false).unwrap();
            let (mut all, mut expected) = (prompt.clone(), 0.0);
            for token in label {
                let sampler = mlx_models::sampling::Sampler::new(Default::default(), 0).unwrap();
                let mut sequence = mlx_models::Sequence::new(&*loaded.model, sampler);
                sequence.prefill(&all, || true).unwrap();
                expected += mlx_models::sampling::logprob(sequence.logits(), token).unwrap();
                all.push(token);
            }
            assert!((expected - score).abs() < 1e-3, "{prompt:?}: {score}, not {expected}");
        }
        // Alone it is the same, bit for bit, and what is chosen is what generating chooses.
        let alone = model.classify(vec![prompt.clone().into()], &options).unwrap().remove(0).unwrap();
        assert_eq!(alone.logits, result.logits);
        assert_eq!(alone.token, result.token);
        assert_eq!(result.token.id, ids(&complete(&*model, prompt, &tokens(1)))[0]);
    }
}

#[test]
fn what_all_prompts_begin_with_is_read_once_and_changes_no_label() {
    let model = load(Folder::new().with_text().with_config("max_position_embeddings", 1024).path());
    let mut numbers = Numbers(8);
    let instructions = [vec![BOS], numbers.ids(300)].concat();
    let prompts: Vec<Vec<u32>> =
        (0..20).map(|n| [instructions.clone(), numbers.ids(1 + n % 9)].concat()).collect();
    let options = ClassifyOptions::default().with_labels(["ab", "x", "好"]);
    let asked: Vec<Prompt> = prompts.iter().map(|prompt| prompt.clone().into()).collect();
    let together = model.classify(asked, &options).unwrap();
    for (prompt, result) in prompts.into_iter().zip(together) {
        let (alone, result) =
            (model.classify(vec![prompt.into()], &options).unwrap().remove(0), result.unwrap());
        let alone = alone.unwrap();
        assert_eq!(alone.best(), result.best());
        for (a, b) in alone.scores.iter().zip(&result.scores) {
            assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
    }
}

#[test]
fn classification_says_what_is_wrong_with_which_prompt() {
    let model = load(Folder::new().with_text().path());
    let options = ClassifyOptions::default().with_labels(["a", "b"]);
    let prompts: Vec<Prompt> =
        vec!["abc".into(), "".into(), vec![999].into(), vec![BOS; 512].into(), "xyz".into()];
    let results = model.classify(prompts, &options).unwrap();
    let kinds: Vec<_> =
        results.iter().map(|result| result.as_ref().err().map(|error| error.kind())).collect();
    use ErrorKind::{ContextLength, InvalidPrompt};
    assert_eq!(kinds, [None, Some(InvalidPrompt), Some(InvalidPrompt), Some(ContextLength), None]);
    assert!(model.classify(vec![], &options).unwrap().is_empty());

    let cancelled = CancelToken::new();
    cancelled.cancel();
    let error = model.classify(vec!["abc".into()], &options.clone().with_cancel(cancelled)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    model.close().unwrap();
    assert_eq!(model.classify(vec!["abc".into()], &options).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn streams_go_on_while_others_are_classified_and_long_prompts_read() {
    let model: Arc<dyn TextModel> =
        load_with(Folder::endless().with_text().path(), &with_slots(3)).unwrap().into();
    let mut stream = model.generate(vec![BOS].into(), &tokens(1 << 19)).unwrap();
    stream.next().unwrap().unwrap();
    let long = model.generate(vec![2; 20_000].into(), &tokens(1)).unwrap();
    let classifier = {
        let model = Arc::clone(&model);
        let options = ClassifyOptions::default().with_labels(["ab", "x"]);
        let prompts = (0..30).map(|n| vec![5 + n; 2000].into()).collect();
        thread::spawn(move || model.classify(prompts, &options).unwrap().len())
    };
    // The stream has tokens before the others are done: they take turns.
    let mut during = 0;
    while !classifier.is_finished() {
        stream.next().unwrap().unwrap();
        during += 1;
    }
    assert!(during > 10, "{during} tokens");
    assert_eq!(classifier.join().unwrap(), 30);
    assert_eq!(long.into_completion().unwrap().finish_reason, FinishReason::Length);
}

#[test]
fn attention_is_shown_as_it_is_computed() {
    let model = load(&data("gemma3-classic"));
    let prompt = [vec![BOS], Numbers(1).ids(30)].concat();
    let snapshot = model.attention_inspector().unwrap().inspect_attention(Prompt::from(&prompt[..])).unwrap();
    assert_eq!((snapshot.tokens.as_slice(), snapshot.layers.len()), (&prompt[..], model.info().num_layers));
    for layer in &snapshot.layers {
        assert_eq!(layer.keys.len(), layer.key_heads * prompt.len() * layer.head_dim);
        assert_eq!(layer.queries.len(), layer.query_heads * prompt.len() * layer.head_dim);
        assert!(layer.queries.iter().chain(&layer.keys).all(|x| x.is_finite()));
        // Norms of keys are what the model makes them: never all the same vector.
        assert_ne!(layer.key(0, 0), layer.key(0, 1));
    }
    assert!(snapshot.layers.iter().any(|layer| layer.window.is_some()));
    // The keys are those that a cache holds: the same prefix has the same ones, whatever comes after.
    let shorter =
        model.attention_inspector().unwrap().inspect_attention(Prompt::from(&prompt[..20])).unwrap();
    for (long, short) in snapshot.layers.iter().zip(&shorter.layers) {
        for position in 0..20 {
            let (long, short) = (long.key(0, position).unwrap(), short.key(0, position).unwrap());
            assert!(long.iter().zip(short).all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }
}

#[test]
fn an_adapter_is_put_on_between_requests_and_changes_nothing_until_it_is_trained() {
    mlx_backend::register().unwrap();
    let folder = Folder::endless().with_text();
    let options = LoadOptions::default().with_backend("cpu");
    let model = inference_api::load_trainable(folder.path().to_str().unwrap(), &options).unwrap();
    assert_eq!(model.num_layers(), model.info().num_layers);
    let tokens_of_text = model.encode("abc yz").unwrap();
    assert_eq!((tokens_of_text[0], model.decode(&tokens_of_text).unwrap().as_str()), (BOS, "abc yz"));
    let error = model.save_adapter(folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);

    let prompt = [BOS, 54, 61];
    let expected = ids(&complete(&*model, &prompt, &tokens(30)));
    let running = model.generate(Prompt::from(&prompt[..]), &tokens(2000)).unwrap();
    let lora =
        LoraOptions { rank: 4, targets: vec!["q_proj".into()], seed: Some(1), ..LoraOptions::default() };
    let summary = model.apply_lora(&lora).unwrap();
    assert_eq!(running.into_completion().unwrap().tokens.len(), 2000, "it ran to its end first");
    assert_eq!(summary.names.len(), 2 * model.num_layers());
    assert!(summary.names[0].starts_with("model.layers.0.self_attn.q_proj.lora_"), "{summary:?}");
    assert!(summary.parameters > 0);
    assert_eq!(ids(&complete(&*model, &prompt, &tokens(30))), expected);

    let wrong = LoraOptions { targets: vec!["x_proj".into()], ..LoraOptions::default() };
    let error = model.apply_lora(&wrong).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption, "{error}");
    assert_eq!(ids(&complete(&*model, &prompt, &tokens(30))), expected);

    let out = tempfile::tempdir().unwrap();
    model.save_adapter(out.path()).unwrap();
    let again = load_with(folder.path(), &LoadOptions::default().with_adapter(out.path())).unwrap();
    assert_eq!(ids(&complete(&*again, &prompt, &tokens(30))), expected);
    model.close().unwrap();
    assert_eq!(model.apply_lora(&lora).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_chat_is_the_prompt_that_the_template_makes_of_it() {
    const TEMPLATE: &str =
        "{{ bos_token }}{% for m in messages %}{{ m.role[0] }} {{ m.content }}\n{% endfor %}a";
    let folder = Folder::new()
        .with_text()
        .write("chat_template.jinja", TEMPLATE)
        .write("tokenizer_config.json", r#"{"bos_token": "<bos>", "eos_token": "<eos>"}"#);
    let model = load(folder.path());
    assert!(model.info().has_chat_template);
    let said = [Message::system("abc"), Message::user("xyz <eos> ab")];
    let reply = model.chat(said.into(), &tokens(12)).unwrap().into_completion().unwrap();
    let tokenizer = mlx_models::Tokenizer::from_file(folder.path().join("tokenizer.json")).unwrap();
    // What a user types is text, whatever it spells.
    let mut prompt = vec![BOS];
    prompt.extend(tokenizer.encode("s abc\nu xyz <eos> ab\na", false, false).unwrap());
    assert_eq!(reply.metrics.prompt_tokens, prompt.len());
    assert_eq!(ids(&reply), ids(&complete(&*model, &prompt, &tokens(12))));
    assert_eq!((reply.reasoning.as_str(), reply.tool_calls.len()), ("", 0));

    let tool = Tool { name: "f".into(), description: String::new(), parameters: String::new() };
    let with_tool = Chat::from(Message::user("ab")).with_tool(tool);
    let error = model.chat(with_tool, &tokens(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidPrompt);
    assert!(error.to_string().contains("tools"), "{error}");

    let base = load(Folder::new().with_text().path());
    let error = base.chat(Message::user("ab").into(), &tokens(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("chat template"), "{error}");
}

#[test]
fn models_are_discovered_by_what_the_backends_recognise() {
    mlx_backend::register().unwrap();
    let root = tempfile::tempdir().unwrap();
    let add = |name: &str| {
        let folder = root.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(data("gemma3-classic").join(file), folder.join(file)).unwrap();
        }
        folder
    };
    let good = add("a/b/good");
    let broken = add("broken");
    std::fs::write(broken.join("config.json"), "{").unwrap();
    add(".hidden/model");
    std::fs::copy(data("tiny/qwen2.gguf"), root.path().join("a/small.gguf")).unwrap();
    std::fs::write(root.path().join("a/notes.txt"), "nothing").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(root.path(), root.path().join("a/loop")).unwrap();

    let found = inference_api::discover(root.path()).unwrap();
    let models: Vec<_> = found.models.iter().map(|m| (m.path.clone(), m.model_type.as_str())).collect();
    assert_eq!(models, [(good, "gemma3_text"), (root.path().join("a/small.gguf"), "qwen2")]);
    assert_eq!((found.failed.len(), found.is_cut), (1, false));
    assert_eq!((&found.failed[0].0, found.failed[0].1.kind()), (&broken, ErrorKind::InvalidModel));
    assert_eq!(inference_api::discover(&root.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
}
