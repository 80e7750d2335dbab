//! Where the C compiler keeps its own headers. Apart from `bind.rs` so that tests can have it without bindgen.

use std::path::PathBuf;
use std::process::Command;

/// The folders of `stddef.h` and its like. The wheel brings libclang without them, and the C compiler has its own.
pub fn of_compiler() -> Vec<PathBuf> {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let Ok(output) = Command::new(compiler).args(["-E", "-v", "-x", "c", "/dev/null"]).output() else {
        return Vec::new();
    };
    parse_search_list(&String::from_utf8_lossy(&output.stderr))
}

/// The folders between `#include <...> search starts here:` and `End of search list.` of a verbose preprocessor run.
pub fn parse_search_list(verbose: &str) -> Vec<PathBuf> {
    let lines = verbose.lines().skip_while(|line| !line.starts_with("#include <...>")).skip(1);
    let folders = lines.take_while(|line| !line.starts_with("End of search list"));
    folders.map(|line| PathBuf::from(line.trim().trim_end_matches(" (framework directory)"))).collect()
}
