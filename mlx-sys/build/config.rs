//! What the build was asked for: the target, the features, the overrides.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::Result;

/// The operating systems that MLX runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Os {
    Linux,
    MacOs,
}

/// Everything the steps need to know, read once.
///
/// The target comes from cargo's variables and never from this script's own `cfg!`, which describes the machine that
/// compiles rather than the one that will run the result.
#[derive(Clone, Debug)]
pub struct Config {
    pub os: Os,
    pub arch: String,
    /// The machine that compiles can run what it builds; only then may pip choose wheels by its own tags.
    pub native: bool,
    pub cuda: Option<Cuda>,
    pub out_dir: PathBuf,
    pub manifest_dir: PathBuf,
    pub docs_only: bool,
    pub mlx_dir: Option<PathBuf>,
    pub mlx_c_dir: Option<PathBuf>,
    pub cache_dir: PathBuf,
    pub python: Option<PathBuf>,
    pub cargo: PathBuf,
}

/// A major version of CUDA that MLX publishes a build for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cuda {
    V12,
    V13,
}

/// The variables that users may set; each change makes cargo run this script again.
const OVERRIDES: [&str; 7] =
    ["MLX_DIR", "MLX_C_DIR", "MLX_CUDA", "LIBCLANG_PATH", "RUST_MLX_CACHE", "RUST_MLX_PYTHON", "DOCS_RS"];

impl Config {
    /// Reads cargo's variables and the overrides from the process environment.
    pub fn from_env() -> Result<Self> {
        for name in OVERRIDES {
            println!("cargo:rerun-if-env-changed={name}");
        }
        Self::from_vars(&std::env::vars().collect())
    }

    /// The same as a pure function of the variables.
    pub fn from_vars(vars: &BTreeMap<String, String>) -> Result<Self> {
        let text = |name: &str| vars.get(name).filter(|value| !value.is_empty());
        let path = |name: &str| text(name).map(PathBuf::from);
        let need = |name: &str| {
            text(name).ok_or_else(|| format!("cargo did not set {name}; run this through cargo"))
        };

        let target_os = need("CARGO_CFG_TARGET_OS")?.as_str();
        let arch = need("CARGO_CFG_TARGET_ARCH")?.clone();
        let os = match (target_os, arch.as_str()) {
            ("linux", "x86_64" | "aarch64") => Os::Linux,
            ("macos", "aarch64") => Os::MacOs,
            _ => {
                return Err(format!(
                    "MLX publishes builds for Linux on x86-64 and aarch64 and for macOS on Apple silicon; \
                     this target is {target_os} on {arch}.\n\
                     If you have MLX for it, set MLX_DIR to its prefix and add the target to mlx-sys/build/config.rs."
                ));
            }
        };
        let cuda = match (text("CARGO_FEATURE_CUDA"), os) {
            (None, _) | (_, Os::MacOs) => None,
            (Some(_), Os::Linux) => Some(match text("MLX_CUDA").map(String::as_str) {
                None | Some("13") => Cuda::V13,
                Some("12") => Cuda::V12,
                Some(other) => {
                    return Err(format!("MLX_CUDA is {other:?}; MLX has builds for CUDA 12 and 13."));
                }
            }),
        };
        Ok(Config {
            os,
            native: text("HOST") == text("TARGET"),
            arch,
            cuda,
            out_dir: need("OUT_DIR")?.into(),
            manifest_dir: need("CARGO_MANIFEST_DIR")?.into(),
            docs_only: text("DOCS_RS").is_some(),
            mlx_dir: path("MLX_DIR"),
            mlx_c_dir: path("MLX_C_DIR"),
            cache_dir: crate::cache::cache_dir(os, vars)?,
            python: path("RUST_MLX_PYTHON"),
            cargo: path("CARGO").unwrap_or_else(|| "cargo".into()),
        })
    }
}
