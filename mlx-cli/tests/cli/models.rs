//! `mlx models`, and a model of the Hub from the command line.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Run, command, mlx, tiny, with_tokenizer};

/// A cache of the Hub with one model, as Python leaves it where there are no links.
fn hub_cache() -> TempDir {
    let cache = TempDir::new().unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repo = cache.path().join("hub/models--org--tiny");
    let snapshot = repo.join("snapshots").join(commit);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repo.join("refs")).unwrap();
    fs::write(repo.join("refs/main"), commit).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(tiny().join(file), snapshot.join(file)).unwrap();
    }
    cache
}

fn at_home(home: &TempDir, args: &[&str]) -> Run {
    let mut command = command(args);
    let output = command.env("HF_HOME", home.path()).env_remove("HF_HUB_CACHE").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn what_is_packaged_and_what_the_hub_gave_is_listed() {
    let home = hub_cache();
    let listed = at_home(&home, &["models", "--json"]).json();
    let packaged: Vec<&Value> = listed["packaged"].as_array().unwrap().iter().collect();
    let names: Vec<&str> = packaged.iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["gemma-3-270m", "smollm2-135m-instruct"]);
    assert!(
        packaged.iter().all(|model| model["fetched"] == false && model["path"] == json!(null)),
        "{listed}"
    );
    let cached = listed["hub"]["models"].as_array().unwrap();
    assert_eq!(cached.len(), 1);
    assert_eq!((&cached[0]["id"], &cached[0]["model_type"]), (&json!("org/tiny"), &json!("gemma3_text")));

    let text = at_home(&home, &["models"]).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[0].starts_with("gemma-3-270m ") && lines[0].ends_with("253.1 MB  not fetched yet"),
        "{text}"
    );
    assert!(lines[2].starts_with("org/tiny ") && lines[2].contains("gemma3_text, float32"), "{text}");
}

#[test]
fn a_hub_id_names_a_cached_model() {
    let home = hub_cache();
    let described = at_home(&home, &["info", "--model", "org/tiny", "--json"]).json();
    assert_eq!(described["model_type"], "gemma3_text");
    assert!(described["path"].as_str().unwrap().contains("models--org--tiny"), "{described}");
}

#[test]
fn models_in_a_folder_are_listed_and_broken_ones_too() {
    let root = TempDir::new().unwrap();
    let good = with_tokenizer();
    fs::create_dir(root.path().join("good")).unwrap();
    fs::create_dir(root.path().join("bad")).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(good.path().join(file), root.path().join("good").join(file)).unwrap();
    }
    fs::copy(good.path().join("config.json"), root.path().join("bad/config.json")).unwrap();
    fs::write(root.path().join("bad/model.safetensors"), "nothing").unwrap();
    fs::write(root.path().join("m.gguf"), "nothing").unwrap();
    let folder = root.path().to_str().unwrap();

    let text = mlx(&["models", folder], "").text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    let parts =
        [("bad", "cannot be read: "), ("good", "gemma3_text, float32"), ("m.gguf", "cannot be read: ")];
    for (line, (name, part)) in lines.iter().zip(parts) {
        assert!(line.starts_with(&format!("{folder}/{name} ")) && line.contains(part), "{line}");
    }
    let listed = mlx(&["models", folder, "--json"], "").json();
    assert_eq!(listed["is_cut"], false);
    let models = listed["models"].as_array().unwrap();
    assert_eq!((models.len(), &models[1]["supported"]), (3, &json!(true)));
    assert!(models[0]["error"].is_string() && models[2]["error"].is_string(), "{listed}");

    let empty = TempDir::new().unwrap();
    assert_eq!(mlx(&["models", empty.path().to_str().unwrap()], "").text(), "");
    let missing = mlx(&["models", "/nowhere/models"], "");
    assert_eq!((missing.status, missing.stderr.lines().count()), (Some(1), 1), "{missing:?}");
    assert!(missing.stderr.starts_with("mlx: /nowhere/models: "), "{missing:?}");
}

/// The server that plays the Hub in the tests of `mlx-models`, which use more of it.
#[cfg(unix)]
#[allow(dead_code)]
#[path = "../../../mlx-models/tests/hub/server.rs"]
mod server;

#[test]
#[cfg(unix)]
fn a_model_of_the_hub_is_fetched_as_the_environment_says() {
    use server::{Reply, Server};

    let commit = "0123456789abcdef0123456789abcdef01234567";
    let hub = Server::new(move |request| match request.path().rsplit_once('/') {
        Some(("/api/models/org/tiny/revision", "main")) => {
            let file = |name: &str, etag: &str| {
                let size = fs::metadata(tiny().join(name)).unwrap().len();
                json!({"rfilename": name, "size": size, "blobId": etag})
            };
            let files = [file("config.json", "0a"), file("model.safetensors", "0b")];
            Reply::text(json!({"sha": commit, "siblings": files}).to_string())
        }
        Some((_, name)) => {
            fs::read(tiny().join(name)).map_or(Reply::status(404), |bytes| Reply::file(request, &bytes))
        }
        None => Reply::status(400),
    });
    let home = TempDir::new().unwrap();
    let run = |offline: &str| {
        let output = command(&["info", "--model", "org/tiny", "--json"])
            .envs([("HF_ENDPOINT", hub.url.as_str()), ("HF_TOKEN", "hf_secret"), ("HF_HUB_OFFLINE", offline)])
            .env("HF_HOME", home.path())
            .env_remove("HF_HUB_CACHE")
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    };
    let first = run("0");
    assert_eq!(first.stderr, "fetching org/tiny (1 MB)\n");
    assert_eq!(first.json()["model_type"], "gemma3_text");
    let asked = hub.asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(
        asked.iter().all(|request| request.header("authorization") == Some("Bearer hf_secret")),
        "{asked:?}"
    );
    assert!(home.path().join("hub/models--org--tiny/snapshots").join(commit).is_dir());

    let second = run("1");
    assert_eq!((second.status, second.stderr.as_str()), (Some(0), ""));
    assert_eq!(hub.asked().len(), 3, "offline asks nobody");
}
