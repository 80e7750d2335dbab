#!/usr/bin/env python3
"""Makes the tiny random checkpoints of Llama, Qwen 2, Qwen 3 and Qwen 3 MoE in tiny/, with the logits expected of them.

    python make_decoders_tiny.py [OUT]        (OUT: tiny/ beside this file when left out)

Expected values come from transformers in float32 on the CPU with eager attention, on the weights
as the checkpoint stands for them (dequantized, where it is packed). Every seed is fixed.

Each checkpoint NAME is a folder, or NAME.gguf, with NAME.expected.safetensors beside it:
    tokens  int32   [L]
    logits  float32 [L, V]
"""

import json
import shutil
import sys
from pathlib import Path

import gguf
import mlx.core as mx
import numpy as np
import torch
from mlx.utils import tree_flatten
from mlx_lm.models import qwen2 as mlx_qwen2
from mlx_lm.models import qwen3 as mlx_qwen3
from mlx_lm.models import qwen3_moe as mlx_qwen3_moe
from mlx_lm.utils import quantize_model, save_config, save_model
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file as save_torch
from transformers import (AutoModelForCausalLM, CompressedTensorsConfig, LlamaConfig, Qwen2Config, Qwen3Config,
                          Qwen3MoeConfig)

VOCAB = 64
LENGTH = 40

CONFIGS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config, "qwen3_moe": Qwen3MoeConfig}


def random_state(rng, model):
    """A value for each parameter of the model, in the order of its state; norms around 1, biases far from 0."""
    state = {}
    for name, value in model.state_dict().items():
        shape = tuple(value.shape)
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        if name.endswith("norm.weight"):
            array = rng.uniform(0.3, 1.9, shape)
        elif name.endswith(".bias"):
            array = rng.uniform(-0.8, 0.8, shape)
        elif name.endswith("embed_tokens.weight"):
            array = rng.standard_normal(shape)
        else:
            array = rng.standard_normal(shape) * 1.5 / np.sqrt(shape[-1])
        state[name] = array.astype(np.float32)
    return state


def make_model(config, state):
    """A float32 model with this state, all of it."""
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)).float() for name, value in state.items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected, (missing, unexpected)
    assert bool(missing) == bool(config.tie_word_embeddings)
    model.tie_weights()
    return model


def seeded(name, seed, config, sixteen=False):
    """A generator, a model's configuration, its state and its tokens."""
    rng = np.random.default_rng(seed)
    config = CONFIGS[name](**config)
    blank = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    state = random_state(rng, blank)
    if sixteen:
        state = {k: torch.from_numpy(v).bfloat16().float().numpy() for k, v in state.items()}
    tokens = rng.integers(0, VOCAB, LENGTH).astype(np.int32)
    return config, state, tokens


@torch.no_grad()
def write_expected(path, model, tokens):
    logits = model(torch.from_numpy(tokens).long()[None]).logits[0].float().numpy()
    save_numpy({"tokens": tokens, "logits": np.ascontiguousarray(logits)}, str(path))
    print(f"{path.name}: std {logits.std():.3f}, range {logits.min():.2f}..{logits.max():.2f}")


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


SIZES = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256)


def classic(out, name, kind, seed, config, written, **shards):
    """`written` is the config.json, in the layout that older releases wrote; `config` the same for today's classes."""
    config, state, tokens = seeded(kind, seed, config)
    model = make_model(config, state)
    folder = fresh(out / name)
    model.save_pretrained(folder, **shards)
    (folder / "generation_config.json").unlink(missing_ok=True)
    write_json(folder / "config.json", written)
    write_expected(out / f"{name}.expected.safetensors", model, tokens)


def llama3(out):
    """Llama 3.2: tied, Llama 3's scaling in the classic layout, sharded."""
    scaling = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=64)
    sizes = dict(SIZES, head_dim=16, rms_norm_eps=1e-5, tie_word_embeddings=True)
    written = dict(sizes, architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu",
                   attention_bias=False, mlp_bias=False, pretraining_tp=1, rope_theta=5000.0,
                   rope_scaling=scaling, bos_token_id=1, eos_token_id=[2, 3], torch_dtype="bfloat16")
    config = dict(sizes, rope_parameters=dict(scaling, rope_theta=5000.0))
    classic(out, "llama3", "llama", 51, config, written, max_shard_size="40KB")
    assert len(list((out / "llama3").glob("*.safetensors"))) > 1


