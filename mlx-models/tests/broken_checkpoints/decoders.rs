//! Configurations and tensors of the architectures that share a decoder.

use mlx_core::Array;
use mlx_models::{Checkpoint, models};
use serde_json::{Value, json};

use crate::assert_refused;
use crate::damage::Draft;

/// A checkpoint, a field, its damaged value, words of the error.
type Case = (&'static str, &'static str, Value, &'static [&'static str]);

const EXPERT: &str = "model.layers.0.mlp.experts.3.up_proj.weight";
const HEAD: &str = "lm_head.weight";
const EMBED: &str = "model.embed_tokens.weight";

fn cases() -> Vec<Case> {
    let yarn = |key: &str, value: Value| {
        let mut rope = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
        rope[key] = value;
        rope
    };
    vec![
        ("tiny/llama3", "hidden_act", json!("gelu"), &["hidden_act", "gelu", "silu"]),
        ("tiny/llama3", "partial_rotary_factor", json!(0.5), &["partial_rotary_factor"]),
        (
            "tiny/llama3",
            "rope_scaling",
            json!({"rope_type": "dynamic", "factor": 2}),
            &["rope_scaling", "dynamic"],
        ),
        ("tiny/llama3", "rope_scaling", json!({"rope_type": "longrope"}), &["rope_scaling", "longrope"]),
        ("tiny/llama3", "rope_scaling", json!({"rope_type": "llama3", "factor": 8}), &["low_freq_factor"]),
        ("tiny/llama3", "rope_scaling", json!({"rope_type": "linear"}), &["rope_scaling", "without factor"]),
        ("tiny/llama3", "rope_scaling", json!([1, 2]), &["rope_scaling[0]"]),
        (
            "tiny/llama3",
            "rope_scaling",
            json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 2, "high_freq_factor": 2}),
            &["low_freq_factor", "high_freq_factor"],
        ),
        (
            "tiny/llama3",
            "rope_parameters",
            json!({"rope_type": "default"}),
            &["rope_scaling and rope_parameters"],
        ),
        ("tiny/qwen3", "head_dim", json!(1 << 20), &["head_dim is 1048576"]),
        (
            "tiny/qwen3-fp8",
            "quantization_config",
            json!({"weight_block_size": [0, 24]}),
            &["weight_block_size [0,24]"],
        ),
        ("tiny/qwen3-fp8", "quantization_config", json!({"weight_block_size": 7}), &["weight_block_size 7"]),
        // What is written anew holds bytes in the place of 8-bit floats.
        (
            "tiny/qwen3-fp8",
            "quantization_config",
            json!({}),
            &["q_proj.weight holds uint8", "weight_scale_inv is there"],
        ),
        ("tiny/qwen2-yarn", "rope_scaling", yarn("factor", json!(0)), &["rope factor is 0"]),
        ("tiny/qwen2-yarn", "rope_scaling", yarn("factor", json!(-4)), &["rope factor is -4"]),
        ("tiny/qwen2-yarn", "rope_scaling", yarn("beta_fast", json!(-1)), &["beta_fast is -1"]),
        (
            "tiny/qwen2-yarn",
            "rope_scaling",
            yarn("partial_rotary_factor", json!(0.5)),
            &["partial_rotary_factor"],
        ),
        ("tiny/qwen2-yarn", "rope_theta", json!(1), &["rope_theta is 1"]),
        ("tiny/qwen2-yarn", "rope_theta", json!(0), &["rope_theta is 0"]),
        ("tiny/qwen2-yarn", "layer_types", json!(["full_attention"]), &["layer_types has 1 entries"]),
        ("tiny/qwen2-yarn", "layer_types", json!(["full_attention", "chunked", "x"]), &["layer_types[1]"]),
        ("tiny/qwen2-yarn", "sliding_window", json!(0), &["sliding_window is 0"]),
        (
            "tiny/qwen3",
            "layer_types",
            json!(vec!["sliding_attention"; 3]),
            &["layer_types", "use_sliding_window"],
        ),
        ("tiny/qwen3", "num_key_value_heads", json!(3), &["num_attention_heads 4", "num_key_value_heads 3"]),
        ("tiny/qwen3", "head_dim", json!(15), &["head_dim is 15", "even"]),
        ("tiny/qwen3", "hidden_size", json!(null), &["hidden_size"]),
        ("tiny/qwen3", "num_hidden_layers", json!(1_000_000_000), &["num_hidden_layers is 1000000000"]),
        ("tiny/llama3", "num_hidden_layers", json!(4096), &["layers.3.", "missing"]),
        ("tiny/qwen3-moe", "num_experts", json!(1 << 24), &["experts.6.gate_proj.weight", "missing"]),
        ("tiny/qwen3-moe", "num_experts", json!(1_u64 << 40), &["num_experts is 1099511627776"]),
        ("tiny/qwen3-moe", "num_experts", json!(5), &["gate.weight", "[6, 32]", "experts.5.", "no place"]),
        ("tiny/qwen3-moe", "num_experts_per_tok", json!(7), &["num_experts_per_tok 7", "num_experts 6"]),
        ("tiny/qwen3-moe", "num_experts_per_tok", json!(0), &["num_experts_per_tok is 0"]),
        ("tiny/qwen3-moe", "moe_intermediate_size", json!(null), &["moe_intermediate_size is missing"]),
        ("tiny/qwen3-moe", "decoder_sparse_step", json!(0), &["decoder_sparse_step is 0"]),
        ("tiny/qwen3-moe", "mlp_only_layers", json!([0, 1]), &["layers.0.mlp.up_proj.weight", "missing"]),
    ]
}

