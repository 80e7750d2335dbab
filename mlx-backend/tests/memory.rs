//! Nothing stays behind: not after a token, not after a generation, not after a model. Arrays, memory and threads are
//! counted for the whole process, so each test runs in a process of its own.

mod common;

use std::time::{Duration, Instant};

use common::{BOS, Folder, PROMPT, data, load_with, tokens};
use inference_api::{CancelToken, ErrorKind, GenerateOptions, LoadOptions, TextModel};
use mlx_core::memory;

const CHECKPOINTS: [&str; 4] = ["gemma3-classic", "gemma3-new", "gemma3-multimodal", "gemma3-mlx-q4"];

/// Runs `work` where nothing else runs: in this process, if it was started for that, else in a new one.
fn alone(test: &str, work: impl FnOnce()) {
    if std::env::var_os("ALONE").is_some() {
        return work();
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let status = child.args([test, "--exact", "--nocapture"]).env("ALONE", "1").status().unwrap();
    assert!(status.success(), "{test}: {status}");
}

/// Nothing is kept of finished requests.
fn load(path: &std::path::Path) -> Box<dyn TextModel> {
    load_with(path, &LoadOptions::default().with_prompt_cache_bytes(0)).unwrap()
}

fn measure() -> (usize, usize) {
    (memory::live_arrays(), memory::active_memory().unwrap())
}

fn ids(model: &dyn TextModel, options: &GenerateOptions) -> Vec<u32> {
    let stream = model.generate(PROMPT[..].into(), options).unwrap();
    stream.map(|token| token.unwrap().id).collect()
}

/// Threads of this process. One that was joined may be listed for a moment longer.
#[cfg(target_os = "linux")]
#[track_caller]
fn assert_threads(expected: usize) {
    let start = Instant::now();
    while threads() != expected {
        assert!(start.elapsed() < Duration::from_secs(10), "{} threads, not {expected}", threads());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(target_os = "linux")]
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn decoding_keeps_arrays_and_memory_flat() {
    alone("decoding_keeps_arrays_and_memory_flat", || {
        let model = load(&data("gemma3-classic"));
        ids(&*model, &tokens(20));
        let before = measure();
        let active = model.metrics().unwrap().active_memory_bytes;
        // All within the first buffer of a cache, so that nothing has a reason to grow.
        for steps in [20, 60, 120, 240] {
            ids(&*model, &tokens(steps));
            assert_eq!(measure(), before, "after {steps} tokens");
            assert_eq!(model.metrics().unwrap().active_memory_bytes, active);
        }
        // Streams that were cancelled or dropped leave nothing either.
        for _ in 0..10 {
            let cancel = CancelToken::new();
            let mut stream =
                model.generate(vec![2; 200].into(), &tokens(100).with_cancel(cancel.clone())).unwrap();
            assert!(stream.next().is_some());
            cancel.cancel();
            drop(stream);
        }
        ids(&*model, &tokens(1));
        assert_eq!(measure(), before);
    });
}

#[test]
fn loading_and_closing_leave_nothing() {
    alone("loading_and_closing_leave_nothing", || {
        let round = |number: usize| {
            let model = load(&data(CHECKPOINTS[number % 4]));
            ids(&*model, &tokens(3));
            if number.is_multiple_of(3) {
                model.close().unwrap();
            } else {
                let unread = model.generate(PROMPT[..].into(), &tokens(100)).unwrap();
                drop(model);
                drop(unread);
            }
        };
        let empty = measure();
        round(0);
        #[cfg(target_os = "linux")]
        let threads_before = threads();
        for number in 0..50 {
            round(number);
            assert_eq!(measure(), empty, "after round {number}");
            assert_eq!(memory::cache_memory().unwrap(), 0);
            #[cfg(target_os = "linux")]
            assert_threads(threads_before);
        }
        // A model that could not be loaded leaves nothing either.
        let broken = common::Folder::new().with_config("num_hidden_layers", 9);
        for _ in 0..10 {
            let error = common::load_with(broken.path(), &Default::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidModel);
            assert_eq!(measure(), empty);
            #[cfg(target_os = "linux")]
            assert_threads(threads_before);
        }
    });
}

#[test]
fn closing_a_model_leaves_the_others_alone() {
    alone("closing_a_model_leaves_the_others_alone", || {
        let stays = load(&data("gemma3-classic"));
        let expected = ids(&*stays, &tokens(40));
        let before = measure();
        // From here on there are threads for two models.
        drop(load(&data("gemma3-new")));
        #[cfg(target_os = "linux")]
        let threads_before = threads();
        for number in 0..20 {
            // The one generates while the other is loaded, generates and is closed.
            let running = stays.generate(PROMPT[..].into(), &tokens(40)).unwrap();
            let other = load(&data(CHECKPOINTS[number % 4]));
            assert_eq!(ids(&*other, &tokens(2)).len(), 2);
            other.close().unwrap();
            let running: Vec<u32> = running.map(|token| token.unwrap().id).collect();
            assert_eq!(running, expected, "round {number}");
            assert_eq!(measure(), before, "round {number}");
            #[cfg(target_os = "linux")]
            assert_threads(threads_before);
        }
    });
}

#[test]
fn two_thousand_requests_of_all_lengths_leave_memory_where_it_was() {
    const PROMPTS: u64 = 1 << 20;
    alone("two_thousand_requests_of_all_lengths_leave_memory_where_it_was", || {
        let folder = Folder::new().with_config("max_position_embeddings", 1024);
        let options = LoadOptions::default().with_parallel_slots(4).with_prompt_cache_bytes(PROMPTS);
        let empty = memory::live_arrays();
        let model: std::sync::Arc<dyn TextModel> = load_with(folder.path(), &options).unwrap().into();
        let weights = memory::active_memory().unwrap();
        // 500 lengths, and every third request is dropped in the middle.
        let client = |first: usize, count: usize| {
            for number in first..first + count {
                let length = 1 + number * 7 % 500;
                let prompt = [vec![BOS], vec![3 + (number % 80) as u32; length]].concat();
                let mut stream = model.generate(prompt.into(), &tokens(6)).unwrap();
                let wanted = if number % 3 == 0 { 2 } else { usize::MAX };
                assert!(stream.by_ref().take(wanted).all(|token| token.is_ok()));
            }
        };
        let round = |round: usize| {
            std::thread::scope(|scope| {
                (0..8).for_each(|thread| drop(scope.spawn(move || client(round * 504 + thread * 63, 63))));
            });
            // One more, so that those that were dropped are gone.
            client(1, 1);
            let (live, active) = measure();
            assert!(
                active <= weights + PROMPTS as usize,
                "round {round}: {active} bytes, {weights} of them weights"
            );
            (live, memory::cache_memory().unwrap())
        };
        let (live, _) = round(0);
        for number in 1..4 {
            let (now, cached) = round(number);
            // Short prompts that are kept have as many arrays as long ones, so their number varies; each request leaving one
            // behind would be 500 a round.
            assert!(now <= live + 400, "round {number}: {now} arrays, {live} after the first");
            assert!(cached < 1 << 20, "round {number}: {cached} bytes kept for reuse");
        }
        model.close().unwrap();
        assert_eq!(measure(), (empty, 0));
    });
}
