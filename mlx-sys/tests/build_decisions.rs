//! What the build script decides, without a network, a compiler or another system: its modules are taken in here and
//! asked as pure functions.

#[path = "../build/cache.rs"]
#[allow(dead_code)]
mod cache;
#[path = "../build/config.rs"]
#[allow(dead_code)]
mod config;
#[path = "../build/headers.rs"]
#[allow(dead_code)]
mod headers;
#[path = "../build/link.rs"]
#[allow(dead_code)]
mod link;
#[path = "../build/mlx.rs"]
#[allow(dead_code)]
mod mlx;
#[path = "../build/mlx_c.rs"]
#[allow(dead_code)]
mod mlx_c;
#[path = "../build/pip.rs"]
#[allow(dead_code)]
mod pip;
#[path = "../build/wheel.rs"]
#[allow(dead_code)]
mod wheel;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Config, Cuda, Os};

type Result<T> = std::result::Result<T, String>;

/// Cargo's variables on the given target, with some more.
fn vars(os: &str, arch: &str, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let cargo = [
        ("CARGO_CFG_TARGET_OS", os),
        ("CARGO_CFG_TARGET_ARCH", arch),
        ("OUT_DIR", "/target/out"),
        ("CARGO_MANIFEST_DIR", "/mlx-sys"),
        ("HOME", "/home/u"),
        ("HOST", "x86_64-unknown-linux-gnu"),
        ("TARGET", if os == "linux" && arch == "x86_64" { "x86_64-unknown-linux-gnu" } else { "another" }),
    ];
    cargo.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn config(os: &str, arch: &str, more: &[(&str, &str)]) -> Config {
    Config::from_vars(&vars(os, arch, more)).unwrap()
}

const CUDA: (&str, &str) = ("CARGO_FEATURE_CUDA", "1");

#[test]
fn each_target_has_its_wheels() {
    type Target = (&'static str, &'static str, &'static [(&'static str, &'static str)]);
    // The package that runs, the one that is linked, and the folder of the former in the cache.
    type Wanted = (&'static str, &'static str, &'static str);
    let cases: [(Target, Wanted); 9] = [
        (("linux", "x86_64", &[]), ("mlx-cpu", "mlx-cpu", "mlx-cpu-0.32.2-linux-x86_64")),
        (("linux", "aarch64", &[]), ("mlx-cpu", "mlx-cpu", "mlx-cpu-0.32.2-linux-aarch64")),
        (("linux", "x86_64", &[("MLX_CUDA", "12")]), ("mlx-cpu", "mlx-cpu", "mlx-cpu-0.32.2-linux-x86_64")),
        (("macos", "aarch64", &[]), ("mlx-metal", "mlx-metal", "mlx-metal-0.32.2-macos-aarch64")),
        (
            ("macos", "aarch64", &[CUDA, ("MLX_CUDA", "11")]),
            ("mlx-metal", "mlx-metal", "mlx-metal-0.32.2-macos-aarch64"),
        ),
        (("linux", "x86_64", &[CUDA]), ("mlx-cuda-13", "mlx-cpu", "mlx-cuda-13-0.32.2-linux-x86_64")),
        (("linux", "aarch64", &[CUDA]), ("mlx-cuda-13", "mlx-cpu", "mlx-cuda-13-0.32.2-linux-aarch64")),
        (
            ("linux", "x86_64", &[CUDA, ("MLX_CUDA", "13")]),
            ("mlx-cuda-13", "mlx-cpu", "mlx-cuda-13-0.32.2-linux-x86_64"),
        ),
        (
            ("linux", "x86_64", &[CUDA, ("MLX_CUDA", "12")]),
            ("mlx-cuda-12", "mlx-cpu", "mlx-cuda-12-0.32.2-linux-x86_64"),
        ),
    ];
    for ((os, arch, more), (run, linked, folder)) in cases {
        let config = config(os, arch, more);
        assert_eq!(wheel::mlx_to_run(&config).package, run, "{os} {arch} {more:?}");
        assert_eq!(wheel::mlx_to_link(&config).package, linked, "{os} {arch} {more:?}");
        assert_eq!(wheel::mlx_to_run(&config).folder(&config), folder, "{os} {arch} {more:?}");
    }
    assert_eq!(config("macos", "aarch64", &[CUDA]).cuda, None);
    assert_eq!(config("linux", "x86_64", &[CUDA, ("MLX_CUDA", "")]).cuda, Some(Cuda::V13));
}

#[test]
fn what_cannot_be_built_says_so() {
    let refused = |os, arch, more: &[_]| Config::from_vars(&vars(os, arch, more)).unwrap_err();
    for (os, arch) in [("windows", "x86_64"), ("macos", "x86_64"), ("linux", "riscv64"), ("ios", "aarch64")] {
        let message = refused(os, arch, &[]);
        for word in [os, arch, "Linux on x86-64 and aarch64", "Apple silicon", "MLX_DIR"] {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
    let message = refused("linux", "x86_64", &[CUDA, ("MLX_CUDA", "11")]);
    assert!(message.contains("MLX_CUDA is \"11\"") && message.contains("12 and 13"), "{message}");
    let message = refused("linux", "x86_64", &[("OUT_DIR", "")]);
    assert!(message.contains("OUT_DIR"), "{message}");
}

#[test]
fn overrides_are_read_and_empty_ones_are_unset() {
    let all = [
        ("MLX_DIR", "/mlx"),
        ("MLX_C_DIR", "/mlx-c"),
        ("RUST_MLX_PYTHON", "/python"),
        ("RUST_MLX_CACHE", "/cache"),
        ("DOCS_RS", "1"),
        ("CARGO", "/cargo"),
    ];
    let set = config("linux", "x86_64", &all);
    assert_eq!(set.mlx_dir.as_deref(), Some(Path::new("/mlx")));
    assert_eq!(set.mlx_c_dir.as_deref(), Some(Path::new("/mlx-c")));
    assert_eq!(set.python.as_deref(), Some(Path::new("/python")));
    assert_eq!((set.cache_dir, set.cargo), ("/cache".into(), "/cargo".into()));
    assert!(set.docs_only && set.native);

    let unset = config("linux", "x86_64", &all.map(|(name, _)| (name, "")));
    assert_eq!((unset.mlx_dir, unset.mlx_c_dir, unset.python), (None, None, None));
    assert_eq!((unset.cache_dir, unset.cargo), ("/home/u/.cache/rust-mlx".into(), "cargo".into()));
    assert!(!unset.docs_only);
}

#[test]
fn the_cache_has_its_place() {
    let place = |os, set: &[(&str, &str)]| {
        let vars = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        cache::cache_dir(os, &vars).map(|path| path.display().to_string())
    };
    let home = ("HOME", "/home/u");
    for (os, set, wanted) in [
        (Os::Linux, vec![home], "/home/u/.cache/rust-mlx"),
        (Os::MacOs, vec![home], "/home/u/Library/Caches/rust-mlx"),
        (Os::Linux, vec![home, ("XDG_CACHE_HOME", "/xdg")], "/xdg/rust-mlx"),
        (Os::Linux, vec![home, ("XDG_CACHE_HOME", "relative")], "/home/u/.cache/rust-mlx"),
        (Os::Linux, vec![home, ("XDG_CACHE_HOME", "/xdg"), ("RUST_MLX_CACHE", "/mine")], "/mine"),
        (Os::Linux, vec![("RUST_MLX_CACHE", "/mine")], "/mine"),
        (Os::Linux, vec![("XDG_CACHE_HOME", "/xdg")], "/xdg/rust-mlx"),
    ] {
        assert_eq!(place(os, &set).unwrap(), wanted, "{set:?}");
    }
    let message = place(Os::Linux, &[("HOME", "")]).unwrap_err();
    assert!(message.contains("RUST_MLX_CACHE") && message.contains("HOME"), "{message}");
}

#[test]
fn a_folder_of_the_cache_is_whole_or_absent() {
    let cache = std::env::temp_dir().join(format!("mlx-sys-cache-{}", std::process::id()));
    let failed = cache::folder(&cache, "thing", |folder| {
        std::fs::write(folder.join("half"), "").unwrap();
        Err("the disk is full".to_owned())
    });
    assert_eq!(failed.unwrap_err(), "the disk is full");
    assert!(!cache.join("thing").exists());
    let done = cache::folder(&cache, "thing", |folder| {
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "what was left of the first try is gone");
        std::fs::write(folder.join("whole"), "").map_err(|e| e.to_string())
    });
    assert_eq!(done.unwrap(), cache.join("thing"));
    let again = cache::folder(&cache, "thing", |_| panic!("it is there already"));
    assert!(again.unwrap().join("whole").exists());
    std::fs::remove_dir_all(&cache).unwrap();

    let message = cache::folder(Path::new("/dev/null/cache"), "thing", |_| Ok(())).unwrap_err();
    assert!(message.contains("/dev/null/cache") && message.contains("RUST_MLX_CACHE"), "{message}");
}

#[test]
fn every_pin_has_its_sums_and_the_version_of_the_headers() {
    let sets = [
        wheel::mlx_to_run(&config("linux", "x86_64", &[])),
        wheel::mlx_to_run(&config("macos", "aarch64", &[])),
        wheel::mlx_to_run(&config("linux", "x86_64", &[CUDA, ("MLX_CUDA", "12")])),
        wheel::mlx_to_run(&config("linux", "x86_64", &[CUDA])),
        wheel::LIBCLANG,
    ];
    for wheels in sets {
        let text = wheels.pins.replace("\\\n", " ");
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert!(lines[0].starts_with(&format!("{}=={} ", wheels.package, wheels.version)), "{}", lines[0]);
        for line in lines {
            let mut words = line.split_whitespace();
            let (name, version) = words.next().unwrap().split_once("==").unwrap();
            assert!(!name.is_empty() && version.starts_with(|c: char| c.is_ascii_digit()), "{line}");
            let sums: Vec<&str> = words.map(|word| word.strip_prefix("--hash=sha256:").unwrap()).collect();
            assert!(!sums.is_empty(), "{line}");
            for sum in &sums {
                assert!(sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit()), "{name}: {sum}");
                assert_eq!(sums.iter().filter(|other| other == &sum).count(), 1, "{name}: {sum} twice");
            }
            if name.starts_with("mlx-") {
                assert_eq!(version, wheel::MLX_VERSION, "{name}");
            }
        }
    }
}

fn arguments(config: &Config, uv: bool) -> Vec<String> {
    let args = pip::install_args(config, uv, Path::new("/pins"), Path::new("/into"));
    args.into_iter().map(|arg| arg.into_string().unwrap()).collect()
}

#[test]
fn installing_takes_the_pins_and_nothing_else() {
    let words = "install --no-deps --require-hashes --only-binary :all: --target /into -r /pins";
    let native: Vec<&str> = words.split(' ').collect();
    let here = config("linux", "x86_64", &[]);
    assert_eq!(arguments(&here, false), native);
    assert_eq!(arguments(&here, true), native);

    for (os, arch, first, last, uv) in [
        ("linux", "aarch64", "manylinux_2_35_aarch64", "manylinux2014_aarch64", "aarch64-manylinux_2_35"),
        ("macos", "aarch64", "macosx_14_0_arm64", "macosx_11_0_arm64", "aarch64-apple-darwin"),
    ] {
        let cross = config(os, arch, &[]);
        let args = arguments(&cross, false);
        assert_eq!(args[..native.len()], native);
        let tags: Vec<&[String]> = args[native.len()..].chunks(2).collect();
        assert!(tags.iter().all(|pair| pair[0] == "--platform"), "{tags:?}");
        assert_eq!((tags[0][1].as_str(), tags[tags.len() - 1][1].as_str()), (first, last));
        assert_eq!(arguments(&cross, true)[native.len()..], ["--python-platform", uv]);
    }
}

#[test]
fn a_chosen_python_is_the_only_one_asked() {
    let shown = |chosen| {
        let all = pip::installers("python3".into(), chosen);
        all.iter()
            .map(|words| words.join(std::ffi::OsStr::new(" ")).into_string().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(false), ["python3 -m pip", "uv pip", "pip3"]);
    assert_eq!(shown(true), ["python3 -m pip"]);
    let uv: Vec<bool> =
        pip::installers("python3".into(), false).iter().map(|words| pip::is_uv(words)).collect();
    assert_eq!(uv, [false, true, false]);
}

#[test]
fn without_an_installer_the_message_says_how_to_get_one() {
    let mlx = |more| {
        let config = config("linux", "x86_64", more);
        pip::no_installer(&config, &wheel::mlx_to_run(&config), "python3 -m pip, uv pip, pip3")
    };
    let message = mlx(&[]);
    for word in ["mlx-cpu 0.32.2", "python3 -m pip, uv pip, pip3", "apt install python3-pip", "MLX_DIR"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    let message = mlx(&[("RUST_MLX_PYTHON", "/python")]);
    for word in ["RUST_MLX_PYTHON is /python", "ensurepip", "unset it", "MLX_DIR"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert!(!message.contains("apt install"), "{message}");
}

#[test]
fn what_the_installer_says_becomes_advice() {
    let linux = config("linux", "x86_64", &[("RUST_MLX_CACHE", "/cache")]);
    let cases: [(&str, &[&str]); 11] = [
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated\n    Got        9e90",
            &[
                "not the one this project was tested with",
                "PIP_INDEX_URL",
                "Nothing was installed",
                "Got        9e90",
            ],
        ),
        ("error: Hash mismatch for `mlx-cpu==0.32.2`", &["not the one", "PIP_INDEX_URL"]),
        (
            "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError'\nERROR: No matching distribution found for mlx-cpu==0.32.2",
            &["could not be reached", "Connect once", "mirror"],
        ),
        ("Temporary failure in name resolution", &["could not be reached"]),
        ("error: Failed to fetch: `https://pypi.org/simple/mlx-cpu/`", &["could not be reached"]),
        (
            "ERROR: No matching distribution found for mlx-cpu==0.32.2",
            &["Linux on x86_64", "glibc 2.35", "macOS 14", "PIP_NO_INDEX"],
        ),
        (
            "error: No interpreter found in search path\n\nhint: no",
            &["uv needs a Python", "Install Python 3"],
        ),
        (
            "error: Failed to download `mlx-cpu`\n  cause: error sending request for url",
            &["could not be reached"],
        ),
        (
            "hint: there are no wheels with a matching Python ABI tag",
            &["has no mlx-cpu 0.32.2", "glibc 2.35"],
        ),
        ("OSError: [Errno 28] No space left on device", &["disk is full", "/cache", "RUST_MLX_CACHE"]),
        ("", &["could not be installed into /cache", "it gave no reason"]),
    ];
    for (stderr, words) in cases {
        let message = pip::explain(&linux, &wheel::mlx_to_run(&linux), "python3 -m pip", stderr);
        let last = stderr.lines().last().unwrap_or("").trim();
        for word in words.iter().chain(&["mlx-cpu 0.32.2", "MLX_DIR", "python3 -m pip said: ", last]) {
            // A full disk has nothing to do with which package fills it.
            if !(stderr.contains("No space") && *word == "mlx-cpu 0.32.2") {
                assert!(message.contains(word), "{word:?} is not in: {message}");
            }
        }
    }
    let message = pip::explain(&linux, &wheel::LIBCLANG, "uv pip", "Failed to fetch");
    for word in ["libclang 18.1.1", "clang libclang-dev", "LIBCLANG_PATH"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert!(!message.contains("MLX_DIR"), "{message}");
}

#[test]
fn versions_are_read_from_headers() {
    let header = "#pragma once\n#define MLX_VERSION_MAJOR 0\n#define MLX_VERSION_MINOR 32\n#define MLX_VERSION_PATCH 2\n";
    assert_eq!(mlx::parse_version(header).as_deref(), Some("0.32.2"));
    assert_eq!(mlx::parse_version(&header.replace('\n', "  \r\n")).as_deref(), Some("0.32.2"));
    for broken in [header.replace("PATCH", "PITCH"), header.replace("32", "x"), String::new()] {
        assert_eq!(mlx::parse_version(&broken), None, "{broken}");
    }
}

#[test]
fn headers_of_another_version_are_refused() {
    let include = std::env::temp_dir().join(format!("mlx-sys-include-{}", std::process::id()));
    std::fs::create_dir_all(include.join("mlx")).unwrap();
    let header = "#define MLX_VERSION_MAJOR 0\n#define MLX_VERSION_MINOR 31\n#define MLX_VERSION_PATCH 1\n";
    std::fs::write(include.join("mlx/version.h"), header).unwrap();
    let found = mlx::Mlx { include: include.clone(), link_lib: PathBuf::new(), run_prefix: PathBuf::new() };
    let source =
        |wants: Option<&str>| mlx_c::MlxC { root: "/mlx-c".into(), wants_mlx: wants.map(str::to_owned) };

    let message = mlx::check_version(&found, &source(Some("0.32.2"))).unwrap_err();
    for word in ["/mlx-c", "MLX 0.32.2", "of MLX 0.31.1", "MLX_DIR", "MLX_C_DIR", include.to_str().unwrap()] {
        assert!(message.contains(word), "{word}: {message}");
    }
    mlx::check_version(&found, &source(Some("0.31.1"))).unwrap();
    mlx::check_version(&found, &source(None)).unwrap();
    std::fs::write(include.join("mlx/version.h"), "").unwrap();
    let message = mlx::check_version(&found, &source(None)).unwrap_err();
    assert!(message.contains("version.h") && message.contains("MLX_VERSION_MAJOR"), "{message}");
    std::fs::remove_dir_all(&include).unwrap();
}

#[test]
fn a_prefix_without_mlx_says_what_is_missing() {
    let prefix = std::env::temp_dir().join(format!("mlx-sys-prefix-{}", std::process::id()));
    let shown = prefix.to_str().unwrap().to_owned();
    let locate = |os, arch| mlx::locate(&config(os, arch, &[("MLX_DIR", &shown)])).map(|mlx| mlx.run_prefix);
    for (file, next) in [
        ("include/mlx/mlx.h", "include/mlx/version.h"),
        ("include/mlx/version.h", "lib/libmlx.so"),
        ("lib/libmlx.so", ""),
    ] {
        let message = locate("linux", "x86_64").unwrap_err();
        assert!(
            message.contains(file) && message.contains(&shown) && message.contains("unset it"),
            "{message}"
        );
        std::fs::create_dir_all(prefix.join(file).parent().unwrap()).unwrap();
        std::fs::write(prefix.join(file), "").unwrap();
        if next.is_empty() {
            assert_eq!(locate("linux", "x86_64").unwrap(), prefix);
        }
    }
    assert!(locate("macos", "aarch64").unwrap_err().contains("lib/libmlx.dylib"));
    std::fs::remove_dir_all(&prefix).unwrap();
}

#[test]
fn the_source_of_mlx_c_is_found_in_what_cargo_says() {
    let metadata = r#"{"packages":[{"name":"mlx-sys","manifest_path":"/r/cc-1/Cargo.toml"},
        {"manifest_path":"/home/u/.cargo/registry/src/index-1/mlx-sys-0.6.0/Cargo.toml","metadata":null}]}"#;
    let manifest = "/home/u/.cargo/registry/src/index-1/mlx-sys-0.6.0/Cargo.toml";
    assert_eq!(mlx_c::find_manifest(metadata), Some(manifest.into()));
    assert_eq!(mlx_c::find_manifest(&metadata.replace("0.6.0", "0.7.0")), None);
    assert_eq!(mlx_c::find_manifest(""), None);
}

#[test]
fn mlx_c_says_which_mlx_it_wants() {
    let cmake = "FetchContent_Declare(\n  mlx\n  GIT_REPOSITORY \"https://github.com/ml-explore/mlx.git\"\n  GIT_TAG v0.32.2)\n";
    assert_eq!(mlx_c::parse_wanted_mlx(cmake).as_deref(), Some("0.32.2"));
    assert_eq!(mlx_c::parse_wanted_mlx(&cmake.replace(')', "\n)")).as_deref(), Some("0.32.2"));
    for other in ["", "GIT_TAG", "GIT_TAG main)", "GIT_TAG vmain)", "GIT_TAG 846d176)"] {
        assert_eq!(mlx_c::parse_wanted_mlx(other), None, "{other}");
    }
}

#[test]
fn linux_links_the_one_library() {
    let lines = link::directives(
        Os::Linux,
        Path::new("/cpu/lib"),
        Path::new("/target/out/mlx/lib"),
        Path::new("/cuda"),
    );
    assert_eq!(
        lines,
        [
            "rerun-if-changed=/cuda/lib/libmlx.so",
            "rustc-link-search=native=/cpu/lib",
            "rustc-link-search=native=/target/out/mlx/lib",
            "rustc-link-lib=dylib=mlx",
            "lib_dir=/cuda/lib",
            "prefix=/cuda",
        ]
    );
}

/// The rpath that dependents take from `lib_dir` is the folder of the wheel, where `mlx.metallib` lies beside the library.
#[test]
fn macos_links_the_frameworks_and_leaves_metallib_beside_the_library() {
    let lines = link::directives(
        Os::MacOs,
        Path::new("/cache/mlx-metal/mlx/lib"),
        Path::new("/target/out/mlx/lib"),
        Path::new("/cache/mlx-metal/mlx"),
    );
    assert_eq!(
        lines,
        [
            "rerun-if-changed=/cache/mlx-metal/mlx/lib/libmlx.dylib",
            "rustc-link-search=native=/cache/mlx-metal/mlx/lib",
            "rustc-link-search=native=/target/out/mlx/lib",
            "rustc-link-lib=dylib=mlx",
            "rustc-link-lib=framework=Foundation",
            "rustc-link-lib=framework=Metal",
            "rustc-link-lib=framework=Accelerate",
            "lib_dir=/cache/mlx-metal/mlx/lib",
            "prefix=/cache/mlx-metal/mlx",
        ]
    );
}

#[test]
fn the_compilers_own_headers_are_read_from_its_report() {
    let gcc = "ignoring nonexistent directory \"/usr/local/include/x\"\n#include \"...\" search starts here:\n\
        #include <...> search starts here:\n /usr/lib/gcc/x86_64-linux-gnu/12/include\n /usr/include\nEnd of search list.\n # 0";
    let wanted: Vec<PathBuf> =
        ["/usr/lib/gcc/x86_64-linux-gnu/12/include", "/usr/include"].map(Into::into).into();
    assert_eq!(headers::parse_search_list(gcc), wanted);
    let apple = "#include <...> search starts here:\n /sdk/usr/include\n /sdk/Frameworks (framework directory)\nEnd of search list.";
    assert_eq!(
        headers::parse_search_list(apple),
        [PathBuf::from("/sdk/usr/include"), "/sdk/Frameworks".into()]
    );
    assert!(headers::parse_search_list("").is_empty());
}
