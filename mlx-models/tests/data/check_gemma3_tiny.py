#!/usr/bin/env python3
"""Checks expected.safetensors of the tiny checkpoints against other implementations.

    python check_gemma3_tiny.py [FOLDER]

1. A float64 forward pass written here in numpy, which reads config.json and the weights from
   the folder itself and shares no code with transformers (the 4-bit weights are unpacked here
   too, without mlx).
2. transformers' own loading of the folder (but for the MLX-quantized one).
3. mlx-lm's model, for the folders it can read. It rounds the embedding scale sqrt(hidden) to
   bfloat16; it is run as it is, and again with the scale put right.
4. Deliberate mistakes in 1: how far each moves the logits says whether a test against the
   expected values would notice it.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file

FOLDERS = ["gemma3-classic", "gemma3-new", "gemma3-multimodal", "gemma3-mlx-q4"]
DEFAULTS = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
    "sliding_window_pattern": 6,
}


def read_tensors(folder):
    out = {}
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(str(path), "pt") as f:
            for name in f.keys():
                out[name] = f.get_tensor(name)
    return out


def unpack(weight, scales, biases, group, bits):
    """MLX affine quantization: uint32 words, least significant bits first; w = q * scale + bias."""
    words = weight.numpy().view(np.uint32).astype(np.uint64)
    per = 32 // bits
    shifts = np.arange(per, dtype=np.uint64) * np.uint64(bits)
    q = (words[..., None] >> shifts) & np.uint64(2**bits - 1)
    q = q.reshape(*words.shape[:-1], -1, group).astype(np.float64)
    s, b = scales.double().numpy(), biases.double().numpy()
    return (q * s[..., None] + b[..., None]).reshape(*words.shape[:-1], -1)


def read_model(folder):
    config = json.loads((folder / "config.json").read_text())
    tensors = read_tensors(folder)
    how = config.get("quantization")
    if config["model_type"] == "gemma3":
        config = config["text_config"]
    prefix = "language_model."
    if any(k.startswith(prefix) for k in tensors):
        tensors = {k[len(prefix):]: v for k, v in tensors.items() if k.startswith(prefix)}
    weights = {}
    for name, value in tensors.items():
        path, _, leaf = name.rpartition(".")
        if leaf != "weight":
            continue
        if path + ".scales" in tensors:
            h = how.get(path, how)
            weights[name] = unpack(value, tensors[path + ".scales"], tensors[path + ".biases"],
                                   h["group_size"], h["bits"])
        else:
            weights[name] = value.double().numpy()
    config = {**DEFAULTS, **config}
    layers = config["num_hidden_layers"]
    kinds = config.get("layer_types") or [
        "full_attention" if (i + 1) % config["sliding_window_pattern"] == 0
        else "sliding_attention" for i in range(layers)
    ]
    if "rope_parameters" in config:
        ropes = {k: (v["rope_theta"], v.get("factor", 1.0))
                 for k, v in config["rope_parameters"].items()}
    else:
        scaling = config.get("rope_scaling") or {"factor": 1.0}
        ropes = {"full_attention": (config["rope_theta"], scaling["factor"]),
                 "sliding_attention": (config["rope_local_base_freq"], 1.0)}
    return config, kinds, ropes, weights


def forward(config, kinds, ropes, w, tokens, m={}):
    """Logits [L, V]. `m` holds deliberate mistakes."""
    hidden, head = config["hidden_size"], config["head_dim"]
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    eps = m.get("eps", config["rms_norm_eps"])
    window = config["sliding_window"] + m.get("window_off", 0)
    scale = m.get("scalar", config["query_pre_attn_scalar"]) ** -0.5
    plus = m.get("norm_plus", 1.0)
    n = len(tokens)

    def norm(x, name, plus=plus):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * (plus + w[name])

    def rope(x, kind):
        theta, factor = m.get("ropes", ropes)[kind]
        inv = theta ** (-np.arange(0, head, 2) / head) / factor
        angle = np.arange(n)[:, None] * inv
        c, s = np.cos(angle), np.sin(angle)
        if m.get("rope_interleaved"):
            a, b = x[..., 0::2], x[..., 1::2]
            return np.stack([a * c - b * s, b * c + a * s], -1).reshape(x.shape)
        a, b = x[..., : head // 2], x[..., head // 2:]
        return np.concatenate([a * c - b * s, b * c + a * s], -1)

    def gelu(x):
        if m.get("gelu") == "erf":
            return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
        if m.get("gelu") == "silu":
            return x / (1 + np.exp(-x))
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def split(x, count):
        return x.reshape(n, count, head).transpose(1, 0, 2)

    i, j = np.arange(n)[:, None], np.arange(n)[None]
    h = w["model.embed_tokens.weight"][tokens] * m.get("embed_scale", math.sqrt(hidden))
    for layer, kind in enumerate(m.get("kinds", kinds)):
        p = f"model.layers.{layer}."
        x = norm(h, p + "input_layernorm.weight")
        q = split(x @ w[p + "self_attn.q_proj.weight"].T, heads)
        k = split(x @ w[p + "self_attn.k_proj.weight"].T, kv)
        v = split(x @ w[p + "self_attn.v_proj.weight"].T, kv)
        if not m.get("no_qk_norm"):
            q = norm(q, p + "self_attn.q_norm.weight")
            k = norm(k, p + "self_attn.k_norm.weight")
        q, k = rope(q, kind), rope(k, kind)
        if m.get("kv_tiled"):
            k, v = np.tile(k, (heads // kv, 1, 1)), np.tile(v, (heads // kv, 1, 1))
        else:
            k, v = k.repeat(heads // kv, 0), v.repeat(heads // kv, 0)
        score = q @ k.transpose(0, 2, 1) * scale
        seen = j <= i
        if kind == "sliding_attention" and not m.get("no_window"):
            # A query sees `window` positions, its own among them.
            seen = seen & (i - j < window)
        score = np.where(seen, score, -np.inf)
        score = np.exp(score - score.max(-1, keepdims=True))
        score /= score.sum(-1, keepdims=True)
        if m.get("uniform"):
            score = seen / seen.sum(-1, keepdims=True) * np.ones_like(score)
        x = (score @ v).transpose(1, 0, 2).reshape(n, -1) @ w[p + "self_attn.o_proj.weight"].T
        h = h + norm(x, p + "post_attention_layernorm.weight")
        x = norm(h, p + "pre_feedforward_layernorm.weight")
        x = gelu(x @ w[p + "mlp.gate_proj.weight"].T) * (x @ w[p + "mlp.up_proj.weight"].T)
        x = x @ w[p + "mlp.down_proj.weight"].T
        h = h + norm(x, p + "post_feedforward_layernorm.weight")
    return norm(h, "model.norm.weight") @ w["model.embed_tokens.weight"].T


def mistakes(config, kinds, ropes):
    s, f = "sliding_attention", "full_attention"
    pattern = [f if (i + 1) % 6 == 0 else s for i in range(len(kinds))]
    out = {
        "window one wider": {"window_off": 1},
        "window one narrower": {"window_off": -1},
        "no window": {"no_window": True},
        "every layer sliding": {"kinds": [s] * len(kinds)},
        "every layer full": {"kinds": [f] * len(kinds)},
        "6:1 pattern counted from 0": {"kinds": [f if i % 6 == 0 else s
                                                 for i in range(len(kinds))]},
        "rope bases swapped": {"ropes": {s: (ropes[f][0], ropes[s][1]),
                                         f: (ropes[s][0], ropes[f][1])}},
        "global rope everywhere": {"ropes": {s: ropes[f], f: ropes[f]}},
        "local rope everywhere": {"ropes": {s: ropes[s], f: ropes[s]}},
        "rope interleaved": {"rope_interleaved": True},
        "scores by head_dim": {"scalar": config["head_dim"]},
        "attention uniform": {"uniform": True},
        "norm weight without 1+": {"norm_plus": 0.0},
        "no q/k norm": {"no_qk_norm": True},
        "no embedding scale": {"embed_scale": 1.0},
        "embedding scale in bf16": {"embed_scale": float(torch.tensor(
            config["hidden_size"] ** 0.5).bfloat16())},
        "heads tiled, not repeated": {"kv_tiled": True},
        "gelu by erf": {"gelu": "erf"},
        "silu": {"gelu": "silu"},
    }
    if kinds != pattern:
        out["6:1 pattern for layer_types"] = {"kinds": pattern}
    if ropes[f][1] != 1.0:
        out["no linear scaling"] = {"ropes": {s: ropes[s], f: (ropes[f][0], 1.0)}}
        out["linear scaling on all"] = {"ropes": {s: (ropes[s][0], ropes[f][1]), f: ropes[f]}}
    if config["rms_norm_eps"] != 1e-6:
        out["epsilon 1e-6"] = {"eps": 1e-6}
    return out


@torch.no_grad()
def by_transformers(folder, tokens):
    from transformers import Gemma3ForCausalLM, Gemma3ForConditionalGeneration

    multimodal = folder.name == "gemma3-multimodal"
    cls = Gemma3ForConditionalGeneration if multimodal else Gemma3ForCausalLM
    model, info = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                      output_loading_info=True)
    assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model.eval()(input_ids=torch.from_numpy(tokens).long()[None]).logits[0].numpy()


def by_mlx_lm(folder, tokens, exact_scale):
    import mlx.core as mx
    from mlx_lm.utils import load_model

    mx.set_default_device(mx.cpu)
    overrides = {"vocab_size": 96} if folder.name == "gemma3-multimodal" else {}
    model, _ = load_model(folder, model_config=overrides)
    text = getattr(model, "language_model", model)
    model.set_dtype(mx.float32)
    args = (mx.array(tokens)[None],)
    extra = {}
    if exact_scale:
        hidden = text.args.hidden_size
        wrong = float(mx.array(hidden**0.5, mx.bfloat16))
        extra["input_embeddings"] = text.model.embed_tokens(args[0]) * (hidden**0.5 / wrong)
    return np.array(model(*args, **extra)[0])


def main():
    torch.set_num_threads(1)
    here = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    for name in FOLDERS:
        folder = here / name
        expected = load_file(str(folder / "expected.safetensors"))
        tokens, want = expected["tokens"].numpy(), expected["logits"].double().numpy()
        model = read_model(folder)

        def off(got):
            return np.abs(got - want).max()

        print(f"{name}: logits std {want.std():.3f}")
        base = off(forward(*model, tokens))
        print(f"  float64 numpy                {base:.2e}")
        assert base < 2e-4
        if name != "gemma3-mlx-q4":
            print(f"  transformers from the folder {off(by_transformers(folder, tokens)):.2e}")
        if name != "gemma3-new":
            print(f"  mlx-lm as it is              {off(by_mlx_lm(folder, tokens, False)):.2e}")
            print(f"  mlx-lm, exact scale          {off(by_mlx_lm(folder, tokens, True)):.2e}")
        if "expected_generate" in expected:
            ids = expected["generate_prompt"].tolist()
            for token in expected["expected_generate"].tolist():
                assert int(forward(*model, np.array(ids))[-1].argmax()) == token
                ids.append(token)
            print("  greedy continuation the same in float64")
        for what, change in mistakes(*model[:3]).items():
            print(f"    {what:28} {off(forward(*model, tokens, change)):.1e}")


if __name__ == "__main__":
    main()
