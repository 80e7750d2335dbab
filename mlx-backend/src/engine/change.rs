//! Changes of the model itself, which nothing may run beside.

use std::sync::mpsc::{SyncSender, sync_channel};

use inference_api::{Error, Result};
use mlx_models::LoadedModel;
use mlx_models::adapter::Adapter;

use super::Engine;
use super::scheduler::{Job, catch};

/// A model and the adapter that was put on it.
pub(crate) struct Changeable {
    pub(crate) model: LoadedModel,
    pub(crate) adapter: Option<Adapter>,
}

/// A change that was asked for, and how to tell whoever did that it will not come to pass.
pub(crate) struct Change {
    work: Box<dyn FnOnce(&mut Changeable) + Send>,
    refuse: Box<dyn FnOnce(Error) + Send>,
}

impl Change {
    pub(super) fn make(self, changeable: &mut Changeable) {
        (self.work)(changeable);
    }

    pub(super) fn fail(self, error: &Error) {
        (self.refuse)(error.clone());
    }
}

impl Engine {
    /// Runs `work` on the engine's thread once nothing else runs there. Blocks until it is done.
    pub(crate) fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Changeable) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, received) = sync_channel(1);
        let refuse: SyncSender<Result<T>> = answer.clone();
        // Nobody waits any more, at worst.
        let change = Change {
            work: Box::new(move |changeable| drop(answer.send(catch(|| work(changeable))))),
            refuse: Box::new(move |error| drop(refuse.send(Err(error)))),
        };
        self.send(Job::Change(change))?;
        received.recv().unwrap_or_else(|_| Err(self.shared().closed()))
    }
}
