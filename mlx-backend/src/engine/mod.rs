//! The engine: the one thread that owns a model's arrays.

mod change;
mod classify;
mod inspect;
mod limits;
mod prompt_cache;
mod queue;
mod scheduler;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use inference_api::{Error, ErrorKind, GenerateMetrics, LoadOptions, ModelInfo, Result};
use mlx_models::{LoadedModel, TextTools};

pub(crate) use self::change::Changeable;
pub(crate) use self::classify::{Answer, ClassifyRequest};
pub(crate) use self::inspect::Inspection;
pub(crate) use self::limits::Limits;
pub(crate) use self::queue::{Places, Ticket};
pub(crate) use self::scheduler::Job;
use self::scheduler::{Scheduler, Waiting};
use crate::error::{closed, from_models};
use crate::kind::Kind;
use crate::thread::Running;

/// What the engine and its handles share.
#[derive(Default)]
pub(crate) struct Shared {
    /// Set once; the engine looks at it between steps.
    closing: AtomicBool,
    /// Why the engine ended by itself.
    gave_up: OnceLock<Error>,
    /// Of the generation whose end was read last.
    last_metrics: Mutex<Option<GenerateMetrics>>,
}

impl Shared {
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Why nothing more can be asked of the model.
    pub(crate) fn closed(&self) -> Error {
        self.gave_up.get().cloned().unwrap_or_else(closed)
    }

    fn give_up(&self, error: &Error) {
        // The first reason is the one that counts.
        let _ = self.gave_up.set(error.clone());
        self.closing.store(true, Ordering::Release);
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
    pub(crate) limits: Limits,
}

/// A running engine. Dropping it closes it.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    places: Arc<Places>,
    queue: usize,
    /// `None` once closed; the engine then answers what waits, and ends.
    jobs: Mutex<Option<Sender<Job>>>,
    /// `None` once joined.
    thread: Mutex<Option<Running>>,
}

impl Engine {
    /// Starts a thread and loads the model on it. Blocks until it is loaded.
    pub(crate) fn start(kind: Kind, path: PathBuf, options: LoadOptions) -> Result<(Engine, Loaded)> {
        let shared = Arc::new(Shared::default());
        let (jobs, arriving) = channel();
        let (ready, loaded) = sync_channel(1);
        let thread = Running::start({
            let shared = Arc::clone(&shared);
            move || kind.device().scope(|| run(kind, &path, &options, &arriving, &ready, &shared))
        });
        let thread =
            thread.map_err(|e| Error::new(ErrorKind::Backend, format!("no thread for the engine: {e}")))?;
        match loaded.recv() {
            Ok(Ok(loaded)) => {
                let queue = loaded.limits.queue;
                let places = Places::new(queue.saturating_add(loaded.limits.slots));
                let (jobs, thread) = (Mutex::new(Some(jobs)), Mutex::new(Some(thread)));
                Ok((Engine { shared, places, queue, jobs, thread }, loaded))
            }
            failed => {
                drop(jobs);
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

    /// A place for a request, to be kept until it has ended.
    pub(crate) fn ticket(&self) -> Result<Ticket> {
        self.places.take().ok_or_else(|| {
            let message = format!("{} requests wait already; try again later", self.queue);
            Error::new(ErrorKind::Busy, message)
        })
    }

    /// Gives the engine something to do.
    pub(crate) fn send(&self, job: Job) -> Result<()> {
        let closed = || self.shared.closed();
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().ok_or_else(closed)?.send(job).map_err(|_| closed())
    }

    /// Stops what runs, frees the model and waits for the thread to end. The second call does nothing; a call beside
    /// the first one waits with it.
    pub(crate) fn close(&self) -> Result<()> {
        self.shared.closing.store(true, Ordering::Release);
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
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

/// The engine's thread, from load to close.
fn run(
    kind: Kind,
    path: &std::path::Path,
    options: &LoadOptions,
    arriving: &Receiver<Job>,
    ready: &SyncSender<Result<Loaded>>,
    shared: &Shared,
) {
    match load(kind, path, options) {
        Ok((model, loaded)) => {
            let limits = loaded.limits;
            // If nobody waits for the answer any more, the queue is closed as well.
            let _ = ready.send(Ok(loaded));
            serve(Changeable { model, adapter: None }, limits, arriving, shared);
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    }
    // The model is dropped by now. What MLX keeps for reuse goes too, and so does an error that nobody has seen yet: the
    // next engine on this thread uses the same streams.
    let _ = kind.device().synchronize();
    let _ = mlx_core::memory::clear_cache();
}

/// Serves until the end. What runs for requests is caught where it runs; should the scheduler itself panic, everybody is told
/// and the model is closed.
fn serve(mut changeable: Changeable, limits: Limits, arriving: &Receiver<Job>, shared: &Shared) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut waiting = Waiting::default();
        // Nothing runs between two schedulers, and what was read before a change is of no use after it.
        while let Some((change, rest)) =
            Scheduler::new(&changeable.model, limits, shared, arriving, waiting).run()
        {
            change.make(&mut changeable);
            waiting = rest;
        }
    }));
    if let Err(panic) = outcome {
        let message = format!("the engine panicked: {}", panic_text(Some(panic)));
        shared.give_up(&Error::new(ErrorKind::Closed, message));
    }
}

fn load(kind: Kind, path: &std::path::Path, options: &LoadOptions) -> Result<(LoadedModel, Loaded)> {
    let model = mlx_models::load_with_adapter(path, None, options.adapter.as_deref()).map_err(from_models)?;
    check_layers(kind, options, model.model.shape().num_hidden_layers)?;
    let limits = Limits::of(&*model.model, options)?;
    let loaded = Loaded { info: info(kind, path, &model, limits), text: model.text.clone(), limits };
    Ok((model, loaded))
}

/// A model runs on one device as a whole.
fn check_layers(kind: Kind, options: &LoadOptions, layers: usize) -> Result<()> {
    let (wanted, possible) = match (options.gpu_layers, kind) {
        (None, _) => return Ok(()),
        (Some(wanted), Kind::Cpu) => (wanted, 0),
        (Some(wanted), Kind::Metal | Kind::Cuda) => (wanted, layers),
    };
    if wanted == possible || (possible > 0 && wanted > possible) {
        return Ok(());
    }
    let message = format!(
        "gpu_layers is {wanted}; the backend `{}` runs {possible} of this model's {layers} layers on a GPU",
        kind.name()
    );
    Err(Error::new(ErrorKind::Unsupported, message))
}

fn info(kind: Kind, path: &std::path::Path, model: &LoadedModel, limits: Limits) -> ModelInfo {
    let shape = model.model.shape();
    ModelInfo {
        model_type: model.model.model_type().to_owned(),
        name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        path: Some(path.to_owned()),
        vocab_size: shape.vocab_size,
        hidden_size: shape.hidden_size,
        num_layers: shape.num_hidden_layers,
        context_len: limits.context_len,
        parallel_slots: limits.slots,
        parameters: shape.parameters as u64,
        quantization: model.quantization.clone(),
        weight_bytes: shape.weight_bytes as u64,
        backend: kind.name().to_owned(),
        device: match kind {
            Kind::Cpu => "cpu".to_owned(),
            Kind::Metal | Kind::Cuda => "gpu".to_owned(),
        },
        eos_token_ids: model.text.eos_ids.iter().copied().collect(),
        has_chat_template: model.text.chat_template.is_some(),
    }
}

fn panic_text(panic: Option<Box<dyn Any + Send>>) -> String {
    let Some(panic) = panic else { return "no reason was given".to_owned() };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no reason was given".to_owned())
}
