//! Failures: one line that names what is wrong, and the exit status.

use std::fs;

use tempfile::TempDir;

use crate::support::{assert_refused, command, mlx, tiny, with_tokenizer};

#[test]
#[cfg(feature = "mlx-backend")]
fn generate_names_what_it_cannot_use() {
    let tiny = tiny();
    let model = tiny.to_str().unwrap();
    let cases: &[(&[&str], &[&str])] = &[
        (&["--model", "/nowhere/model", "--tokens", "1"], &["/nowhere/model", "gemma-3-270m"]),
        (&["--tokens", "1"], &["HF_HUB_OFFLINE"]),
        (&["--model", "/dev/null", "--tokens", "1"], &["/dev/null"]),
        (&["--model", model, "--tokens", "95,96"], &["token id 96", "vocabulary"]),
        (&["--model", model, "--tokens", "4294967295"], &["token id 4294967295"]),
        (&["--model", model, "--prompt", "hi"], &[model, "tokenizer.json"]),
        (&["--model", model, "--tokens", "1", "--stop", "x"], &[model, "tokenizer.json"]),
        (&["--model", model, "--tokens", "1", "--stop", ""], &["stop is \"\""]),
        (&["--model", model, "--tokens", "1", "--top-p", "7"], &["top_p is 7"]),
        (&["--model", model, "--tokens", "1", "--top-p", "0"], &["top_p is 0"]),
        (&["--model", model, "--tokens", "1", "--min-p", "-1"], &["min_p is -1"]),
        (&["--model", model, "--tokens", "1", "--temp", "-1"], &["temperature is -1"]),
        (&["--model", model, "--tokens", "1", "--temp", "NaN"], &["temperature is NaN"]),
        (&["--model", model, "--tokens", "1", "--repetition-penalty", "0"], &["repetition_penalty is 0"]),
        (&["--model", model, "--tokens", "1", "--max-tokens", "0"], &["max_tokens is 0"]),
        (&["--model", model, "--prompt-file", "/nowhere/prompt"], &["/nowhere/prompt"]),
        (&["--model", model, "--prompt-file", "/"], &["/: "]),
        (&["--model", model, "--prompt-file", "-"], &["stdin: not UTF-8 text", "offset 2"]),
    ];
    for (args, parts) in cases {
        assert_refused(&mlx(&[&["generate"], *args].concat(), b"gr\xfcn"), parts);
    }
}

#[test]
#[cfg(feature = "mlx-backend")]
fn a_prompt_beyond_the_context_is_refused() {
    let tiny = tiny();
    let tokens = vec!["1"; 512].join(",");
    let run = mlx(&["generate", "--model", tiny.to_str().unwrap(), "--tokens", &tokens], "");
    assert_refused(&run, &["the prompt has 512 tokens", "holds 512"]);
}

#[test]
#[cfg(not(feature = "mlx-backend"))]
fn without_a_backend_generate_says_so() {
    let tiny = tiny();
    for device in [&[][..], &["--device", "cpu"], &["--device", "gpu"]] {
        let args = ["generate", "--model", tiny.to_str().unwrap(), "--tokens", "1"];
        assert_refused(&mlx(&[&args, device].concat(), ""), &["no backend is registered"]);
    }
}

