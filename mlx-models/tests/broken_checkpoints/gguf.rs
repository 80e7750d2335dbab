//! GGUF files: one that is whole and gives the logits of the checkpoint it was made of, and what is broken about others.

use std::fs::File;

use mlx_core::Array;
use mlx_core::io::SafetensorsFile;

use crate::damage::data;
use crate::gguf_file::{ARRAY, F32, GgufDraft, I32, STRING, U32, array, string};
use crate::{assert_refused, load};

type Case = (&'static str, fn(&mut GgufDraft), &'static [&'static str]);

/// As in `gemma3_tiny.rs`.
const F32_TIGHT: f32 = 2e-4;

const Q: &str = "blk.2.attn_q.weight";
const NORM: &str = "blk.4.attn_norm.weight";
const EMBED: &str = "token_embd.weight";

const CASES: &[Case] = &[
    ("no architecture", |d| unset(d, "general.architecture"), &["general.architecture", "missing"]),
    (
        "another architecture",
        |d| d.set("general.architecture", STRING, string("mamba")),
        &["general.architecture", "mamba", "gemma3"],
    ),
    (
        "an architecture of two lines",
        |d| d.set("general.architecture", STRING, string("a\nb")),
        &["supported"],
    ),
    (
        "an architecture that is a number",
        |d| number(d, "general.architecture", 3),
        &["general.architecture", "u32"],
    ),
    (
        "a width in words",
        |d| d.set("gemma3.embedding_length", STRING, string("32")),
        &["embedding_length", "string"],
    ),
    (
        "a width that is a float",
        |d| d.set("gemma3.embedding_length", F32, vec![0; 4]),
        &["embedding_length", "f32"],
    ),
    (
        "a width below zero",
        |d| d.set("gemma3.embedding_length", I32, vec![255; 4]),
        &["embedding_length", "-1"],
    ),
    (
        "heads by layer",
        |d| d.set("gemma3.attention.head_count", ARRAY, array(U32, 1, [[4, 0, 0, 0]].iter())),
        &["head_count", "array of u32"],
    ),
    (
        "an epsilon that is a number",
        |d| number(d, "gemma3.attention.layer_norm_rms_epsilon", 1),
        &["epsilon", "u32"],
    ),
    ("no heads", |d| number(d, "gemma3.attention.head_count", 0), &["num_attention_heads"]),
    ("no key heads", |d| number(d, "gemma3.attention.head_count_kv", 0), &["num_key_value_heads"]),
    ("no layers", |d| number(d, "gemma3.block_count", 0), &["num_hidden_layers"]),
    ("a billion layers", |d| number(d, "gemma3.block_count", 1_000_000_000), &["num_hidden_layers"]),
    ("a layer too many", |d| number(d, "gemma3.block_count", 9), &["layers.8", "missing"]),
    ("a layer too few", |d| number(d, "gemma3.block_count", 7), &["blk.7", "no place"]),
    ("an odd head", |d| number(d, "gemma3.attention.key_length", 15), &["head_dim"]),
    ("a huge width", |d| number(d, "gemma3.embedding_length", u32::MAX), &["hidden_size"]),
    ("another width", |d| number(d, "gemma3.embedding_length", 64), &[EMBED, "[96, 32]", "[96, 64]"]),
    ("yarn", |d| d.set("gemma3.rope.scaling.type", STRING, string("yarn")), &["rope.scaling.type", "yarn"]),
    ("no projection", |d| remove(d, Q), &["layers.2.self_attn.q_proj.weight", "missing"]),
    ("no norm", |d| remove(d, NORM), &["layers.4.input_layernorm.weight", "missing"]),
    ("no embeddings", |d| remove(d, EMBED), &[EMBED, "missing"]),
    ("no tensors", |d| d.tensors.clear(), &[EMBED, "missing"]),
    (
        "a surplus tensor",
        |d| copy(d, NORM, "blk.4.attn_sinks.weight"),
        &["blk.4.attn_sinks.weight", "no place"],
    ),
    ("a surplus name of two lines", |d| copy(d, NORM, "a\nb"), &["no place"]),
    ("transposed", |d| tensor(d, Q).0.reverse(), &[Q, "[32, 64]", "[64, 32]"]),
    ("flat", |d| tensor(d, Q).0 = vec![2048], &[Q, "[2048]"]),
    ("three axes", |d| tensor(d, Q).0 = vec![32, 64, 1], &[Q, "[1, 64, 32]"]),
    ("a norm with two axes", |d| tensor(d, NORM).0 = vec![32, 1], &[NORM, "[1, 32]"]),
    ("integers", |d| tensor(d, Q).1 = 26, &[Q, "I32"]),
    ("an unknown type", |d| tensor(d, Q).1 = 99, &[Q, "99"]),
    ("a type that is not supported", |d| tensor(d, Q).1 = 20, &[Q, "IQ4_NL"]),
    ("a K-quant in short rows", |d| tensor(d, Q).1 = 12, &[Q, "Q4_K"]),
    ("embeddings without rows", |d| *tensor(d, EMBED) = (vec![32, 0], 0, Vec::new()), &["vocab_size is 0"]),
    ("no vocabulary", |d| unset(d, "tokenizer.ggml.tokens"), &["tokenizer.ggml.tokens", "missing"]),
    ("no kind of vocabulary", |d| unset(d, "tokenizer.ggml.model"), &["tokenizer.ggml.model", "missing"]),
    (
        "another kind of vocabulary",
        |d| d.set("tokenizer.ggml.model", STRING, string("t5")),
        &["tokenizer.ggml.model", "t5"],
    ),
    (
        "tokens that are numbers",
        |d| d.set("tokenizer.ggml.tokens", ARRAY, array(U32, 1, [[0; 4]].iter())),
        &["tokenizer.ggml.tokens", "array of u32"],
    ),
    ("no tokens", |d| d.set("tokenizer.ggml.tokens", ARRAY, array(STRING, 0, [[]; 0].iter())), &["0 tokens"]),
    (
        "scores for fewer tokens",
        |d| d.set("tokenizer.ggml.scores", ARRAY, array(F32, 2, [[0; 8]].iter())),
        &["96 tokens", "2 scores"],
    ),
    (
        "types for fewer tokens",
        |d| d.set("tokenizer.ggml.token_type", ARRAY, array(I32, 2, [[0; 8]].iter())),
        &["96 tokens", "2 types"],
    ),
    (
        "an id outside the vocabulary",
        |d| number(d, "tokenizer.ggml.bos_token_id", 4_000_000_000),
        &["4000000000"],
    ),
    (
        "a template that does not parse",
        |d| d.set("tokenizer.chat_template", STRING, string("{% if\n%}\n{{")),
        &["template"],
    ),
    (
        "a template that is a number",
        |d| number(d, "tokenizer.chat_template", 1),
        &["tokenizer.chat_template", "u32"],
    ),
];

fn unset(draft: &mut GgufDraft, key: &str) {
    draft.pairs.remove(key).unwrap();
}

fn number(draft: &mut GgufDraft, key: &str, value: u32) {
    draft.set(key, U32, value.to_le_bytes().to_vec());
}

fn tensor<'d>(draft: &'d mut GgufDraft, name: &str) -> &'d mut crate::gguf_file::GgmlTensor {
    draft.tensors.get_mut(name).unwrap()
}

