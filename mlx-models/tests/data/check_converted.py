#!/usr/bin/env python3
"""Checks that mlx-lm and transformers read what `mlx convert` writes.

    python check_converted.py MLX [MODEL...]

MLX: the `mlx` binary. Each tiny checkpoint beside this file, and each MODEL that is named, is converted; mlx-lm loads the
folder and must give the logits that `mlx logits` gives for it, and so must transformers where nothing is packed; its
tokenizer, where there is one, must give the ids of `mlx tokenize`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
import numpy as np
import torch
from mlx_lm.utils import load_model
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
TEXT = "Grüße, 世界!  def f(x):\n    return x*2 🎉 <bos>"


def run(*args, **kwargs):
    done = subprocess.run(list(map(str, args)), check=True, capture_output=True, **kwargs)
    return done.stdout.decode()


def difference(found, expected):
    return float(np.abs(found - expected).max() / np.sqrt((expected ** 2).mean()))


def check(mlx, model, options, tokens, folder):
    out = folder / "out"
    run(mlx, "convert", "--model", model, "--out", out, *options)
    config = json.loads((out / "config.json").read_text())
    logits = folder / "logits.safetensors"
    run(mlx, "logits", "--model", out, "--tokens", ",".join(map(str, tokens)), "--out", logits)
    ours = load_file(logits)["logits"]
    found = {}
    # For packed experts mlx-lm 0.32.2 calls gather_qmm with an argument that MLX 0.32.2 does not have.
    if not (config["model_type"] == "qwen3_moe" and "quantization" in config):
        loaded, _ = load_model(out)
        theirs = np.array(loaded(mx.array([tokens]))[0].astype(mx.float32))
        found["mlx-lm"] = difference(theirs, ours)
    # MLX's names of stacked experts are not transformers'.
    if "quantization" not in config and config["model_type"] != "qwen3_moe":
        reference = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            found["transformers"] = difference(reference(torch.tensor([tokens])).logits[0].numpy(), ours)
    if (out / "tokenizer.json").exists():
        ids = PreTrainedTokenizerFast.from_pretrained(out)(TEXT).input_ids
        assert ids == json.loads(run(mlx, "tokenize", "--model", model, "--json", input=TEXT.encode()))["ids"]
        found["tokenizer"] = "same ids"
    print(Path(model).name, *options, found, flush=True)
    return [value for value in found.values() if isinstance(value, float)]


def main():
    mx.set_default_device(mx.cpu)
    mlx, models = sys.argv[1], sys.argv[2:]
    tiny = [*HERE.glob("gemma3-*"), *(p for p in (HERE / "tiny").iterdir() if p.is_dir() or p.suffix == ".gguf")]
    cases = [(model, options) for model in sorted(tiny)
             for options in (["--dtype", "f32"], ["--dtype", "f32", "--quantize", "4", "--group-size", "32"])]
    # mlx-lm has no sliding layers in Qwen 2 and reads no layer types.
    known = {"qwen2-yarn", "gemma3-new"}
    # In 16 bits MLX's kernels for CPUs also add in 16 bits, which would hide a mistake.
    cases += [(model, ["--dtype", "f32", *options]) for model in models
              for options in ([], ["--quantize", "4"], ["--quantize", "8", "--group-size", "32"])]
    worst = 0.0
    for model, options in cases:
        if Path(model).name in known:
            continue
        with tempfile.TemporaryDirectory() as folder:
            tokens = list(range(3, 40)) if model in tiny else list(range(100, 110))
            worst = max([worst, *check(mlx, model, options, tokens, Path(folder))])
    print(f"largest difference: {worst:.2e} of the logits' root mean square")


if __name__ == "__main__":
    main()
