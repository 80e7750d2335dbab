//! What the environment says about the Hub, by the names that Python's `huggingface_hub` gives them.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::url::Origin;
use crate::packaged::is_true;
use crate::{Error, Result};

/// The Hub that is asked unless `HF_ENDPOINT` names another.
const ENDPOINT: &str = "https://huggingface.co";

/// A token file is a line; more is something else.
const MAX_TOKEN: usize = 4096;

/// Where the Hub is, where its files are kept, and how patient to be.
#[derive(Clone)]
pub struct HubConfig {
    /// The Hub's address without a slash at its end, such as `https://huggingface.co`.
    pub endpoint: String,
    /// The folder that holds `models--org--name` folders, in the layout of Python's `huggingface_hub`.
    pub cache: PathBuf,
    /// What gated and private repositories ask for. It goes to the endpoint's own host and nowhere else.
    pub token: Option<String>,
    /// Whether to use what is cached and open no connection.
    pub offline: bool,
    /// Whether to go through the proxy that `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY` names, except for `NO_PROXY`.
    pub proxy: bool,
    /// How long finding a host, and connecting to it, may take.
    pub connect_timeout: Duration,
    /// How long a connection may be silent.
    pub read_timeout: Duration,
    /// How often in a row a broken transfer is taken up again without a byte gained.
    pub retries: u32,
    /// The wait before the first of these; each further one waits as much longer.
    pub pause: Duration,
}

