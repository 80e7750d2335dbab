#!/usr/bin/env python3
"""Makes the tiny random Gemma 3 checkpoints beside this file, with the logits expected of them.

    python make_gemma3_tiny.py [OUT]        (OUT: this folder when left out)

Expected values come from transformers in float32 on the CPU with eager attention. Every seed
is fixed: with the versions in requirements.txt the files come out byte for byte the same.
check_gemma3_tiny.py checks them against two other implementations.

Each folder holds config.json, the weights, and expected.safetensors with
    tokens  int32   [L]
    logits  float32 [L, V]
and, for gemma3-classic only, a greedy continuation:
    generate_prompt    int32   [P]
    expected_generate  int32   [30]
    generate_gap       float32 [30]   best logit less second best, at each step
"""

import json
import shutil
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import torch
from mlx.utils import tree_flatten
from mlx_lm.models import gemma3_text as mlx_gemma3_text
from mlx_lm.utils import quantize_model, save_config, save_model
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file as save_torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

VOCAB = 96
LENGTH = 40
WINDOW = 8
BOS = 2


def random_weights(rng, c):
    """Text weights under their Hugging Face names, as float32 arrays, drawn in a fixed order."""
    hidden, inter, head = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    q_out = c["num_attention_heads"] * head
    kv_out = c["num_key_value_heads"] * head

    def dense(rows, cols):
        return (rng.standard_normal((rows, cols)) * 1.5 / np.sqrt(cols)).astype(np.float32)

    def norm(size):
        # Stored as w of (1 + w); its init is 0.
        return rng.uniform(-0.7, 0.9, size).astype(np.float32)

    w = {
        "model.embed_tokens.weight": (
            rng.standard_normal((c["vocab_size"], hidden)) * 1.3 / np.sqrt(hidden)
        ).astype(np.float32)
    }
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        w[p + "input_layernorm.weight"] = norm(hidden)
        w[p + "self_attn.q_proj.weight"] = dense(q_out, hidden)
        w[p + "self_attn.k_proj.weight"] = dense(kv_out, hidden)
        w[p + "self_attn.v_proj.weight"] = dense(kv_out, hidden)
        w[p + "self_attn.o_proj.weight"] = dense(hidden, q_out)
        w[p + "self_attn.q_norm.weight"] = norm(head)
        w[p + "self_attn.k_norm.weight"] = norm(head)
        w[p + "post_attention_layernorm.weight"] = norm(hidden)
        w[p + "pre_feedforward_layernorm.weight"] = norm(hidden)
        w[p + "mlp.gate_proj.weight"] = dense(inter, hidden)
        w[p + "mlp.up_proj.weight"] = dense(inter, hidden)
        w[p + "mlp.down_proj.weight"] = dense(hidden, inter)
        w[p + "post_feedforward_layernorm.weight"] = norm(hidden)
    w["model.norm.weight"] = norm(hidden)
    return w


def random_tokens(rng, length):
    tokens = rng.integers(3, VOCAB, length)
    tokens[0] = BOS
    return tokens.astype(np.int32)


