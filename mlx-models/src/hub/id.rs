//! How a model of the Hub is named.

use std::fmt;
use std::str::FromStr;

/// The longest `org/name` that the Hub gives out.
const MAX_REPO: usize = 96;

/// A model of the Hub: `org/name`, a revision, and for GGUF which file.
///
/// ```
/// use mlx_models::hub::HubId;
///
/// for text in [
///     "org/name",                    // a folder: configuration, tokenizer and safetensors
///     "org/name@v1.0",               // at a branch, a tag or a commit
///     "org/name/q4/model.gguf",      // one GGUF file
///     "org/name:model.gguf@refs/pr/1",
///     "org/name:Q4_K_M",             // the GGUF file with that in its name
/// ] {
///     let id: HubId = text.parse()?;
///     assert_eq!(id.repo(), "org/name");
/// }
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    repo: String,
    revision: String,
    file: Option<FileName>,
}

/// Which GGUF file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileName {
    /// Its path in the repository.
    Path(String),
    /// A part of its name, such as `Q4_K_M`.
    Tag(String),
}

impl HubId {
    /// `org/name`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// The branch, tag or commit; `main` unless said otherwise.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    pub(super) fn file(&self) -> Option<&FileName> {
        self.file.as_ref()
    }

    /// Whether the revision is a commit, which never changes.
    pub(super) fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl FromStr for HubId {
    type Err = String;

    /// # Errors
    /// What keeps the text from being a Hub id.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (name, colon) = match name.split_once(':') {
            Some((name, file)) => (name, Some(file)),
            None => (name, None),
        };
        let mut parts = name.splitn(3, '/');
        let (Some(org), Some(model)) = (parts.next(), parts.next()) else {
            return Err("a Hub id is org/name".to_owned());
        };
        let repo = format!("{org}/{model}");
        if !is_name(org) || !is_name(model) || repo.len() > MAX_REPO {
            return Err("org and name of a Hub id are letters, digits, `-`, `_` and `.`".to_owned());
        }
        if !is_path(revision) {
            return Err(format!("{revision:?} is no revision"));
        }
        let file = match (colon, parts.next()) {
            (Some(_), Some(_)) => {
                return Err("a file is named behind a slash or a colon, not both".to_owned());
            }
            (Some(tag), None) if !is_gguf(tag) => {
                if !is_name(tag) {
                    return Err(format!("{tag:?} is no GGUF file, nor a part of its name"));
                }
                Some(FileName::Tag(tag.to_owned()))
            }
            (Some(path), None) | (None, Some(path)) => {
                if !is_path(path) || !is_gguf(path) {
                    return Err(format!("{path:?} is no path of a GGUF file"));
                }
                Some(FileName::Path(path.to_owned()))
            }
            (None, None) => None,
        };
        Ok(HubId { repo, revision: revision.to_owned(), file })
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        match &self.file {
            Some(FileName::Path(file)) => write!(f, "/{file}")?,
            Some(FileName::Tag(tag)) => write!(f, ":{tag}")?,
            None => {}
        }
        if self.revision == "main" { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// A user's, an organization's or a repository's name. Two dashes separate the two in the cache.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.bytes().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && !name.contains("--")
        && !name.contains("..")
        && !name.ends_with(['-', '.'])
}

/// Whether a path has nothing but plain names in it, so that joined to a folder it stays inside, on any system.
pub(super) fn is_path(path: &str) -> bool {
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.contains(|c: char| c.is_control() || matches!(c, '\\' | ':' | '\u{2028}' | '\u{2029}'))
    };
    path.len() <= 1024 && path.split('/').all(plain)
}

pub(super) fn is_gguf(name: &str) -> bool {
    name.len() > 5 && name.get(name.len() - 5..).is_some_and(|end| end.eq_ignore_ascii_case(".gguf"))
}

/// Whether a revision is the sha1 of a commit.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_apart_and_together_again() {
        let path = |path: &str| Some(FileName::Path(path.to_owned()));
        let tag = |tag: &str| Some(FileName::Tag(tag.to_owned()));
        let cases = [
            ("a/b", "a/b", "main", None, "a/b"),
            ("a/b@main", "a/b", "main", None, "a/b"),
            ("a-b/C_d.1@refs/pr/7", "a-b/C_d.1", "refs/pr/7", None, "a-b/C_d.1@refs/pr/7"),
            ("a/b/m.gguf", "a/b", "main", path("m.gguf"), "a/b/m.gguf"),
            ("a/b/q 4/m.GGUF@v1", "a/b", "v1", path("q 4/m.GGUF"), "a/b/q 4/m.GGUF@v1"),
            ("a/b:q/m.gguf", "a/b", "main", path("q/m.gguf"), "a/b/q/m.gguf"),
            ("a/b:Q4_K_M", "a/b", "main", tag("Q4_K_M"), "a/b:Q4_K_M"),
        ];
        for (text, repo, revision, file, shown) in cases {
            let id: HubId = text.parse().unwrap();
            assert_eq!((id.repo(), id.revision(), id.file()), (repo, revision, file.as_ref()), "{text}");
            assert_eq!(id.to_string(), shown);
            assert_eq!(shown.parse(), Ok(id));
        }
    }

    #[test]
    fn paths_and_tricks_are_no_ids() {
        let long = format!("a/{}", "b".repeat(96));
        let cases = [
            "",
            "a",
            "/a/b",
            "a//b",
            "./a",
            "../a",
            "~/a",
            "a/",
            "a/b/",
            "a/b/c",
            "a/b@",
            "a/b@../x",
            "a/b@/x",
            "a/b:",
            "a/b:../m.gguf",
            "a/b/../m.gguf",
            "a/b//m.gguf",
            "a/b/.gguf",
            "a/b:c:d",
            "a/b/c.gguf:d",
            "a--b/c",
            "a/b..c",
            "a/b-",
            "-a/b",
            "C:\\a/b",
            "a\\b/c",
            "https://a/b",
            "a/b\n",
            "a/ü",
            "a b/c",
            &long,
        ];
        for text in cases {
            assert!(text.parse::<HubId>().is_err(), "{text:?}");
        }
    }
}
