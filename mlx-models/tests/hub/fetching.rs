//! What goes well.

use std::fs;
use std::sync::Barrier;
use std::thread;

use mlx_core::Array;
use mlx_core::io::SafetensorsFile;
use mlx_models::hub::{self, HubConfig};
use mlx_models::packaged::{Progress, Stage};
use mlx_models::{load, models};
use tempfile::TempDir;

use crate::server::Reply;
use crate::{COMMIT, Files, REPO, TOKEN, World, etag, sha256};

#[test]
fn a_model_is_fetched_once_and_loads() {
    let world = World::of("gemma3-classic");
    let path = world.fetch().expect("a good fetch");
    assert_eq!(path, world.snapshot());
    let loaded = load(&path, None).unwrap();
    assert_eq!((loaded.model.model_type(), loaded.model.shape().vocab_size), ("gemma3_text", 96));

    let list = format!("GET /api/models/{REPO}/revision/main?blobs=true");
    let get = |name: &str| format!("GET /{REPO}/resolve/{COMMIT}/{name}");
    // Of the folder's files, the values for tests are no part of the model either.
    assert_eq!(world.hub.lines(), [list.clone(), get("config.json"), get("model.safetensors")]);
    assert_eq!(world.cdn.asked().len(), 1);

    world.hub.forget();
    world.cdn.forget();
    assert_eq!(world.fetch(), Ok(path));
    assert_eq!(world.hub.lines(), [list], "the second time asks what is newest, and fetches nothing");
    assert!(world.cdn.asked().is_empty());
}

#[test]
fn logits_of_a_fetched_model_are_those_of_the_folder_it_came_from() {
    let world = World::of("gemma3-new");
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gemma3-new");
    let logits = |path: &std::path::Path| {
        let model = load(path, None).unwrap().model;
        let tokens = Array::from_slice(&[2i32, 5, 7], &[1, 3]).unwrap();
        let hidden = model.forward(&tokens, &mut model.make_caches()).unwrap();
        model.logits(&hidden).unwrap().to_vec::<f32>().unwrap()
    };
    let fetched = world.fetch().expect("a good fetch");
    assert_eq!(logits(&fetched), logits(&data));
    // Both shards that the index names were needed for it.
    for shard in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        assert!(SafetensorsFile::open(fetched.join(shard)).is_ok(), "{shard}");
    }
}

#[test]
fn the_cache_is_laid_out_as_pythons() {
    let world = World::of("gemma3-classic");
    let path = world.fetch().expect("a good fetch");
    let link = |name: &str| fs::read_link(path.join(name)).unwrap().to_str().unwrap().to_owned();
    let bytes = |name: &str| fs::read(path.join(name)).unwrap();
    assert_eq!(link("config.json"), format!("../../blobs/{}", etag(&bytes("config.json"))));
    assert_eq!(link("model.safetensors"), format!("../../blobs/{}", sha256(&bytes("model.safetensors"))));
    assert_eq!(fs::read_to_string(world.repo().join("refs/main")).unwrap(), COMMIT);
    assert_eq!(world.blobs().len(), 2, "{:?}", world.blobs());
    let locks = world.cache.path().join(".locks/models--org--tiny");
    assert_eq!(fs::read_dir(locks).unwrap().count(), 2);

    // What Python left is used as it is: without our locks, and where there are no links without blobs.
    world.hub.forget();
    fs::remove_dir_all(world.cache.path().join(".locks")).unwrap();
    assert_eq!(world.fetch(), Ok(path.clone()));
    for name in ["config.json", "model.safetensors"] {
        let blob = fs::canonicalize(path.join(name)).unwrap();
        fs::rename(blob, path.join(name)).unwrap();
    }
    assert_eq!(world.fetch(), Ok(path));
    assert_eq!(world.hub.asked().len(), 2, "one question each time, and no file");
    assert!(world.blobs().is_empty());
}

