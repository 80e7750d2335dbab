//! The binary itself: where it runs, and what it says of itself.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::support::mlx;

#[test]
fn a_copy_of_the_binary_finds_mlx_from_anywhere() {
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join("mlx");
    fs::copy(env!("CARGO_BIN_EXE_mlx"), &copy).unwrap();
    // Without the library path that cargo sets for tests.
    let output = Command::new(copy).arg("--version").env_clear().current_dir("/").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn help_and_version_go_to_stdout() {
    assert_eq!(mlx(&["--version"], "").text(), concat!("mlx ", env!("CARGO_PKG_VERSION"), "\n"));
    for command in ["bench", "generate", "info", "logits", "models", "tokenize"] {
        let help = mlx(&[command, "--help"], "").text();
        let examples = help.split("Example").nth(1).unwrap_or_default();
        assert!(examples.contains(&format!("mlx {command} ")), "{help}");
    }
}
