//! A loaded model.

use crate::{GenerateMetrics, GenerateOptions, Prompt, Result, TokenStream};
use std::fmt;
use std::path::PathBuf;

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
    /// an option that the backend lacks, and [`Closed`](crate::ErrorKind::Closed) after `close`. What goes
    /// wrong later, such as [`OutOfMemory`](crate::ErrorKind::OutOfMemory), is an item of the stream.
    fn generate(&self, prompt: Prompt, options: &GenerateOptions) -> Result<TokenStream>;

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

    /// Stops the generations that run and frees the model.
    ///
    /// **Blocking**: until the memory is free. Calling it again does nothing and succeeds.
    ///
    /// # Errors
    /// A failure of the backend while freeing. The model is closed all the same.
    fn close(&self) -> Result<()>;
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
}
