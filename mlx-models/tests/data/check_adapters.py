#!/usr/bin/env python3
"""Has mlx-lm read what `mlx finetune` and `mlx fuse` write, on a real model, and compares its logits with ours.

    python check_adapters.py MLX WORK

MLX is the binary, WORK a new folder. SmolLM2 is converted to float32, trained for a few steps with LoRA and with DoRA on the
data of examples/finetune, and fused; mlx-lm loads model and adapter, and the fused checkpoint. So it does where the float32
weights are packed in 4 bits, trained beside, and packed again.
"""

import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_model
from safetensors.numpy import load_file

mx.disable_compile()

DATA = Path(__file__).resolve().parents[3] / "examples/finetune/data"
TOKENS = [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365]


def run(*args):
    subprocess.run([str(arg) for arg in args], check=True)


def ours(mlx, work, model, *more):
    out = work / "logits.safetensors"
    run(mlx, "logits", "--model", model, "--tokens", ",".join(map(str, TOKENS)), "--out", out, *more)
    return load_file(out)["logits"]


def theirs(model, adapter=None):
    model, _ = load_model(model)
    model.set_dtype(mx.float32)
    if adapter:
        load_adapters(model, adapter)
    return np.array(model(mx.array([TOKENS])).astype(mx.float32))[0]


def compare(what, a, b):
    worst = np.abs(a - b).max() / np.abs(b).max()
    print(f"{what}: the largest difference is {worst:.1e} of the largest logit")
    assert worst < 1e-4, what


def main(mlx, work):
    work.mkdir(parents=True)
    forms = {"f32": ["smollm2-135m-instruct", "--dtype", "f32"], "4bit": [work / "f32", "--quantize", "4"]}
    for form, (source, *options) in forms.items():
        model = work / form
        run(mlx, "convert", "--model", source, "--out", model, *options)
        for kind in ("lora", "dora"):
            adapter, fused = work / f"{form}-{kind}", work / f"{form}-{kind}-fused"
            run(mlx, "finetune", "--model", model, "--data", DATA, "--adapter-out", adapter, "--iters", 3, "--lr", 1e-3,
                "--mask-prompt", "--fine-tune-type", kind, "--lora-layers", 6)
            run(mlx, "fuse", "--model", model, "--adapter", adapter, "--out", fused)
            base = theirs(model)
            adapted = theirs(model, adapter)
            print(f"{form} {kind}: the adapter moves logits by {np.abs(adapted - base).max():.2f}")
            compare(f"{form} {kind}, adapter beside the model", ours(mlx, work, model, "--adapter", adapter), adapted)
            compare(f"{form} {kind}, fused", ours(mlx, work, fused), theirs(fused))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