fn remove(draft: &mut GgufDraft, name: &str) {
    draft.tensors.remove(name).unwrap();
}

fn copy(draft: &mut GgufDraft, from: &str, to: &str) {
    let tensor = draft.tensors[from].clone();
    draft.tensors.insert(to.to_owned(), tensor);
}

#[test]
fn damage_is_named() {
    for (case, damage, words) in CASES {
        let mut draft = GgufDraft::classic();
        damage(&mut draft);
        let (_folder, path) = draft.write();
        assert_refused(case, &path, words);
    }
}

#[test]
fn each_key_that_is_missing_is_named() {
    // What may be missing: the bases of the rotation have defaults, and ids their roles.
    let optional = ["rope.freq", "value_length", "_token_id", "scores", "token_type"];
    for key in GgufDraft::classic().pairs.keys() {
        if optional.iter().any(|part| key.contains(part)) {
            continue;
        }
        let mut draft = GgufDraft::classic();
        unset(&mut draft, key);
        let (_folder, path) = draft.write();
        assert_refused(key, &path, &[key, "missing"]);
    }
}

/// The formats of ggml that have scales: number, and bytes of a block of 32 or 256.
const SCALED: [(&str, u32, u64, usize); 10] = [
    ("Q4_0", 2, 32, 18),
    ("Q4_1", 3, 32, 20),
    ("Q5_0", 6, 32, 22),
    ("Q5_1", 7, 32, 24),
    ("Q8_0", 8, 32, 34),
    ("Q2_K", 10, 256, 84),
    ("Q3_K", 11, 256, 110),
    ("Q4_K", 12, 256, 144),
    ("Q5_K", 13, 256, 176),
    ("Q6_K", 14, 256, 210),
];

