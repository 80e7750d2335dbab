//! Proves what the crate promises to applications whatever the backend, with a fake backend that counts its
//! work: when streams stop and how they end, and how backends are registered and chosen.

mod fake;
mod registry;
mod stream;

#[test]
fn the_crate_depends_on_nothing() {
    let manifest = include_str!("../../Cargo.toml");
    let mut section = "";
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            section = line;
            assert!(!section.contains("dependencies") || section == "[dependencies]", "{section}");
        } else {
            assert_ne!(section, "[dependencies]", "{line}");
        }
    }
}
