//! `mlx info`.

use std::fs;

use serde_json::{Value, json};

use crate::support::{command, mlx, tiny, with_tokenizer};

#[test]
fn a_checkpoint_is_described() {
    let folder = with_tokenizer();
    let path = folder.path().to_str().unwrap();
    let described = mlx(&["info", "--model", path, "--json"], "").json();
    let expected = json!({
        "path": path, "format": "safetensors", "model_type": "gemma3_text", "supported": true,
        "quantization": null, "dtype": "float32", "layers": 8, "hidden_size": 32, "attention_heads": 4,
        "key_value_heads": 2, "head_dim": 16, "vocab_size": 96, "context_len": 512,
        "sliding_window": {"size": 8, "layers": 7}, "head": "tied", "chat_template": false, "eos_ids": [1],
        "tokenizer": {"kind": "BPE, in tokenizer.json", "vocab_size": 352, "error": null},
        "kv_bytes_per_token": 2048, "kv_bytes_at_context": 145_408,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&described[key], value, "{key} in {described}");
    }
    let file = fs::metadata(tiny().join("model.safetensors")).unwrap().len();
    assert_eq!(described["file_bytes"], file);
    // Every weight is a float32.
    let parameters = described["parameters"].as_u64().unwrap();
    assert_eq!(described["load_bytes"], parameters * 4);
    assert_eq!(described["stored_as"][0]["bytes"], parameters * 4);

    let text = mlx(&["info", "--model", path], "").text();
    for line in [
        "architecture       gemma3_text\n",
        "supported          yes\n",
        "sliding window     8, in 7 layers\n",
        "output head        the embeddings\n",
        "tokenizer          BPE, in tokenizer.json, 352 ids\n",
        "keys and values    2.0 kB a token, 145.4 kB with the context full\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn what_mlx_cannot_run_is_described_with_the_reason() {
    let folder = with_tokenizer();
    let config = folder.path().join("config.json");
    let mut changed: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    changed["model_type"] = "mamba9\n".into();
    fs::write(&config, changed.to_string()).unwrap();
    fs::write(folder.path().join("tokenizer.json"), "{\"model\": {\"type\": \"Unigram\"}}").unwrap();
    let path = folder.path().to_str().unwrap();

    let described = mlx(&["info", "--model", path, "--json"], "").json();
    assert_eq!((&described["supported"], &described["layers"]), (&json!(false), &json!(8)));
    assert!(described["unsupported"].as_str().unwrap().contains("gemma3_text"), "{described}");
    assert!(described["tokenizer"]["error"].as_str().unwrap().contains("tokenizer.json"), "{described}");
    assert_eq!(described["chat_template"], json!(null));

    let text = mlx(&["info", "--model", path], "").text();
    assert!(text.contains("architecture       mamba9\u{FFFD}\n"), "{text}");
    assert!(
        text.contains("supported          no: ") && text.contains("tokenizer          cannot be used: "),
        "{text}"
    );
}

#[test]
fn no_weights_are_loaded() {
    // The header says what the weights would be; the file has no bytes behind it but holes.
    let folder = with_tokenizer();
    let path = folder.path().join("model.safetensors");
    let shape = [1_000_000u64, 1_000_000];
    let tensor = json!({"dtype": "F32", "shape": shape, "data_offsets": [0, 4_000_000_000_000u64]});
    let header = json!({"model.embed_tokens.weight": tensor}).to_string();
    fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()).unwrap();
    let whole = 8 + header.len() as u64 + 4_000_000_000_000;
    let sparse = fs::File::options().write(true).open(&path).and_then(|file| file.set_len(whole));
    if sparse.is_err() {
        // A file system without files of that size has nothing to show here.
        return;
    }
    let described = mlx(&["info", "--model", folder.path().to_str().unwrap(), "--json"], "").json();
    assert_eq!(described["parameters"], 1_000_000_000_000u64);
    assert_eq!(described["load_bytes"], 4_000_000_000_000u64);
}

#[test]
fn a_hub_that_is_asked_in_vain_is_named() {
    let run = |variables: &[(&str, &str)]| {
        let mut command = command(&["info", "--model", "org/name"]);
        command.envs(variables.iter().copied()).env("HF_HOME", "/nonexistent");
        let output = command.output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        String::from_utf8(output.stderr).unwrap()
    };
    let stderr = run(&[]);
    assert!(stderr.starts_with("mlx: fetching org/name: HF_HUB_OFFLINE is set"), "{stderr}");
    assert!(
        stderr.contains("no folder of that name is here either, and the packaged models are"),
        "{stderr}"
    );
    let stderr =
        run(&[("HF_HUB_OFFLINE", "0"), ("HF_ENDPOINT", "http://127.0.0.1:9"), ("NO_PROXY", "127.0.0.1")]);
    assert!(stderr.contains("127.0.0.1 refuses the connection") && stderr.lines().count() == 1, "{stderr}");
    let stderr = run(&[("HF_HUB_OFFLINE", "0"), ("HF_ENDPOINT", "here")]);
    assert!(stderr.starts_with("mlx: HF_ENDPOINT: is \"here\""), "{stderr}");
}
