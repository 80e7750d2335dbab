//! A backend whose models count: token `n` is the text `n `.

use inference_api::{
    Backend, DiscoveredModel, Error, ErrorKind, Finish, FinishReason, GenerateMetrics, GenerateOptions,
    LoadOptions, ModelInfo, Prompt, Result, Step, TextModel, Token, TokenSource, TokenStream,
};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// What the models of one backend did.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) loads: AtomicUsize,
    pub(crate) steps: AtomicUsize,
    pub(crate) live_sources: AtomicUsize,
}

pub(crate) struct FakeBackend {
    pub(crate) name: String,
    pub(crate) available: bool,
    /// The step, from 0, that fails.
    pub(crate) fail_at: Option<usize>,
    pub(crate) counts: Arc<Counts>,
}

impl FakeBackend {
    pub(crate) fn new(name: &str) -> FakeBackend {
        FakeBackend { name: name.into(), available: true, fail_at: None, counts: Arc::default() }
    }

    pub(crate) fn unavailable(name: &str) -> FakeBackend {
        FakeBackend { available: false, ..FakeBackend::new(name) }
    }

    pub(crate) fn model(&self) -> Box<dyn TextModel> {
        self.load_model("fake", &LoadOptions::default()).unwrap()
    }
}

impl Backend for FakeBackend {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_available(&self) -> bool {
        self.available
    }

    fn probe(&self, path: &Path) -> Result<Option<DiscoveredModel>> {
        let found = DiscoveredModel { path: path.into(), model_type: "fake".into(), ..Default::default() };
        Ok(path.ends_with("fake").then_some(found))
    }

    fn load_model(&self, model: &str, options: &LoadOptions) -> Result<Box<dyn TextModel>> {
        if model != "fake" {
            return Err(Error::new(ErrorKind::NotFound, format!("no model named `{model}`")));
        }
        self.counts.loads.fetch_add(1, SeqCst);
        Ok(Box::new(FakeModel {
            backend: self.name.clone(),
            context_len: options.context_len.unwrap_or(1000),
            fail_at: self.fail_at,
            counts: Arc::clone(&self.counts),
            shared: Arc::default(),
        }))
    }
}

/// What a model and its streams share.
#[derive(Default)]
struct Shared {
    closed: AtomicBool,
    last: Mutex<Option<GenerateMetrics>>,
}

struct FakeModel {
    backend: String,
    context_len: usize,
    fail_at: Option<usize>,
    counts: Arc<Counts>,
    shared: Arc<Shared>,
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the model was closed")
}

impl TextModel for FakeModel {
    fn generate(&self, prompt: Prompt, options: &GenerateOptions) -> Result<TokenStream> {
        options.validate()?;
        if self.shared.closed.load(SeqCst) {
            return Err(closed());
        }
        let prompt_tokens = match prompt {
            Prompt::Text(text) => text.split_whitespace().count(),
            Prompt::Tokens(ids) => ids.len(),
            other => return Err(Error::new(ErrorKind::Unsupported, format!("{other:?}"))),
        };
        self.counts.live_sources.fetch_add(1, SeqCst);
        Ok(TokenStream::new(FakeSource {
            made: 0,
            prompt_tokens,
            limit: options.max_tokens.min(self.context_len - prompt_tokens),
            options: options.clone(),
            fail_at: self.fail_at,
            counts: Arc::clone(&self.counts),
            shared: Arc::clone(&self.shared),
        }))
    }

    fn model_type(&self) -> &str {
        "fake"
    }

    fn info(&self) -> ModelInfo {
        ModelInfo { backend: self.backend.clone(), context_len: self.context_len, ..Default::default() }
    }

    fn metrics(&self) -> Option<GenerateMetrics> {
        *self.shared.last.lock().unwrap()
    }

    fn close(&self) -> Result<()> {
        self.shared.closed.store(true, SeqCst);
        Ok(())
    }
}

impl Drop for FakeModel {
    fn drop(&mut self) {
        self.shared.closed.store(true, SeqCst);
    }
}

struct FakeSource {
    made: usize,
    prompt_tokens: usize,
    limit: usize,
    options: GenerateOptions,
    fail_at: Option<usize>,
    counts: Arc<Counts>,
    shared: Arc<Shared>,
}

impl TokenSource for FakeSource {
    fn next_step(&mut self) -> Result<Step> {
        if self.shared.closed.load(SeqCst) {
            return Err(closed());
        }
        let reason = match () {
            () if self.options.is_cancelled() => FinishReason::Cancelled,
            () if self.made == self.limit => FinishReason::Length,
            () => {
                self.counts.steps.fetch_add(1, SeqCst);
                if self.fail_at == Some(self.made) {
                    return Err(Error::new(ErrorKind::OutOfMemory, format!("step {} failed", self.made)));
                }
                let token = Token::new(self.made as u32, format!("{} ", self.made));
                self.made += 1;
                return Ok(Step::Token(token));
            }
        };
        let metrics = GenerateMetrics {
            prompt_tokens: self.prompt_tokens,
            generated_tokens: self.made,
            ..Default::default()
        };
        *self.shared.last.lock().unwrap() = Some(metrics);
        Ok(Step::Finished(Finish { reason, metrics }))
    }
}

impl Drop for FakeSource {
    fn drop(&mut self) {
        self.counts.live_sources.fetch_sub(1, SeqCst);
    }
}
