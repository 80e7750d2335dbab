//! Requests to the Hub: what it says of a repository, who gets the token, and how far redirects lead.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{HeaderMap, Response};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Timeout};

use super::failure::Failure;
use super::id::is_commit;
use super::url::{Origin, follow, quote};
use super::{HubConfig, HubId};

/// The Hub itself leads on twice.
const MAX_REDIRECTS: usize = 10;

/// An answer about a repository of a hundred thousand files stays below it.
const MAX_ANSWER: u64 = 64 << 20;

/// How often longer than a silence an answer with words may take as a whole.
const SILENCES: u32 = 10;

/// Times that an answer with words, and not with a file, is asked for.
const ASKS: u32 = 3;

/// A file of a repository, as the Hub describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    pub(super) path: String,
    pub(super) size: u64,
    /// The name of its blob: a sha256 for large files, else git's sha1.
    pub(super) etag: String,
}

impl RemoteFile {
    /// The file's sha256, where the Hub gives it.
    pub(super) fn sha256(&self) -> Option<&str> {
        Some(&self.etag[..]).filter(|etag| etag.len() == 64)
    }
}

/// The files of a repository at one commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    files: Vec<Sibling>,
}

/// What is used of the answer about a repository.
#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    #[serde(rename = "rfilename")]
    path: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

/// How a large file is stored.
#[derive(Debug, Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// The files, by their paths.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> + Clone {
        self.files.iter().map(|file| file.path.as_str())
    }
}

/// Speaks to one Hub.
pub(super) struct Client<'c> {
    config: &'c HubConfig,
    agent: Agent,
    home: Origin,
}

