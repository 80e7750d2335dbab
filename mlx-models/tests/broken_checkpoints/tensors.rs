//! Tensors that are missing, too many, misshapen or of the wrong type.

use mlx_core::{Array, DType};
use mlx_models::{Checkpoint, models};
use serde_json::json;

use crate::assert_refused;
use crate::damage::{Draft, Tensor};

type Case = (&'static str, fn(&mut Draft), &'static [&'static str]);

const Q_PROJ: &str = "model.layers.2.self_attn.q_proj.weight";
const NORM: &str = "model.layers.4.input_layernorm.weight";
const EMBED: &str = "model.embed_tokens.weight";

const CASES: &[Case] = &[
    ("no projection", |d| remove(d, Q_PROJ), &[Q_PROJ, "missing"]),
    ("no norm", |d| remove(d, NORM), &[NORM, "missing"]),
    ("no embeddings", |d| remove(d, EMBED), &["embed_tokens.weight", "missing"]),
    ("no tensors", |d| d.tensors.clear(), &["embed_tokens.weight", "missing"]),
    (
        "a layer too many",
        |d| copy(d, NORM, "model.layers.8.input_layernorm.weight"),
        &["layers.8.input", "no place"],
    ),
    ("a bias", |d| copy(d, NORM, "model.layers.2.self_attn.q_proj.bias"), &["q_proj.bias", "no place"]),
    ("a name of two lines", |d| copy(d, NORM, "line\nanother\u{1b}[31m\u{2028}"), &["line", "no place"]),
    ("a name of a megabyte", |d| copy(d, NORM, &"n".repeat(1 << 20)), &["nnnn", "no place"]),
    (
        "a thousand surplus tensors",
        |d| (0..1000).for_each(|i| copy(d, NORM, &format!("surplus.{i}"))),
        &["surplus.", "992 more"],
    ),
    ("the same name twice", |d| copy(d, NORM, &format!("language_model.{NORM}")), &[NORM, "both"]),
    ("transposed", |d| d.tensor(Q_PROJ).shape.reverse(), &[Q_PROJ, "[32, 64]", "[64, 32]"]),
    ("flat", |d| d.tensor(Q_PROJ).shape = vec![2048], &[Q_PROJ, "[2048]"]),
    ("three axes", |d| d.tensor(Q_PROJ).shape = vec![1, 64, 32], &[Q_PROJ, "[1, 64, 32]"]),
    ("three axes at the end", |d| d.tensor(Q_PROJ).shape = vec![64, 32, 1], &[Q_PROJ, "[64, 32, 1]"]),
    ("embeddings of another width", |d| d.tensor(EMBED).shape = vec![192, 16], &[EMBED, "[192, 16]"]),
    ("a norm with two axes", |d| d.tensor(NORM).shape = vec![1, 32], &[NORM, "[1, 32]"]),
    ("an empty norm", |d| cut(d, NORM, &[0]), &[NORM, "[0]"]),
    ("a scalar norm", |d| cut(d, NORM, &[]), &[NORM, "[]"]),
    ("a short norm", |d| cut(d, NORM, &[31]), &[NORM, "[31]"]),
    ("an integer projection", |d| d.tensor(Q_PROJ).dtype = DType::I32, &[Q_PROJ, "int32", "floats"]),
    ("an unsigned projection", |d| d.tensor(Q_PROJ).dtype = DType::U32, &[Q_PROJ, "uint32", "floats"]),
    ("integer embeddings", |d| d.tensor(EMBED).dtype = DType::I32, &[EMBED, "int32", "floats"]),
    ("an integer norm", |d| d.tensor(NORM).dtype = DType::U32, &[NORM, "uint32", "floats"]),
    (
        "a head of another shape",
        |d| {
            head(d, 1.0);
            d.tensor("lm_head.weight").shape.reverse();
        },
        &["lm_head.weight", "[32, 96]"],
    ),
];

fn remove(draft: &mut Draft, name: &str) {
    draft.tensors.remove(name).unwrap();
}

fn copy(draft: &mut Draft, from: &str, to: &str) {
    let tensor = draft.tensor(from).clone();
    draft.tensors.insert(to.to_owned(), tensor);
}

fn cut(draft: &mut Draft, name: &str, shape: &[usize]) {
    let Tensor { shape: old, data, .. } = draft.tensor(name);
    *old = shape.to_vec();
    data.truncate(4 * shape.iter().product::<usize>());
}

/// A head of its own: the embeddings times `factor`.
fn head(draft: &mut Draft, factor: f32) {
    let mut head = draft.tensor(EMBED).clone();
    for value in head.data.as_chunks_mut().0 {
        *value = (f32::from_le_bytes(*value) * factor).to_le_bytes();
    }
    draft.tensors.insert("lm_head.weight".to_owned(), head);
}

#[test]
fn a_damaged_tensor_is_named() {
    for (case, damage, words) in CASES {
        let mut draft = Draft::of("gemma3-classic");
        damage(&mut draft);
        assert_refused(case, draft.write().path(), words);
    }
}

fn logits(draft: &Draft) -> (usize, Vec<f32>) {
    let folder = draft.write();
    let model = models::load(&Checkpoint::open(folder.path()).unwrap(), None).unwrap();
    let tokens = Array::from_slice(&[2, 17, 5, 60], &[1, 4]).unwrap();
    let hidden = model.forward(&tokens, &mut model.make_caches()).unwrap();
    (model.shape().parameters, model.logits(&hidden).unwrap().to_vec().unwrap())
}

#[test]
fn a_head_is_dropped_if_equal_and_used_if_not_whatever_the_configuration_says() {
    let tied = Draft::of("gemma3-classic");
    let (parameters, expected) = logits(&tied);
    for flag in [json!(true), json!(false), json!(null)] {
        let mut draft = tied.clone();
        draft.config["tie_word_embeddings"] = flag;
        assert_eq!(logits(&draft), (parameters, expected.clone()), "no head");
        head(&mut draft, 1.0);
        assert_eq!(logits(&draft), (parameters, expected.clone()), "a second copy");
        head(&mut draft, 2.0);
        let doubled: Vec<f32> = expected.iter().map(|logit| logit * 2.0).collect();
        assert_eq!(logits(&draft), (parameters + 96 * 32, doubled), "another head");
    }
}

#[test]
fn all_that_does_not_fit_is_listed_at_once() {
    let mut draft = Draft::of("gemma3-classic");
    remove(&mut draft, Q_PROJ);
    remove(&mut draft, NORM);
    cut(&mut draft, "model.norm.weight", &[31]);
    copy(&mut draft, "model.layers.0.input_layernorm.weight", "surplus");
    let words = [
        Q_PROJ,
        NORM,
        "are missing",
        "tensor model.norm.weight has shape [31]",
        "no place for tensors surplus",
    ];
    assert_refused("four faults", draft.write().path(), &words);
}

#[test]
fn a_quantized_head_is_dropped_if_equal() {
    let tied = Draft::of("gemma3-mlx-q4");
    let mut draft = tied.clone();
    for part in ["weight", "scales", "biases"] {
        copy(&mut draft, &format!("model.embed_tokens.{part}"), &format!("lm_head.{part}"));
    }
    assert_eq!(logits(&draft), logits(&tied));
    draft.tensor("lm_head.weight").data[7] ^= 1;
    assert_ne!(logits(&draft), logits(&tied));
}
