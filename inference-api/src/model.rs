//! A loaded model.

use crate::{
    AttentionInspector, BatchResult, Chat, Classification, ClassifyOptions, Completion, Error, ErrorKind,
    GenerateMetrics, GenerateOptions, Prompt, Result, TokenStream, TrainableModel,
};
use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A loaded language model.
///
/// **Threads**: every method may be called from any thread, also at the same time. Two generations at once
/// are allowed; whether they run together or one after the other is the backend's matter, and their tokens do
/// not depend on it.
///
/// **Lifetime**: [`close`](TextModel::close) and dropping the model do the same: they stop the generations
/// that still run (their streams yield one [`ErrorKind::Closed`](crate::ErrorKind::Closed)) and free the
/// model's memory. `Box<dyn TextModel>` becomes an `Arc` with `.into()` when several owners share it.
///
/// **After an error** the model stays usable, unless the method says otherwise: one failed generation ends
/// itself alone.
pub trait TextModel: Send + Sync {
    /// Starts to continue `prompt`, and returns the stream of its tokens.
    ///
    /// **Blocking**: no; the options and, where that is cheap, the prompt are checked here, and the stream's
    /// first token waits for the prefill. **Dropping** the stream stops the work within a token, or within
    /// one block of the prompt.
    ///
    /// ```
    /// # use inference_api::{GenerateOptions, Result, TextModel};
    /// fn greet(model: &dyn TextModel) -> Result<String> {
    ///     model.generate("Hello".into(), &GenerateOptions::default().with_max_tokens(16))?.into_text()
    /// }
    /// ```
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption),
    /// [`InvalidPrompt`](crate::ErrorKind::InvalidPrompt),
    /// [`ContextLength`](crate::ErrorKind::ContextLength), [`Unsupported`](crate::ErrorKind::Unsupported) for
    /// an option that the backend lacks, [`Busy`](crate::ErrorKind::Busy) when too many requests wait already, and
    /// [`Closed`](crate::ErrorKind::Closed) after `close`. What goes wrong later, such as
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory), is an item of the stream.
    fn generate(&self, prompt: Prompt, options: &GenerateOptions) -> Result<TokenStream>;

    /// Answers a conversation: [`generate`](TextModel::generate) of a [`Prompt::Chat`], which says it all.
    ///
    /// ```
    /// # use inference_api::{GenerateOptions, Message, Result, TextModel};
    /// fn ask(model: &dyn TextModel, question: &str) -> Result<String> {
    ///     model.chat(Message::user(question).into(), &GenerateOptions::default())?.into_text()
    /// }
    /// ```
    ///
    /// # Errors
    /// Those of [`generate`](TextModel::generate), [`Unsupported`](crate::ErrorKind::Unsupported) when the model has no
    /// chat template, and [`InvalidPrompt`](crate::ErrorKind::InvalidPrompt) with the template's reason when it refuses
    /// the conversation.
    fn chat(&self, chat: Chat, options: &GenerateOptions) -> Result<TokenStream> {
        self.generate(Prompt::Chat(chat), options)
    }

    /// Labels each prompt by what the model would go on with: one pass over the prompt, and none of the steps that
    /// generating takes. The results are in the order of the prompts.
    ///
    /// A prompt's result does not depend on the prompts beside it; how many are computed at a time is the backend's
    /// matter.
    ///
    /// **Blocking**: until all are done. Cancelling ends it early with an error of kind
    /// [`Cancelled`](crate::ErrorKind::Cancelled).
    ///
    /// ```
    /// # use inference_api::{ClassifyOptions, Result, TextModel};
    /// fn is_about_money(model: &dyn TextModel, sentence: &str) -> Result<bool> {
    ///     let options = ClassifyOptions::default().with_labels([" money", " nature"]);
    ///     let prompt = format!("Sentence: {sentence}\nIt is about:");
    ///     let results = model.classify(vec![prompt.into()], &options)?;
    ///     Ok(results.into_iter().all(|result| result.is_ok_and(|found| found.best() == Some(0))))
    /// }
    /// ```
    ///
    /// # Errors
    /// What concerns the whole call: [`InvalidOption`](crate::ErrorKind::InvalidOption),
    /// [`Closed`](crate::ErrorKind::Closed), [`Unsupported`](crate::ErrorKind::Unsupported) by a backend that cannot. What
    /// is wrong with one prompt is that prompt's own result.
    fn classify(
        &self,
        prompts: Vec<Prompt>,
        options: &ClassifyOptions,
    ) -> Result<Vec<BatchResult<Classification>>> {
        let _ = (prompts, options);
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("a model of {} does not classify", self.info().backend),
        ))
    }

    /// Continues many prompts, several at a time, and gives the results in the order of the prompts.
    ///
    /// **Blocking**: until all are done. The [`CancelToken`](crate::CancelToken) of the options ends those that run and
    /// those that wait, each with what it has by then.
    ///
    /// Without an implementation of its own, a backend gets its work through [`generate`](TextModel::generate).
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption). What is wrong with one prompt, or goes wrong with it, is that
    /// prompt's own result.
    fn batch_generate(
        &self,
        prompts: Vec<Prompt>,
        options: &GenerateOptions,
    ) -> Result<Vec<BatchResult<Completion>>> {
        options.validate()?;
        // As many wait as run.
        let most = 2 * self.info().parallel_slots.max(1);
        let mut running = VecDeque::new();
        let mut results = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let mut started = self.generate(prompt.clone(), options);
            while started.as_ref().is_err_and(|error| error.kind() == ErrorKind::Busy) {
                // The queue is full, of this batch's requests or of others'. One that ends makes room.
                match running.pop_front() {
                    Some(first) => results.push(finished(first)),
                    None => std::thread::sleep(BETWEEN_TRIES),
                }
                started = self.generate(prompt.clone(), options);
            }
            running.push_back(started);
            // Others have requests, too.
            if running.len() > most
                && let Some(first) = running.pop_front()
            {
                results.push(finished(first));
            }
        }
        results.extend(running.into_iter().map(finished));
        Ok(results)
    }

    /// The architecture, as the checkpoint's `model_type` spells it: `qwen3`, `gemma3_text`.
    ///
    /// Returns at once, also after `close`.
    fn model_type(&self) -> &str;

    /// What is known about the loaded model.
    ///
    /// Returns at once, also after `close`, which it does not reflect: the numbers are those of the load.
    fn info(&self) -> ModelInfo;

    /// What the generation that finished last cost; `None` before the first one.
    ///
    /// Returns at once, also after `close`. A generation that failed, or whose stream was dropped before its
    /// end, does not count. With several generations at a time, ask each stream: [`TokenStream::metrics`].
    fn metrics(&self) -> Option<GenerateMetrics>;

    /// The model as one that takes an adapter; `None` when the backend has no such thing.
    fn trainable(&self) -> Option<&dyn TrainableModel> {
        None
    }

    /// The model's attention, to look into; `None` when the backend does not show it.
    fn attention_inspector(&self) -> Option<&dyn AttentionInspector> {
        None
    }

    /// Stops the generations that run and frees the model.
    ///
    /// **Blocking**: until the memory is free. Calling it again does nothing and succeeds.
    ///
    /// # Errors
    /// A failure of the backend while freeing. The model is closed all the same.
    fn close(&self) -> Result<()>;
}

