//! `mlx generate`.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use crate::support::{BOS, Run, TURN, command, expected, id, ids, list, mlx, pieces, tiny, with_tokenizer};

/// Runs `mlx generate` on a model folder.
fn generate(model: &std::path::Path, args: &[&str]) -> Run {
    mlx(&[&["generate", "--model", model.to_str().unwrap()], args].concat(), "")
}

#[test]
fn greedy_tokens_are_those_of_the_reference() {
    let prompt = expected("generate_prompt", u32::from_le_bytes);
    for also in [&[][..], &["--temp", "0", "--seed", "5"]] {
        let args = ["--tokens", &list(&prompt), "--max-tokens", "30", "--json", "--device", "cpu"];
        let answer = generate(&tiny(), &[&args, also].concat()).json();
        assert_eq!(ids(&answer["tokens"]), expected("expected_generate", u32::from_le_bytes));
        assert_eq!(answer["text"], "");
        assert_eq!(answer["prompt_tokens"], prompt.len());
        assert_eq!(answer["finish_reason"], "length");
        let metrics = &answer["metrics"];
        assert_eq!((&metrics["prompt_tokens"], &metrics["generated_tokens"]), (&12.into(), &30.into()));
        for name in
            ["time_to_first_token", "prefill_duration", "decode_tokens_per_second", "peak_memory_bytes"]
        {
            assert!(metrics[name].as_f64().is_some_and(|number| number > 0.0), "{name}: {metrics}");
        }
    }
}

#[test]
fn streamed_text_is_the_text_of_the_object() {
    let folder = with_tokenizer();
    let args = ["--prompt", "- abc de", "--max-tokens", "12"];
    let object = generate(folder.path(), &[&args[..], &["--json"]].concat());
    assert_eq!(object.stderr, "");
    let object = object.json();
    assert_eq!(object["prompt_tokens"], 1 + 6);
    let pieces = pieces();
    let text: String =
        ids(&object["tokens"]).iter().map(|id| pieces[*id as usize].replace('▁', " ")).collect();
    assert_eq!(object["text"], text);

    let streamed = generate(folder.path(), &args);
    assert!(
        streamed.stderr.starts_with("prompt 7 tokens, ") && streamed.stderr.ends_with('\n'),
        "{streamed:?}"
    );
    assert_eq!(streamed.stderr.lines().count(), 1, "{streamed:?}");
    assert_eq!(streamed.text(), text + "\n");
}

#[test]
fn a_stop_string_over_several_tokens_ends_the_text_before_it() {
    let folder = with_tokenizer();
    let prompt = list(&expected("generate_prompt", u32::from_le_bytes));
    let args = ["--tokens", &prompt, "--max-tokens", "30"];
    let whole = generate(folder.path(), &[&args[..], &["--json"]].concat()).json();
    let whole_text = whole["text"].as_str().unwrap();
    let pieces = pieces();
    for (from, to) in [(0, 2), (3, 5), (8, 13), (20, 30)] {
        let tokens = &ids(&whole["tokens"])[from..to];
        let stop: String = tokens.iter().map(|id| pieces[*id as usize].replace('▁', " ")).collect();
        let expected = &whole_text[..whole_text.find(&stop).unwrap()];
        let args = [&args[..], &["--stop", "never said", "--stop", &stop]].concat();
        let object = generate(folder.path(), &[&args[..], &["--json"]].concat()).json();
        assert_eq!(object["text"], expected, "{stop:?}");
        assert_eq!(object["finish_reason"], "stop", "{stop:?}");
        assert_eq!(generate(folder.path(), &args).text(), format!("{expected}\n"), "{stop:?}");
    }
}

#[test]
fn a_seed_repeats_and_seeds_differ() {
    let tokens = |seed: &[&str]| {
        let args = ["--tokens", "2,5", "--max-tokens", "12", "--temp", "1", "--json"];
        ids(&generate(&tiny(), &[&args[..], seed].concat()).json()["tokens"])
    };
    let first = tokens(&["--seed", "1"]);
    assert_eq!(first, tokens(&["--seed", "1"]));
    let others = [&["--seed", "2"][..], &["--seed", "3"], &[]];
    assert!(others.iter().all(|seed| tokens(seed) != first));
}

