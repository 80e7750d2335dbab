//! `mlx finetune`, `mlx fuse` and `--adapter`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{assert_refused, command, mlx, read, with_tokenizer};

/// A folder of examples for the model of [`with_tokenizer`].
fn examples() -> TempDir {
    let folder = TempDir::new().unwrap();
    let line = |prompt: &str, completion: &str| {
        format!("{}\n", serde_json::json!({"prompt": prompt, "completion": completion}))
    };
    let train = [
        ("one and", "two"),
        ("three", "four or five"),
        ("a b c", "d"),
        ("long lines of words", "are long"),
        ("x", "y z"),
        ("up", "down"),
    ];
    fs::write(folder.path().join("train.jsonl"), train.map(|(p, c)| line(p, c)).concat()).unwrap();
    fs::write(folder.path().join("valid.jsonl"), line("one", "two") + &line("four", "five")).unwrap();
    folder
}

fn arguments<'a>(model: &'a TempDir, data: &'a TempDir, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let text = |path: &'a Path| path.to_str().unwrap();
    let mut all =
        vec!["finetune", "--device", "cpu", "--model", text(model.path()), "--data", text(data.path())];
    all.extend([
        "--adapter-out",
        text(out),
        "--batch-size",
        "2",
        "--lr",
        "0.01",
        "--lora-rank",
        "4",
        "--json",
    ]);
    all.extend(["--lora-dropout", "0.1"]);
    all.extend(more);
    all
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn files(folder: &Path) -> [Vec<u8>; 2] {
    ["adapters.safetensors", "training_state.safetensors"].map(|name| fs::read(folder.join(name)).unwrap())
}

#[test]
fn a_run_writes_an_adapter_that_the_other_commands_take() {
    let (model, data, work) = (with_tokenizer(), examples(), TempDir::new().unwrap());
    let out = work.path().join("adapter");
    let run = mlx(&arguments(&model, &data, &out, &["--iters", "30", "--mask-prompt"]), "");
    assert!(run.stderr.contains("train.jsonl: 6 rows") && run.stderr.contains("trained: "), "{run:?}");
    let steps = lines(&run.text());
    let numbers: Vec<u64> = steps.iter().map(|step| step["step"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=30).collect::<Vec<_>>());
    for step in &steps {
        for field in ["loss", "lr", "tokens_per_sec", "grad_norm"] {
            assert!(step[field].as_f64().is_some_and(|number| number > 0.0), "{field}: {step}");
        }
    }
    let before = steps[0]["valid_loss_before"].as_f64().unwrap();
    assert!(steps[29]["valid_loss"].as_f64().unwrap().is_finite() && before.is_finite());
    let mean = |steps: &[Value]| steps.iter().map(|step| step["loss"].as_f64().unwrap()).sum::<f64>();
    assert!(mean(&steps[27..]) < 0.7 * mean(&steps[..3]), "{steps:?}");
    assert!(fs::read_to_string(out.join("loss.svg")).unwrap().starts_with("<svg "));

    let (model_path, adapter) = (model.path().to_str().unwrap(), out.to_str().unwrap());
    let logits = |name: &str, model: &str, more: &[&str]| {
        let file = work.path().join(name);
        let mut all = vec!["logits", "--device", "cpu", "--model", model, "--tokens", "2,5,9", "--out"];
        all.push(file.to_str().unwrap());
        all.extend(more);
        mlx(&all, "").text();
        read(&file, "logits", f32::from_le_bytes)
    };
    let plain = logits("plain", model_path, &[]);
    let adapted = logits("adapted", model_path, &["--adapter", adapter]);
    assert_ne!(plain, adapted);

    let fused = work.path().join("fused");
    let fused_path = fused.to_str().unwrap();
    let run = mlx(&["fuse", "--model", model_path, "--adapter", adapter, "--out", fused_path], "");
    assert!(run.stderr.contains("arrays changed"), "{run:?}");
    run.text();
    let whole = logits("whole", fused_path, &[]);
    let worst = whole.iter().zip(&adapted).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(worst < 1e-4, "{worst}");

    #[cfg(feature = "mlx-backend")]
    {
        let generate = |more: &[&str]| {
            let mut all = vec!["generate", "--device", "cpu", "--model", model_path, "--raw", "--json"];
            all.extend(["--max-tokens", "4", "--prompt", "one and"]);
            all.extend(more);
            mlx(&all, "").json()["tokens"].clone()
        };
        assert_ne!(generate(&[]), generate(&["--adapter", adapter]));
        let all = ["generate", "--model", model_path, "--prompt", "a", "--adapter", model_path];
        assert_refused(&mlx(&all, ""), &["adapter_config.json"]);
    }

    let text = work.path().join("text");
    fs::write(&text, "one and two").unwrap();
    let perplexity = |more: &[&str]| {
        let mut all = vec!["perplexity", "--device", "cpu", "--json", "--model", model_path, "--text-file"];
        all.push(text.to_str().unwrap());
        all.extend(more);
        mlx(&all, "").json()["perplexity"].as_f64().unwrap()
    };
    assert_ne!(perplexity(&[]), perplexity(&["--adapter", adapter]));
}

