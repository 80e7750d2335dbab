//! The engine: the one thread that owns a model's arrays.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use inference_api::{Error, ErrorKind, GenerateMetrics, ModelInfo, Result};
use mlx_models::{LoadedModel, TextTools};

use crate::error::{closed, from_models};
use crate::generation::{self, Request};
use crate::kind::Kind;
use crate::thread::Running;

/// What the engine and its handles share.
#[derive(Default)]
pub(crate) struct Shared {
    /// Set once; the engine looks at it between steps.
    closing: AtomicBool,
    /// Of the generation whose end was read last.
    last_metrics: Mutex<Option<GenerateMetrics>>,
}

impl Shared {
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn last_metrics(&self) -> Option<GenerateMetrics> {
        *self.last_metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_last_metrics(&self, metrics: GenerateMetrics) {
        *self.last_metrics.lock().unwrap_or_else(PoisonError::into_inner) = Some(metrics);
    }
}

/// What loading tells the handle.
pub(crate) struct Loaded {
    pub(crate) info: ModelInfo,
    pub(crate) text: TextTools,
}

/// A running engine. Dropping it closes it.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    /// `None` once closed; the engine then answers what waits, and ends. Unbounded, because `generate` must not block:
    /// whoever limits the streams that are open limits what waits here.
    requests: Mutex<Option<Sender<Request>>>,
    /// `None` once joined.
    thread: Mutex<Option<Running>>,
}

impl Engine {
    /// Starts a thread and loads the model on it. Blocks until it is loaded.
    pub(crate) fn start(kind: Kind, path: PathBuf) -> Result<(Engine, Loaded)> {
        let shared = Arc::new(Shared::default());
        let (requests, arriving) = channel();
        let (ready, loaded) = sync_channel(1);
        let thread = Running::start({
            let shared = Arc::clone(&shared);
            move || kind.device().scope(|| run(kind, &path, arriving, &ready, &shared))
        });
        let thread =
            thread.map_err(|e| Error::new(ErrorKind::Backend, format!("no thread for the engine: {e}")))?;
        match loaded.recv() {
            Ok(Ok(loaded)) => {
                let (requests, thread) = (Mutex::new(Some(requests)), Mutex::new(Some(thread)));
                Ok((Engine { shared, requests, thread }, loaded))
            }
            failed => {
                drop(requests);
                let panic = thread.join().err();
                Err(match failed {
                    Ok(Err(error)) => error,
                    _ => {
                        Error::new(ErrorKind::Backend, format!("loading ended early: {}", panic_text(panic)))
                    }
                })
            }
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Puts a request into the queue.
    pub(crate) fn send(&self, request: Request) -> Result<()> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.as_ref().ok_or_else(closed)?.send(request).map_err(|_| closed())
    }

    /// Stops what runs, frees the model and waits for the thread to end. The second call does nothing; a call beside
    /// the first one waits with it.
    pub(crate) fn close(&self) -> Result<()> {
        self.shared.closing.store(true, Ordering::Release);
        drop(self.requests.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = thread.take() else { return Ok(()) };
        thread.join().map_err(|panic| {
            Error::new(
                ErrorKind::Backend,
                format!("the engine failed while closing: {}", panic_text(Some(panic))),
            )
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.close();
    }
}

/// Requests in the order of their arrival.
struct Queue {
    arriving: Receiver<Request>,
    waiting: VecDeque<Request>,
}

impl Queue {
    /// Waits for the next request; `None` once the model is closed and every request was taken.
    fn next(&mut self) -> Option<Request> {
        self.waiting.pop_front().or_else(|| self.arriving.recv().ok())
    }

    /// Ends the requests that need not wait for their turn, because they were cancelled or their streams dropped.
    fn end_cancelled(&mut self) {
        self.waiting.extend(self.arriving.try_iter());
        self.waiting.retain(|request| {
            let cancelled = request.is_cancelled();
            if cancelled {
                request.answer_cancelled();
            }
            !cancelled
        });
    }
}

/// The engine's thread, from load to close.
fn run(
    kind: Kind,
    path: &std::path::Path,
    arriving: Receiver<Request>,
    ready: &SyncSender<Result<Loaded>>,
    shared: &Shared,
) {
    match mlx_models::load(path, None) {
        Ok(model) => {
            let info = info(kind, path, &model);
            // If nobody waits for the answer any more, the queue is closed as well.
            let _ = ready.send(Ok(Loaded { info, text: model.text.clone() }));
            let mut queue = Queue { arriving, waiting: VecDeque::new() };
            while let Some(request) = queue.next() {
                serve(&model, &request, &mut queue, shared);
            }
        }
        Err(error) => {
            let _ = ready.send(Err(from_models(error)));
        }
    }
    // The model is dropped by now. What MLX keeps for reuse goes too, and so does an error that nobody has seen yet: the
    // next engine on this thread uses the same streams.
    let _ = kind.device().synchronize();
    let _ = mlx_core::memory::clear_cache();
}

/// Runs one generation. Whatever goes wrong in it, panics included, ends that generation alone: the weights never
/// change, and the sequence's own state is dropped with it.
fn serve(model: &LoadedModel, request: &Request, queue: &mut Queue, shared: &Shared) {
    let outcome = if shared.is_closing() {
        Err(closed())
    } else {
        let is_open = || {
            queue.end_cancelled();
            !shared.is_closing()
        };
        catch_unwind(AssertUnwindSafe(|| generation::run(model, request, is_open))).unwrap_or_else(|panic| {
            Err(Error::new(ErrorKind::Backend, format!("the engine panicked: {}", panic_text(Some(panic)))))
        })
    };
    if let Err(error) = outcome {
        // A stream that was dropped does not want to know.
        let _ = request.steps.send(Err(error));
    }
    let _ = mlx_core::memory::clear_cache();
}

fn info(kind: Kind, path: &std::path::Path, model: &LoadedModel) -> ModelInfo {
    let shape = model.model.shape();
    ModelInfo {
        model_type: model.model.model_type().to_owned(),
        name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        path: Some(path.to_owned()),
        vocab_size: shape.vocab_size,
        hidden_size: shape.hidden_size,
        num_layers: shape.num_hidden_layers,
        context_len: shape.context_len,
        parameters: shape.parameters as u64,
        quantization: model.quantization.clone(),
        weight_bytes: shape.weight_bytes as u64,
        backend: kind.name().to_owned(),
        device: match kind {
            Kind::Cpu => "cpu".to_owned(),
            Kind::Metal | Kind::Cuda => "gpu".to_owned(),
        },
        eos_token_ids: model.text.eos_ids.iter().copied().collect(),
    }
}

fn panic_text(panic: Option<Box<dyn Any + Send>>) -> String {
    let Some(panic) = panic else { return "no reason was given".to_owned() };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no reason was given".to_owned())
}
