//! Finds or fetches MLX and mlx-c, compiles mlx-c and our own `native/` code, and generates the bindings.
//!
//! A machine with Rust, a C++20 compiler and Python 3 needs nothing else. In order of precedence:
//!
//! | piece | taken from |
//! |---|---|
//! | MLX | `MLX_DIR` (a prefix with `include/mlx` and `lib`), else Homebrew or a system prefix of the right version, else the pinned wheel through pip or uv |
//! | mlx-c | `MLX_C_DIR` (a source folder with `mlx/c`), else the pinned source through `cargo fetch` |
//! | libclang | `LIBCLANG_PATH`, else a system copy, else the pinned wheel through pip or uv |
//! | C++ compiler | `CXX`, else the system's default |
//! | Python | `RUST_MLX_PYTHON`, else `python3` |
//! | cache folder | `RUST_MLX_CACHE`, else `$XDG_CACHE_HOME/rust-mlx`, else the user's cache folder |
//! | CUDA version | `MLX_CUDA` (`13` or `12`), with feature `cuda` on Linux |
//!
//! Wheels are checked against the sha256 sums in `build/pins/` and unpacked into the cache folder once; later builds
//! read them from there and open no connection. `docs/building.md` tells the same at length.

mod bind;
mod cache;
mod compile;
mod config;
mod headers;
mod link;
mod mlx;
mod mlx_c;
mod pip;
mod wheel;

use std::process::ExitCode;

use config::Config;

/// What a step says when it cannot go on: one message for the reader, with what was looked for and what helps.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\nmlx-sys cannot build.\n\n{message}\n");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=native");
    let config = Config::from_env()?;
    if config.docs_only {
        return bind::copy_checked_in(&config);
    }
    let mlx = mlx::locate(&config)?;
    let mlx_c = mlx_c::locate(&config)?;
    mlx::check_version(&mlx, &mlx_c)?;
    compile::mlx_c_and_native(&config, &mlx, &mlx_c)?;
    bind::generate(&config, &mlx_c)?;
    link::announce(&config, &mlx)
}
