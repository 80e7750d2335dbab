//! `mlx perplexity`.

use std::fs;

use crate::support::{mlx, with_tokenizer};

#[test]
fn it_is_a_number_over_the_tokens_of_the_text() {
    let folder = with_tokenizer();
    let model = folder.path().to_str().unwrap();
    let text = folder.path().join("text.txt");
    fs::write(&text, "the abc of it").unwrap();
    let text = text.to_str().unwrap();
    let answer = mlx(&["perplexity", "--model", model, "--text-file", text, "--json"], "").json();
    assert_eq!(answer["tokens"], 12, "{answer}");
    let perplexity = answer["perplexity"].as_f64().unwrap();
    assert!(perplexity > 1.0 && perplexity.is_finite(), "{answer}");
    let plain = mlx(&["perplexity", "--model", model, "--text-file", text], "").text();
    assert_eq!(plain, format!("{perplexity:.4}\n"));
    // The same text from standard input.
    let piped = mlx(&["perplexity", "--model", model, "--text-file", "-", "--json"], "the abc of it").json();
    assert_eq!(piped, answer);
}

#[test]
fn a_text_without_a_next_token_is_refused() {
    let folder = with_tokenizer();
    let model = folder.path().to_str().unwrap();
    let run = mlx(&["perplexity", "--model", model, "--text-file", "-"], "");
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.stderr.contains("--text-file: 1 tokens"), "{run:?}");
    let run = mlx(&["perplexity", "--model", model, "--text-file", "-"], "a ".repeat(3000));
    assert!(run.stderr.contains("context"), "{run:?}");
}