#[test]
fn the_token_goes_to_the_hub_and_to_no_other_host() {
    let world = World::of("gemma3-classic");
    // A repository that was renamed leads to its new name on the same host.
    world.hub_says(|request| {
        let rest = request.path().split_once("org/old/")?.1;
        let kind = if request.path().starts_with("/api/") { "api/models/" } else { "" };
        Some(Reply::redirect(format!("/{kind}{REPO}/{rest}")))
    });
    world.fetch_as("org/old", &world.config()).expect("a good fetch");
    world.fetch().expect("a good fetch");
    for request in world.hub.asked() {
        assert_eq!(request.header("authorization"), Some(&*format!("Bearer {TOKEN}")), "{request:?}");
    }
    for request in world.cdn.asked() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
    assert_eq!(world.cdn.asked().len(), 2, "once for each name");

    let anonymous = World::of("gemma3-classic");
    let config = HubConfig { token: None, ..anonymous.config() };
    anonymous.fetch_as(REPO, &config).expect("a good fetch");
    assert!(anonymous.hub.asked().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn revisions_are_kept_apart_and_a_commit_needs_no_asking() {
    let world = World::of("gemma3-classic");
    for revision in ["v1", "refs/pr/1"] {
        let path = world.fetch_as(&format!("{REPO}@{revision}"), &world.config());
        assert_eq!(path, Ok(world.snapshot()), "{revision}");
        assert_eq!(fs::read_to_string(world.repo().join("refs").join(revision)).unwrap(), COMMIT);
    }
    assert!(!world.repo().join("refs/main").exists());
    assert_eq!(world.cdn.asked().len(), 1, "both stand at the same commit");

    world.hub.forget();
    let pinned = world.fetch_as(&format!("{REPO}@{COMMIT}"), &world.config());
    assert_eq!(pinned, Ok(world.snapshot()));
    assert!(world.hub.asked().is_empty());
}

#[test]
fn offline_and_without_a_network_what_is_here_is_used() {
    let world = World::of("gemma3-classic");
    let offline = HubConfig { offline: true, ..world.config() };
    let error = world.fetch_as(REPO, &offline).unwrap_err();
    assert!(
        error.starts_with("fetching org/tiny: HF_HUB_OFFLINE is set, and its weights are not in "),
        "{error}"
    );
    assert!(world.hub.asked().is_empty() && !world.repo().exists());

    let path = world.fetch().expect("a good fetch");
    world.hub.forget();
    assert_eq!(world.fetch_as(REPO, &offline), Ok(path.clone()));
    assert_eq!(hub::cached(&REPO.parse().unwrap(), &offline), Some(path.clone()));
    assert!(world.hub.asked().is_empty());

    // A port that nobody listens at, and a Hub that is down.
    let nowhere = HubConfig { endpoint: "http://127.0.0.1:9".to_owned(), ..world.config() };
    assert_eq!(world.fetch_as(REPO, &nowhere), Ok(path.clone()));
    world.hub_says(|_| Some(Reply::status(503)));
    assert_eq!(world.fetch(), Ok(path.clone()));

    // A file that is missing is missed.
    fs::remove_file(path.join("model.safetensors")).unwrap();
    for config in [&offline, &nowhere] {
        assert!(world.fetch_as(REPO, config).is_err());
    }
}

#[test]
fn progress_adds_up() {
    let world = World::of("gemma3-new");
    let mut seen: Vec<(Stage, String, [u64; 4])> = Vec::new();
    let mut keep = |p: Progress| {
        let bytes = [p.done_bytes, p.total_bytes, p.item_done_bytes, p.item_total_bytes];
        seen.push((p.stage, p.item.to_owned(), bytes));
    };
    let path = hub::fetch(&REPO.parse().unwrap(), &world.config(), &mut keep).unwrap();
    assert!(seen.iter().all(|(stage, ..)| *stage == Stage::Downloading), "{seen:?}");
    for name in ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        let size = fs::metadata(path.join(name)).unwrap().len();
        let last = seen.iter().rfind(|(_, item, _)| item == name).expect(name);
        assert_eq!(last.2[2..], [size, size], "{name}");
    }
    assert!(
        seen.iter().all(|(_, _, [done, total, part, whole])| part <= whole && part <= done && done <= total)
    );
    let [done, total, ..] = seen.last().unwrap().2;
    assert_eq!(done, total);
}

#[test]
fn a_gguf_is_fetched_alone() {
    let mut files = Files::new();
    for name in ["README.md", "q/m-Q4_0.gguf", "q/m-Q8_0.gguf", "config.json"] {
        files.insert(name.to_owned(), format!("the bytes of {name}").into_bytes());
    }
    let world = World::with(files);
    for (id, name) in [
        ("org/tiny/q/m-Q4_0.gguf", "q/m-Q4_0.gguf"),
        ("org/tiny:Q8_0", "q/m-Q8_0.gguf"),
        ("org/tiny:m-Q8_0.gguf@v1", "q/m-Q8_0.gguf"),
    ] {
        let path = world.fetch_as(id, &world.config()).expect(id);
        assert_eq!(path, world.snapshot().join(name), "{id}");
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("the bytes of {name}"), "{id}");
        let offline = HubConfig { offline: true, ..world.config() };
        assert_eq!(world.fetch_as(id, &offline), Ok(path), "{id}");
    }
    assert_eq!(world.cdn.asked().len(), 2);
    let error = world.fetch().unwrap_err();
    assert!(
        error.contains("name one, as in org/tiny/q/m-Q4_0.gguf: q/m-Q4_0.gguf, q/m-Q8_0.gguf"),
        "{error}"
    );
}

#[test]
fn a_mirror_that_lists_names_alone_is_asked_for_each_file() {
    let world = World::of("gemma3-classic");
    world.hub_says(|request| {
        let names = ["config.json", "model.safetensors"].map(|name| serde_json::json!({"rfilename": name}));
        let listing = serde_json::json!({"sha": COMMIT, "siblings": names});
        request.path().starts_with("/api/").then(|| Reply::text(listing.to_string()))
    });
    let path = world.fetch().expect("a good fetch");
    let heads = world.hub.lines().iter().filter(|line| line.starts_with("HEAD ")).count();
    assert_eq!((heads, world.cdn.lines().len()), (2, 1), "the far host is asked for bytes alone");
    assert_eq!(world.blobs().len(), 2);
    assert_eq!(models::model_type(&mlx_models::Checkpoint::open(&path).unwrap()).unwrap(), "gemma3_text");
}

#[test]
fn many_at_once_fetch_once() {
    let world = World::of("gemma3-classic");
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        let fetcher = || {
            barrier.wait();
            assert_eq!(world.fetch(), Ok(world.snapshot()));
        };
        let fetchers: Vec<_> = (0..4).map(|_| scope.spawn(fetcher)).collect();
        fetchers.into_iter().for_each(|fetcher| fetcher.join().unwrap());
    });
    assert_eq!(world.cdn.asked().len(), 1);
}

#[test]
fn what_is_cached_is_listed_by_the_name_that_finds_it() {
    let world = World::of("gemma3-classic");
    assert!(hub::cached_models(world.cache.path()).is_empty());
    assert!(hub::cached_models(&TempDir::new().unwrap().path().join("nothing")).is_empty());
    world.fetch().expect("a good fetch");
    let listed = hub::cached_models(world.cache.path());
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].id.as_str(), listed[0].is_whole), (REPO, true));
    let offline = HubConfig { offline: true, ..world.config() };
    assert_eq!(world.fetch_as(&listed[0].id, &offline), Ok(listed[0].path.clone()));
}
