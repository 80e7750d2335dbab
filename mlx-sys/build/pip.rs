//! Installs pinned wheels into the cache with pip or uv, whichever the machine has.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::cache;
use crate::config::{Config, Os};
use crate::wheel::Wheels;

/// Returns the folder in the cache that holds the unpacked wheels, installing them first if need be.
pub fn install(config: &Config, wheels: &Wheels) -> Result<std::path::PathBuf> {
    cache::folder(&config.cache_dir, &wheels.folder(config), |target| {
        let pins = target.with_extension("pins.txt");
        std::fs::write(&pins, wheels.pins).map_err(|e| format!("Cannot write {}: {e}.", pins.display()))?;
        let outcome = run(config, wheels, &pins, target);
        // A leftover list of pins is harmless, and the installer's own outcome is what the reader needs.
        let _ = std::fs::remove_file(&pins);
        outcome
    })
}

fn run(config: &Config, wheels: &Wheels, pins: &Path, target: &Path) -> Result<()> {
    let python = config.python.clone().unwrap_or_else(|| "python3".into());
    let mut tried = Vec::new();
    for installer in installers(python.as_os_str().into(), config.python.is_some()) {
        let shown = installer.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        if !answers(&installer) {
            tried.push(shown);
            continue;
        }
        println!("cargo:warning=fetching {} {} with {shown} (once per user)", wheels.package, wheels.version);
        let output = Command::new(&installer[0])
            .args(&installer[1..])
            .args(install_args(config, is_uv(&installer), pins, target))
            // What uv assumes of a Mac that it does not run on is older than MLX's wheels.
            .envs((!config.native && config.os == Os::MacOs).then_some(("MACOSX_DEPLOYMENT_TARGET", "14.0")))
            // Settings that would turn `--target` into an error.
            .env("PIP_USER", "0")
            .env("PIP_REQUIRE_VIRTUALENV", "0")
            // uv only asks a Python for its wheel tags; fetching one for that would be a surprise.
            .env("UV_PYTHON_DOWNLOADS", "never")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("Cannot run {shown}: {e}."))?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(explain(config, wheels, &shown, stderr.trim()));
    }
    Err(no_installer(config, wheels, &tried.join(", ")))
}

/// What to say when nothing can install wheels; `tried` lists the commands that did not answer.
pub fn no_installer(config: &Config, wheels: &Wheels, tried: &str) -> String {
    let advice = match &config.python {
        Some(python) => format!(
            "RUST_MLX_PYTHON is {}, so no other Python was asked. Give that one pip (with -m ensurepip), set the variable to a \
             Python that has pip, or unset it",
            python.display()
        ),
        None => "Install Python 3 with pip (on Debian or Ubuntu: apt install python3-pip; or python3 -m ensurepip), or uv,\n\
                 or set RUST_MLX_PYTHON to a Python that has pip"
            .to_owned(),
    };
    let (package, version) = (wheels.package, wheels.version);
    format!(
        "{package} {version} is needed, and no Python installer was found to fetch it; tried: {tried}.\n{advice}{}.",
        alternative(wheels)
    )
}

/// The commands that can install wheels, best first. A Python chosen by hand is the only one asked.
pub fn installers(python: OsString, chosen: bool) -> Vec<Vec<OsString>> {
    let pip = vec![python, "-m".into(), "pip".into()];
    if chosen { vec![pip] } else { vec![pip, vec!["uv".into(), "pip".into()], vec!["pip3".into()]] }
}

pub fn is_uv(installer: &[OsString]) -> bool {
    installer.first().is_some_and(|program| program == "uv")
}

/// The arguments after `pip` that install exactly the pins, nothing else, into a folder of ours.
///
/// pip takes wheels of the tags that it is given, uv those that a kind of system can run.
pub fn install_args(config: &Config, uv: bool, pins: &Path, target: &Path) -> Vec<OsString> {
    let mut args: Vec<OsString> =
        ["install", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--target"]
            .map(Into::into)
            .to_vec();
    args.push(target.into());
    args.push("-r".into());
    args.push(pins.into());
    if !config.native && uv {
        args.push("--python-platform".into());
        args.push(Wheels::uv_platform(config).into());
    } else if !config.native {
        for tag in Wheels::platform_tags(config) {
            args.push("--platform".into());
            args.push(tag.into());
        }
    }
    args
}

/// Whether the command can be run. `uv pip` knows no `--version`.
fn answers(installer: &[OsString]) -> bool {
    Command::new(&installer[0])
        .args(&installer[1..])
        .arg("--help")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Turns the installer's complaint into a message that says what to do.
pub fn explain(config: &Config, wheels: &Wheels, installer: &str, stderr: &str) -> String {
    let name = format!("{} {}", wheels.package, wheels.version);
    let advice = if stderr.contains("DO NOT MATCH THE HASHES") || stderr.contains("Hash mismatch") {
        format!(
            "The file that the package index sent for {name} is not the one this project was tested with.\n\
             Check PIP_INDEX_URL and PIP_FIND_LINKS (for uv, UV_INDEX_URL and UV_FIND_LINKS); a proxy or mirror may have changed it. Nothing was installed"
        )
    } else if stderr.contains("NewConnectionError")
        || stderr.contains("Temporary failure in name resolution")
        || stderr.contains("Failed to fetch")
        || stderr.contains("error sending request")
        || stderr.contains("Retrying (Retry")
    {
        format!(
            "The package index could not be reached to fetch {name}. Connect once, or set PIP_INDEX_URL (for uv, \
             UV_INDEX_URL) to a mirror"
        )
    } else if stderr.contains("No interpreter found") {
        format!("uv needs a Python to choose the build of {name}, and found none. Install Python 3")
    } else if stderr.contains("No matching distribution") || stderr.contains("no wheels with a matching") {
        format!(
            "The package index has no {name} for this system ({:?} on {}), or pip's settings hide it (PIP_INDEX_URL, \
             PIP_NO_INDEX).\n\
             MLX's wheels need glibc 2.35 or newer on Linux (Debian 12, Ubuntu 22.04) and macOS 14 or newer, and pip 20.3 or \
             newer",
            config.os, config.arch
        )
    } else if stderr.contains("No space left") {
        format!(
            "The disk is full under {}. Free some space, or set RUST_MLX_CACHE elsewhere",
            config.cache_dir.display()
        )
    } else {
        format!("{name} could not be installed into {}", config.cache_dir.display())
    };
    let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    format!("{advice}{}.\n\n{installer} said: {}", alternative(wheels), last.trim())
}

fn alternative(wheels: &Wheels) -> &'static str {
    match wheels.package {
        "libclang" => {
            ";\nor install libclang from the system (apt install clang libclang-dev) or set LIBCLANG_PATH to its folder"
        }
        _ => ";\nor set MLX_DIR to a prefix that holds this version of MLX (include/mlx and lib)",
    }
}
