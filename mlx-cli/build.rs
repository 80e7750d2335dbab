//! Lets the `mlx` binary find MLX wherever it is copied to; `cargo run` finds it by itself.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A library that is shipped beside the binary wins over the one that this build used.
    let beside = match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => "@executable_path",
        _ => "$ORIGIN",
    };
    println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{beside}");
    if let Ok(lib_dir) = std::env::var("DEP_MLX_LIB_DIR") {
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{lib_dir}");
    }
}
