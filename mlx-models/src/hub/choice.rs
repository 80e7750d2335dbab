//! Which files of a repository make the model.

use super::HubId;
use super::id::{FileName, is_gguf};
use super::layout::{CONFIG, INDEX};

/// Files beside the weights that are read here, or tell a person what the model is.
const SMALL: [&str; 7] = [
    CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// Names that an error lists before it only counts.
const LISTED: usize = 12;

/// What is to be fetched.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice<'l> {
    /// A folder: small files, and either an index that names the weights or the weights themselves.
    Folder { small: Vec<&'l str>, index: Option<&'l str>, weights: Vec<&'l str> },
    /// One GGUF file.
    Gguf(&'l str),
}

/// Chooses among the files of a repository, given by their paths in it.
///
/// # Errors
/// What the repository has instead of a model, and how to name what it has.
pub(super) fn choose<'l>(
    id: &HubId,
    files: impl Iterator<Item = &'l str> + Clone,
) -> Result<Choice<'l>, String> {
    let find = |name: &str| files.clone().find(|file| *file == name);
    let weights: Vec<&str> = files.clone().filter(|file| is_weights(file)).collect();
    if id.file().is_some() || (weights.is_empty() && files.clone().any(is_gguf)) {
        return gguf(id, files).map(Choice::Gguf);
    }
    let index = find(INDEX);
    if weights.is_empty() {
        let pickled =
            files.clone().any(|file| [".bin", ".pt", ".pth", ".ckpt"].iter().any(|end| file.ends_with(end)));
        return Err(match pickled {
            true => {
                "it has only pickled weights, and reading a pickle can run code; look for a repository with \
                     safetensors"
                    .to_owned()
            }
            false => "it has neither model*.safetensors nor GGUF files".to_owned(),
        });
    }
    if find(CONFIG).is_none() {
        return Err(format!("it has no {CONFIG}"));
    }
    let small = SMALL.iter().filter_map(|name| find(name)).collect();
    let weights = if index.is_some() { Vec::new() } else { weights };
    Ok(Choice::Folder { small, index, weights })
}

/// Weights that a folder's model is made of; other names belong to adapters, or to copies in another layout.
pub(super) fn is_weights(file: &str) -> bool {
    file.starts_with("model") && file.ends_with(".safetensors") && !file.contains('/')
}

/// Chooses a GGUF file: the one that is named, or the only one.
///
/// # Errors
/// When none or several are meant; the message lists what there is.
pub(super) fn gguf<'l>(id: &HubId, files: impl Iterator<Item = &'l str> + Clone) -> Result<&'l str, String> {
    // What these hold goes before a model: the images' side of it.
    let is_model = |file: &&str| is_gguf(file) && !base(file).to_ascii_lowercase().starts_with("mmproj");
    let models: Vec<&str> = files.clone().filter(is_model).collect();
    let found: Vec<&str> = match id.file() {
        None => models.clone(),
        Some(FileName::Tag(tag)) => models.iter().copied().filter(|file| has_tag(base(file), tag)).collect(),
        Some(FileName::Path(path)) => match files.clone().find(|file| file == path) {
            Some(file) => vec![file],
            None => models.iter().copied().filter(|file| base(file) == path).collect(),
        },
    };
    match (&found[..], id.file()) {
        ([file], _) if is_part(file) => {
            let message = "is one part of a split model, which is not supported; join the parts with llama.cpp's \
                           `llama-gguf-split --merge`";
            Err(format!("{file} {message}"))
        }
        ([file], _) => Ok(file),
        ([], None) => Err("it has no GGUF files".to_owned()),
        ([], Some(FileName::Path(name) | FileName::Tag(name))) => {
            Err(format!("it has no GGUF file {name}; it has {}", list(&models)))
        }
        (_, None) => {
            let (repo, first) = (id.repo(), found[0]);
            Err(format!("it has several GGUF files; name one, as in {repo}/{first}: {}", list(&models)))
        }
        (_, Some(FileName::Path(name) | FileName::Tag(name))) => {
            Err(format!("{name} may be any of {}", list(&found)))
        }
    }
}

