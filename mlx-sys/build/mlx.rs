//! Locates MLX: its headers and its shared library.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::config::{Config, Os};
use crate::{pip, wheel};

/// A copy of MLX on this machine.
pub struct Mlx {
    /// Holds `mlx/mlx.h`.
    pub include: PathBuf,
    /// Holds the library that the linker reads.
    pub link_lib: PathBuf,
    /// The prefix whose `lib` holds the library that programs load, beside `mlx.metallib` on macOS.
    pub run_prefix: PathBuf,
}

impl Mlx {
    fn at(prefix: PathBuf) -> Self {
        Mlx { include: prefix.join("include"), link_lib: prefix.join("lib"), run_prefix: prefix }
    }
}

/// `MLX_DIR`, else a system prefix that has the right version, else the pinned wheel.
pub fn locate(config: &Config) -> Result<Mlx> {
    if let Some(prefix) = &config.mlx_dir {
        return match missing_from(prefix, config.os) {
            None => Ok(Mlx::at(prefix.clone())),
            Some(missing) => Err(format!(
                "MLX_DIR is {}, but there is no {missing} in it.\n\
                 It must be a prefix as `cmake --install` or the wheel's `mlx` folder lays it out; unset it to use the \
                 pinned wheel.",
                prefix.display()
            )),
        };
    }
    // A system copy is the CPU or Metal build; a CUDA build of ours must come from the CUDA wheel.
    if config.native && config.cuda.is_none() {
        for prefix in ["/opt/homebrew", "/usr/local", "/usr"].map(PathBuf::from) {
            if missing_from(&prefix, config.os).is_none()
                && version(&prefix.join("include")).is_ok_and(|found| found == wheel::MLX_VERSION)
            {
                return Ok(Mlx::at(prefix));
            }
        }
    }
    let to_run = wheel::mlx_to_run(config);
    let to_link = wheel::mlx_to_link(config);
    let run_prefix = pip::install(config, &to_run)?.join("mlx");
    let link_prefix =
        if to_link == to_run { run_prefix.clone() } else { pip::install(config, &to_link)?.join("mlx") };
    Ok(Mlx { include: link_prefix.join("include"), link_lib: link_prefix.join("lib"), run_prefix })
}

/// The file that MLX's shared library has on each system.
pub fn library_name(os: Os) -> &'static str {
    match os {
        Os::Linux => "libmlx.so",
        Os::MacOs => "libmlx.dylib",
    }
}

fn missing_from(prefix: &Path, os: Os) -> Option<String> {
    let wanted = [
        "include/mlx/mlx.h".to_owned(),
        "include/mlx/version.h".to_owned(),
        format!("lib/{}", library_name(os)),
    ];
    wanted.into_iter().find(|file| !prefix.join(file).is_file())
}

/// Refuses MLX headers of another version than the one mlx-c is written against: the C++ API changes between
/// versions, and the compiler's own messages about it would not say so.
pub fn check_version(mlx: &Mlx, mlx_c: &crate::mlx_c::MlxC) -> Result<()> {
    let found = version(&mlx.include)?;
    match &mlx_c.wants_mlx {
        Some(wanted) if *wanted != found => Err(format!(
            "mlx-c in {} is written against MLX {wanted}, but the headers in {} are of MLX {found}.\n\
             Point MLX_DIR at MLX {wanted} or MLX_C_DIR at the mlx-c for MLX {found}, or unset both to use the pinned pair.",
            mlx_c.root.display(),
            mlx.include.display(),
        )),
        Some(_) => Ok(()),
        None => {
            println!(
                "cargo:warning=mlx-c in {} does not say which MLX it is written against",
                mlx_c.root.display()
            );
            Ok(())
        }
    }
}

fn version(include: &Path) -> Result<String> {
    let header = include.join("mlx/version.h");
    let text = fs::read_to_string(&header).map_err(|e| format!("Cannot read {}: {e}.", header.display()))?;
    parse_version(&text)
        .ok_or_else(|| format!("{} does not define MLX_VERSION_MAJOR, MINOR and PATCH.", header.display()))
}

/// `MLX_VERSION_MAJOR`, `MINOR` and `PATCH` of a `version.h`, joined by dots.
pub fn parse_version(header: &str) -> Option<String> {
    let number = |part: &str| {
        let line =
            header.lines().find_map(|line| line.strip_prefix(&format!("#define MLX_VERSION_{part} ")))?;
        line.trim().parse::<u32>().ok()
    };
    Some(format!("{}.{}.{}", number("MAJOR")?, number("MINOR")?, number("PATCH")?))
}
