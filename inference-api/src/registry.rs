//! The backends that a program has, by name.

use crate::{Backend, Discovery, Error, ErrorKind, LoadOptions, Result, TextModel, TrainableModel};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// The order in which the default is chosen, by kind of device; other names follow in the order of their
/// registration.
const PREFERENCE: [&str; 3] = ["metal", "cuda", "cpu"];

static GLOBAL: Registry = Registry::new();

/// A set of backends with distinct names.
///
/// The functions of this crate ([`register`], [`get`], [`list`], [`default_backend`], [`load_model`], …) use one
/// registry for the whole process, [`Registry::global`]. A registry of its own lets a test or a library be
/// independent of it.
///
/// **Threads**: every method may be called from any thread. No method of a backend runs under the registry's
/// lock, so a slow or failing backend holds nobody up.
///
/// ```
/// use inference_api::{ErrorKind, Registry};
///
/// let registry = Registry::new();
/// assert!(registry.list().is_empty());
/// assert_eq!(registry.default_backend().unwrap_err().kind(), ErrorKind::NoBackend);
/// ```
#[derive(Debug, Default)]
pub struct Registry {
    entries: RwLock<Vec<Entry>>,
}

/// A backend with the name it had when it was registered.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    backend: Arc<dyn Backend>,
}

impl Registry {
    /// Makes a registry with no backend in it.
    pub const fn new() -> Registry {
        Registry { entries: RwLock::new(Vec::new()) }
    }

    /// The registry of the process.
    pub fn global() -> &'static Registry {
        &GLOBAL
    }

    /// Adds a backend under its name. There is no way to replace or remove one.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyRegistered`] when the name is taken, and the first backend stays;
    /// [`ErrorKind::InvalidOption`] when the name is empty.
    pub fn register(&self, backend: Arc<dyn Backend>) -> Result<()> {
        let name = backend.name().to_owned();
        if name.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "a backend with an empty name cannot be registered",
            ));
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.iter().any(|entry| entry.name == name) {
            let message = format!("a backend named `{name}` is registered already");
            return Err(Error::new(ErrorKind::AlreadyRegistered, message));
        }
        entries.push(Entry { name, backend });
        Ok(())
    }

    /// The backend of that name, whether it can run here or not.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Backend>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().find(|entry| entry.name == name).map(|entry| Arc::clone(&entry.backend))
    }

    /// All backends in the order of preference: metal, cuda, cpu, then the others as they were registered.
    pub fn list(&self) -> Vec<Arc<dyn Backend>> {
        self.in_order().into_iter().map(|entry| entry.backend).collect()
    }

    /// The first backend of [`list`](Registry::list) that can run here. Blocking for as long as
    /// [`Backend::is_available`] is.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] when none is registered, [`ErrorKind::Unavailable`] with their names when
    /// none can run here.
    pub fn default_backend(&self) -> Result<Arc<dyn Backend>> {
        let entries = self.in_order();
        if entries.is_empty() {
            return Err(no_backend());
        }
        match entries.iter().find(|entry| entry.backend.is_available()) {
            Some(entry) => Ok(Arc::clone(&entry.backend)),
            None => {
                let message =
                    format!("no registered backend can run on this machine; tried {}", names(&entries));
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }

    /// Loads a model with the backend that the options name, else with the default one. Blocking until the
    /// model is ready.
    ///
    /// There is no second try with another backend: an error of the chosen one is returned as it is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`]; those of [`default_backend`](Registry::default_backend);
    /// [`ErrorKind::NotFound`] when the named backend is not registered and [`ErrorKind::Unavailable`] when
    /// it cannot run here; those of [`Backend::load_model`].
    pub fn load_model(&self, model: &str, options: &LoadOptions) -> Result<Box<dyn TextModel>> {
        self.chosen(options)?.load_model(model, options)
    }

    /// [`load_model`](Registry::load_model), for a model that takes an adapter.
    ///
    /// # Errors
    /// As there, and [`ErrorKind::Unsupported`] when the backend has no such models.
    pub fn load_trainable(&self, model: &str, options: &LoadOptions) -> Result<Box<dyn TrainableModel>> {
        self.chosen(options)?.load_trainable(model, options)
    }

    /// The backend that valid options name, else the default one.
    fn chosen(&self, options: &LoadOptions) -> Result<Arc<dyn Backend>> {
        options.validate()?;
        match &options.backend {
            Some(name) => self.named(name),
            None => self.default_backend(),
        }
    }

    fn named(&self, name: &str) -> Result<Arc<dyn Backend>> {
        let Some(backend) = self.get(name) else {
            let entries = self.in_order();
            if entries.is_empty() {
                return Err(no_backend());
            }
            let message = format!("no backend named `{name}`; registered: {}", names(&entries));
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        if !backend.is_available() {
            let message = format!("the backend `{name}` cannot run on this machine");
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        Ok(backend)
    }

    fn in_order(&self) -> Vec<Entry> {
        let mut entries = self.entries.read().unwrap_or_else(PoisonError::into_inner).clone();
        // A stable sort: names without a preference keep the order of their registration.
        entries.sort_by_key(|entry| {
            PREFERENCE.iter().position(|name| *name == entry.name).unwrap_or(PREFERENCE.len())
        });
        entries
    }
}

fn names(entries: &[Entry]) -> String {
    entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ")
}

pub(crate) fn no_backend() -> Error {
    let message =
        "no backend is registered; call the `register` function of a backend crate before loading a model";
    Error::new(ErrorKind::NoBackend, message)
}

/// Adds a backend to the registry of the process. See [`Registry::register`].
///
/// # Errors
/// Those of [`Registry::register`].
pub fn register(backend: Arc<dyn Backend>) -> Result<()> {
    GLOBAL.register(backend)
}

/// The backend of that name in the registry of the process. See [`Registry::get`].
pub fn get(name: &str) -> Option<Arc<dyn Backend>> {
    GLOBAL.get(name)
}

/// All backends of the process, in the order of preference. See [`Registry::list`].
pub fn list() -> Vec<Arc<dyn Backend>> {
    GLOBAL.list()
}

/// The backend that a program gets when it does not choose. See [`Registry::default_backend`].
///
/// # Errors
/// Those of [`Registry::default_backend`].
pub fn default_backend() -> Result<Arc<dyn Backend>> {
    GLOBAL.default_backend()
}

/// Loads a model with a backend of the process. See [`Registry::load_model`].
///
/// # Errors
/// Those of [`Registry::load_model`].
pub fn load_model(model: &str, options: &LoadOptions) -> Result<Box<dyn TextModel>> {
    GLOBAL.load_model(model, options)
}

/// Loads a model that takes an adapter with a backend of the process. See [`Registry::load_trainable`].
///
/// # Errors
/// Those of [`Registry::load_trainable`].
pub fn load_trainable(model: &str, options: &LoadOptions) -> Result<Box<dyn TrainableModel>> {
    GLOBAL.load_trainable(model, options)
}

/// Finds the models in a folder, as the backends of the process see it. See [`Registry::discover`].
///
/// # Errors
/// Those of [`Registry::discover`].
pub fn discover(folder: &Path) -> Result<Discovery> {
    GLOBAL.discover(folder)
}
