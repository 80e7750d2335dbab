//! `src/bindings.rs`, which documentation builds take, is what the pinned headers give.
//!
//! The two are compared on Linux x86-64, where the file is made; with headers of one's own they may differ.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

const CHECKED_IN: &str = include_str!("../src/bindings.rs");
const GENERATED: &str = include_str!(concat!(env!("OUT_DIR"), "/bindings.rs"));

#[test]
fn checked_in_bindings_are_what_the_pinned_headers_give() {
    if option_env!("MLX_C_DIR").is_some() {
        return;
    }
    let differs = CHECKED_IN.lines().zip(GENERATED.lines()).position(|(old, new)| old != new);
    let line = differs.unwrap_or(CHECKED_IN.lines().count().min(GENERATED.lines().count())) + 1;
    assert!(
        CHECKED_IN == GENERATED,
        "mlx-sys/src/bindings.rs is out of date from line {line} on.\nTo refresh it: cp {}/bindings.rs mlx-sys/src/bindings.rs",
        env!("OUT_DIR"),
    );
}
