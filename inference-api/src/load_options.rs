//! Options of loading a model, and its progress.

use crate::Result;
use crate::generate_options::check;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A function that a backend calls while it loads a model.
///
/// It runs on a thread of the backend's choice, one call at a time, and loading waits for it: draw a bar,
/// send a message, return.
pub type ProgressFn = Arc<dyn Fn(&LoadProgress) + Send + Sync>;

/// How to load a model. The default picks the backend, takes the model's own context length and reports
/// nothing.
///
/// ```
/// use inference_api::LoadOptions;
///
/// let options = LoadOptions::default()
///     .with_backend("cpu")
///     .with_context_len(4096)
///     .with_progress(|progress| eprintln!("{progress}"));
/// assert!(options.validate().is_ok());
/// ```
#[derive(Clone, Default)]
pub struct LoadOptions {
    /// The name of the backend to use; `None` takes [`default_backend`](crate::default_backend).
    pub backend: Option<String>,
    /// The most tokens, prompt and answer together, that one sequence may hold; it bounds the memory of the
    /// KV cache. `None` takes the model's own limit. A value above that limit is an error of the backend.
    pub context_len: Option<usize>,
    /// How many sequences are generated at a time, at least 1; more wait for their turn. More take more memory, and
    /// each is slower, though all together are faster. `None` leaves it to the backend.
    pub parallel_slots: Option<usize>,
    /// How many requests may wait for a slot before further ones are refused with
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy). `None` leaves it to the backend.
    pub queue_len: Option<usize>,
    /// The most bytes that the KV caches of running requests may take together. A request that could never fit is
    /// refused, one that does not fit now waits. `None` leaves it to the backend, which knows the device.
    pub kv_cache_bytes: Option<u64>,
    /// The most bytes that are kept of finished requests, to be reused by later ones that begin with the same tokens;
    /// 0 keeps nothing. `None` leaves it to the backend.
    pub prompt_cache_bytes: Option<u64>,
    /// How many layers run on the GPU. `None`, the default, means all. A backend that cannot share a model between
    /// devices refuses other numbers than all of its layers on a GPU and 0 on a CPU.
    pub gpu_layers: Option<usize>,
    /// A folder with a LoRA adapter to put on the model. Default none.
    pub adapter: Option<PathBuf>,
    /// Called as files are fetched and read.
    pub progress: Option<ProgressFn>,
}

impl LoadOptions {
    /// Sets [`backend`](LoadOptions::backend).
    #[must_use]
    pub fn with_backend(mut self, name: impl Into<String>) -> Self {
        self.backend = Some(name.into());
        self
    }

    /// Sets [`context_len`](LoadOptions::context_len).
    #[must_use]
    pub fn with_context_len(mut self, tokens: usize) -> Self {
        self.context_len = Some(tokens);
        self
    }

    /// Sets [`parallel_slots`](LoadOptions::parallel_slots).
    #[must_use]
    pub fn with_parallel_slots(mut self, slots: usize) -> Self {
        self.parallel_slots = Some(slots);
        self
    }

    /// Sets [`queue_len`](LoadOptions::queue_len).
    #[must_use]
    pub fn with_queue_len(mut self, requests: usize) -> Self {
        self.queue_len = Some(requests);
        self
    }

    /// Sets [`kv_cache_bytes`](LoadOptions::kv_cache_bytes).
    #[must_use]
    pub fn with_kv_cache_bytes(mut self, bytes: u64) -> Self {
        self.kv_cache_bytes = Some(bytes);
        self
    }

    /// Sets [`prompt_cache_bytes`](LoadOptions::prompt_cache_bytes).
    #[must_use]
    pub fn with_prompt_cache_bytes(mut self, bytes: u64) -> Self {
        self.prompt_cache_bytes = Some(bytes);
        self
    }

    /// Sets [`gpu_layers`](LoadOptions::gpu_layers).
    #[must_use]
    pub fn with_gpu_layers(mut self, layers: usize) -> Self {
        self.gpu_layers = Some(layers);
        self
    }

    /// Sets [`adapter`](LoadOptions::adapter).
    #[must_use]
    pub fn with_adapter(mut self, folder: impl Into<PathBuf>) -> Self {
        self.adapter = Some(folder.into());
        self
    }

