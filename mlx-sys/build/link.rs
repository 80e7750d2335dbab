//! Tells cargo and the crates above where MLX is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::config::{Config, Os};
use crate::mlx::{Mlx, library_name};

/// Links MLX, and exports its place to direct dependents as `DEP_MLX_*`.
///
/// `cargo run` and `cargo test` put a search folder on the library path only if it lies inside the target folder, so
/// the output folder gets a link to the prefix. Binaries that are copied out of the target folder need an rpath, which
/// cargo takes from a package's own build script alone: `mlx-cli` and `examples` read `DEP_MLX_LIB_DIR` for that.
pub fn announce(config: &Config, mlx: &Mlx) -> Result<()> {
    let linked = config.out_dir.join("mlx");
    replace_symlink(&mlx.run_prefix, &linked)?;
    for line in directives(config.os, &mlx.link_lib, &linked.join("lib"), &mlx.run_prefix) {
        println!("cargo:{line}");
    }
    Ok(())
}

/// The lines for cargo, in order: the linker takes the first folder that has the library, and cargo puts the second,
/// which lies inside the target folder, on the library path of what it runs.
pub fn directives(os: Os, link_lib: &Path, in_target: &Path, run_prefix: &Path) -> Vec<String> {
    let run_lib = run_prefix.join("lib");
    let mut lines = vec![
        // Gone from the cache means: fetch it again.
        format!("rerun-if-changed={}", run_lib.join(library_name(os)).display()),
        format!("rustc-link-search=native={}", link_lib.display()),
        format!("rustc-link-search=native={}", in_target.display()),
        "rustc-link-lib=dylib=mlx".to_owned(),
    ];
    if os == Os::MacOs {
        // mlx.metallib needs no mention: MLX looks for it beside its own library, where the wheel puts it.
        lines.extend(
            ["Foundation", "Metal", "Accelerate"].map(|name| format!("rustc-link-lib=framework={name}")),
        );
    }
    lines.push(format!("lib_dir={}", run_lib.display()));
    lines.push(format!("prefix={}", run_prefix.display()));
    lines
}

fn replace_symlink(to: &PathBuf, at: &Path) -> Result<()> {
    let explain = |e: std::io::Error| format!("Cannot link {} to {}: {e}.", at.display(), to.display());
    if at.is_symlink() {
        fs::remove_file(at).map_err(explain)?;
    }
    std::os::unix::fs::symlink(to, at).map_err(explain)
}
