//! The handle that applications hold.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use inference_api::{
    Error, ErrorKind, GenerateMetrics, GenerateOptions, ModelInfo, Prompt, Result, Step, TextModel,
    TokenSource, TokenStream,
};
use mlx_models::sampling::{Sampler, fresh_seed};
use mlx_models::stop::StopStrings;
use mlx_models::{TextTools, Tokenizer};

use crate::engine::{Engine, Shared};
use crate::error::{closed, from_models};
use crate::generation::{Request, sampling_config};
use crate::kind::Kind;

pub(crate) struct MlxModel {
    engine: Engine,
    info: ModelInfo,
    text: TextTools,
}

impl MlxModel {
    /// Loads the model at `path`, which the caller asked for as `name`.
    pub(crate) fn load(kind: Kind, name: &str, path: &Path, context_len: Option<usize>) -> Result<Self> {
        let (engine, loaded) = Engine::start(kind, path.to_owned())?;
        let mut info = loaded.info;
        if !Path::new(name).exists() {
            name.clone_into(&mut info.name);
        }
        if let Some(wanted) = context_len {
            if wanted > info.context_len {
                let message =
                    format!("context_len is {wanted}, but the model was made for {}", info.context_len);
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
            info.context_len = wanted;
        }
        Ok(MlxModel { engine, info, text: loaded.text })
    }

    fn tokenizer(&self) -> Result<&Tokenizer> {
        self.text.tokenizer().map_err(|error| Error::new(ErrorKind::Unsupported, error.to_string()))
    }

    fn tokens(&self, prompt: Prompt) -> Result<Vec<u32>> {
        let empty = || {
            Error::new(
                ErrorKind::InvalidPrompt,
                "the prompt is empty; the model needs something to go on from",
            )
        };
        let tokens = match prompt {
            // Not even the start token alone: who wants that gives it as a token.
            Prompt::Text(text) if text.is_empty() => return Err(empty()),
            Prompt::Text(text) => {
                let refuse =
                    |error: mlx_models::Error| Error::new(ErrorKind::InvalidPrompt, error.to_string());
                self.tokenizer()?.encode(&text, true, false).map_err(refuse)?
            }
            Prompt::Tokens(tokens) => tokens,
            _ => return Err(Error::new(ErrorKind::Unsupported, "this backend reads text and tokens")),
        };
        if tokens.is_empty() {
            return Err(empty());
        }
        if let Some(id) = tokens.iter().find(|id| **id as usize >= self.info.vocab_size) {
            let message = format!("token id {id} is outside the vocabulary of {}", self.info.vocab_size);
            return Err(Error::new(ErrorKind::InvalidPrompt, message));
        }
        Ok(tokens)
    }
}

impl TextModel for MlxModel {
    fn generate(&self, prompt: Prompt, options: &GenerateOptions) -> Result<TokenStream> {
        let called = Instant::now();
        options.validate()?;
        if self.engine.shared().is_closing() {
            return Err(closed());
        }
        let prompt = self.tokens(prompt)?;
        let limit = self.info.context_len;
        if prompt.len() >= limit {
            let message = format!(
                "the prompt has {} tokens; the context holds {limit}, the answer included",
                prompt.len()
            );
            return Err(Error::new(ErrorKind::ContextLength, message));
        }
        let mut options = options.clone();
        // A reply ends where the context does, which the finish reason then tells.
        options.max_tokens = options.max_tokens.min(limit - prompt.len());
        let seed = options.seed.map_or_else(fresh_seed, Ok).map_err(from_models)?;
        let sampler = Sampler::new(sampling_config(&options, &self.text)?, seed).map_err(from_models)?;
        let stops = StopStrings::new(options.stop.clone()).map_err(from_models)?;
        if !options.stop.is_empty() {
            self.tokenizer()?;
        }

        let (steps, received) = channel();
        let dropped = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(self.engine.shared());
        let source = EngineSource { received, dropped: Arc::clone(&dropped), shared };
        self.engine.send(Request { prompt, options, sampler, stops, called, dropped, steps })?;
        Ok(TokenStream::new(source))
    }

    fn model_type(&self) -> &str {
        &self.info.model_type
    }

    fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    fn metrics(&self) -> Option<GenerateMetrics> {
        self.engine.shared().last_metrics()
    }

    fn close(&self) -> Result<()> {
        self.engine.close()
    }
}

/// The receiving end of a generation.
struct EngineSource {
    received: Receiver<Result<Step>>,
    dropped: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

impl TokenSource for EngineSource {
    fn next_step(&mut self) -> Result<Step> {
        // The sender is gone without a word only if the engine ended before this request's turn.
        let step = self.received.recv().unwrap_or_else(|_| Err(closed()));
        // Here and not in the engine: a stream that is dropped before its end does not count.
        if let Ok(Step::Finished(finish)) = &step {
            self.shared.set_last_metrics(finish.metrics);
        }
        step
    }
}

impl Drop for EngineSource {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Release);
    }
}