def llama_biases(out):
    """Biases everywhere, as many key heads as query heads (left out), a head of its own, linear scaling by its
    older name, tables of angles in the file."""
    sizes = dict(SIZES, rms_norm_eps=1e-3, attention_bias=True, mlp_bias=True, num_key_value_heads=4)
    written = dict(sizes, architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu",
                   rope_theta=700.0, rope_scaling=dict(type="linear", factor=4.0), tie_word_embeddings=False)
    del written["num_key_value_heads"]
    config = dict(sizes, rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=700.0))
    classic(out, "llama-biases", "llama", 52, config, written)
    from safetensors.numpy import load_file
    path = out / "llama-biases" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)
    save_numpy(tensors, str(path), metadata={"format": "pt"})


def qwen2(out):
    """Qwen 2.5 with YaRN, both names of its type, tied, the upper layer sliding."""
    scaling = dict(factor=4.0, original_max_position_embeddings=64)
    sizes = dict(SIZES, rms_norm_eps=1e-6, tie_word_embeddings=True, use_sliding_window=True, sliding_window=8,
                 max_window_layers=2)
    written = dict(sizes, architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_act="silu",
                   rope_theta=10000.0, rope_scaling=dict(scaling, type="yarn", rope_type="yarn"))
    config = dict(sizes, rope_parameters=dict(scaling, rope_type="yarn", rope_theta=10000.0))
    classic(out, "qwen2-yarn", "qwen2", 53, config, written)


def qwen3(out):
    """Configuration and names as transformers 5 writes them, in bfloat16, untied, heads wider than shared out."""
    sizes = dict(SIZES, head_dim=16, rms_norm_eps=1e-6, tie_word_embeddings=False,
                 rope_parameters=dict(rope_type="default", rope_theta=3000.0))
    config, state, tokens = seeded("qwen3", 54, sizes, sixteen=True)
    model = make_model(config, state)
    folder = fresh(out / "qwen3")
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    write_expected(out / "qwen3.expected.safetensors", make_model(config, state), tokens)