/// Runs until `count` lines are there, and kills the run in the middle of what it does next.
fn killed_after(args: &[&str], count: usize) -> Vec<Value> {
    let mut command = command(args);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let seen = out.lines().take(count).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    seen
}

#[test]
fn a_run_that_is_killed_goes_on_to_the_same_losses_and_the_same_bytes() {
    let (model, data, work) = (with_tokenizer(), examples(), TempDir::new().unwrap());
    let whole = work.path().join("whole");
    let more = ["--iters", "24", "--save-every", "5", "--schedule", "cosine", "--warmup", "4"];
    let losses = |steps: &[Value]| -> Vec<(u64, f64)> {
        steps.iter().map(|s| (s["step"].as_u64().unwrap(), s["loss"].as_f64().unwrap())).collect()
    };
    let expected = losses(&lines(&mlx(&arguments(&model, &data, &whole, &more), "").text()));
    assert_eq!(expected.len(), 24);
    for count in [0, 1, 7, 11] {
        let out = work.path().join(format!("killed-{count}"));
        let args = arguments(&model, &data, &out, &more);
        let seen = losses(&killed_after(&args, count));
        assert_eq!(seen, expected[..count]);
        let resumed = arguments(&model, &data, &out, &[&more[..], &["--resume"]].concat());
        let rest = losses(&lines(&mlx(&resumed, "").text()));
        assert_eq!(rest, expected[24 - rest.len()..], "killed after {count}");
        assert!(rest.len() <= 24 - count + 5, "more is lost than since the last state");
        assert!(files(&out) == files(&whole), "killed after {count}");
    }
}

#[test]
fn what_cannot_be_done_is_told_before_anything_is_written() {
    let (model, data, work) = (with_tokenizer(), examples(), TempDir::new().unwrap());
    let out = work.path().join("adapter");
    let empty = TempDir::new().unwrap();
    let refused = |args: &[&str], parts: &[&str]| {
        let run = mlx(args, "");
        assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""), "{run:?}");
        let last = run.stderr.lines().last().unwrap();
        for part in parts {
            assert!(last.starts_with("mlx: ") && last.contains(part), "{part:?} in {run:?}");
        }
    };
    assert_refused(&mlx(&arguments(&model, &empty, &out, &[]), ""), &["--data", "no train.jsonl"]);
    refused(
        &arguments(&model, &data, &out, &["--lora-targets", "q_proj,nothing"]),
        &["\"nothing\"", "self_attn.q_proj"],
    );
    refused(&arguments(&model, &data, &out, &["--lora-layers", "99"]), &["lora layers: 99 of a model of 8"]);
    refused(
        &arguments(&model, &data, &out, &["--max-seq-length", "1"]),
        &["train.jsonl: no row in it counts"],
    );
    assert!(!out.exists());
    fs::write(data.path().join("train.jsonl"), "{\"text\": \"a\"}\n{\"texts\": \"a\"}\n").unwrap();
    refused(&arguments(&model, &data, &out, &[]), &["train.jsonl:2: has [texts]"]);
    assert!(!out.exists());

    let data = examples();
    mlx(&arguments(&model, &data, &out, &["--iters", "2"]), "").text();
    let before = files(&out);
    refused(
        &arguments(&model, &data, &out, &["--iters", "4"]),
        &["--adapter-out", "--resume goes on with it"],
    );
    refused(
        &arguments(&model, &data, &out, &["--iters", "4", "--resume", "--seed", "9"]),
        &["seed 0, and this one has 9"],
    );
    assert!(files(&out) == before, "the refused runs changed something");

    // With a constant rate a run may become longer, and is the run that was so long from the beginning.
    let long = work.path().join("long");
    mlx(&arguments(&model, &data, &long, &["--iters", "4"]), "").text();
    let rest = mlx(&arguments(&model, &data, &out, &["--iters", "4", "--resume"]), "").text();
    assert_eq!(lines(&rest).len(), 2);
    // The state also knows that the first run looked at valid.jsonl at its end.
    assert!(files(&out)[0] == files(&long)[0], "the adapters differ");

    let nowhere: PathBuf = work.path().join("nowhere");
    let file = work.path().join("logits");
    let args = ["logits", "--model", model.path().to_str().unwrap(), "--tokens", "1", "--adapter"];
    let rest = [nowhere.to_str().unwrap(), "--out", file.to_str().unwrap()];
    assert_refused(&mlx(&[&args[..], &rest].concat(), ""), &["nowhere: no such folder"]);
}
