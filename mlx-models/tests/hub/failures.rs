//! Answers that say no, and answers that nobody should believe.

use mlx_models::hub::HubConfig;
use serde_json::{Value, json};

use crate::server::Reply;
use crate::{COMMIT, REPO, World};

#[test]
fn what_the_hub_says_is_told_with_what_to_do() {
    let world = World::of("gemma3-classic");
    type Status = (u16, Option<&'static str>);
    let gated = |code| (code, Some("GatedRepo"));
    // Where, status and error code; with a token or not; what is said.
    let cases: [(&str, Status, bool, &str); 12] = [
        (
            "/api/",
            (401, Some("RepoNotFound")),
            false,
            "no such repository, or a private one; check the name, or set HF_TOKEN",
        ),
        ("/api/", (401, None), true, "for this token; check the name, and whether HF_TOKEN is still valid"),
        ("/api/", (404, Some("RepoNotFound")), true, "has no repository of that name"),
        ("/api/", (404, None), false, "has no repository of that name"),
        ("/api/", (403, None), true, "does not let HF_TOKEN read it"),
        ("/org/", gated(401), false, "/org/tiny, and set HF_TOKEN to an access token of that account"),
        ("/org/", gated(403), true, "/org/tiny with the account whose token HF_TOKEN is"),
        ("/org/", (404, Some("EntryNotFound")), true, "does not have a file that it lists"),
        ("/api/", (404, Some("RevisionNotFound")), true, "has no revision \"main\" of it"),
        ("/api/", (429, None), false, "too many requests; wait a few minutes, or set HF_TOKEN"),
        ("/api/", (500, None), false, "answered with status 500; run again later"),
        ("/api/", (418, None), false, "answered with status 418"),
    ];
    for (place, (code, kind), has_token, part) in cases {
        world.hub_says(move |request| {
            let reply = Reply::status(code);
            let reply = match kind {
                Some(kind) => reply.with("X-Error-Code", kind),
                None => reply,
            };
            request.path().starts_with(place).then_some(reply)
        });
        let token = world.config().token.filter(|_| has_token);
        let error = world.fetch_as(REPO, &HubConfig { token, ..world.config() }).unwrap_err();
        assert!(error.starts_with("fetching org/tiny: ") && error.contains(part), "{code} {kind:?}: {error}");
        assert!(!error.contains('\n') && !error.contains("hf_secret"), "{error}");
    }
    world.be_good();
    let error = world.fetch_as("org/tiny@v9", &world.config()).unwrap_err();
    assert!(
        error.starts_with("fetching org/tiny@v9: ") && error.contains("has no revision \"v9\""),
        "{error}"
    );
    let error = world.fetch_as("org/other", &world.config()).unwrap_err();
    assert!(error.contains("has no repository of that name"), "{error}");
    assert!(!world.cache.path().join("models--org--other").exists());
}

#[test]
fn an_overloaded_hub_is_asked_again() {
    let world = World::of("gemma3-classic");
    let mut refusals = 2;
    world.hub_says(move |_| {
        refusals -= 1;
        (refusals >= 0).then(|| Reply::status(503))
    });
    world.fetch().expect("a good fetch");
}

#[test]
fn a_hub_that_is_not_reached_is_named() {
    let world = World::of("gemma3-classic");
    let nowhere = HubConfig { endpoint: "http://127.0.0.1:9".to_owned(), ..world.config() };
    let error = world.fetch_as(REPO, &nowhere).unwrap_err();
    assert!(error.contains("127.0.0.1 refuses the connection; check the network, HF_ENDPOINT"), "{error}");
    let nowhere = HubConfig { endpoint: "ftp://127.0.0.1".to_owned(), ..world.config() };
    assert!(
        world.fetch_as(REPO, &nowhere).unwrap_err().contains("\"ftp://127.0.0.1\" is no address of a Hub")
    );
}

#[test]
fn redirects_end() {
    let world = World::of("gemma3-classic");
    world.hub_says(|request| Some(Reply::redirect(request.path().to_owned() + "/on")));
    let error = world.fetch().unwrap_err();
    assert!(error.contains("redirects more than 10 times"), "{error}");
    assert_eq!(world.hub.asked().len(), 11);
    for location in ["file:///etc/passwd", "gopher://a/b", "http://"] {
        world.hub_says(move |_| Some(Reply::redirect(location)));
        let error = world.fetch().unwrap_err();
        assert!(error.contains(&format!("redirects to {location}")), "{error}");
    }
    world.hub_says(|_| Some(Reply::status(302)));
    assert!(world.fetch().unwrap_err().contains("redirects to nowhere"));
}

/// A listing with one file beside a configuration that would do.
fn listing(name: &str, etag: &str) -> Value {
    let file = |name: &str, etag: &str| json!({"rfilename": name, "size": 2, "blobId": etag});
    json!({"sha": COMMIT, "siblings": [file("config.json", "0a"), file(name, etag)]})
}

#[test]
fn hostile_answers_are_refused() {
    let world = World::of("gemma3-classic");
    let with_sha = |sha: &str| json!({"sha": sha, "siblings": []});
    let cases = [
        (listing("../model.safetensors", "0b"), "lists \"../model.safetensors\", which leads out"),
        (listing("a/../../model.safetensors", "0b"), "leads out"),
        (listing("/etc/model.safetensors", "0b"), "leads out"),
        (listing("..\\model.safetensors", "0b"), "leads out"),
        (listing("C:\\model.safetensors", "0b"), "leads out"),
        (listing("model.safetensors", "../../x"), "etag \"../../x\" of model.safetensors cannot name a file"),
        (listing("model.safetensors", ".."), "cannot name a file"),
        (listing("model.safetensors", ""), "cannot name a file"),
        (with_sha("../../../tmp/x"), "names no commit"),
        (with_sha(""), "names no commit"),
        (json!({"siblings": []}), "not what a Hub says"),
        (json!([]), "not what a Hub says"),
        (json!("<html>"), "not what a Hub says"),
    ];
    for (answer, part) in cases {
        let text = answer.to_string();
        world.hub_says(move |request| request.path().starts_with("/api/").then(|| Reply::text(text.clone())));
        let error = world.fetch().expect_err(part);
        assert!(error.contains(part) && !error.contains('\n'), "{answer}: {error}");
    }
    let outside = world.cache.path().parent().unwrap().join("model.safetensors");
    assert!(!outside.exists());
}

#[test]
fn an_index_that_leads_out_of_the_folder_is_refused() {
    for (map, part) in [
        (json!({"weight_map": {"a": "../x.safetensors"}}), "shard name \"../x.safetensors\" is not a plain"),
        (json!({"weight_map": {"a": "/etc/passwd"}}), "is not a plain file name"),
        (json!({"weight_map": {"a": "model-9.safetensors"}}), "it has no model-9.safetensors"),
        (json!({"weights": 1}), "weight_map"),
    ] {
        let mut files = crate::Files::new();
        files.insert("config.json".to_owned(), b"{}".to_vec());
        files.insert("model.safetensors.index.json".to_owned(), map.to_string().into_bytes());
        files.insert("model-1.safetensors".to_owned(), b"weights".to_vec());
        let world = World::with(files);
        let error = world.fetch().expect_err(part);
        assert!(error.contains(part), "{map}: {error}");
        assert!(world.cdn.asked().is_empty());
    }
}
