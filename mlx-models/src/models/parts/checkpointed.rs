//! Layers whose intermediate arrays are computed again in the backward pass instead of being kept.

use std::cell::Cell;
use std::collections::BTreeMap;

use mlx_core::nn::{self, Module};
use mlx_core::{Array, transforms};

use crate::batch::{Batch, LayerCaches};
use crate::{Error, KvCache, Result};

/// Which of a layer's arrays are trained, by name.
type Trained = fn(&str) -> bool;

thread_local! {
    static TRAINED: Cell<Option<Trained>> = const { Cell::new(None) };
}

/// Runs `f`, in which [`layer`] keeps nothing but what goes into each layer, if `trained` says which arrays get gradients.
pub(crate) fn with_checkpoints<R>(trained: Option<Trained>, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Trained>);
    impl Drop for Restore {
        fn drop(&mut self) {
            TRAINED.set(self.0);
        }
    }
    let _restore = Restore(TRAINED.replace(trained));
    f()
}

/// `forward(layer, x, caches)`. Inside [`with_checkpoints`], each pass begins with an empty cache, and leaves it so.
pub(in crate::models) fn layer<L: Module + Clone>(
    layer: &L,
    x: &Array,
    mut caches: LayerCaches<'_, '_>,
    forward: fn(&L, &Array, &mut LayerCaches<'_, '_>) -> Result<Array>,
) -> Result<Array> {
    let Some(trained) = TRAINED.get() else { return forward(layer, x, &mut caches) };
    let window = caches.window();
    // What is captured gets no gradient, so the trained arrays are arguments, as is `x`.
    let parameters = nn::trainable_parameters(layer, trained)?;
    let layer = layer.clone();
    let pass = move |(parameters, x): &(BTreeMap<String, Array>, Array)| {
        let mut layer = layer.clone();
        nn::update(&mut layer, parameters.clone())?;
        let mut cache = [window.map_or_else(KvCache::new, KvCache::sliding)];
        forward(&layer, x, &mut Batch::of_one(&mut cache).layer(0)).map_err(|error| match error {
            Error::Core(error) => error,
            other => mlx_core::Error::Shape { op: "checkpoint", message: other.to_string() },
        })
    };
    Ok(transforms::checkpoint(pass, &(parameters, x.clone()))?)
}
