//! Locates the source of mlx-c, Apple's C API over MLX.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::config::Config;

/// A source tree of mlx-c.
pub struct MlxC {
    /// Holds `mlx/c/mlx.h`.
    pub root: PathBuf,
    /// The version of MLX that its build file asks for, where it says so.
    pub wants_mlx: Option<String>,
}

const MANIFEST: &str = include_str!("mlx-c.toml");
const LOCK: &str = include_str!("mlx-c.lock");
/// The package that carries the source, as cargo names its folder.
const PACKAGE: &str = "mlx-sys-0.6.0";

/// `MLX_C_DIR`, else the pinned source.
pub fn locate(config: &Config) -> Result<MlxC> {
    let root = match &config.mlx_c_dir {
        Some(dir) => dir.clone(),
        None => fetch(config)?,
    };
    if !root.join("mlx/c/mlx.h").is_file() {
        let from = if config.mlx_c_dir.is_some() { "MLX_C_DIR" } else { "The pinned source of mlx-c" };
        return Err(format!(
            "{from} is {}, but there is no mlx/c/mlx.h in it.\nSet MLX_C_DIR to a checkout of mlx-c, or unset it.",
            root.display()
        ));
    }
    println!("cargo:rerun-if-changed={}", root.join("mlx/c").display());
    let wants_mlx =
        fs::read_to_string(root.join("CMakeLists.txt")).ok().and_then(|text| parse_wanted_mlx(&text));
    Ok(MlxC { root, wants_mlx })
}

/// Lets cargo download the package (checked against the lock file) or find it where an earlier build left it.
fn fetch(config: &Config) -> Result<PathBuf> {
    let project = config.out_dir.join("mlx-c-source");
    let write = |name: &str, text: &str| {
        let path = project.join(name);
        fs::write(&path, text).map_err(|e| format!("Cannot write {}: {e}.", path.display()))
    };
    fs::create_dir_all(&project).map_err(|e| format!("Cannot create {}: {e}.", project.display()))?;
    write("Cargo.toml", MANIFEST)?;
    write("Cargo.lock", LOCK)?;
    write("lib.rs", "")?;

    // Offline first: a second build must not open a connection, not even to ask whether anything changed.
    let metadata = cargo(config, &project, &["metadata", "--format-version=1", "--locked", "--offline"])
        .or_else(|_| {
            cargo(config, &project, &["fetch", "--locked"])?;
            cargo(config, &project, &["metadata", "--format-version=1", "--locked", "--offline"])
        })
        .map_err(|reason| {
            format!(
                "The source of mlx-c (package {PACKAGE} of the Rust package registry) could not be fetched.\n\
                 Connect once, or set MLX_C_DIR to a checkout of mlx-c.\n\ncargo said: {reason}"
            )
        })?;
    let manifest = find_manifest(&metadata).ok_or_else(|| {
        format!("cargo metadata does not name the folder of {PACKAGE}; set MLX_C_DIR to a checkout of mlx-c.")
    })?;
    Ok(manifest.with_file_name("src").join("mlx-c"))
}

fn cargo(config: &Config, project: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new(&config.cargo)
        .args(args)
        .current_dir(project)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run {}: {e}", config.cargo.display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// The path of the package's manifest in the output of `cargo metadata`.
///
/// Exactly one string there ends in the package's own folder and `Cargo.toml`, so a search does the work of a JSON
/// parser; the paths of Unix systems need no unescaping unless they hold quotes or backslashes.
pub fn find_manifest(metadata: &str) -> Option<PathBuf> {
    let tail = format!("{PACKAGE}/Cargo.toml\"");
    let end = metadata.find(&tail)? + tail.len() - 1;
    let start = metadata[..end].rfind('"')? + 1;
    Some(PathBuf::from(&metadata[start..end]))
}

/// The `GIT_TAG vX.Y.Z` of MLX in mlx-c's CMakeLists.txt.
pub fn parse_wanted_mlx(cmake: &str) -> Option<String> {
    let tag = cmake.split("GIT_TAG").nth(1)?;
    let version = tag.split([')', '\n']).next()?.trim().strip_prefix('v')?;
    version.split('.').all(|part| part.parse::<u32>().is_ok()).then(|| version.to_owned())
}