/// Between two tries to get into a queue that others fill.
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// Reads a stream to its end, if it was started at all.
fn finished(stream: Result<TokenStream>) -> BatchResult<Completion> {
    stream.and_then(TokenStream::into_completion)
}

impl fmt::Debug for dyn TextModel + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextModel({})", self.model_type())
    }
}

/// What is known about a loaded model. `Default` is all zeros, for backends to fill in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelInfo {
    /// The architecture, as in [`TextModel::model_type`].
    pub model_type: String,
    /// The name for people: the packaged name, the repository id, or the last part of the path.
    pub name: String,
    /// The folder or file that the weights came from.
    pub path: Option<PathBuf>,
    /// Rows of the output head: token ids are below this.
    pub vocab_size: usize,
    /// Width of the hidden state.
    pub hidden_size: usize,
    /// Transformer layers.
    pub num_layers: usize,
    /// The most tokens that one sequence may hold, prompt and answer together.
    pub context_len: usize,
    /// How many sequences are generated at a time; others wait.
    pub parallel_slots: usize,
    /// Weights counted one by one, as if unquantized; a tied head counts once.
    pub parameters: u64,
    /// How the weights are packed, for people, such as `4-bit, group size 64`; `None` when they are plain
    /// floats.
    pub quantization: Option<String>,
    /// Bytes that the weights take in memory.
    pub weight_bytes: u64,
    /// The name of the backend that runs the model.
    pub backend: String,
    /// The device that it runs on, for people, such as `NVIDIA H200`.
    pub device: String,
    /// The end-of-sequence ids.
    pub eos_token_ids: Vec<u32>,
    /// Whether there is a chat template, so that the model can answer a [`Chat`].
    pub has_chat_template: bool,
}