impl<'c> Client<'c> {
    pub(super) fn new(config: &'c HubConfig) -> Result<Self, Failure> {
        let home = Origin::of(&config.endpoint)
            .ok_or_else(|| Failure::Refused(format!("{:?} is no address of a Hub", config.endpoint)))?;
        let timeout = Some(config.connect_timeout);
        let read = Some(config.read_timeout);
        let builder = Agent::config_builder()
            .user_agent(concat!("mlx-models/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // Redirects are followed here: what a Hub says of a file stands in the first answer, and the token must
            // not go along to another host.
            .max_redirects(0)
            // Mirrors in companies have certificates that only their machines know.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_send_request(read)
            .timeout_recv_response(read)
            .timeout_per_read(read);
        let builder = if config.proxy { builder } else { builder.proxy(None) };
        Ok(Client { config, agent: builder.build().into(), home })
    }

    /// The files of a model's repository.
    pub(super) fn list(&self, id: &HubId) -> Result<Listing, Failure> {
        let (endpoint, revision) = (&self.config.endpoint, quote(id.revision()).replace('/', "%2F"));
        let url = format!("{endpoint}/api/models/{}/revision/{revision}?blobs=true", id.repo());
        let text = self.patiently(|| {
            let whole = self.config.read_timeout * SILENCES;
            let response = self.get(&url, None, Some(whole))?;
            let mut body = response.into_body().into_with_config().limit(MAX_ANSWER).reader();
            let mut text = Vec::new();
            io::Read::read_to_end(&mut body, &mut text).map_err(|error| self.broken(error.into(), &url))?;
            Ok(text)
        })?;
        let refused = |message| Failure::Refused(format!("the answer of {endpoint} {message}"));
        let answer: Answer = serde_json::from_slice(&text)
            .map_err(|error| refused(format!("about the repository is not what a Hub says: {error}")))?;
        if !is_commit(&answer.sha) {
            return Err(refused(format!("names no commit, but {:?}", answer.sha)));
        }
        if let Some(file) = answer.siblings.iter().find(|file| leads_out(&file.path)) {
            return Err(refused(format!("lists {:?}, which leads out of the folder", file.path)));
        }
        Ok(Listing { commit: answer.sha, files: answer.siblings })
    }

    /// What the Hub says of one listed file.
    pub(super) fn describe(&self, id: &HubId, listing: &Listing, path: &str) -> Result<RemoteFile, Failure> {
        let listed = listing.files.iter().find(|file| file.path == path);
        let listed = listed.ok_or_else(|| Failure::Refused(format!("it has no {path}")))?;
        let (size, etag) = match &listed.lfs {
            Some(lfs) => (lfs.size.or(listed.size), lfs.sha256.clone()),
            None => (listed.size, listed.blob_id.clone()),
        };
        if let (Some(size), Some(etag)) = (size, etag) {
            return remote(path, size, &etag);
        }
        // Some mirrors list names alone, and tell the rest with the file.
        let url = self.address(id, &listing.commit, path);
        let headers = self.patiently(|| self.head(&url))?;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let size = text("x-linked-size").or(text("content-length")).and_then(|size| size.parse().ok());
        let etag = text("x-linked-etag").or(text("etag"));
        match (size, etag) {
            (Some(size), Some(etag)) => remote(path, size, etag.trim_start_matches("W/").trim_matches('"')),
            _ => Err(Failure::Refused(format!("{} does not tell size and etag of {path}", self.home.host()))),
        }
    }

    /// Asks for a file, from byte `start` on.
    pub(super) fn open(
        &self,
        id: &HubId,
        commit: &str,
        file: &RemoteFile,
        start: u64,
    ) -> Result<Response<Body>, Failure> {
        self.get(&self.address(id, commit, &file.path), (start > 0).then_some(start), None)
    }

    fn address(&self, id: &HubId, commit: &str, path: &str) -> String {
        format!("{}/{}/resolve/{commit}/{}", self.config.endpoint, id.repo(), quote(path))
    }

    /// Asks again where that may help.
    fn patiently<T>(&self, ask: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut asked = 0;
        loop {
            asked += 1;
            match ask() {
                Err(Failure::Network { at_once: true, message }) => {
                    return Err(Failure::Network { at_once: true, message });
                }
                Err(failure) if failure.is_transient() && asked < ASKS => self.pause(asked),
                result => return result,
            }
        }
    }

    /// Waits before the next try.
    pub(super) fn pause(&self, tries: u32) {
        std::thread::sleep(self.config.pause * tries);
    }

    /// A successful answer, wherever redirects lead; from byte `start` on, and whole within a time.
    fn get(&self, url: &str, start: Option<u64>, whole: Option<Duration>) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&url).header("Accept-Encoding", "identity");
            if let Some(token) = self.token_for(&url) {
                request = request.header("Authorization", token);
            }
            if let Some(start) = start {
                request = request.header("Range", format!("bytes={start}-"));
            }
            let request = request.config().timeout_recv_body(whole).build();
            let response = request.call().map_err(|error| self.broken(error, &url))?;
            match self.redirect(&url, &response)? {
                Some(target) => url = target,
                None => return self.succeeded(&url, response),
            }
        }
        Err(self.endless())
    }

    /// The headers of what the Hub itself says of a file; a redirect to another host is the end of that.
    fn head(&self, url: &str) -> Result<HeaderMap, Failure> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.head(&url).header("Accept-Encoding", "identity");
            if let Some(token) = self.token_for(&url) {
                request = request.header("Authorization", token);
            }
            let response = request.call().map_err(|error| self.broken(error, &url))?;
            match self.redirect(&url, &response)? {
                Some(target) if Origin::of(&target).as_ref() == Some(&self.home) => url = target,
                Some(_) => return Ok(response.into_parts().0.headers),
                None => return Ok(self.succeeded(&url, response)?.into_parts().0.headers),
            }
        }
        Err(self.endless())
    }

    /// The token, for the Hub's own host alone.
    fn token_for(&self, url: &str) -> Option<String> {
        let token = self.config.token.as_ref()?;
        (Origin::of(url).as_ref() == Some(&self.home)).then(|| format!("Bearer {token}"))
    }

    /// Where an answer leads, if it is a redirect.
    fn redirect(&self, url: &str, response: &Response<Body>) -> Result<Option<String>, Failure> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        let target = location.and_then(|location| follow(url, location));
        let target = target.ok_or_else(|| {
            let host = self.host_of(url);
            Failure::Refused(format!("{host} redirects to {}", location.unwrap_or("nowhere")))
        })?;
        let secure = |url: &str| Origin::of(url).is_some_and(|origin| origin.secure);
        if secure(url) && !secure(&target) {
            let message =
                format!("{} redirects to {}, without TLS", self.host_of(url), self.host_of(&target));
            return Err(Failure::Refused(message));
        }
        Ok(Some(target))
    }

    fn succeeded(&self, url: &str, response: Response<Body>) -> Result<Response<Body>, Failure> {
        if response.status().is_success() {
            return Ok(response);
        }
        let kind = response.headers().get("x-error-code").and_then(|value| value.to_str().ok());
        Err(Failure::Status {
            code: response.status().as_u16(),
            kind: kind.map(str::to_owned),
            host: self.host_of(url),
        })
    }

    fn endless(&self) -> Failure {
        Failure::Refused(format!("{} redirects more than {MAX_REDIRECTS} times", self.home.host()))
    }

    fn host_of(&self, url: &str) -> String {
        Origin::of(url).as_ref().unwrap_or(&self.home).host().to_owned()
    }

    /// A request that got no answer, or not all of it.
    pub(super) fn broken(&self, error: ureq::Error, url: &str) -> Failure {
        let host = self.host_of(url);
        let seconds = |time: Duration| format!("{} s", time.as_secs_f32());
        let (message, at_once) = match error {
            ureq::Error::HostNotFound => (format!("the host {host} is not found"), true),
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                let time = seconds(self.config.connect_timeout);
                (format!("no connection to {host} within {time}"), true)
            }
            ureq::Error::Timeout(Timeout::RecvBody) => (format!("{host} did not come to an end"), false),
            ureq::Error::Timeout(_) => {
                (format!("{host} was silent for {}", seconds(self.config.read_timeout)), false)
            }
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                (format!("{host} refuses the connection"), true)
            }
            // The resolver's failures have no kind of their own.
            ureq::Error::Io(error) if error.to_string().contains("lookup address") => {
                (format!("the host {host} is not found ({error})"), true)
            }
            // A certificate that the system does not trust comes as data that is not valid.
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                (format!("{host}: {error}; SSL_CERT_FILE may name further certificates to trust"), true)
            }
            error @ (ureq::Error::Tls(_) | ureq::Error::Rustls(_)) => (format!("{host}: {error}"), true),
            error => (format!("the connection to {host} broke: {error}"), false),
        };
        Failure::Network { message, at_once }
    }

    /// The same, of a read.
    pub(super) fn interrupted(&self, error: io::Error) -> Failure {
        self.broken(error.into(), &self.config.endpoint)
    }
}

/// A file of which size and etag are known.
fn remote(path: &str, size: u64, etag: &str) -> Result<RemoteFile, Failure> {
    // The etag becomes a file's name.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if etag.is_empty() || etag.len() > 128 || !etag.bytes().all(plain) {
        return Err(Failure::Refused(format!("the etag {etag:?} of {path} cannot name a file")));
    }
    Ok(RemoteFile { path: path.to_owned(), size, etag: etag.to_owned() })
}

/// Whether a path, joined to a folder, would end up outside on some system, or in another depth than it seems.
fn leads_out(path: &str) -> bool {
    let drive = path.as_bytes().get(1) == Some(&b':');
    let odd = |part: &str| matches!(part, "" | "." | "..");
    drive || path.split(['/', '\\']).any(odd)
}