#[test]
fn a_bad_field_is_named() {
    for (checkpoint, field, value, words) in cases() {
        let mut draft = Draft::of(checkpoint);
        let shown = format!("{checkpoint}: {field} = {value}");
        draft.config[field] = value;
        assert_refused(&shown, draft.write().path(), words);
    }
}

#[test]
fn experts_that_are_missing_or_misshapen_are_named() {
    let mut draft = Draft::of("tiny/qwen3-moe");
    draft.tensors.remove(EXPERT).unwrap();
    assert_refused("missing", draft.write().path(), &[EXPERT, "missing"]);
    let mut draft = Draft::of("tiny/qwen3-moe");
    draft.tensor(EXPERT).shape = vec![16, 64];
    assert_refused("misshapen", draft.write().path(), &[EXPERT, "[16, 64]", "[32, 32]"]);
    let mut draft = Draft::of("tiny/qwen3-moe-fused");
    draft.tensors.remove("model.layers.2.mlp.experts.down_proj").unwrap();
    assert_refused("fused", draft.write().path(), &["layers.2.mlp", "down_proj", "missing"]);
}

fn logits(draft: &Draft) -> Vec<f32> {
    let folder = draft.write();
    let model = models::load(&Checkpoint::open(folder.path()).unwrap(), None).unwrap();
    let tokens = Array::from_slice(&[2, 17, 5, 60], &[1, 4]).unwrap();
    let hidden = model.forward(&tokens, &mut model.make_caches()).unwrap();
    model.logits(&hidden).unwrap().as_type(mlx_core::DType::F32).unwrap().to_vec().unwrap()
}

#[test]
fn the_head_is_the_tensor_if_there_is_one_and_else_the_embeddings_if_they_are_tied() {
    let untied = Draft::of("tiny/qwen3");
    let own = logits(&untied);
    // A head that is there is used, whatever the flag.
    let mut flagged = untied.clone();
    flagged.config["tie_word_embeddings"] = json!(true);
    assert_eq!(logits(&flagged), own);
    // Without one, the flag decides.
    let mut headless = untied.clone();
    headless.tensors.remove(HEAD).unwrap();
    assert_refused("no head", headless.write().path(), &[HEAD, "missing"]);
    headless.config["tie_word_embeddings"] = json!(true);
    let tied = logits(&headless);
    assert_ne!(tied, own);
    // A second copy of the embeddings is one with them.
    let mut twice = headless.clone();
    let embeddings = twice.tensor(EMBED).clone();
    twice.tensors.insert(HEAD.to_owned(), embeddings);
    assert_eq!(logits(&twice), tied);
    twice.config["tie_word_embeddings"] = json!(false);
    assert_eq!(logits(&twice), tied);
}
