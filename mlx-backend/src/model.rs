//! The handle that applications hold.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::time::Instant;

use inference_api::{
    AttentionInspector, AttentionSnapshot, BatchResult, Classification, ClassifyOptions, Error, ErrorKind,
    GenerateMetrics, GenerateOptions, LoadOptions, ModelInfo, Prompt, Result, Step, TextModel, TokenSource,
    TokenStream, TrainableModel,
};
use mlx_models::reply::ReplyStyle;
use mlx_models::sampling::{Sampler, fresh_seed};
use mlx_models::stop::StopStrings;
use mlx_models::{TextTools, Tokenizer};

use crate::chat;
use crate::engine::{Answer, ClassifyRequest, Engine, Inspection, Job, Shared};
use crate::error::from_models;
use crate::generation::{Request, TextStream, sampling_config};
use crate::kind::Kind;

pub(crate) struct MlxModel {
    engine: Engine,
    info: ModelInfo,
    text: TextTools,
}

impl MlxModel {
    /// Loads the model at `path`, which the caller asked for as `name`.
    pub(crate) fn load(kind: Kind, name: &str, path: &Path, options: &LoadOptions) -> Result<Self> {
        let (engine, loaded) = Engine::start(kind, path.to_owned(), options.clone())?;
        let mut info = loaded.info;
        if !Path::new(name).exists() {
            name.clone_into(&mut info.name);
        }
        Ok(MlxModel { engine, info, text: loaded.text })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn tokenizer(&self) -> Result<&Tokenizer> {
        self.text.tokenizer().map_err(|error| Error::new(ErrorKind::Unsupported, error.to_string()))
    }

    /// The prompt's tokens, which can be read, and how the reply to a conversation is written.
    fn read(&self, prompt: Prompt) -> Result<(Vec<u32>, Option<ReplyStyle>)> {
        let empty = || {
            Error::new(
                ErrorKind::InvalidPrompt,
                "the prompt is empty; the model needs something to go on from",
            )
        };
        let mut style = None;
        let tokens = match prompt {
            // Not even the start token alone: who wants that gives it as a token.
            Prompt::Text(text) if text.is_empty() => return Err(empty()),
            Prompt::Text(text) => self.tokenizer()?.encode(&text, true, false).map_err(refused)?,
            Prompt::Tokens(tokens) => tokens,
            Prompt::Chat(chat) => {
                let prompt = chat::prompt(&self.text, &chat)?;
                style = Some(prompt.reply);
                prompt.tokens
            }
            _ => return Err(Error::new(ErrorKind::Unsupported, "this backend reads text, tokens and chats")),
        };
        if tokens.is_empty() {
            return Err(empty());
        }
        if let Some(id) = tokens.iter().find(|id| **id as usize >= self.info.vocab_size) {
            let message = format!("token id {id} is outside the vocabulary of {}", self.info.vocab_size);
            return Err(Error::new(ErrorKind::InvalidPrompt, message));
        }
        let limit = self.info.context_len;
        if tokens.len() >= limit {
            let message = format!(
                "the prompt has {} tokens; the context holds {limit}, the answer included",
                tokens.len()
            );
            return Err(Error::new(ErrorKind::ContextLength, message));
        }
        Ok((tokens, style))
    }

    fn check_open(&self) -> Result<()> {
        let shared = self.engine.shared();
        if shared.is_closing() { Err(shared.closed()) } else { Ok(()) }
    }

    /// The tokens of a label, which stands behind a prompt.
    fn label(&self, label: &str) -> Result<Vec<u32>> {
        let tokens = self.tokenizer()?.encode(label, false, false).map_err(refused)?;
        if tokens.is_empty() {
            let message = format!("labels: {label:?} is nothing to this model's tokenizer");
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        Ok(tokens)
    }
}

pub(crate) fn refused(error: mlx_models::Error) -> Error {
    Error::new(ErrorKind::InvalidPrompt, error.to_string())
}

impl TextModel for MlxModel {
    fn generate(&self, prompt: Prompt, options: &GenerateOptions) -> Result<TokenStream> {
        let called = Instant::now();
        options.validate()?;
        self.check_open()?;
        let (prompt, style) = self.read(prompt)?;
        let mut options = options.clone();
        if let Some((token, _)) =
            options.logit_bias.iter().find(|(token, _)| *token as usize >= self.info.vocab_size)
        {
            let message = format!(
                "logit_bias names token {token}, which is outside the vocabulary of {}",
                self.info.vocab_size
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        // A reply ends where the context does, which the finish reason then tells.
        options.max_tokens = options.max_tokens.min(self.info.context_len - prompt.len());
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
        let _ticket = self.engine.ticket()?;
        let call_id = format!("call_{:016x}_", fresh_seed().map_err(from_models)?);
        let text = TextStream::new(&self.text, stops, style, call_id);
        let request = Request { prompt, options, sampler, text, called, dropped, steps, _ticket };
        self.engine.send(Job::Generate(Box::new(request)))?;
        Ok(TokenStream::new(source))
    }

    fn classify(
        &self,
        prompts: Vec<Prompt>,
        options: &ClassifyOptions,
    ) -> Result<Vec<BatchResult<Classification>>> {
        options.validate()?;
        self.check_open()?;
        let labels = options.labels.iter().map(|label| self.label(label)).collect::<Result<Vec<_>>>()?;
        let longest = labels.iter().map(Vec::len).max().unwrap_or(0);

        let mut results: Vec<Option<BatchResult<Classification>>> = vec![None; prompts.len()];
        let mut readable = Vec::with_capacity(prompts.len());
        for (index, prompt) in prompts.into_iter().enumerate() {
            match self.read(prompt) {
                Ok((tokens, _)) if tokens.len() + longest > self.info.context_len => {
                    let message = format!(
                        "the prompt has {} tokens and the longest label {longest}; the context holds {}",
                        tokens.len(),
                        self.info.context_len
                    );
                    results[index] = Some(Err(Error::new(ErrorKind::ContextLength, message)));
                }
                Ok((tokens, _)) => readable.push((index, tokens)),
                Err(error) => results[index] = Some(Err(error)),
            }
        }
        let mut missing = readable.len();
        if missing > 0 {
            let (answers, received) = channel::<Answer>();
            self.engine.send(Job::Classify(ClassifyRequest {
                prompts: readable,
                labels,
                wants_logits: options.logits,
                cancel: options.cancel.clone(),
                answers,
            }))?;
            while missing > 0 {
                // The sender is gone without a word only if the engine is.
                let (index, result) =
                    received.recv().unwrap_or_else(|_| Err(self.engine.shared().closed()))?;
                results[index] = Some(result);
                missing -= 1;
            }
        }
        let lost = || Err(Error::new(ErrorKind::Backend, "the engine gave no result"));
        Ok(results.into_iter().map(|result| result.unwrap_or_else(lost)).collect())
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

    fn trainable(&self) -> Option<&dyn TrainableModel> {
        Some(self)
    }

    fn attention_inspector(&self) -> Option<&dyn AttentionInspector> {
        Some(self)
    }

    fn close(&self) -> Result<()> {
        self.engine.close()
    }
}

impl AttentionInspector for MlxModel {
    fn inspect_attention(&self, prompt: Prompt) -> Result<AttentionSnapshot> {
        self.check_open()?;
        let (prompt, _) = self.read(prompt)?;
        let (answer, received) = sync_channel(1);
        self.engine.send(Job::Inspect(Inspection { prompt, answer }))?;
        received.recv().unwrap_or_else(|_| Err(self.engine.shared().closed()))
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
        let step = self.received.recv().unwrap_or_else(|_| Err(self.shared.closed()));
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
