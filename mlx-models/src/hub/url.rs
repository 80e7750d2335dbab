//! Addresses: where a request goes, and where a redirect leads.

use ureq::http::Uri;

/// The scheme, host and port that a request goes to: who may see the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an http or https address; `None` for anything else.
    pub(super) fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let secure = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Some(Origin { secure, host, port })
    }

    /// The host, for people to read.
    pub(super) fn host(&self) -> &str {
        &self.host
    }
}

/// Where a `Location` leads from `url`. Both are http or https; `None` when the answer names anything else.
pub(super) fn follow(url: &str, location: &str) -> Option<String> {
    let scheme = url.find("://")? + 3;
    let path = url[scheme..].find(['/', '?', '#']).map_or(url.len(), |at| scheme + at);
    let target = if location.starts_with("//") {
        format!("{}{location}", &url[..scheme - 2])
    } else if location.starts_with('/') {
        format!("{}{location}", &url[..path])
    } else if location.contains("://") {
        location.to_owned()
    } else {
        let query = url[path..].find(['?', '#']).map_or(url.len(), |at| path + at);
        let folder = url[path..query].rfind('/').map_or(path, |at| path + at);
        format!("{}/{location}", &url[..folder])
    };
    // A fragment is for the reader of a page and no part of a request.
    let target = target.split('#').next().unwrap_or_default().to_owned();
    Origin::of(&target).map(|_| target)
}

/// A part of a path as an address spells it; slashes stay.
pub(super) fn quote(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = ["https://a.co", "https://A.co:443/b?c", "https://a.co/"];
        for url in same {
            assert_eq!(Origin::of(url), Origin::of(same[0]), "{url}");
        }
        for other in
            ["http://a.co", "https://a.co:8443", "https://b.a.co", "https://a.co.b", "https://a.co@b.co"]
        {
            assert!(Origin::of(other).is_some() && Origin::of(other) != Origin::of(same[0]), "{other}");
        }
    }

    #[test]
    fn redirects_lead_where_browsers_would_go() {
        let cases = [
            ("https://cdn.co/b?x=1", Some("https://cdn.co/b?x=1")),
            ("//cdn.co/b", Some("https://cdn.co/b")),
            ("/b#part", Some("https://a.co:8/b")),
            ("b/c", Some("https://a.co:8/o/b/c")),
            ("file:///etc/passwd", None),
            ("ftp://a/b", None),
            ("https://", None),
        ];
        for (location, target) in cases {
            assert_eq!(follow("https://a.co:8/o/n?blobs=/true", location).as_deref(), target, "{location}");
        }
        assert_eq!(follow("https://a.co", "b").as_deref(), Some("https://a.co/b"));
    }

    #[test]
    fn names_are_quoted_and_slashes_stay() {
        assert_eq!(quote("a b/ü?#%.gguf"), "a%20b/%C3%BC%3F%23%25.gguf");
    }
}
