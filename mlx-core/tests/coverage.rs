//! Every function of mlx-c has a Rust item, or is used where the crate meets C, or is left out for a reason:
//! `docs/mlx-c-coverage.md` says which.
//!
//! The Rust items are found by their doc aliases, which are the C names. To write the page anew:
//! `UPDATE_DOCS=1 cargo test -p mlx-core --test coverage`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

const HEAD: &str = "\
# mlx-c in Rust

Each function of the pinned mlx-c and the item of `mlx-core` that carries it. Searching the documentation for a C name finds
the item too. `mlx-core/tests/coverage.rs` writes this page and fails where it is not true.

";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The functions of mlx-c, by the bindings that documentation builds take.
fn functions() -> BTreeSet<String> {
    let bindings = read(&root().join("mlx-sys/src/bindings.rs"));
    let name = |line: &str| {
        let rest = line.trim().strip_prefix("pub fn ")?;
        rest.split('(').next().map(str::to_owned)
    };
    bindings
        .lines()
        .filter_map(name)
        .filter(|name| name.trim_start_matches('_').starts_with("mlx_"))
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
}

/// Words of a line that are names of Rust or C.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Names in quotation marks that are C's.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2).filter(|name| name.starts_with("mlx_") || name.starts_with("_mlx_"))
}

/// The path by which a file's items are reached from outside: modules whose items the crate exports by itself count for
/// nothing.
fn module(path: &Path, src: &Path) -> String {
    let inside = path.strip_prefix(src).unwrap().with_extension("");
    let mut parts: Vec<&str> = inside.iter().map(|part| part.to_str().unwrap()).collect();
    parts.retain(|part| *part != "mod");
    match parts[0] {
        "ops" | "array" | "device" | "stream" | "dtype" | "error" | "lib" => parts.clear(),
        "transforms" | "nn" | "optim" | "io" | "loss" | "linalg" => parts.truncate(1),
        _ => {}
    }
    parts.iter().map(|part| format!("{part}::")).collect()
}

/// The Rust items that carry each C function.
fn items() -> BTreeMap<String, BTreeSet<String>> {
    let src = root().join("mlx-core/src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut items: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in files.iter().filter(|path| !path.starts_with(src.join("ffi"))) {
        let module = module(path, &src);
        // Operations of tables are methods of `Array`, except in modules whose tables make functions.
        let mut owner: Option<String> = path.starts_with(src.join("ops")).then(|| "Array".to_owned());
        let mut aliases: Vec<String> = Vec::new();
        let mut in_alias = false;
        for line in read(path).lines() {
            let text = line.trim_start();
            let top = !line.starts_with(' ');
            if top && text.starts_with("impl") {
                let target = text.split(" for ").last().unwrap().trim_start_matches("impl");
                let target =
                    target.split_once("> ").filter(|_| target.starts_with('<')).map_or(target, |(_, t)| t);
                owner = words(target).next().map(str::to_owned);
            }
            let table = text.split_once(" => ").filter(|_| text.ends_with(';') && text.contains("\"mlx_"));
            if let Some((name, rest)) = table.filter(|(name, _)| words(name).eq([*name])) {
                let method =
                    text.len() != line.len() && owner.as_deref() == Some("Array") && module.is_empty();
                let item = if method { format!("Array::{name}") } else { format!("{module}{name}") };
                for alias in quoted(rest) {
                    items.entry(alias.to_owned()).or_default().insert(item.clone());
                }
                continue;
            }
            in_alias |= text.starts_with("#[doc(");
            if in_alias {
                aliases.extend(quoted(text).map(str::to_owned));
                in_alias = !text.ends_with(")]");
                continue;
            }
            let Some(declared) = text.strip_prefix("pub ") else { continue };
            let mut parts = words(declared).filter(|word| !["const", "unsafe", "async"].contains(word));
            let (kind, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            if !["fn", "struct", "enum", "trait", "type", "use"].contains(&kind) {
                continue;
            }
            let item = match (&owner, kind, top) {
                (Some(owner), "fn", false) => format!("{module}{owner}::{name}"),
                _ => format!("{module}{name}"),
            };
            for alias in aliases.drain(..) {
                items.entry(alias).or_default().insert(item.clone());
            }
        }
        assert!(aliases.is_empty(), "{}: aliases without an item: {aliases:?}", path.display());
    }
    items
}

/// The files at the border that call each C function.
fn used() -> BTreeMap<String, BTreeSet<String>> {
    let src = root().join("mlx-core/src");
    let mut files = Vec::new();
    sources(&src.join("ffi"), &mut files);
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in &files {
        let place = path.strip_prefix(&src).unwrap().display().to_string();
        for name in words(&read(path)).filter(|word| word.trim_start_matches('_').starts_with("mlx_")) {
            used.entry(name.to_owned()).or_default().insert(place.clone());
        }
    }
    used
}

/// What is left out, with the reason.
fn left_out() -> BTreeMap<String, String> {
    let list = read(&root().join("docs/mlx-c-left-out.txt"));
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, reason) = line.split_once('\t').unwrap_or_else(|| panic!("no tab in {line:?}"));
            (name.to_owned(), reason.trim().to_owned())
        })
        .collect()
}

#[test]
fn every_function_is_bound_or_left_out_for_a_reason() {
    let (functions, items, used, left_out) = (functions(), items(), used(), left_out());
    let unknown: Vec<&String> =
        items.keys().chain(left_out.keys()).filter(|name| !functions.contains(*name)).collect();
    let types = ["mlx_compile_mode", "mlx_map_string_to_array", "mlx_closure"];
    // mlx-c has these only where the C compiler has the types.
    let elsewhere = |name: &str| name.ends_with("float16");
    let unknown: Vec<_> =
        unknown.into_iter().filter(|name| !types.contains(&name.as_str()) && !elsewhere(name)).collect();
    assert!(unknown.is_empty(), "mlx-c has no functions of these names: {unknown:?}");
    let list = |names: &BTreeSet<String>| {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    let (mut rows, mut missing, mut twice) = (String::new(), Vec::new(), Vec::new());
    let (mut bound, mut inside, mut out) = (0, 0, 0);
    for name in &functions {
        let item = items.get(name);
        let reason = left_out.get(name);
        if item.is_some() && reason.is_some() {
            twice.push(name);
        }
        let what = match (item, used.get(name), reason) {
            (Some(item), _, _) => {
                bound += 1;
                list(item)
            }
            (None, Some(files), None) => {
                inside += 1;
                format!("inside {}", list(files))
            }
            (None, _, Some(reason)) => {
                out += 1;
                format!("left out: {reason}")
            }
            (None, None, None) => {
                missing.push(name);
                continue;
            }
        };
        writeln!(rows, "| `{name}` | {what} |").unwrap();
    }
    assert!(missing.is_empty(), "{} functions are neither bound nor left out: {missing:?}", missing.len());
    assert!(twice.is_empty(), "bound and left out: {twice:?}");
    let count = format!(
        "{} functions: {bound} have an item, {inside} are used inside the crate alone, {out} are left out.\n\n",
        functions.len()
    );
    let page = format!("{HEAD}{count}| mlx-c | mlx-core |\n|---|---|\n{rows}");
    let path = root().join("docs/mlx-c-coverage.md");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(read(&path) == page, "docs/mlx-c-coverage.md is out of date; UPDATE_DOCS=1 writes it anew");
}
