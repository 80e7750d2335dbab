//! What can load models.

use crate::{Error, ErrorKind, LoadOptions, Result, TextModel, TrainableModel};
use std::fmt;
use std::path::{Path, PathBuf};

/// Something that loads and runs models: the trait that a backend crate implements, once per kind of device.
///
/// **Threads**: every method may be called from any thread, also at the same time. **After an error** the
/// backend stays usable. A backend is never closed; the models it loaded are.
pub trait Backend: Send + Sync {
    /// The name under which the backend is registered and chosen. It never changes and says what the backend
    /// runs on: `metal`, `cuda`, `cpu`.
    fn name(&self) -> &str;

    /// Whether the backend can run here: the device is present, its driver answers.
    ///
    /// **Blocking**: briefly, when it asks a driver. It does not panic and loads nothing large; `false`
    /// covers every failure.
    fn is_available(&self) -> bool;

    /// Looks at a folder or a file without loading weights, and says what it holds; `None` when this backend
    /// cannot load it.
    ///
    /// **Blocking**: for the time it takes to read a configuration file or a header. It works where
    /// [`is_available`](Backend::is_available) is `false`, too.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) and [`Io`](crate::ErrorKind::Io) when the path cannot be
    /// read, and [`InvalidModel`](crate::ErrorKind::InvalidModel) when it holds a model of a known kind that
    /// is damaged.
    fn probe(&self, path: &Path) -> Result<Option<DiscoveredModel>>;

    /// Loads a model and returns it, ready to generate.
    ///
    /// `model` is a folder, a file such as `model.gguf`, or a name that the backend knows where to fetch; a
    /// path that exists wins over a name. It is text because a name is; a path that is not UTF-8 cannot be
    /// given.
    ///
    /// The owner gets the model for itself: two calls load it twice. [`LoadOptions::backend`] is not looked
    /// at here.
    ///
    /// **Blocking**: until the weights are in memory, fetching included; [`LoadOptions::progress`] tells how
    /// far it is.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) with the name and what was tried,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) with the architecture or format,
    /// [`InvalidModel`](crate::ErrorKind::InvalidModel) with the file or tensor,
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption), [`OutOfMemory`](crate::ErrorKind::OutOfMemory),
    /// [`Io`](crate::ErrorKind::Io). Nothing stays loaded after an error.
    fn load_model(&self, model: &str, options: &LoadOptions) -> Result<Box<dyn TextModel>>;

    /// [`load_model`](Backend::load_model), for a model that takes an adapter.
    ///
    /// # Errors
    /// As there, and [`Unsupported`](crate::ErrorKind::Unsupported) by a backend that has no such models.
    fn load_trainable(&self, model: &str, options: &LoadOptions) -> Result<Box<dyn TrainableModel>> {
        let _ = options;
        let message = format!("the backend `{}` does not train, so not {model} either", self.name());
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}

impl fmt::Debug for dyn Backend + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({})", self.name())
    }
}

/// What [`Backend::probe`] found in a folder or file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiscoveredModel {
    /// The folder or file. As text it can be given to [`Backend::load_model`].
    pub path: PathBuf,
    /// The architecture, as in [`TextModel::model_type`](crate::TextModel::model_type).
    pub model_type: String,
    /// How the weights are packed, for people, such as `4-bit, group size 64`; `None` when they are plain
    /// floats.
    pub quantization: Option<String>,
    /// Bytes of the weight files.
    pub weight_bytes: u64,
}
