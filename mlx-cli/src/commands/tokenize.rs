//! `mlx tokenize`: text to token ids, and back.

use std::path::Path;

use mlx_models::{Checkpoint, TextTools, Tokenizer};
use serde_json::{Value, json};

use crate::args::TokenIds;
use crate::failure::Failure;
use crate::{input, output, progress};

/// Turns text into token ids, or ids into text.
///
/// Reads standard input to its end and takes every byte of it, a line break at the end included. As with transformers,
/// special tokens spelled in the text become their ids, and decoding keeps special tokens in the text. No weights are
/// read.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    printf 'Hello' | mlx tokenize --model gemma-3-270m --json\n  \
    echo '{\"ids\":[2,9259]}' | mlx tokenize --model gemma-3-270m --decode --json")]
pub(crate) struct Args {
    /// A folder in Hugging Face layout, a .gguf file, the name of a packaged model, or a Hub id such as org/name.
    #[arg(long)]
    model: String,
    /// Add no tokens around the text, such as the one that begins it.
    #[arg(long, conflicts_with = "decode")]
    no_special: bool,
    /// Decode: read {"ids":[…]}, or ids separated by blanks or commas, and print text.
    #[arg(long)]
    decode: bool,
    /// Decode id by id, and print each piece of text as soon as it is certain.
    #[arg(long, requires = "decode")]
    stream: bool,
    /// Print {"ids":[…]}; with --decode {"text":…}, with --stream one such line a piece.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let tokenizer = tokenizer(&progress::locate(&args.model)?)?;
    let input = input::stdin()?;
    if !args.decode {
        let ids = tokenizer.encode(&input, !args.no_special, true)?;
        return output::write(&format_ids(&ids, args.json));
    }
    let ids = parse_ids(&input)?;
    let print = |text: &str| match args.json {
        true => output::write(&format!("{}\n", json!({ "text": text }))),
        false => output::write(text),
    };
    if !args.stream {
        return print(&tokenizer.decode(&ids, false)?);
    }
    let mut detokenizer = tokenizer.detokenizer(false);
    for id in ids {
        let piece = detokenizer.push(id)?;
        if !piece.is_empty() {
            print(&piece)?;
        }
    }
    match detokenizer.finish() {
        rest if rest.is_empty() => Ok(()),
        rest => print(&rest),
    }
}

fn tokenizer(path: &Path) -> Result<Tokenizer, Failure> {
    if path.is_dir() {
        // The file alone is enough, without a configuration or weights beside it.
        return Ok(Tokenizer::from_file(path.join("tokenizer.json"))?);
    }
    Ok(TextTools::of(&Checkpoint::open(path)?)?.tokenizer()?.clone())
}

fn format_ids(ids: &[u32], as_json: bool) -> String {
    if as_json {
        return format!("{}\n", json!({ "ids": ids }));
    }
    let words: Vec<String> = ids.iter().map(u32::to_string).collect();
    words.join(" ") + "\n"
}

/// Reads what [`format_ids`] writes, in either form, and ids with commas.
fn parse_ids(text: &str) -> Result<Vec<u32>, Failure> {
    let text = text.trim();
    if !text.starts_with('{') {
        let list = text
            .split([' ', '\t', '\r', '\n', ','])
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(",");
        if list.is_empty() {
            return Ok(Vec::new());
        }
        return list
            .parse()
            .map(|TokenIds(ids)| ids)
            .map_err(|error| Failure::new(format!("stdin: {error}")));
    }
    let object: Value =
        serde_json::from_str(text).map_err(|error| Failure::new(format!("stdin: not JSON: {error}")))?;
    let ids =
        object["ids"].as_array().ok_or_else(|| Failure::new("stdin: no list `ids` is in the JSON object"))?;
    let id = |(index, id): (usize, &Value)| {
        let whole = id.as_u64().and_then(|id| u32::try_from(id).ok());
        whole.ok_or_else(|| Failure::new(format!("stdin: ids[{index}] is {id}, which is no token id")))
    };
    ids.iter().enumerate().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        for ids in [vec![], vec![7], vec![2, 0, u32::MAX]] {
            for as_json in [false, true] {
                assert_eq!(parse_ids(&format_ids(&ids, as_json)).unwrap(), ids);
            }
        }
        assert_eq!(parse_ids(" 1, 2\n3 ").unwrap(), [1, 2, 3]);
    }

    #[test]
    fn what_is_no_id_is_named() {
        let cases = [
            ("1 two", "stdin: entry 2 is `two`; "),
            ("{\"ids\":[1,-2]}", "stdin: ids[1] is -2, "),
            ("{\"ids\":[4294967296]}", "stdin: ids[0] is 4294967296, "),
            ("{\"ids\":\"1\"}", "stdin: no list `ids` "),
            ("{}", "stdin: no list `ids` "),
            ("{\"ids\":[1", "stdin: not JSON: "),
        ];
        for (text, start) in cases {
            let Err(Failure::Message(line)) = parse_ids(text) else { panic!("{text}") };
            assert!(line.starts_with(start), "{text}: {line}");
        }
    }
}
