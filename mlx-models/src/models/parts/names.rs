//! The names that llama.cpp gives to tensors.

/// llama.cpp's names of a layer's tensors, and Hugging Face's, as far as all models agree.
const LLAMA_CPP_LAYER: [(&str, &str); 10] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Hugging Face's name for a tensor of a GGUF file; `layer` lists the names that models do not agree about.
pub(in crate::models) fn from_llama_cpp(name: &str, layer: &[(&str, &str)]) -> String {
    let renamed = match name {
        "token_embd.weight" => Some("model.embed_tokens.weight".to_owned()),
        "output_norm.weight" => Some("model.norm.weight".to_owned()),
        "output.weight" => Some("lm_head.weight".to_owned()),
        _ => name.strip_prefix("blk.").and_then(|rest| {
            let (index, tensor) = rest.split_once('.')?;
            let (tensor, kind) = tensor.rsplit_once('.')?;
            let mut known = layer.iter().chain(&LLAMA_CPP_LAYER);
            let (_, ours) = known.find(|(theirs, _)| *theirs == tensor)?;
            Some(format!("model.layers.{index}.{ours}.{kind}"))
        }),
    };
    // An unknown name stays as it is, and loading reports it as left over.
    renamed.unwrap_or_else(|| name.to_owned())
}
