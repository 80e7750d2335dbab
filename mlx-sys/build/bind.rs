//! Generates the Rust declarations of mlx-c and of `native/`.

use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::config::Config;
use crate::mlx_c::MlxC;
use crate::{headers, pip, wheel};

/// Documentation builds have no network and need no library, so they take the declarations as they were last checked
/// in; `tests/bindings.rs` keeps that file equal to what the pinned headers give.
pub fn copy_checked_in(config: &Config) -> Result<()> {
    let from = config.manifest_dir.join("src/bindings.rs");
    println!("cargo:rerun-if-changed={}", from.display());
    let to = config.out_dir.join("bindings.rs");
    std::fs::copy(&from, &to)
        .map(|_| ())
        .map_err(|e| format!("Cannot copy {} to {}: {e}.", from.display(), to.display()))
}

/// Runs bindgen over `mlx/c/mlx.h` and `native/rust_mlx.h`.
pub fn generate(config: &Config, mlx_c: &MlxC) -> Result<()> {
    provide_libclang(config)?;
    let mut builder = bindgen::Builder::default()
        .header(mlx_c.root.join("mlx/c/mlx.h").to_string_lossy())
        .header(config.manifest_dir.join("native/rust_mlx.h").to_string_lossy())
        .clang_arg(format!("-I{}", mlx_c.root.display()))
        .allowlist_function("_?mlx_.*|rust_mlx_.*")
        .allowlist_type("mlx_.*|rust_mlx_.*")
        // C's own empty-handle constant has internal linkage; Rust cannot see it.
        .blocklist_var("mlx_array_empty")
        // `__fp16` and `__bf16` have no Rust counterpart. 16-bit floats are read through `uint16` pointers.
        .blocklist_item("mlx_array_(item|data)_b?float16|b?float16_t")
        // C's file handle is another struct on every system, and nobody above needs to look into it.
        .blocklist_type("FILE|_IO_.*|__sFILE.*|__off.*|fpos_t")
        .raw_line("pub type FILE = ::std::os::raw::c_void;")
        .newtype_enum("mlx_.*")
        .layout_tests(false)
        .merge_extern_blocks(true)
        .generate_cstr(true);
    // A libclang that has its own `stddef.h` and the like finds it first.
    for folder in headers::of_compiler() {
        builder = builder.clang_arg("-idirafter").clang_arg(folder.to_string_lossy());
    }
    let bindings = builder.generate().map_err(|e| {
        let reason = e.to_string();
        format!(
            "The headers of mlx-c could not be read: {}\n\
             If it is a header of the system that is missing, install a C compiler with its headers (apt install gcc libc6-dev, or \
             xcode-select --install).\nIf LIBCLANG_PATH is set, unset it to use the pinned libclang.",
            reason.trim()
        )
    })?;
    let out = config.out_dir.join("bindings.rs");
    bindings.write_to_file(&out).map_err(|e| format!("Cannot write {}: {e}.", out.display()))
}

/// Makes sure that bindgen will find a libclang.
fn provide_libclang(config: &Config) -> Result<()> {
    if std::env::var_os("LIBCLANG_PATH").is_some()
        || std::env::var_os("LLVM_CONFIG_PATH").is_some()
        || system_libclang()
    {
        return Ok(());
    }
    let folder =
        pip::install(&Config { native: true, ..config.clone() }, &wheel::LIBCLANG)?.join("clang/native");
    // SAFETY: the build script runs one thread, and nothing has read the environment through C yet.
    unsafe { std::env::set_var("LIBCLANG_PATH", folder) };
    Ok(())
}

/// Whether a full Clang is installed. Asking a compiler is the one test that also proves its headers are there.
fn system_libclang() -> bool {
    let Ok(output) = Command::new("clang").arg("-print-resource-dir").output() else { return false };
    output.status.success() && (has_libclang(Path::new("/usr/lib")) || cfg!(target_os = "macos"))
}

fn has_libclang(lib: &Path) -> bool {
    let holds = |folder: &Path| {
        std::fs::read_dir(folder).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libclang"))
        })
    };
    let llvm_folders = std::fs::read_dir(lib).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders =
        llvm_folders.filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("llvm")));
    folders.any(|folder| holds(&folder.join("lib")))
}
