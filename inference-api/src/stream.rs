//! Streams of tokens, and what a backend hands over to make one.

use crate::{Completion, Error, FinishReason, GenerateMetrics, Result, Token};
use std::fmt;
use std::iter::FusedIterator;

/// One answer of a [`TokenSource`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The next token.
    Token(Token),
    /// The end: there are no more tokens.
    Finished(Finish),
}

/// How a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish {
    /// Why.
    pub reason: FinishReason,
    /// What it cost.
    pub metrics: GenerateMetrics,
}

/// The backend's half of a [`TokenStream`].
///
/// Every closure `FnMut() -> Result<Step> + Send` is a source, so a backend with an engine thread hands over
/// the receiving end of a channel:
///
/// ```
/// use inference_api::{Error, ErrorKind, Finish, FinishReason, GenerateMetrics};
/// use inference_api::{Result, Step, Token, TokenStream};
/// use std::sync::mpsc;
///
/// let (steps, received) = mpsc::sync_channel::<Result<Step>>(1);
/// std::thread::spawn(move || {
///     let finish = Finish { reason: FinishReason::Length, metrics: GenerateMetrics::default() };
///     for step in [Step::Token(Token::new(7, "hi")), Step::Finished(finish)] {
///         if steps.send(Ok(step)).is_err() {
///             return; // the stream was dropped: stop working
///         }
///     }
/// });
/// let stream = TokenStream::new(move || {
///     received.recv().unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "the model was closed")))
/// });
/// assert_eq!(stream.into_text()?, "hi");
/// # Ok::<(), Error>(())
/// ```
///
/// The stream keeps to this: it asks only when its reader asks, and after [`Step::Finished`] or an error it
/// drops the source and never asks again. A source stops its work when it is dropped.
pub trait TokenSource: Send {
    /// Blocks until the next token, the end, or an error.
    ///
    /// The pieces of text joined are the whole text, so a source that holds text back (half a character, the
    /// possible start of a stop string) keeps its last token back too, until it knows whether that token must
    /// carry the rest.
    ///
    /// # Errors
    /// Whatever ended the generation early. It is the last answer.
    fn next_step(&mut self) -> Result<Step>;
}

impl<F> TokenSource for F
where
    F: FnMut() -> Result<Step> + Send,
{
    fn next_step(&mut self) -> Result<Step> {
        self()
    }
}

enum State {
    Running(Box<dyn TokenSource>),
    Finished(Finish),
    Failed(Error),
}

/// The tokens of one generation, as they are made: an iterator of `Result<Token>`.
///
/// - **Blocking**: [`next`](Iterator::next) waits for the token. An async program reads the stream on a
///   thread of its own.
/// - **Threads**: `Send`, so the stream can move to another thread; it owns what it needs and borrows nothing
///   from the model.
/// - **Stopping**: dropping the stream stops the work within a token. So does the request's
///   [`CancelToken`](crate::CancelToken); the stream then ends without an error, as
///   [`FinishReason::Cancelled`], and has metrics.
/// - **Errors**: the first error is the last item; from then on the iterator gives `None`.
/// - **Afterwards**: [`finish_reason`](TokenStream::finish_reason) and [`metrics`](TokenStream::metrics) tell
///   how it ended.
///
/// ```
/// # use inference_api::{Result, TokenStream};
/// fn print(mut stream: TokenStream) -> Result<()> {
///     for token in &mut stream {
///         print!("{}", token?.text);
///     }
///     if let Some(metrics) = stream.metrics() {
///         eprintln!("{metrics}");
///     }
///     Ok(())
/// }
/// ```
#[must_use = "dropping a stream stops its generation"]
pub struct TokenStream {
    state: State,
}

impl TokenStream {
    /// Makes a stream that takes its tokens from `source`. For backends.
    pub fn new(source: impl TokenSource + 'static) -> TokenStream {
        TokenStream { state: State::Running(Box::new(source)) }
    }

    /// Why the generation ended; `None` while it runs and after an error.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finish().map(|finish| finish.reason)
    }

    /// What the generation cost; `None` while it runs and after an error.
    pub fn metrics(&self) -> Option<GenerateMetrics> {
        self.finish().map(|finish| finish.metrics)
    }

    /// Reads the stream to its end. Tokens that were read before are not part of the result. Blocking.
    ///
    /// # Errors
    /// The stream's error, also when it was already given to the reader. The tokens before it are lost; a
    /// program that wants them iterates itself.
    pub fn into_completion(mut self) -> Result<Completion> {
        let (mut text, mut reasoning) = (String::new(), String::new());
        let (mut tool_calls, mut tokens) = (Vec::new(), Vec::new());
        loop {
            match self.advance()? {
                Step::Token(token) => {
                    text.push_str(&token.text);
                    reasoning.push_str(&token.reasoning);
                    tool_calls.extend_from_slice(&token.tool_calls);
                    tokens.push(token);
                }
                Step::Finished(Finish { reason, metrics }) => {
                    let finish_reason = reason;
                    return Ok(Completion { text, reasoning, tool_calls, tokens, finish_reason, metrics });
                }
            }
        }
    }

    /// Reads the stream to its end and returns the text of the answer alone, as
    /// [`into_completion`](TokenStream::into_completion) does.
    ///
    /// # Errors
    /// Those of [`into_completion`](TokenStream::into_completion).
    pub fn into_text(self) -> Result<String> {
        self.into_completion().map(|completion| completion.text)
    }

    fn finish(&self) -> Option<Finish> {
        match self.state {
            State::Finished(finish) => Some(finish),
            State::Running(_) | State::Failed(_) => None,
        }
    }

    /// Asks the source while it runs, then repeats how it ended.
    fn advance(&mut self) -> Result<Step> {
        let step = match &mut self.state {
            State::Running(source) => source.next_step(),
            State::Finished(finish) => return Ok(Step::Finished(*finish)),
            State::Failed(error) => return Err(error.clone()),
        };
        match &step {
            Ok(Step::Token(_)) => {}
            Ok(Step::Finished(finish)) => self.state = State::Finished(*finish),
            Err(error) => self.state = State::Failed(error.clone()),
        }
        step
    }
}

impl Iterator for TokenStream {
    type Item = Result<Token>;

    fn next(&mut self) -> Option<Result<Token>> {
        if !matches!(self.state, State::Running(_)) {
            return None;
        }
        match self.advance() {
            Ok(Step::Token(token)) => Some(Ok(token)),
            Ok(Step::Finished(_)) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl FusedIterator for TokenStream {}

impl fmt::Debug for TokenStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Running(_) => f.write_str("TokenStream(running)"),
            State::Finished(finish) => write!(f, "TokenStream({})", finish.reason),
            State::Failed(error) => write!(f, "TokenStream(failed: {error})"),
        }
    }
}