impl fmt::Debug for HubConfig {
    /// Everything but the token, which has no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

impl HubConfig {
    /// The public Hub with a cache of one's own, no token and no proxy.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        HubConfig {
            endpoint: ENDPOINT.to_owned(),
            cache: cache.into(),
            token: None,
            offline: false,
            proxy: false,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            retries: 4,
            pause: Duration::from_secs(1),
        }
    }

    /// Reads the environment.
    ///
    /// - `HF_ENDPOINT`: the Hub's address.
    /// - `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else the folder `hub` of `HF_HOME`; that is
    ///   `$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface`, when not set.
    /// - `HF_TOKEN`, else `HUGGING_FACE_HUB_TOKEN`, else the file `HF_TOKEN_PATH`, else the file `token` of `HF_HOME`,
    ///   which `hf auth login` writes.
    /// - `HF_HUB_OFFLINE`, else `TRANSFORMERS_OFFLINE`: 1, on, yes or true.
    ///
    /// A variable that is set to nothing counts as not set, and `~/` at the front of a path is the home folder.
    ///
    /// # Errors
    /// [`Error::Option`] when there is no folder to cache in, the endpoint is no http address, or the token holds what
    /// no token holds.
    pub fn from_env() -> Result<Self> {
        Self::from(|name| std::env::var_os(name), |path| std::fs::read(path).ok())
    }

    /// [`from_env`](Self::from_env) as a function of the environment and of what files hold.
    fn from(
        variable: impl Fn(&str) -> Option<OsString>,
        file: impl Fn(&Path) -> Option<Vec<u8>>,
    ) -> Result<Self> {
        let set = |names: &[&'static str]| {
            names.iter().find_map(|name| {
                let value = variable(name).filter(|value| !value.is_empty())?;
                Some((*name, value))
            })
        };
        let text = |names: &[&'static str]| {
            set(names).and_then(|(name, value)| Some((name, value.into_string().ok()?.trim().to_owned())))
        };
        let path = |names: &[&'static str]| {
            let path = PathBuf::from(set(names)?.1);
            Some(match (path.strip_prefix("~"), variable("HOME")) {
                (Ok(below), Some(home)) => Path::new(&home).join(below),
                _ => path,
            })
        };
        let home = path(&["HF_HOME"]).or_else(|| {
            let caches = path(&["XDG_CACHE_HOME"]).or_else(|| Some(path(&["HOME"])?.join(".cache")))?;
            Some(caches.join("huggingface"))
        });
        let cache = path(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]);
        let cache = cache.or_else(|| Some(home.as_ref()?.join("hub"))).ok_or_else(|| Error::Option {
            option: "HF_HOME",
            message: "is not set, and neither is HOME; set it to a folder in which models may be kept".into(),
        })?;

        let endpoint = text(&["HF_ENDPOINT"]).map_or(ENDPOINT.to_owned(), |(_, value)| value);
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if Origin::of(&endpoint).is_none() {
            let message = format!("is {endpoint:?}, not an address such as {ENDPOINT}");
            return Err(Error::Option { option: "HF_ENDPOINT", message });
        }

        let token = text(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]).filter(|(_, token)| !token.is_empty());
        let token = token.or_else(|| {
            let path = path(&["HF_TOKEN_PATH"]).or_else(|| Some(home?.join("token")))?;
            let token = String::from_utf8(file(&path)?).ok()?.trim().to_owned();
            (!token.is_empty()).then_some(("HF_TOKEN_PATH", token))
        });
        // Anything else would end up in a header, and a message about it would show the token.
        if let Some((option, token)) = &token
            && (token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let message = "holds characters that no token has; copy it again from the Hub's settings".into();
            return Err(Error::Option { option, message });
        }
        let offline = text(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]);
        Ok(HubConfig {
            endpoint,
            token: token.map(|(_, token)| token),
            offline: offline.is_some_and(|(_, value)| is_true(&value)),
            proxy: true,
            ..Self::new(cache)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Env = &'static [(&'static str, &'static str)];

    fn from(env: Env) -> Result<HubConfig> {
        let variable = |name: &str| Some(env.iter().find(|(key, _)| *key == name)?.1.into());
        let file = |path: &Path| match path.to_str()? {
            "/h/.cache/huggingface/token" => Some(b"hf_of_home\n".to_vec()),
            "/t" => Some(b"hf_of_t".to_vec()),
            "/empty" => Some(b"\n".to_vec()),
            _ => None,
        };
        HubConfig::from(variable, file)
    }

    #[test]
    fn the_first_variable_that_says_something_wins() {
        let cases: [(Env, &str); 9] = [
            (&[("HOME", "/h")], "/h/.cache/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/f")], "/f/hub"),
            (&[("HOME", "/h"), ("HF_HOME", "")], "/h/.cache/huggingface/hub"),
            (&[("HOME", "/h"), ("HF_HOME", "~/f")], "/h/f/hub"),
            (&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/l")], "/l"),
            (&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/l"), ("HF_HUB_CACHE", "/c")], "/c"),
            (&[("HF_HUB_CACHE", "/c")], "/c"),
            (&[("HOME", "/h"), ("HF_HUB_CACHE", "~")], "/h"),
        ];
        for (env, cache) in cases {
            assert_eq!(from(env).unwrap().cache, Path::new(cache), "{env:?}");
        }
        assert!(from(&[]).unwrap_err().to_string().starts_with("HF_HOME: is not set"));
    }

    #[test]
    fn the_token_comes_from_a_variable_or_a_file_and_is_never_shown() {
        let cases: [(Env, Option<&str>); 6] = [
            (&[("HOME", "/h"), ("HF_TOKEN", " hf_a\n"), ("HUGGING_FACE_HUB_TOKEN", "hf_b")], Some("hf_a")),
            (&[("HOME", "/h"), ("HF_TOKEN", ""), ("HUGGING_FACE_HUB_TOKEN", "hf_b")], Some("hf_b")),
            (&[("HOME", "/h")], Some("hf_of_home")),
            (&[("HOME", "/h"), ("HF_TOKEN_PATH", "/t")], Some("hf_of_t")),
            (&[("HOME", "/h"), ("HF_TOKEN_PATH", "/empty")], None),
            (&[("HOME", "/h"), ("HF_HOME", "/nowhere")], None),
        ];
        for (env, token) in cases {
            let config = from(env).unwrap();
            assert_eq!(config.token.as_deref(), token, "{env:?}");
            assert!(!format!("{config:?}").contains("hf_"), "{config:?}");
        }
        let error = from(&[("HOME", "/h"), ("HF_TOKEN", "hf a\r\nb")]).unwrap_err().to_string();
        assert!(error.starts_with("HF_TOKEN: ") && !error.contains("hf a"), "{error}");
    }

    #[test]
    fn the_endpoint_is_an_http_address() {
        let with = |endpoint| from(Vec::leak(vec![("HOME", "/h"), ("HF_ENDPOINT", endpoint)]));
        assert_eq!(from(&[("HOME", "/h")]).unwrap().endpoint, "https://huggingface.co");
        assert_eq!(with("http://127.0.0.1:8080/hub//").unwrap().endpoint, "http://127.0.0.1:8080/hub");
        for wrong in ["huggingface.co", "ftp://a", "https://", "http:// a", "/"] {
            let error = with(wrong).unwrap_err().to_string();
            assert!(error.starts_with("HF_ENDPOINT: is "), "{wrong}: {error}");
        }
    }

    #[test]
    fn offline_is_said_in_two_ways() {
        let cases: [(Env, bool); 5] = [
            (&[("HOME", "/h")], false),
            (&[("HOME", "/h"), ("HF_HUB_OFFLINE", "1")], true),
            (&[("HOME", "/h"), ("TRANSFORMERS_OFFLINE", "yes")], true),
            (&[("HOME", "/h"), ("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")], false),
            (&[("HOME", "/h"), ("HF_HUB_OFFLINE", "2")], false),
        ];
        for (env, offline) in cases {
            assert_eq!(from(env).unwrap().offline, offline, "{env:?}");
        }
    }
}
