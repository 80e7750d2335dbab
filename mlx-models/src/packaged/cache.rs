//! Where fetched models are kept.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::{Error, Result};

/// Finds the folder that keeps what is fetched: `RUST_MLX_CACHE`, else `$XDG_CACHE_HOME/rust-mlx`, else
/// `~/Library/Caches/rust-mlx` on macOS and `~/.cache/rust-mlx` elsewhere. Models lie in its folder `models`.
///
/// The folder need not exist yet. A variable that is set to nothing counts as not set.
///
/// # Errors
/// [`Error::Option`] when none of these variables, nor `HOME`, is set.
pub fn cache_dir() -> Result<PathBuf> {
    cache_dir_from(|name| std::env::var_os(name), std::env::consts::OS)
}

/// [`cache_dir`] as a function of the environment and the system's name, as in `std::env::consts::OS`.
fn cache_dir_from(variable: impl Fn(&str) -> Option<OsString>, os: &str) -> Result<PathBuf> {
    let folder = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = folder("RUST_MLX_CACHE") {
        return Ok(own);
    }
    // The XDG specification tells programs to ignore relative paths.
    if let Some(xdg) = folder("XDG_CACHE_HOME").filter(|path| path.is_absolute()) {
        return Ok(xdg.join("rust-mlx"));
    }
    let below_home = if os == "macos" { "Library/Caches/rust-mlx" } else { ".cache/rust-mlx" };
    folder("HOME").map(|home| home.join(below_home)).ok_or_else(|| Error::Option {
        option: "RUST_MLX_CACHE",
        message: "is not set, and neither is HOME; set it to a folder in which models may be kept".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_says_something_wins() {
        type Env = &'static [(&'static str, &'static str)];
        let cases: [(Env, &str, &str); 7] = [
            (&[("RUST_MLX_CACHE", "/a"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], "linux", "/a"),
            (&[("RUST_MLX_CACHE", "here"), ("HOME", "/h")], "linux", "here"),
            (&[("RUST_MLX_CACHE", ""), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], "linux", "/x/rust-mlx"),
            (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], "macos", "/x/rust-mlx"),
            (&[("XDG_CACHE_HOME", "x"), ("HOME", "/h")], "linux", "/h/.cache/rust-mlx"),
            (&[("HOME", "/h")], "linux", "/h/.cache/rust-mlx"),
            (&[("HOME", "/h")], "macos", "/h/Library/Caches/rust-mlx"),
        ];
        for (env, os, want) in cases {
            let variable =
                |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
            assert_eq!(cache_dir_from(variable, os).ok(), Some(PathBuf::from(want)), "{env:?} on {os}");
        }
        let error = cache_dir_from(|_| None, "linux").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.starts_with("RUST_MLX_CACHE: is not set, and neither is HOME"), "{error}");
    }
}