#[test]
fn filters_and_penalties_take_the_values_of_their_ranges() {
    let greedy =
        ids(&generate(&tiny(), &["--tokens", "2,5", "--max-tokens", "8", "--json"]).json()["tokens"]);
    let cases: [(&[&str], bool); 7] = [
        (&["--temp", "3", "--top-k", "1"], true),
        (&["--temp", "3", "--top-p", "1e-9"], true),
        (&["--temp", "3", "--min-p", "1"], true),
        (&["--repetition-penalty", "9", "--repetition-context-size", "0"], true),
        (&["--repetition-penalty", "9"], false),
        (&["--presence-penalty", "-50"], false),
        (&["--frequency-penalty", "50"], false),
    ];
    for (args, same) in cases {
        let args = [&["--tokens", "2,5", "--max-tokens", "8", "--json"], args].concat();
        let tokens = ids(&generate(&tiny(), &args).json()["tokens"]);
        assert_eq!(tokens == greedy, same, "{args:?} gave {tokens:?}, greedy is {greedy:?}");
    }
}

#[test]
fn prompts_from_files_and_from_stdin_are_those_of_the_option() {
    let folder = with_tokenizer();
    let path = folder.path().join("prompt.txt");
    fs::write(&path, "abc d").unwrap();
    let model = folder.path().to_str().unwrap();
    let run = |prompt: [&str; 2], stdin: &str| {
        let args = ["generate", "--model", model, "--max-tokens", "4", "--json", prompt[0], prompt[1]];
        let answer = mlx(&args, stdin).json();
        (answer["prompt_tokens"].clone(), answer["tokens"].clone())
    };
    let inline = run(["--prompt", "abc d"], "");
    assert_eq!(inline.0, 4);
    assert_eq!(run(["--prompt-file", path.to_str().unwrap()], ""), inline);
    assert_eq!(run(["--prompt-file", "-"], "abc d"), inline);
}

#[test]
fn a_chat_template_goes_round_the_prompt_unless_raw() {
    let folder = with_tokenizer();
    let template = "{% for m in messages %}<turn>{{ m.content }}<turn>{% endfor %}{% if add_generation_prompt %}:{% endif %}";
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let cases: [(&[&str], Vec<u32>); 4] = [
        (&["--prompt", "abc"], vec![BOS, TURN, id("abc"), TURN, id(":")]),
        (&["--prompt", "abc", "--raw"], vec![BOS, id("abc")]),
        // A control token that a person spells is text, with the template and without it.
        (
            &["--prompt", "<turn>"],
            [&[BOS, TURN][..], &["<", "t", "u", "r", "n", ">"].map(id), &[TURN, id(":")]].concat(),
        ),
        (&["--prompt", "<turn>", "--raw"], [&[BOS][..], &["<", "t", "u", "r", "n", ">"].map(id)].concat()),
    ];
    for (args, tokens) in cases {
        let answer = generate(folder.path(), &[args, &["--max-tokens", "6", "--json"]].concat()).json();
        let same =
            generate(folder.path(), &["--tokens", &list(&tokens), "--max-tokens", "6", "--json"]).json();
        assert_eq!(answer["prompt_tokens"], tokens.len(), "{args:?}");
        assert_eq!(answer["tokens"], same["tokens"], "{args:?}");
    }
}

#[test]
fn a_reader_that_leaves_ends_the_run_quietly() {
    let folder = with_tokenizer();
    let model = folder.path().to_str().unwrap();
    // The reference goes on for 30 tokens at least.
    let prompt = list(&expected("generate_prompt", u32::from_le_bytes));
    let args = ["generate", "--model", model, "--tokens", &prompt, "--max-tokens", "400"];
    let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    // No error, and no metrics either: the rest of the text was not made.
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
