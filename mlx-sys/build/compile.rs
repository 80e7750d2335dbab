//! Compiles mlx-c and our own `native/` folder into one static library.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use crate::Result;
use crate::config::Config;
use crate::mlx::Mlx;
use crate::mlx_c::MlxC;

/// mlx-c's own error channel, which `native/error.cpp` replaces.
const REPLACED: &str = "error.cpp";
/// As long as all the others together, so it is compiled beside them.
const LARGEST: &str = "ops.cpp";

/// Compiles with optimization whatever cargo's profile is: a test run should not wait for unoptimized C++.
///
/// mlx-c is thirty thin files over one heavy header; compiled as two units they take a fifth of the time. The compiler
/// is driven by the `cc` crate rather than mlx-c's CMake file: there is nothing to configure, and cmake is one tool
/// less to have.
pub fn mlx_c_and_native(config: &Config, mlx: &Mlx, mlx_c: &MlxC) -> Result<()> {
    let sources = sources(mlx_c)?;
    let unit = config.out_dir.join("mlx_c.cpp");
    let mut includes = String::new();
    for name in sources.iter().filter(|name| *name != LARGEST) {
        let _ = writeln!(includes, "#include \"mlx/c/{name}\"");
    }
    fs::write(&unit, includes).map_err(|e| format!("Cannot write {}: {e}.", unit.display()))?;

    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .opt_level(2)
        .debug(false)
        .warnings(false)
        .include(&mlx_c.root)
        .include(&mlx.include)
        .file(unit)
        .file(mlx_c.root.join("mlx/c").join(LARGEST))
        .files(native(config)?)
        .try_compile("mlxc")
        .map_err(|error| {
            format!(
                "mlx-c could not be compiled: {error}.\n\
                 A C++20 compiler is needed (GCC 11 or newer, or Clang 14 or newer): on Debian or Ubuntu `apt install g++`, \
                 on macOS `xcode-select --install`.\nSet CXX to choose another one."
            )
        })
}

fn sources(mlx_c: &MlxC) -> Result<Vec<String>> {
    let folder = mlx_c.root.join("mlx/c");
    let entries = fs::read_dir(&folder).map_err(|e| format!("Cannot list {}: {e}.", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".cpp") && name != REPLACED)
        .collect();
    names.sort();
    Ok(names)
}

fn native(config: &Config) -> Result<Vec<PathBuf>> {
    let folder = config.manifest_dir.join("native");
    let entries = fs::read_dir(&folder).map_err(|e| format!("Cannot list {}: {e}.", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "cpp"))
        .collect();
    files.sort();
    Ok(files)
}