    /// Sets [`progress`](LoadOptions::progress).
    #[must_use]
    pub fn with_progress(mut self, progress: impl Fn(&LoadProgress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Calls [`progress`](LoadOptions::progress), if there is one. For backends.
    pub fn report(&self, progress: &LoadProgress) {
        if let Some(report) = &self.progress {
            report(progress);
        }
    }

    /// Checks every option. [`load_model`](crate::load_model) calls this before it asks a backend.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`](crate::ErrorKind::InvalidOption), with the option, its value and its
    /// range in the message.
    pub fn validate(&self) -> Result<()> {
        let counts = [("context_len", self.context_len), ("parallel_slots", self.parallel_slots)];
        for (option, count) in counts {
            let count = count.unwrap_or(1);
            check(option, count, count >= 1, "at least 1")?;
        }
        Ok(())
    }
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("backend", &self.backend)
            .field("context_len", &self.context_len)
            .field("parallel_slots", &self.parallel_slots)
            .field("queue_len", &self.queue_len)
            .field("kv_cache_bytes", &self.kv_cache_bytes)
            .field("prompt_cache_bytes", &self.prompt_cache_bytes)
            .field("gpu_layers", &self.gpu_layers)
            .field("adapter", &self.adapter)
            .field("progress", &self.progress.as_ref().map(|_| "Fn(&LoadProgress)"))
            .finish()
    }
}

/// What a backend is doing while it loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoadStage {
    /// Fetching files over the network.
    Fetch,
    /// Reading weights.
    Load,
}

impl fmt::Display for LoadStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LoadStage::Fetch => "fetch",
            LoadStage::Load => "load",
        })
    }
}

/// How far loading has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// What is being done.
    pub stage: LoadStage,
    /// What it is done to: a file, a package, a tensor.
    pub label: String,
    /// Bytes done so far. Within one stage and label this never falls.
    pub done_bytes: u64,
    /// Bytes to do; `None` when unknown.
    pub total_bytes: Option<u64>,
}

impl LoadProgress {
    /// The part done, from 0 to 1; `None` when the total is unknown.
    pub fn fraction(&self) -> Option<f64> {
        let total = self.total_bytes?;
        if total == 0 { Some(1.0) } else { Some((self.done_bytes as f64 / total as f64).min(1.0)) }
    }
}

impl fmt::Display for LoadProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.stage, self.label)?;
        match self.fraction() {
            Some(fraction) => write!(f, " {:.0}%", fraction * 100.0),
            None => write!(f, " {} bytes", self.done_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use std::sync::Mutex;

    fn progress(done_bytes: u64, total_bytes: Option<u64>) -> LoadProgress {
        LoadProgress { stage: LoadStage::Load, label: "model.safetensors".into(), done_bytes, total_bytes }
    }

    #[test]
    fn no_context_is_refused_and_named() {
        let error = LoadOptions::default().with_context_len(0).validate().expect_err("0 tokens");
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
        assert_eq!(error.to_string(), "context_len is 0; it must be at least 1");
        let error = LoadOptions::default().with_parallel_slots(0).validate().expect_err("0 slots");
        assert_eq!(error.to_string(), "parallel_slots is 0; it must be at least 1");
    }

    #[test]
    fn progress_reaches_the_callback() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lines);
        let options = LoadOptions::default()
            .with_progress(move |progress| seen.lock().unwrap().push(progress.to_string()));
        options.report(&progress(1, Some(4)));
        options.clone().report(&progress(5, None));
        LoadOptions::default().report(&progress(9, None));
        assert_eq!(*lines.lock().unwrap(), ["load model.safetensors 25%", "load model.safetensors 5 bytes"]);
    }

    #[test]
    fn fraction_stays_between_zero_and_one() {
        let cases = [
            (0, Some(10), Some(0.0)),
            (5, Some(10), Some(0.5)),
            (11, Some(10), Some(1.0)),
            (0, Some(0), Some(1.0)),
        ];
        for (done, total, expected) in cases {
            assert_eq!(progress(done, total).fraction(), expected, "{done} of {total:?}");
        }
        assert_eq!(progress(3, None).fraction(), None);
    }
}
