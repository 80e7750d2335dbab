//! Configurations that are not JSON, not of this architecture, or absurd.

use std::fs;

use serde_json::{Value, json};

use crate::assert_refused;
use crate::damage::Draft;

/// A field of `config.json`, by JSON pointer; what to put there; what the message must say beside `config.json`.
fn fields() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let mut cases = vec![
        ("/model_type", json!("gpt5"), vec!["model_type", "gpt5", "gemma3_text"]),
        ("/model_type", json!("é".repeat(1 << 20)), vec!["model_type", "éé", "gemma3_text"]),
        ("/model_type", json!(""), vec!["\"\""]),
        ("/model_type", json!(7), vec!["config.json", "model_type"]),
        ("/model_type", json!("../../etc\n"), vec!["etc"]),
        ("/vocab_size", json!("96"), vec!["vocab_size", "string"]),
        ("/vocab_size", json!({}), vec!["vocab_size", "map"]),
        ("/hidden_size", json!([32]), vec!["hidden_size", "sequence"]),
        ("/num_hidden_layers", json!(1_000_000_000), vec!["num_hidden_layers", "1000000000"]),
        ("/num_attention_heads", json!(3), vec!["num_attention_heads 3", "num_key_value_heads 2"]),
        ("/head_dim", json!(15), vec!["head_dim", "even"]),
        ("/head_dim", json!(1 << 23), vec!["head_dim is 8388608", "16384"]),
        (
            "/num_attention_heads",
            json!(1 << 21),
            vec!["head_dim 16", "num_attention_heads 2097152", "16777216"],
        ),
        ("/layer_types", json!(["full_attention"]), vec!["layer_types", "1 entries", "num_hidden_layers 8"]),
        ("/layer_types", json!([]), vec!["layer_types", "0 entries"]),
        ("/layer_types", json!(vec!["chunked_attention"; 8]), vec!["layer_types[0]", "chunked_attention"]),
        (
            "/layer_types",
            json!(vec!["x".repeat(1 << 18); 8]),
            vec!["layer_types[0]", "xxx", "expected", "sliding_attention"],
        ),
        ("/layer_types", json!("full_attention"), vec!["layer_types"]),
        ("/rope_scaling", json!({"rope_type": "longrope", "factor": 4}), vec!["rope_scaling", "longrope"]),
        (
            "/rope_scaling",
            json!({"rope_type": "llama3", "factor": 4}),
            vec!["rope_scaling", "low_freq_factor"],
        ),
        ("/rope_scaling", json!({"type": "dynamic", "factor": 4}), vec!["rope_scaling", "dynamic"]),
        ("/rope_scaling", json!({"type": "linear"}), vec!["rope_scaling", "factor"]),
        ("/rope_scaling", json!({"type": "linear", "factor": 0}), vec!["rope factor"]),
        ("/rope_scaling", json!({"type": "linear", "factor": "8"}), vec!["rope_scaling.factor", "string"]),
        ("/rope_scaling", json!(8), vec!["rope_scaling"]),
        ("/rope_parameters", json!({}), vec!["rope_parameters", "sliding_attention"]),
        ("/rope_parameters", json!({"rope_theta": 1e4}), vec!["rope_parameters", "sliding_attention"]),
        (
            "/rope_parameters",
            json!({"sliding_attention": {"rope_theta": "x"}, "full_attention": {}}),
            vec!["rope_parameters.sliding_attention.rope_theta"],
        ),
        ("/hidden_activation", json!("relu6"), vec!["hidden_activation", "relu6"]),
        ("/hidden_activation", json!("two\nlines"), vec!["hidden_activation", "lines"]),
        ("/attention_bias", json!(true), vec!["attention_bias"]),
        ("/attention_bias", json!("no"), vec!["attention_bias"]),
        ("/final_logit_softcapping", json!(30.0), vec!["final_logit_softcapping"]),
        ("/attn_logit_softcapping", json!(50), vec!["attn_logit_softcapping"]),
        ("/use_bidirectional_attention", json!(true), vec!["use_bidirectional_attention"]),
        ("/rms_norm_eps", json!(0), vec!["rms_norm_eps"]),
        ("/rms_norm_eps", json!(-1e-6), vec!["rms_norm_eps"]),
        ("/rms_norm_eps", json!("NaN"), vec!["rms_norm_eps"]),
        ("/rms_norm_eps", json!(1e300), vec!["rms_norm_eps"]),
        ("/rope_theta", json!(-1e4), vec!["rope_theta of full"]),
        ("/rope_local_base_freq", json!(0), vec!["rope_theta of sliding"]),
        ("/query_pre_attn_scalar", json!(1e39), vec!["query_pre_attn_scalar"]),
        ("/sliding_window_pattern", json!(0), vec!["sliding_window_pattern"]),
        ("/text_config", json!("gemma3_text"), vec!["text_config"]),
        ("/text_config", json!(null), vec!["text_config"]),
        ("/text_config", json!({"vocab_size": -1}), vec!["vocab_size"]),
    ];
    for size in [
        "/vocab_size",
        "/hidden_size",
        "/intermediate_size",
        "/num_hidden_layers",
        "/num_attention_heads",
        "/num_key_value_heads",
        "/head_dim",
        "/sliding_window",
        "/max_position_embeddings",
    ] {
        for absurd in
            [json!(0), json!(-3), json!(1e30), json!(u64::MAX), json!(1_u64 << 31), json!(null), json!(2.5)]
        {
            cases.push((size, absurd, vec![&size[1..]]));
        }
    }
    cases
}