#[test]
fn logits_names_what_it_cannot_use() {
    let tiny = tiny();
    let model = tiny.to_str().unwrap();
    let folder = TempDir::new().unwrap();
    let here = folder.path().to_str().unwrap();
    let out = folder.path().join("out.safetensors");
    let out = out.to_str().unwrap();
    let cases: &[(&[&str], &[&str])] = &[
        (&["--model", "/nowhere/model", "--tokens", "1", "--out", out], &["/nowhere/model"]),
        (&["--model", model, "--tokens", "1,96", "--out", out], &["--tokens: entry 2 is 96"]),
        (&["--model", model, "--tokens", "1", "--out", "/nowhere/out"], &["--out /nowhere/out"]),
        (&["--model", model, "--tokens", "1", "--out", here], &["is a folder"]),
    ];
    for (args, parts) in cases {
        assert_refused(&mlx(&[&["logits"], *args].concat(), ""), parts);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn bench_names_what_it_cannot_use() {
    let tiny = tiny();
    let model = tiny.to_str().unwrap();
    let cases: &[(&[&str], &[&str])] = &[
        (&["--model", "/nowhere/model"], &["/nowhere/model"]),
        (&["--model", model, "-p", "0", "-n", "0"], &["-p 0 -n 0"]),
        (&["--model", model, "-n", "0", "--batch", "2"], &["--batch 2"]),
        (&["--model", model, "-p", "513"], &["-p 513", "holds 512"]),
        (&["--model", model, "-p", "0", "-n", "513", "--json"], &["-n 513", "holds 512"]),
    ];
    for (args, parts) in cases {
        assert_refused(&mlx(&[&["bench"], *args].concat(), ""), parts);
    }
}

#[test]
fn kernels_that_nobody_knows_are_refused() {
    let output =
        command(&["tokenize", "--model", "none"]).env("RUST_MLX_CPU_KERNELS", "fsat").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("RUST_MLX_CPU_KERNELS is \"fsat\"; off, exact and fast are known"), "{stderr}");
}

#[test]
fn tokenize_names_what_it_cannot_use() {
    let (tiny, folder) = (tiny(), with_tokenizer());
    let (without, with) = (tiny.to_str().unwrap(), folder.path().to_str().unwrap());
    let cases: &[(&[&str], &[u8], &[&str])] = &[
        (&["--model", without], b"text", &["tokenizer.json"]),
        (&["--model", "/nowhere/model"], b"text", &["/nowhere/model"]),
        (&["--model", with], b"gr\xfcn", &["stdin: not UTF-8 text"]),
        (&["--model", with, "--decode"], b"{\"ids\":[1,352]}", &["tokenizer.json", "id 352"]),
        (&["--model", with, "--decode"], b"{\"ids\":[1,-1]}", &["stdin: ids[1] is -1"]),
        (&["--model", with, "--decode", "--json"], b"{\"ids\"", &["stdin: not JSON"]),
        (&["--model", with, "--decode"], b"1 2 three", &["stdin: entry 3 is `three`"]),
    ];
    for (args, stdin, parts) in cases {
        assert_refused(&mlx(&[&["tokenize"], *args].concat(), stdin), parts);
    }
}

#[test]
fn without_a_command_the_help_is_shown() {
    let run = mlx(&[], "");
    assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""), "{run:?}");
    assert!(run.stderr.contains("Usage: mlx <COMMAND>"), "{run:?}");
}

#[test]
fn command_lines_that_do_not_parse_are_usage_errors() {
    let cases: &[(&[&str], &str)] = &[
        (&["sing"], "sing"),
        (&["bench"], "--model"),
        (&["bench", "--model", "m", "-p", "-1"], "-1"),
        (&["bench", "--model", "m", "-n", "many"], "many"),
        (&["bench", "--model", "m", "-r", "0"], "-r"),
        (&["bench", "--model", "m", "--batch", "0"], "--batch"),
        (&["bench", "--model", "m", "--batch", "65536"], "--batch"),
        (&["bench", "--model", "m", "--temp", "1"], "--temp"),
        (&["generate"], "--prompt"),
        (&["generate", "--prompt", "a", "--tokens", "1"], "--tokens"),
        (&["generate", "--prompt", "a", "--prompt-file", "-"], "--prompt-file"),
        (&["generate", "--prompt", "a", "--speed", "9"], "--speed"),
        (&["generate", "--prompt", "a", "--max-tokens", "-1"], "-1"),
        (&["generate", "--prompt", "a", "--temp", "warm"], "warm"),
        (&["generate", "--prompt", "a", "--device", "tpu"], "tpu"),
        (&["generate", "--tokens", "1,,3"], "entry 2 is ``"),
        (&["generate", "--tokens", "-1"], "entry 1 is `-1`"),
        (&["logits", "--model", "m", "--tokens", "", "--out", "o"], "entry 1 is ``"),
        (&["logits", "--model", "m", "--tokens", "1"], "--out"),
        (&["render", "--model", "m"], "--messages"),
        (&["render", "--messages", "m"], "--model"),
        (&["render", "--model", "m", "--messages", "m", "--var", "a"], "NAME=VALUE"),
        (&["render", "--model", "m", "--messages", "m", "--var", "a b=1"], "`a b`"),
        (&["tokenize"], "--model"),
        (&["tokenize", "--model", "m", "--stream"], "--decode"),
        (&["tokenize", "--model", "m", "--decode", "--no-special"], "--no-special"),
    ];
    for (args, part) in cases {
        let run = mlx(args, "");
        assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""), "{args:?}: {run:?}");
        assert!(run.stderr.contains(part), "{args:?}: {run:?}");
        assert!(run.stderr.starts_with("mlx: ") && run.stderr.lines().count() == 1, "{args:?}: {run:?}");
    }
}
