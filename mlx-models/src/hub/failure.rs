//! Why something was not fetched, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::id::FileName;
use super::{HubConfig, HubId};

/// Why something was not fetched.
#[derive(Debug)]
pub(super) enum Failure {
    /// The Hub was not reached, or the connection broke. `at_once` when asking again right away is of no use.
    Network { message: String, at_once: bool },
    /// An answer that is no success.
    Status { code: u16, kind: Option<String>, host: String },
    /// No connection may be opened, and the model is not here.
    Offline,
    /// The answer, or a file, is not what it has to be.
    Refused(String),
    /// The disk.
    Io(PathBuf, io::Error),
}

impl Failure {
    /// Whether another try may do better.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Failure::Network { .. } => true,
            Failure::Status { code, .. } => matches!(code, 408 | 429 | 500..=599),
            Failure::Offline | Failure::Refused(_) | Failure::Io(..) => false,
        }
    }

    /// Whether the model may well be one that was never on the Hub, or be had without it.
    pub(super) fn leaves_doubt(&self) -> bool {
        let told = |kind: &str| matches!(kind, "RevisionNotFound" | "EntryNotFound");
        match self {
            Failure::Network { .. } | Failure::Offline => true,
            Failure::Status { code: 401 | 403 | 404, kind, .. } => !kind.as_deref().is_some_and(told),
            _ => false,
        }
    }

    /// Whether the repository is there, for others.
    pub(super) fn is_gated(&self) -> bool {
        matches!(self, Failure::Status { code: 401 | 403, kind: Some(kind), .. } if kind == "GatedRepo")
    }

    /// What happened and what to do next, in one line.
    pub(super) fn message(&self, id: &HubId, config: &HubConfig) -> String {
        let (endpoint, repo) = (&config.endpoint, id.repo());
        let has_token = config.token.is_some();
        match self {
            Failure::Network { message, at_once: true } => {
                format!("{message}; check the network, HF_ENDPOINT and HTTPS_PROXY")
            }
            Failure::Network { message, at_once: false } => {
                format!("{message}; check the network and run again: what has arrived is kept")
            }
            Failure::Offline => format!(
                "HF_HUB_OFFLINE is set, and {} not in {}; unset it, or name a model that is there (`mlx models`)",
                match id.file() {
                    Some(FileName::Path(name) | FileName::Tag(name)) => format!("its GGUF file {name} is"),
                    None => "its weights are".to_owned(),
                },
                config.cache.display()
            ),
            Failure::Status { code, kind, host } => match (code, kind.as_deref()) {
                (401 | 403, Some("GatedRepo")) if has_token => format!(
                    "its owner asks to accept a licence first; accept it at {endpoint}/{repo} with the account whose \
                     token HF_TOKEN is, and let the token read gated repositories"
                ),
                (401 | 403, Some("GatedRepo")) => format!(
                    "its owner asks to accept a licence first; accept it at {endpoint}/{repo}, and set HF_TOKEN to an \
                     access token of that account"
                ),
                (_, Some("RevisionNotFound")) => {
                    format!("{endpoint} has no revision {:?} of it", id.revision())
                }
                (404, Some("EntryNotFound")) => format!("{endpoint} does not have a file that it lists"),
                (401, _) if has_token => format!(
                    "{endpoint} has no such repository for this token; check the name, and whether HF_TOKEN is still \
                     valid"
                ),
                (403, _) if has_token => format!("{host} does not let HF_TOKEN read it"),
                (401 | 403, _) => format!(
                    "{endpoint} has no such repository, or a private one; check the name, or set HF_TOKEN"
                ),
                (404, _) => format!("{endpoint} has no repository of that name"),
                (429, _) => format!("{host} has had too many requests; wait a few minutes, or set HF_TOKEN"),
                _ => format!("{host} answered with status {code}; run again later: what has arrived is kept"),
            },
            Failure::Refused(message) => message.clone(),
            Failure::Io(path, error) => {
                let help = match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        "; free some space, or set HF_HUB_CACHE to another disk, and run again"
                    }
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                        "; set HF_HUB_CACHE to a folder that you may write to"
                    }
                    _ => "",
                };
                format!("{}: {error}{help}", path.display())
            }
        }
    }
}

/// A failure of the disk.
pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    |error| Failure::Io(path, error)
}
