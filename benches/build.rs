//! Lets benches find MLX when they are started by hand; `cargo bench` finds it by itself.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(lib_dir) = std::env::var("DEP_MLX_LIB_DIR") {
        println!("cargo:rustc-link-arg-benches=-Wl,-rpath,{lib_dir}");
    }
}
