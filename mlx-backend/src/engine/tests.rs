//! The scheduler on a model that fails when it is told to.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use inference_api::{ErrorKind, GenerateOptions, LoadOptions, Result, Step};
use mlx_core::nn::{Children, ChildrenMut, Module};
use mlx_core::{Array, Device};
use mlx_models::sampling::{Sampler, SamplingConfig};
use mlx_models::stop::StopStrings;
use mlx_models::{Batch, KvCache, LanguageModel, LoadedModel, ModelShape};

use super::scheduler::{Job, Scheduler, Waiting};
use super::{Limits, Places, Shared};
use crate::generation::{Request, TextStream};

/// A token that the model computes no step with.
const FAILS: u32 = 94;
/// One in whose company it panics.
const PANICS: u32 = 95;

/// A model that works, but for some tokens and for more than so many of them at a time.
struct Faulty {
    inner: Box<dyn LanguageModel>,
    /// Steps of more than so many tokens, each of its own sequence, are too large for the device's memory.
    most: usize,
}

impl Module for Faulty {
    fn children(&self) -> Children<'_> {
        vec![(String::new(), &*self.inner)]
    }

    fn children_mut(&mut self) -> ChildrenMut<'_> {
        vec![(String::new(), &mut *self.inner)]
    }
}

impl LanguageModel for Faulty {
    fn model_type(&self) -> &'static str {
        self.inner.model_type()
    }

    fn shape(&self) -> &ModelShape {
        self.inner.shape()
    }

    fn config(&self) -> std::result::Result<serde_json::Value, String> {
        self.inner.config()
    }

    fn make_caches(&self) -> Vec<KvCache> {
        self.inner.make_caches()
    }

    fn forward_batch(&self, tokens: &Array, batch: &mut Batch<'_>) -> mlx_models::Result<Array> {
        let fail = |message: &str| {
            let (operands, message) = (String::new(), message.to_owned());
            Err(mlx_core::Error::Op { op: "forward", operands, message }.into())
        };
        let ids = tokens.to_vec::<u32>()?;
        assert!(!ids.contains(&PANICS), "as planned");
        match ids.contains(&FAILS) {
            true => fail("as planned"),
            false if tokens.dim(0)? as usize > self.most => fail("[malloc] Unable to allocate"),
            false => self.inner.forward_batch(tokens, batch),
        }
    }

    fn logits(&self, hidden: &Array) -> mlx_models::Result<Array> {
        self.inner.logits(hidden)
    }
}

fn model(most: usize) -> LoadedModel {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mlx-models/tests/data/gemma3-classic");
    let LoadedModel { model: inner, text, quantization } = mlx_models::load(&path, None).unwrap();
    LoadedModel { model: Box::new(Faulty { inner, most }), text, quantization }
}

/// The tokens of a request, or the error that ended it.
fn outcome(steps: &Receiver<Result<Step>>) -> Result<Vec<u32>> {
    let mut tokens = Vec::new();
    loop {
        match steps.recv().expect("an answer")? {
            Step::Token(token) => tokens.push(token.id),
            Step::Finished(_) => return Ok(tokens),
        }
    }
}

/// Runs requests of 12 tokens, all there from the start, and gives what became of each, and of the engine.
fn run(model: &LoadedModel, slots: usize, prompts: &[Vec<u32>]) -> (Vec<Result<Vec<u32>>>, Shared) {
    let options = LoadOptions::default().with_parallel_slots(slots);
    let (shared, limits) = (Shared::default(), Limits::of(&*model.model, &options).unwrap());
    let (jobs, arriving) = channel();
    let places = Places::new(prompts.len());
    let mut answers = Vec::new();
    for prompt in prompts {
        let (steps, received) = channel();
        answers.push(received);
        let request = Request {
            prompt: prompt.clone(),
            options: GenerateOptions::default().with_max_tokens(12).with_ignore_eos(true),
            sampler: Sampler::new(SamplingConfig::default(), 0).unwrap(),
            text: TextStream::new(&model.text, StopStrings::new(Vec::new()).unwrap(), None, String::new()),
            called: Instant::now(),
            dropped: Arc::new(AtomicBool::new(false)),
            steps,
            _ticket: places.take().unwrap(),
        };
        jobs.send(Job::Generate(Box::new(request))).unwrap();
    }
    drop(jobs);
    Device::Cpu.scope(|| {
        let ended = Scheduler::new(model, limits, &shared, &arriving, Waiting::default()).run();
        assert!(ended.is_none());
    });
    (answers.iter().map(outcome).collect(), shared)
}

/// What each prompt gives by itself.
fn alone(model: &LoadedModel, prompts: &[Vec<u32>]) -> Vec<Vec<u32>> {
    prompts.iter().map(|prompt| run(model, 1, std::slice::from_ref(prompt)).0.remove(0).unwrap()).collect()
}

#[test]
fn who_makes_a_step_fail_fails_alone() {
    let model = model(usize::MAX);
    let good = [vec![2, 54, 61, 27, 30, 31, 32], vec![2, 40], vec![2, 9, 8, 7, 6, 5, 4, 3]];
    let expected = alone(&model, &good);
    for (culprit, message) in [(FAILS, "as planned"), (PANICS, "the engine panicked: as planned")] {
        let mut prompts = good.to_vec();
        prompts.insert(1, vec![2, 54, 61, 27, culprit, 31]);
        let (mut outcomes, shared) = run(&model, 4, &prompts);
        let error = outcomes.remove(1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Backend);
        assert!(error.to_string().contains(message), "{error}");
        let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
        assert_eq!(outcomes, expected);
        assert!(!shared.is_closing());
    }
}

#[test]
fn what_has_no_memory_together_runs_with_fewer_at_a_time() {
    let roomy = model(usize::MAX);
    let prompts: Vec<Vec<u32>> = (0..8).map(|n| vec![2, 20 + n]).collect();
    let expected = alone(&roomy, &prompts);
    let (outcomes, shared) = run(&model(3), 8, &prompts);
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    // What is read again in chunks may round otherwise, and these logits are far apart.
    assert_eq!(outcomes, expected);
    assert!(!shared.is_closing());
}

#[test]
fn an_engine_that_only_fails_says_so_and_ends() {
    let model = model(usize::MAX);
    let prompts = vec![vec![2, FAILS]; 12];
    let (outcomes, shared) = run(&model, 2, &prompts);
    assert!(shared.is_closing());
    let error = shared.closed();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().contains("8 requests in a row"), "{error}");
    let kinds: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap_err().kind()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == ErrorKind::Backend).count(), 8);
    assert_eq!(kinds.last(), Some(&ErrorKind::Closed));
}
