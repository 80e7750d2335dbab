#!/usr/bin/env python3
"""Speed of fine-tuning: `mlx finetune` beside mlx-lm's trainer, on the same checkpoint, rows and settings.

    python finetune.py MLX WORK [--model gemma-3-270m] [--batch 4] [--length 128] [--steps 4] [--peer-steps 1]

MLX is the binary (build it with --release), WORK a new folder. The model is converted to a dense checkpoint, once in bfloat16
and once in float32. Each row has LENGTH + 1 tokens of which all count; LoRA of rank 8 on all linear maps. Both run on the CPU.
mlx-lm runs without `compile`, which on CPUs calls a C++ compiler; its first step is not counted if there are several.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path

import mlx.core as mx
import mlx.optimizers
import numpy as np
from mlx_lm.tuner.trainer import default_loss
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model
from mlx.nn import value_and_grad


def ours(args, model, adapter):
    """Tokens per second of the steps after the first."""
    command = [args.mlx, "finetune", "--model", model, "--data", args.work / "data", "--adapter-out", adapter,
               "--iters", args.steps, "--batch-size", args.batch, "--max-seq-length", args.length + 1,
               "--save-every", 1000, "--device", "cpu", "--json"]
    out = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout
    steps = [json.loads(line) for line in out.splitlines()][1:]
    return sum(s["tokens"] for s in steps) / sum(s["tokens"] / s["tokens_per_sec"] for s in steps)


def theirs(args, model):
    model, _ = load_model(model)
    model.freeze()
    linear_to_lora_layers(model, len(model.layers), {"rank": 8, "scale": 2.0, "dropout": 0.0})
    optimizer = mlx.optimizers.AdamW(1e-4)
    step = value_and_grad(model, default_loss)
    rng = np.random.default_rng(0)
    seconds = []
    for _ in range(args.peer_steps):
        batch = mx.array(rng.integers(1000, 20000, (args.batch, args.length + 1)))
        lengths = mx.array([[1, args.length]] * args.batch)
        start = time.perf_counter()
        (loss, _), gradients = step(model, batch, lengths)
        optimizer.update(model, gradients)
        mx.eval(loss, model.trainable_parameters(), optimizer.state)
        seconds.append(time.perf_counter() - start)
    seconds = seconds[1:] or seconds
    return args.batch * args.length * len(seconds) / sum(seconds)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mlx", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--peer-steps", type=int, default=1)
    parser.add_argument("--dtypes", nargs="+", default=["bf16", "f32"])
    args = parser.parse_args()
    mx.set_default_device(mx.cpu)
    mx.disable_compile()
    data = args.work / "data"
    data.mkdir(parents=True)
    words = "one two three four five six seven eight nine ten".split()
    rng = np.random.default_rng(0)
    with open(data / "train.jsonl", "w") as file:
        for _ in range(4 * args.batch):
            file.write(json.dumps({"text": " ".join(rng.choice(words, 2 * args.length))}) + "\n")
    for dtype in args.dtypes:
        model = args.work / dtype
        subprocess.run([args.mlx, "convert", "--model", args.model, "--out", model, "--dtype", dtype], check=True)
        a = ours(args, model, args.work / f"adapter-{dtype}")
        print(f"{args.model} {dtype}, {args.batch} x {args.length}: mlx finetune {a:.1f} tokens/s", flush=True)
        b = theirs(args, model)
        print(f"{args.model} {dtype}, {args.batch} x {args.length}: mlx-lm {b:.2f} tokens/s, a ratio of {a / b:.1f}")


if __name__ == "__main__":
    main()
