//! Fetching from a Hub that is a small server on this machine, and that can be told to be broken, slow or hostile.
#![cfg(unix)]

mod failures;
mod fetching;
mod interruptions;
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mlx_models::hub::{self, HubConfig};
use mlx_models::packaged::Progress;
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use self::server::{Reply, Request, Server};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const REPO: &str = "org/tiny";
const TOKEN: &str = "hf_secret";

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The etag of a small file. The Hub gives git's sha1, of which nothing but the length is known here.
fn etag(bytes: &[u8]) -> String {
    sha256(bytes)[..40].to_owned()
}

type Files = BTreeMap<String, Vec<u8>>;

/// What is answered to one request in place of the usual.
type Whim = Box<dyn FnMut(&Request) -> Option<Reply> + Send>;

/// A Hub with one repository, the host that its large files come from, and a cache.
struct World {
    hub: Server,
    cdn: Server,
    cache: TempDir,
    whim: Arc<Mutex<Whim>>,
    cdn_whim: Arc<Mutex<Whim>>,
}

fn none() -> Arc<Mutex<Whim>> {
    Arc::new(Mutex::new(Box::new(|_: &Request| None)))
}

impl World {
    /// A repository with the files of a folder of test data, and some that no model needs.
    fn of(folder: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder);
        let mut files = Files::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(path).unwrap());
        }
        for other in ["README.md", "pytorch_model.bin", "onnx/model.onnx", "original/model.safetensors"] {
            files.insert(other.to_owned(), b"not needed".to_vec());
        }
        Self::with(files)
    }

    fn with(files: Files) -> Self {
        let (files, whim, cdn_whim) = (Arc::new(files), none(), none());
        let (stored, whims) = (files.clone(), cdn_whim.clone());
        let cdn = Server::new(move |request| {
            if let Some(reply) = whims.lock().unwrap()(request) {
                return reply;
            }
            let file = stored.values().find(|bytes| request.path() == format!("/{}", sha256(bytes)));
            file.map_or(Reply::status(404), |bytes| Reply::file(request, bytes))
        });
        let (whims, far) = (whim.clone(), cdn.url.clone());
        let hub = Server::new(move |request| match whims.lock().unwrap()(request) {
            Some(reply) => reply,
            None => answer(&files, &far, request),
        });
        World { hub, cdn, cache: TempDir::new().unwrap(), whim, cdn_whim }
    }

    /// Lets the Hub answer otherwise.
    fn hub_says(&self, whim: impl FnMut(&Request) -> Option<Reply> + Send + 'static) {
        *self.whim.lock().unwrap() = Box::new(whim);
    }

    fn cdn_says(&self, whim: impl FnMut(&Request) -> Option<Reply> + Send + 'static) {
        *self.cdn_whim.lock().unwrap() = Box::new(whim);
    }

    fn be_good(&self) {
        self.hub_says(|_| None);
        self.cdn_says(|_| None);
    }

    fn config(&self) -> HubConfig {
        config(&self.hub.url, self.cache.path())
    }

    fn fetch(&self) -> Result<PathBuf, String> {
        self.fetch_as(REPO, &self.config())
    }

    fn fetch_as(&self, id: &str, config: &HubConfig) -> Result<PathBuf, String> {
        let id = id.parse().expect("a Hub id");
        hub::fetch(&id, config, &mut |_: Progress| ()).map_err(|error| error.to_string())
    }

    fn repo(&self) -> PathBuf {
        self.cache.path().join("models--org--tiny")
    }

    fn snapshot(&self) -> PathBuf {
        self.repo().join("snapshots").join(COMMIT)
    }

    /// The names in the folder of blobs.
    fn blobs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.repo().join("blobs")).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn config(endpoint: &str, cache: &Path) -> HubConfig {
    HubConfig {
        endpoint: endpoint.to_owned(),
        token: Some(TOKEN.to_owned()),
        retries: 0,
        pause: Duration::ZERO,
        // Long enough for a machine that has much else to do.
        read_timeout: Duration::from_secs(20),
        ..HubConfig::new(cache)
    }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".gguf") || name.ends_with(".bin")
}

/// What the Hub says of its files.
fn listing(files: &Files) -> serde_json::Value {
    let siblings = files.iter().map(|(name, bytes)| {
        let lfs = json!({"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 130});
        let lfs = if is_large(name) { lfs } else { json!(null) };
        json!({"rfilename": name, "size": bytes.len(), "blobId": etag(bytes), "lfs": lfs})
    });
    json!({"id": REPO, "sha": COMMIT, "private": false, "siblings": siblings.collect::<Vec<_>>()})
}

fn answer(files: &Files, cdn: &str, request: &Request) -> Reply {
    let path = request.path();
    if let Some(revision) = path.strip_prefix("/api/models/org/tiny/revision/") {
        return match revision {
            "main" | "v1" | "refs%2Fpr%2F1" | COMMIT => Reply::text(listing(files).to_string()),
            _ => Reply::status(404).with("X-Error-Code", "RevisionNotFound"),
        };
    }
    let Some(name) = path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/")) else {
        return Reply::status(404).with("X-Error-Code", "RepoNotFound");
    };
    let Some(bytes) = files.get(name) else {
        return Reply::status(404).with("X-Error-Code", "EntryNotFound");
    };
    let length = bytes.len().to_string();
    match is_large(name) {
        true => Reply::redirect(format!("{cdn}/{}?signature=1", sha256(bytes)))
            .with("X-Linked-Size", length)
            .with("X-Linked-Etag", format!("\"{}\"", sha256(bytes)))
            .with("X-Repo-Commit", COMMIT),
        false => Reply::file(request, bytes).with("ETag", format!("W/\"{}\"", etag(bytes))),
    }
}