#[test]
fn scales_that_are_no_numbers_are_named() {
    for (name, ty, block, bytes) in SCALED {
        for half in [0x7c00_u16, 0xfc00, 0x7e00] {
            let mut draft = GgufDraft::classic();
            // Rows of whole blocks: the model is made wide where nothing else depends on it.
            number(&mut draft, "gemma3.feed_forward_length", 256);
            for layer in 0..8 {
                for (part, shape) in [("gate", vec![32, 256]), ("up", vec![32, 256]), ("down", vec![256, 32])]
                {
                    let zeros = (shape, 0, vec![0; 4 * 32 * 256]);
                    *tensor(&mut draft, &format!("blk.{layer}.ffn_{part}.weight")) = zeros;
                }
            }
            let blocks = 32 * 256 / block as usize;
            // All is zero but the last block, where every aligned half is infinite or no number.
            let mut data = vec![0; (blocks - 1) * bytes];
            data.extend(half.to_le_bytes().into_iter().cycle().take(bytes));
            let damaged = "blk.3.ffn_down.weight";
            *tensor(&mut draft, damaged) = (vec![256, 32], ty, data);
            let (_folder, path) = draft.write();
            assert_refused(&format!("{name} with {half:#x}"), &path, &[damaged, name]);
        }
    }
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let (_folder, path) = GgufDraft::classic().write();
    let file = File::options().write(true).open(&path).unwrap();
    for length in (0..file.metadata().unwrap().len()).rev().step_by(997) {
        file.set_len(length).unwrap();
        assert_refused(&format!("{length} bytes"), &path, &[]);
    }
}

#[test]
fn a_whole_file_gives_the_logits_of_its_checkpoint() {
    let (_folder, path) = GgufDraft::classic().write();
    let model = mlx_models::load(&path, None).unwrap().model;
    let expected = SafetensorsFile::open(data("gemma3-classic").join("expected.safetensors")).unwrap();
    let numbers = |name: &str| expected.read(name).unwrap();
    let ids: Vec<i32> = numbers("tokens").as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
    let expected: Vec<f32> = numbers("logits").as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let tokens = Array::from_slice(&ids, &[1, ids.len() as i32]).unwrap();
    let hidden = model.forward(&tokens, &mut model.make_caches()).unwrap();
    let logits: Vec<f32> = model.logits(&hidden).unwrap().to_vec().unwrap();
    assert_eq!(logits.len(), expected.len());
    let worst = logits.iter().zip(&expected).map(|(a, e)| (a - e).abs()).fold(0.0, f32::max);
    assert!(worst <= F32_TIGHT, "a logit differs by {worst}");
}

#[test]
fn a_head_of_its_own_is_used() {
    let mut draft = GgufDraft::classic();
    copy(&mut draft, EMBED, "output.weight");
    let (_folder, path) = draft.write();
    let tied = mlx_models::load(&path, None).unwrap().model.shape().parameters;
    for byte in &mut tensor(&mut draft, "output.weight").2 {
        *byte = 0;
    }
    let (_folder, path) = draft.write();
    load(&path).unwrap();
    assert_eq!(mlx_models::load(&path, None).unwrap().model.shape().parameters, tied + 96 * 32);
}