fn base(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// Whether a file's name has `tag` in it as a word: `Q4_K` is no part of `m-Q4_K_M.gguf`.
fn has_tag(name: &str, tag: &str) -> bool {
    let (name, tag) = (name.to_ascii_lowercase(), tag.to_ascii_lowercase());
    let ends = |c: Option<char>| c.is_none_or(|c| matches!(c, '-' | '.'));
    name.match_indices(&tag)
        .any(|(at, _)| ends(name[..at].chars().next_back()) && ends(name[at + tag.len()..].chars().next()))
}

/// Whether a name ends as `-00001-of-00003.gguf`.
fn is_part(name: &str) -> bool {
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let stem = &name[..name.len().saturating_sub(5)];
    stem.rsplit_once("-of-").is_some_and(|(front, count)| {
        digits(count) && count != "00001" && front.rsplit_once('-').is_some_and(|(_, number)| digits(number))
    })
}

fn list(files: &[&str]) -> String {
    let shown: Vec<&str> = files.iter().copied().take(LISTED).collect();
    match files.len().saturating_sub(LISTED) {
        _ if files.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(id: &str, files: &str) -> Result<String, String> {
        let files: Vec<&str> = files.split(' ').collect();
        Ok(match choose(&id.parse().unwrap(), files.iter().copied())? {
            Choice::Folder { small, index, weights } => {
                [small, index.into_iter().collect(), weights].concat().join(" ")
            }
            Choice::Gguf(file) => file.to_owned(),
        })
    }

    #[test]
    fn only_what_is_needed_is_chosen() {
        let cases = [
            (
                "a/b",
                "README.md config.json model.safetensors onnx/model.onnx",
                "config.json model.safetensors",
            ),
            (
                "a/b",
                "config.json tokenizer.json merges.txt model-1.safetensors model-2.safetensors adapter.safetensors",
                "config.json tokenizer.json model-1.safetensors model-2.safetensors",
            ),
            // The index says which weights.
            (
                "a/b",
                "config.json model.safetensors.index.json model-1.safetensors model.safetensors",
                "config.json model.safetensors.index.json",
            ),
            (
                "a/b",
                "config.json original/model.safetensors model.safetensors",
                "config.json model.safetensors",
            ),
            ("a/b", "config.json m-Q4_0.gguf model.safetensors", "config.json model.safetensors"),
            ("a/b/m-Q4_0.gguf", "config.json m-Q4_0.gguf model.safetensors", "m-Q4_0.gguf"),
            ("a/b:m-Q4_0.gguf", "q/m-Q4_0.gguf m-Q8_0.gguf", "q/m-Q4_0.gguf"),
            ("a/b:q4_k", "m-Q4_K_M.gguf m-Q4_K.gguf m-Q8_0.gguf", "m-Q4_K.gguf"),
            ("a/b:Q8_0", "m-Q4_K_M.gguf mmproj-Q8_0.gguf m.Q8_0.gguf", "m.Q8_0.gguf"),
            ("a/b", "README.md mmproj-m.gguf m.gguf", "m.gguf"),
            ("a/b", "m-00001-of-00001.gguf", "m-00001-of-00001.gguf"),
        ];
        for (id, files, expected) in cases {
            assert_eq!(chosen(id, files).as_deref(), Ok(expected), "{id} in {files}");
        }
    }

    #[test]
    fn what_is_no_model_is_told_with_what_is_there() {
        let cases: [(&str, &str, &[&str]); 9] = [
            ("a/b", "m-Q4_0.gguf m-Q8_0.gguf", &["several GGUF", "a/b/m-Q4_0.gguf", "m-Q8_0.gguf"]),
            ("a/b:Q5_0", "m-Q4_0.gguf m-Q8_0.gguf", &["no GGUF file Q5_0", "m-Q4_0.gguf, m-Q8_0.gguf"]),
            ("a/b:Q4_0", "m-Q4_0.gguf n-Q4_0.gguf", &["Q4_0 may be any of m-Q4_0.gguf, n-Q4_0.gguf"]),
            ("a/b/m.gguf", "config.json model.safetensors", &["no GGUF file m.gguf", "none"]),
            ("a/b:m.gguf", "p/m.gguf q/m.gguf", &["any of p/m.gguf, q/m.gguf"]),
            ("a/b/m-00001-of-00002.gguf", "m-00001-of-00002.gguf", &["one part", "llama-gguf-split"]),
            ("a/b", "config.json pytorch_model.bin", &["pickle", "safetensors"]),
            ("a/b", "README.md", &["neither model*.safetensors nor GGUF"]),
            ("a/b", "model.safetensors", &["no config.json"]),
        ];
        for (id, files, parts) in cases {
            let error = chosen(id, files).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{id} in {files}: {error}");
        }
        let many: Vec<String> = (0..20).map(|n| format!("m{n}.gguf")).collect();
        assert!(chosen("a/b", &many.join(" ")).unwrap_err().ends_with("m11.gguf and 8 more"));
    }
}