#[test]
fn a_bad_field_is_named() {
    for (field, value, mut words) in fields() {
        let mut draft = Draft::of("gemma3-classic");
        let shown = format!("{field} = {value}");
        draft.config[&field[1..]] = value;
        words.push("config.json");
        assert_refused(&shown, draft.write().path(), &words);
    }
}

#[test]
fn a_size_that_contradicts_the_tensors_names_a_tensor() {
    for (field, value) in [
        ("vocab_size", 97),
        ("hidden_size", 64),
        ("intermediate_size", 128),
        ("num_hidden_layers", 7),
        ("num_hidden_layers", 9),
        ("num_hidden_layers", 4096),
        ("num_attention_heads", 8),
        ("num_key_value_heads", 4),
        ("head_dim", 32),
        ("vocab_size", 1 << 24),
    ] {
        let mut draft = Draft::of("gemma3-classic");
        draft.config[field] = json!(value);
        assert_refused(&format!("{field} = {value}"), draft.write().path(), &["tensor", "model."]);
    }
}

#[test]
fn what_is_no_configuration_is_said_so() {
    let nested = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    let longest = format!("{{\"model_type\": \"{}\"}}", "x".repeat(9 << 20));
    let cases: [(&str, String, &[&str]); 14] = [
        ("empty", String::new(), &["not JSON"]),
        ("one brace", "{".into(), &["not JSON"]),
        ("text", "model_type: gemma3\n".into(), &["not JSON"]),
        ("NaN", r#"{"model_type": "gemma3_text", "rms_norm_eps": NaN}"#.into(), &["not JSON"]),
        (
            "infinite",
            r#"{"model_type": "gemma3_text", "rms_norm_eps": 1e400}"#.into(),
            &["not JSON", "range"],
        ),
        ("more after the end", r#"{"model_type": "gemma3_text"} {}"#.into(), &["not JSON", "trailing"]),
        ("deep lists", nested("[", "]"), &["not JSON", "recursion"]),
        ("deep maps", nested("{\"a\":", "}"), &["not JSON", "recursion"]),
        ("a list", "[]".into(), &["model_type"]),
        ("a number", "7".into(), &["model_type"]),
        ("null", "null".into(), &["model_type"]),
        ("no model type", "{}".into(), &["model_type"]),
        ("longer than any", longest, &["MiB"]),
        ("a NUL", "\0".repeat(64), &["not JSON"]),
    ];
    for (case, text, words) in cases {
        let folder = Draft::of("gemma3-classic").write();
        fs::write(folder.path().join("config.json"), text).unwrap();
        assert_refused(case, folder.path(), &[words, &["config.json"]].concat());
    }
    let folder = Draft::of("gemma3-classic").write();
    fs::write(folder.path().join("config.json"), [b'"', 0xff, b'"']).unwrap();
    assert_refused("not UTF-8", folder.path(), &["config.json", "not JSON"]);
}