def qwen3_fp8(out):
    """8-bit floats with a scale for each block, as Qwen publishes them; blocks that do not divide the matrices."""
    sizes = dict(SIZES, head_dim=16, rms_norm_eps=1e-6, tie_word_embeddings=True)
    config, state, tokens = seeded("qwen3", 64, dict(
        sizes, rope_parameters=dict(rope_type="default", rope_theta=3000.0)), sixteen=True)
    height, width = 20, 24
    tensors, given = {}, {}
    for name, value in state.items():
        value = torch.from_numpy(value)
        tensors[name], given[name] = value.bfloat16(), value.numpy()
        if value.ndim != 2 or "embed" in name:
            continue
        rows, columns = value.shape
        grid = (-(-rows // height), -(-columns // width))
        scales = torch.empty(grid)
        codes = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
        back = torch.empty(rows, columns)
        for i in range(grid[0]):
            for j in range(grid[1]):
                part = slice(i * height, (i + 1) * height), slice(j * width, (j + 1) * width)
                scales[i, j] = value[part].abs().max() / 448
                codes[part] = (value[part] / scales[i, j]).to(torch.float8_e4m3fn)
                back[part] = codes[part].float() * scales[i, j]
        tensors[name], tensors[name.replace("weight", "weight_scale_inv")] = codes, scales
        given[name] = back.numpy()
    folder = fresh(out / "qwen3-fp8")
    save_torch(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    write_json(folder / "config.json", dict(
        sizes, architectures=["Qwen3ForCausalLM"], model_type="qwen3", hidden_act="silu", rope_theta=3000.0,
        torch_dtype="bfloat16", quantization_config=dict(
            quant_method="fp8", fmt="e4m3", activation_scheme="dynamic", weight_block_size=[height, width])))
    write_expected(out / "qwen3-fp8.expected.safetensors", make_model(config, given), tokens)


def llama_fp8(out):
    """8-bit floats with a scale for each row, or one for the matrix, as compressed-tensors has them; the scales of
    activations and of cached keys and values that such checkpoints carry. transformers reads the folder and unpacks it."""
    sizes = dict(SIZES, rms_norm_eps=1e-5, tie_word_embeddings=False)
    _, state, tokens = seeded("llama", 64, sizes, sixteen=True)
    tensors = {}
    for name, value in state.items():
        value = torch.from_numpy(value)
        tensors[name] = value.bfloat16()
        if value.ndim != 2 or "embed" in name or "lm_head" in name:
            continue
        rows = ".self_attn." in name
        scale = value.abs().amax(1, keepdim=True) / 448 if rows else (value.abs().max() / 448).reshape(1)
        tensors[name] = (value / scale).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale"] = scale
        if not rows:
            tensors[name.replace("weight", "input_scale")] = torch.tensor([0.02])
    folder = fresh(out / "llama-fp8")
    save_torch(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    eight = dict(num_bits=8, type="float", symmetric=True, dynamic=False)
    groups = {
        "group_0": dict(targets=["re:.*self_attn.*"], weights=dict(eight, strategy="channel"),
                        input_activations=dict(eight, strategy="token", dynamic=True)),
        "group_1": dict(targets=["re:.*mlp.*"], weights=dict(eight, strategy="tensor"),
                        input_activations=dict(eight, strategy="tensor")),
    }
    write_json(folder / "config.json", dict(
        sizes, architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", rope_theta=10000.0,
        torch_dtype="bfloat16", quantization_config=dict(
            quant_method="compressed-tensors", format="float-quantized", quantization_status="compressed",
            config_groups=groups, ignore=["lm_head"])))
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager",
        quantization_config=CompressedTensorsConfig(dequantize=True)).eval()
    write_expected(out / "llama-fp8.expected.safetensors", model, tokens)


MOE = dict(SIZES, head_dim=16, rms_norm_eps=1e-6, moe_intermediate_size=32, num_experts=6,
           num_experts_per_tok=2, norm_topk_prob=True)


def moe_layout(state, count, template):
    """The experts' tensors one by one, as Qwen released them."""
    tensors = {}
    for name, value in state.items():
        if name.endswith("mlp.experts.gate_up_proj"):
            gate, up = np.split(value, 2, axis=1)
            parts = {"gate_proj": gate, "up_proj": up}
        elif name.endswith("mlp.experts.down_proj"):
            parts = {"down_proj": value}
        else:
            tensors[name] = value
            continue
        path = name.rsplit(".", 1)[0].removesuffix(".experts")
        for part, matrices in parts.items():
            if template is None:
                tensors[f"{path}.switch_mlp.{part}.weight"] = matrices
            else:
                for e in range(count):
                    tensors[f"{path}.experts.{e}.{part}.weight"] = np.ascontiguousarray(matrices[e])
    return tensors


def qwen3_moe(out):
    """One tensor an expert, as released; the second layer dense; then fused, as transformers 5 holds them."""
    sizes = dict(MOE, tie_word_embeddings=False, mlp_only_layers=[1])
    written = dict(sizes, architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", hidden_act="silu",
                   attention_bias=False, decoder_sparse_step=1, rope_theta=3000.0, rope_scaling=None,
                   use_sliding_window=False, sliding_window=None, max_window_layers=48)
    config, state, tokens = seeded("qwen3_moe", 55, dict(
        sizes, rope_parameters=dict(rope_type="default", rope_theta=3000.0)))
    model = make_model(config, state)
    for name, tensors in [("qwen3-moe", moe_layout(state, 6, "experts")), ("qwen3-moe-fused", state)]:
        folder = fresh(out / name)
        write_json(folder / "config.json", written)
        save_numpy(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
        write_expected(out / f"{name}.expected.safetensors", model, tokens)


def mlx_quantized(out, name, kind, seed, sizes, module, mode, bits, group_size, overrides=()):
    """What mlx-lm's convert writes, with the logits of the weights that mx.dequantize gives back."""
    mx.set_default_device(mx.cpu)
    theta = 3000.0
    config, state, tokens = seeded(kind, seed, dict(
        sizes, rope_parameters=dict(rope_type="default", rope_theta=theta)))
    written = dict(sizes, model_type=kind, hidden_act="silu", rope_theta=theta)
    if kind == "qwen3_moe":
        written.update(decoder_sparse_step=1, mlp_only_layers=[])
    args = module.ModelArgs.from_dict(written)
    model = module.Model(args)
    tensors = moe_layout(state, sizes.get("num_experts", 0), "experts")
    model.load_weights(list(model.sanitize({k: mx.array(v) for k, v in tensors.items()}).items()))

    def predicate(path, layer):
        if not hasattr(layer, "to_quantized"):
            return False
        for suffix, how in overrides:
            if path.endswith(suffix):
                return how
        return True

    model, quantized_config = quantize_model(model, written, group_size, bits, mode=mode,
                                             quant_predicate=predicate)
    folder = fresh(out / name)
    save_model(folder, model)
    save_config(quantized_config, folder / "config.json")

    parameters = dict(tree_flatten(model.parameters()))
    dense = {}
    for key, value in parameters.items():
        path = key.removesuffix(".weight")
        if path + ".scales" in parameters and key.endswith(".weight"):
            how = quantized_config["quantization"].get(
                path, {"group_size": group_size, "bits": bits, "mode": mode})
            value = mx.dequantize(value, parameters[path + ".scales"], parameters.get(path + ".biases"),
                                  how["group_size"], how["bits"], mode=how.get("mode", "affine"))
        if key.endswith(".weight") or key.endswith(".bias"):
            dense[key] = np.array(value.astype(mx.float32))
    for path in sorted({k.rsplit(".", 2)[0] for k in dense if ".switch_mlp." in k}):
        gate, up, down = (dense.pop(f"{path}.{p}.weight") for p in ("gate_proj", "up_proj", "down_proj"))
        experts = path.replace("switch_mlp", "experts")
        dense[f"{experts}.gate_up_proj"] = np.concatenate([gate, up], axis=1)
        dense[f"{experts}.down_proj"] = down
    assert dense.keys() == state.keys(), dense.keys() ^ state.keys()
    write_expected(out / f"{name}.expected.safetensors", make_model(config, dense), tokens)


def write_gguf(path, architecture, config, state, types, keys, permute=False, factors=None):
    """Writes llama.cpp's names and keys; gives the weights that the file stands for."""
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    for add, value in keys:
        getattr(writer, add)(value)
    # A tokenizer belongs to every GGUF file; this one spells bytes alone.
    writer.add_tokenizer_model("llama")
    writer.add_token_list([b"<unk>"] + [bytes([97 + i // 26, 97 + i % 26]) for i in range(VOCAB - 1)])
    writer.add_token_scores([0.0] * VOCAB)
    writer.add_token_types([2] + [1] * (VOCAB - 1))
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors.astype(np.float32))

    names = gguf.get_tensor_name_map(
        {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2,
         "qwen3moe": gguf.MODEL_ARCH.QWEN3MOE}[architecture], config.num_hidden_layers)
    stored, given = {}, {}
    for name, value in state.items():
        if name.endswith("experts.gate_up_proj"):
            gate, up = np.split(value, 2, axis=1)
            base = name.removesuffix("gate_up_proj")
            stored[base + "gate_proj.weight"], stored[base + "up_proj.weight"] = gate, up
        elif name.endswith("experts.down_proj"):
            stored[name + ".weight"] = value
        else:
            stored[name] = value
    kinds = iter(types * len(stored))
    for name, value in stored.items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(
            name.split(".")[-2]) if permute else None
        if heads:
            shape = value.shape
            value = value.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)
        base, suffix = name.rsplit(".", 1)
        target = names.get_name(base) or names.get_name(name)
        assert target, name
        kind = gguf.GGMLQuantizationType.F32 if value.ndim == 1 else next(kinds)
        packed = gguf.quants.quantize(np.ascontiguousarray(value), kind)
        writer.add_tensor(f"{target}.{suffix}", packed, raw_dtype=kind)
        back = gguf.quants.dequantize(packed, kind).reshape(value.shape).astype(np.float32)
        if heads:
            shape = back.shape
            back = back.reshape(heads, shape[0] // heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)
        given[name] = back
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for name in state:
        if name.endswith("experts.gate_up_proj"):
            base = name.removesuffix("gate_up_proj")
            given[name] = np.concatenate(
                [given.pop(base + "gate_proj.weight"), given.pop(base + "up_proj.weight")], axis=1)
        elif name.endswith("experts.down_proj"):
            given[name] = given.pop(name + ".weight")
    return given


Q = gguf.GGMLQuantizationType


def gguf_files(out):
    # Llama's rows in pairs of neighbours, Llama 3's scaling as a list of factors, every format that `gguf` can write.
    scaling = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=64, rope_theta=5000.0)
    config, state, tokens = seeded("llama", 56, dict(
        SIZES, head_dim=16, intermediate_size=64, rms_norm_eps=1e-5, rope_parameters=scaling))
    inv = 1.0 / (5000.0 ** (np.arange(0, 16, 2, dtype=np.float64) / 16))
    turns = 64 * inv / (2 * np.pi)
    share = (turns - 1.0) / (4.0 - 1.0)
    factors = np.where(turns > 4, 1.0, np.where(turns < 1, 8.0, 1 / ((1 - share) / 8.0 + share)))
    path = out / "llama.gguf"
    types = [Q.F16, Q.Q8_0, Q.Q4_0, Q.Q5_1, Q.BF16, Q.Q4_1, Q.Q5_0, Q.F32]
    given = write_gguf(path, "llama", config, state, types,
                       [("add_key_length", 16), ("add_value_length", 16), ("add_rope_dimension_count", 16),
                        ("add_vocab_size", VOCAB)], permute=True, factors=factors)
    write_expected(out / "llama.expected.safetensors", make_model(config, given), tokens)

    # Biases of queries, keys and values; tied; linear scaling in the metadata.
    config, state, tokens = seeded("qwen2", 57, dict(
        SIZES, intermediate_size=64, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=10000.0)))
    given = write_gguf(out / "qwen2.gguf", "qwen2", config, state, [Q.Q8_0, Q.F16],
                       [("add_rope_scaling_type", gguf.RopeScalingType.LINEAR), ("add_rope_scaling_factor", 2.0)])
    write_expected(out / "qwen2.expected.safetensors", make_model(config, given), tokens)

    # Experts in one tensor a layer.
    config, state, tokens = seeded("qwen3_moe", 58, dict(
        MOE, intermediate_size=64, rope_parameters=dict(rope_type="default", rope_theta=3000.0)))
    given = write_gguf(out / "qwen3moe.gguf", "qwen3moe", config, state, [Q.Q8_0, Q.Q4_0, Q.F32],
                       [("add_key_length", 16), ("add_value_length", 16), ("add_expert_count", 6),
                        ("add_expert_used_count", 2), ("add_expert_feed_forward_length", 32)])
    write_expected(out / "qwen3moe.expected.safetensors", make_model(config, given), tokens)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "tiny"
    out.mkdir(parents=True, exist_ok=True)
    for make in (llama3, llama_biases, llama_fp8, qwen2, qwen3, qwen3_fp8, qwen3_moe):
        make(out)
    wide = dict(SIZES, hidden_size=64, intermediate_size=64, num_hidden_layers=2, head_dim=16,
                rms_norm_eps=1e-6, tie_word_embeddings=True)
    moe = dict(MOE, hidden_size=64, num_hidden_layers=2, num_experts=4, tie_word_embeddings=False)
    mlx_quantized(out, "qwen3-mxfp4", "qwen3", 59, wide, mlx_qwen3, "mxfp4", 4, 32)
    mlx_quantized(out, "qwen3-mxfp8", "qwen3", 60, wide, mlx_qwen3, "mxfp8", 8, 32)
    mlx_quantized(out, "qwen3-nvfp4", "qwen3", 61, wide, mlx_qwen3, "nvfp4", 4, 16)
    del wide["head_dim"]
    mlx_quantized(out, "qwen2-mlx-mixed", "qwen2", 62, wide, mlx_qwen2, "affine", 5, 64, [
        ("q_proj", {"group_size": 32, "bits": 2}), ("k_proj", {"group_size": 32, "bits": 3}),
        ("v_proj", {"group_size": 64, "bits": 6}), ("down_proj", {"group_size": 64, "bits": 8})])
    mlx_quantized(out, "qwen3-moe-mlx-q4", "qwen3_moe", 63, moe, mlx_qwen3_moe, "affine", 4, 32,
                  [("mlp.gate", {"group_size": 64, "bits": 8})])
    gguf_files(out)


if __name__ == "__main__":
    main()
