//! Llama, Qwen 2, Qwen 3 and its mixtures of experts on tiny random checkpoints, against the float32 logits of
//! transformers.
//!
//! `tests/data/make_decoders_tiny.py` made the checkpoints and the expected values: classic and newer configurations, each
//! way of stretching RoPE, biases, tied and untied heads, shards, experts in each of their layouts, packed weights of mlx-lm
//! and llama.cpp.

mod reference;

use reference::Reference;

fn folder(name: &'static str) -> Reference {
    Reference::new(name, &format!("tiny/{name}"), &format!("tiny/{name}.expected.safetensors"))
}

fn gguf(name: &'static str) -> Reference {
    Reference::new(name, &format!("tiny/{name}.gguf"), &format!("tiny/{name}.expected.safetensors"))
}

#[test]
fn llama_gives_the_logits_of_the_reference() {
    folder("llama3").check();
    folder("llama-biases").check();
}

#[test]
fn qwen2_gives_the_logits_of_the_reference() {
    folder("qwen2-yarn").check();
}

#[test]
fn qwen3_gives_the_logits_of_the_reference() {
    folder("qwen3").check();
}

#[test]
fn mixtures_of_experts_give_the_logits_of_the_reference_in_each_layout() {
    folder("qwen3-moe").check();
    folder("qwen3-moe-fused").check();
    folder("qwen3-moe-mlx-q4").check();
}

#[test]
fn packed_weights_give_the_logits_of_what_they_stand_for() {
    for name in ["llama-fp8", "qwen3-fp8", "qwen2-mlx-mixed", "qwen3-mxfp4", "qwen3-mxfp8", "qwen3-nvfp4"] {
        folder(name).check();
    }
}

#[test]
fn gguf_files_give_the_logits_of_what_they_stand_for() {
    for name in ["llama", "qwen2", "qwen3moe"] {
        gguf(name).check();
    }
}