def transformers_model(config, weights):
    """A float32 eager transformers model whose every parameter comes from `weights`."""
    model = Gemma3ForCausalLM._from_config(
        Gemma3TextConfig(**config), attn_implementation="eager", dtype=torch.float32
    ).eval()
    state = {k: torch.from_numpy(np.ascontiguousarray(v)).float() for k, v in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert missing == ["lm_head.weight"] and not unexpected, (missing, unexpected)
    model.tie_weights()
    assert torch.equal(model.lm_head.weight, state["model.embed_tokens.weight"])
    return model


@torch.no_grad()
def logits_of(model, tokens):
    return model(torch.from_numpy(tokens).long()[None]).logits[0].float().numpy()


@torch.no_grad()
def greedy(model, prompt, steps):
    """Greedy continuation with no cache: the whole sequence again for every token."""
    ids, gaps = list(prompt), []
    for _ in range(steps):
        row = logits_of(model, np.array(ids, np.int32))[-1]
        first, second = np.argsort(-row, kind="stable")[:2]
        gaps.append(row[first] - row[second])
        ids.append(int(first))
    return np.array(ids[len(prompt):], np.int32), np.array(gaps, np.float32)


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_expected(folder, **arrays):
    save_numpy({k: np.ascontiguousarray(v) for k, v in arrays.items()},
               str(folder / "expected.safetensors"))
    logits = arrays["logits"]
    print(f"{folder.name}: logits {logits.shape}, std {logits.std():.3f}, "
          f"range {logits.min():.2f}..{logits.max():.2f}")


def classic(out):
    """Config keys as Gemma 3 was released with (1B); one file; tied; float32."""
    rng = np.random.default_rng(39)
    config = {
        "architectures": ["Gemma3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": None,
        "bos_token_id": BOS,
        "cache_implementation": "hybrid",
        "eos_token_id": 1,
        "final_logit_softcapping": None,
        "head_dim": 16,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 32,
        "initializer_range": 0.02,
        "intermediate_size": 64,
        "max_position_embeddings": 512,
        "model_type": "gemma3_text",
        "num_attention_heads": 4,
        "num_hidden_layers": 8,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        "query_pre_attn_scalar": 7,
        "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 5000,
        "rope_scaling": None,
        "rope_theta": 200000,
        "sliding_window": WINDOW,
        "sliding_window_pattern": 6,
        "torch_dtype": "float32",
        "transformers_version": "4.50.0.dev0",
        "use_cache": True,
        "vocab_size": VOCAB,
    }
    weights = random_weights(rng, config)
    tokens = random_tokens(rng, LENGTH)
    prompt = random_tokens(rng, 12)
    model = transformers_model(config, weights)
    assert model.config.layer_types == ["sliding_attention"] * 5 + ["full_attention"] \
        + ["sliding_attention"] * 2
    assert model.config.rope_parameters == {
        "sliding_attention": {"rope_type": "default", "rope_theta": 5000},
        "full_attention": {"rope_type": "default", "rope_theta": 200000},
    }, model.config.rope_parameters
    folder = fresh(out / "gemma3-classic")
    write_json(folder / "config.json", config)
    save_numpy(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    ids, gaps = greedy(model, prompt, 30)
    with torch.no_grad():
        cached = model.generate(torch.from_numpy(prompt).long()[None], max_new_tokens=30,
                                min_new_tokens=30, do_sample=False)[0, len(prompt):]
    assert cached.tolist() == ids.tolist(), "the cached and uncached continuations differ"
    print("gemma3-classic: greedy", ids.tolist(), "smallest gap", gaps.min())
    write_expected(folder, tokens=tokens, logits=logits_of(model, tokens),
                   generate_prompt=prompt, expected_generate=ids, generate_gap=gaps)


def new(out):
    """Config and shards as transformers 5 writes them: layer_types (not the 6:1 pattern),
    rope_parameters per layer type with linear scaling on the full layers, one key/value head,
    an epsilon that is not the default."""
    rng = np.random.default_rng(32)
    s, f = "sliding_attention", "full_attention"
    config = {
        "head_dim": 16,
        "hidden_size": 40,
        "intermediate_size": 80,
        "layer_types": [s, f, s, s, f, s, s],
        "max_position_embeddings": 512,
        "num_attention_heads": 4,
        "num_hidden_layers": 7,
        "num_key_value_heads": 1,
        "query_pre_attn_scalar": 6,
        "rms_norm_eps": 1e-3,
        "rope_parameters": {
            f: {"factor": 8.0, "rope_theta": 3000.0, "rope_type": "linear"},
            s: {"rope_theta": 700.0, "rope_type": "default"},
        },
        "sliding_window": WINDOW,
        "vocab_size": VOCAB,
    }
    weights = random_weights(rng, config)
    tokens = random_tokens(rng, LENGTH)
    model = transformers_model(config, weights)
    folder = fresh(out / "gemma3-new")
    model.save_pretrained(folder, max_shard_size="280KB")
    (folder / "generation_config.json").unlink()
    shards = sorted(p.name for p in folder.glob("*.safetensors"))
    assert shards == [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)], shards
    write_expected(folder, tokens=tokens, logits=logits_of(model, tokens))


def multimodal(out):
    """Laid out as the released 4B: model_type gemma3, a text_config that leaves most fields to
    the class defaults (8 heads, 4 key/value heads, epsilon, both rope bases, the pattern),
    `language_model.` names, vision tensors beside them, bfloat16. The released 4B leaves out
    vocab_size, head_dim and query_pre_attn_scalar too; their defaults (262208, 256, 256) do not
    fit a small model, so they are given here, as the released 27B gives head_dim and
    query_pre_attn_scalar."""
    rng = np.random.default_rng(33)
    text = {
        "head_dim": 16,
        "hidden_size": 64,
        "intermediate_size": 56,
        "model_type": "gemma3_text",
        "num_hidden_layers": 7,
        "query_pre_attn_scalar": 5,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": WINDOW,
        "vocab_size": VOCAB,
    }
    vision = {
        "hidden_size": 16,
        "image_size": 28,
        "intermediate_size": 32,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "patch_size": 14,
        "vision_use_head": False,
    }
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "boi_token_index": 91,
        "eoi_token_index": 92,
        "eos_token_id": [1, 3],
        "image_token_index": 93,
        "initializer_range": 0.02,
        "mm_tokens_per_image": 4,
        "model_type": "gemma3",
        "text_config": text,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.50.0.dev0",
        "vision_config": vision,
    }
    full = {**text, "num_attention_heads": 8, "num_key_value_heads": 4}
    weights = {k: torch.from_numpy(v).to(torch.bfloat16)
               for k, v in random_weights(rng, full).items()}
    tokens = random_tokens(rng, LENGTH)
    tokens[tokens > 90] = 90  # no image tokens

    stored = {"language_model." + k: v for k, v in weights.items()}
    hidden, inter = vision["hidden_size"], vision["intermediate_size"]
    enc = "vision_tower.vision_model.encoder.layers.0."
    shapes = {
        "multi_modal_projector.mm_input_projection_weight": (hidden, text["hidden_size"]),
        "multi_modal_projector.mm_soft_emb_norm.weight": (hidden,),
        "vision_tower.vision_model.embeddings.patch_embedding.bias": (hidden,),
        "vision_tower.vision_model.embeddings.patch_embedding.weight": (hidden, 3, 14, 14),
        "vision_tower.vision_model.embeddings.position_embedding.weight": (4, hidden),
        "vision_tower.vision_model.post_layernorm.bias": (hidden,),
        "vision_tower.vision_model.post_layernorm.weight": (hidden,),
        enc + "mlp.fc1.bias": (inter,),
        enc + "mlp.fc1.weight": (inter, hidden),
        enc + "mlp.fc2.bias": (hidden,),
        enc + "mlp.fc2.weight": (hidden, inter),
    }
    for n in ("layer_norm1", "layer_norm2"):
        shapes[enc + n + ".bias"] = shapes[enc + n + ".weight"] = (hidden,)
    for n in ("k_proj", "out_proj", "q_proj", "v_proj"):
        shapes[enc + f"self_attn.{n}.bias"] = (hidden,)
        shapes[enc + f"self_attn.{n}.weight"] = (hidden, hidden)
    for name, shape in shapes.items():
        value = rng.standard_normal(shape).astype(np.float32)
        stored[name] = torch.from_numpy(value).to(torch.bfloat16)

    model = transformers_model(text, {k: v.float().numpy() for k, v in weights.items()})
    assert (model.config.num_attention_heads, model.config.num_key_value_heads) == (8, 4)
    folder = fresh(out / "gemma3-multimodal")
    write_json(folder / "config.json", config)
    save_torch(stored, str(folder / "model.safetensors"), metadata={"format": "pt"})
    write_expected(folder, tokens=tokens, logits=logits_of(model, tokens))


def mlx_q4(out):
    """What mlx-lm's convert writes for a float32 model at 4 bits in groups of 64, the embedding
    too, with one layer at 8 bits in groups of 32. Expected: transformers on the weights that
    mx.dequantize gives back."""
    rng = np.random.default_rng(34)
    mx.set_default_device(mx.cpu)
    config = {
        "architectures": ["Gemma3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": None,
        "bos_token_id": BOS,
        "eos_token_id": 1,
        "final_logit_softcapping": None,
        "head_dim": 32,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 64,
        "intermediate_size": 192,
        "max_position_embeddings": 512,
        "model_type": "gemma3_text",
        "num_attention_heads": 4,
        "num_hidden_layers": 7,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        "query_pre_attn_scalar": 11,
        "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": WINDOW,
        "sliding_window_pattern": 6,
        "torch_dtype": "float32",
        "transformers_version": "4.50.0.dev0",
        "use_cache": True,
        "vocab_size": VOCAB,
    }
    weights = random_weights(rng, config)
    tokens = random_tokens(rng, LENGTH)

    model = mlx_gemma3_text.Model(mlx_gemma3_text.ModelArgs.from_dict(config))
    model.load_weights(list(model.sanitize({k: mx.array(v) for k, v in weights.items()}).items()))

    def predicate(path, _module):
        if path == "model.layers.1.mlp.down_proj":
            return {"group_size": 32, "bits": 8}
        return True

    model, quantized_config = quantize_model(model, config, 64, 4, quant_predicate=predicate)
    folder = fresh(out / "gemma3-mlx-q4")
    save_model(folder, model)
    save_config(quantized_config, folder / "config.json")

    parameters = dict(tree_flatten(model.parameters()))
    dense = {}
    for name, value in parameters.items():
        path = name.removesuffix(".weight")
        if path + ".scales" in parameters and name.endswith(".weight"):
            how = quantized_config["quantization"].get(path, {"group_size": 64, "bits": 4})
            value = mx.dequantize(value, parameters[path + ".scales"],
                                  parameters[path + ".biases"], how["group_size"], how["bits"])
        if name.endswith(".weight"):
            dense[name] = np.array(value)
    assert dense.keys() == weights.keys()
    reference = transformers_model(config, dense)
    write_expected(folder, tokens=tokens, logits=logits_of(reference, tokens))


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    for make in (classic, new, multimodal, mlx_q4):
        make(out)


if __name__ == "__main__":
    main()
