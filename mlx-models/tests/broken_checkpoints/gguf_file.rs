//! A GGUF file in parts, to be changed before it is written; and `gemma3-classic` as one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::damage::{Draft, Tensor};

/// ggml's numbers of value types.
pub(crate) const U32: u32 = 4;
pub(crate) const I32: u32 = 5;
pub(crate) const F32: u32 = 6;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

/// A tensor's axes, fastest first, ggml's number of its type, and its bytes.
pub(crate) type GgmlTensor = (Vec<u64>, u32, Vec<u8>);

#[derive(Clone, Debug, Default)]
pub(crate) struct GgufDraft {
    /// ggml's number of the type, and the value's bytes.
    pub(crate) pairs: BTreeMap<String, (u32, Vec<u8>)>,
    pub(crate) tensors: BTreeMap<String, GgmlTensor>,
}

impl GgufDraft {
    /// `gemma3-classic` as llama.cpp's converter writes it, with a vocabulary made up.
    pub(crate) fn classic() -> Self {
        let mut draft = GgufDraft::default();
        draft.set("general.architecture", STRING, string("gemma3"));
        for (key, value) in [
            ("block_count", 8),
            ("embedding_length", 32),
            ("feed_forward_length", 64),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
            ("attention.key_length", 16),
            ("attention.value_length", 16),
            ("attention.sliding_window", 8),
            ("context_length", 512_u32),
        ] {
            draft.set(&format!("gemma3.{key}"), U32, value.to_le_bytes().to_vec());
        }
        for (key, value) in [
            ("attention.layer_norm_rms_epsilon", 1e-6_f32),
            ("rope.freq_base", 200_000.0),
            ("rope.freq_base_swa", 5000.0),
        ] {
            draft.set(&format!("gemma3.{key}"), F32, value.to_le_bytes().to_vec());
        }
        draft.set("tokenizer.ggml.model", STRING, string("llama"));
        let tokens = (0..96).map(|id| match id {
            0 => string("<pad>"),
            1 => string("<eos>"),
            2 => string("<bos>"),
            3 => string("<unk>"),
            id => string(&char::from_u32(0x4e00 + id).unwrap().to_string()),
        });
        draft.set("tokenizer.ggml.tokens", ARRAY, array(STRING, 96, tokens));
        draft.set(
            "tokenizer.ggml.scores",
            ARRAY,
            array(F32, 96, (0..96).map(|id| (-id as f32).to_le_bytes())),
        );
        let kinds = [3_i32, 3, 3, 2].into_iter().chain([1; 92]);
        draft.set("tokenizer.ggml.token_type", ARRAY, array(I32, 96, kinds.map(i32::to_le_bytes)));
        for (key, id) in [("bos", 2_u32), ("eos", 1), ("unknown", 3), ("padding", 0)] {
            draft.set(&format!("tokenizer.ggml.{key}_token_id"), U32, id.to_le_bytes().to_vec());
        }
        for (name, tensor) in Draft::of("gemma3-classic").tensors {
            let Tensor { shape, mut data, .. } = tensor;
            for value in data.as_chunks_mut().0 {
                *value = llama_cpp_value(&name, f32::from_le_bytes(*value)).to_le_bytes();
            }
            let axes = shape.iter().rev().map(|axis| *axis as u64).collect();
            draft.tensors.insert(llama_cpp_name(&name), (axes, 0, data));
        }
        draft
    }

    pub(crate) fn set(&mut self, key: &str, ty: u32, value: Vec<u8>) {
        self.pairs.insert(key.to_owned(), (ty, value));
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let aligned = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(32), 0);
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        for (key, (ty, value)) in &self.pairs {
            out.extend([&string(key)[..], &ty.to_le_bytes(), value].concat());
        }
        let mut all = Vec::new();
        for (name, (axes, ty, data)) in &self.tensors {
            aligned(&mut all);
            out.extend(string(name));
            out.extend((axes.len() as u32).to_le_bytes());
            out.extend(axes.iter().flat_map(|axis| axis.to_le_bytes()));
            out.extend(ty.to_le_bytes());
            out.extend((all.len() as u64).to_le_bytes());
            all.extend(data);
        }
        aligned(&mut out);
        out.extend(all);
        out
    }

    /// Writes the file; it lives as long as the folder.
    pub(crate) fn write(&self) -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("tiny.gguf");
        std::fs::write(&path, self.bytes()).unwrap();
        (folder, path)
    }
}

/// A length, then the text.
pub(crate) fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// An element type, a count, then the elements.
pub(crate) fn array(ty: u32, count: u64, elements: impl Iterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
    let mut out = [&ty.to_le_bytes()[..], &count.to_le_bytes()].concat();
    elements.for_each(|element| out.extend(element.as_ref()));
    out
}

/// Norms have the one added. The file cannot say that scores are divided by √7 rather than by the root of the head's
/// width, 16, so the norm of the queries takes the difference.
fn llama_cpp_value(name: &str, value: f32) -> f32 {
    match name {
        _ if name.ends_with("q_norm.weight") => (1.0 + value) * (16.0_f32 / 7.0).sqrt(),
        _ if name.contains("norm") => 1.0 + value,
        _ => value,
    }
}

fn llama_cpp_name(name: &str) -> String {
    let name = match name {
        "model.embed_tokens.weight" => return "token_embd.weight".to_owned(),
        "model.norm.weight" => return "output_norm.weight".to_owned(),
        name => name.replace("model.layers.", "blk."),
    };
    [
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "post_attention_norm"),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ]
    .iter()
    .fold(name, |name, (ours, theirs)| name.replace(&format!(".{ours}."), &format!(".{theirs}.")))
}
