#!/usr/bin/env python3
"""Makes finetune/: losses of fine-tuning the tiny checkpoints, step by step, by a loop in torch and by mlx-lm's trainer,
and adapters of mlx-lm and PEFT with the logits that these give with them.

    python make_finetune.py [OUT]        (OUT: finetune/ beside this file when left out)

Each NAME.json holds the rows, which tokens of them count from where on, the rows of each step, the options, and the
losses before each step, in float32. The adapter that a run begins with is the folder NAME in mlx-lm's format. In torch,
LoRA is written out as `y + scale * (x A) B`, with transformers' models and torch's AdamW; mlx-lm's trainer gets the batches
and lengths that count from us, and its own loss, step and optimizer. Every seed is fixed.
"""

import json
import math
import sys
from pathlib import Path

import mlx.core as mx
import mlx.optimizers
import numpy as np
import torch
from mlx.utils import tree_flatten
from mlx_lm.tuner.trainer import TrainingArgs, train
from mlx_lm.tuner.utils import linear_to_lora_layers, load_adapters
from mlx_lm.utils import load_model
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
STEPS = 20

# Compiled functions are built by a C++ compiler on CPUs; the numbers are the same without.
mx.disable_compile()
BATCH = 4


def rows(rng, vocab):
    """Ten rows of tokens, and for each the first token that counts."""
    lengths = rng.permutation(np.arange(5, 25, 2))
    tokens = [rng.integers(4, vocab, length).tolist() for length in lengths]
    return tokens, [int(rng.integers(1, len(row) - 1)) for row in tokens]


def steps(rng, count):
    """Rows of each step: shuffled, each once before any comes twice."""
    order = np.concatenate([rng.permutation(count) for _ in range(STEPS * BATCH // count + 1)])
    return order[: STEPS * BATCH].reshape(STEPS, BATCH).tolist()


def rate(options, step):
    """The learning rate of a step; the first is 0."""
    peak, warmup, cosine = options["lr"], options.get("warmup", 0), options.get("cosine_steps")
    if step < warmup:
        return peak * step / warmup
    if cosine is None:
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / cosine)))


class Lora(torch.nn.Module):
    def __init__(self, base, a, b, scale):
        super().__init__()
        self.base, self.scale = base, scale
        self.a, self.b = torch.nn.Parameter(torch.from_numpy(a)), torch.nn.Parameter(torch.from_numpy(b))

    def forward(self, x):
        return self.base(x) + self.scale * ((x @ self.a) @ self.b)


def in_torch(path, adapter, options, data):
    """The losses before each step."""
    tokens, first, order = data
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    model.requires_grad_(False)
    for name in sorted({name.rsplit(".", 1)[0] for name in adapter}):
        parent, last = model.get_submodule(name.rsplit(".", 1)[0]), name.rsplit(".", 1)[1]
        lora = Lora(getattr(parent, last), adapter[f"{name}.lora_a"], adapter[f"{name}.lora_b"], options["scale"])
        setattr(parent, last, lora)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=options["weight_decay"])
    losses = []
    for step, chosen in enumerate(order):
        width = max(len(tokens[row]) for row in chosen)
        batch, mask = torch.zeros((BATCH, width), dtype=torch.long), torch.zeros((BATCH, width - 1))
        for place, row in enumerate(chosen):
            batch[place, : len(tokens[row])] = torch.tensor(tokens[row])
            mask[place, first[row] - 1 : len(tokens[row]) - 1] = 1
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits.float()
        each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
        loss = (each * mask.flatten()).sum() / mask.sum()
        optimizer.zero_grad()
        loss.backward()
        if "max_norm" in options:
            torch.nn.utils.clip_grad_norm_(parameters, options["max_norm"])
        for group in optimizer.param_groups:
            group["lr"] = rate(options, step)
        optimizer.step()
        losses.append(loss.item())
    return losses


def mlx_model(path):
    model, _ = load_model(path)
    model.set_dtype(mx.float32)
    model.freeze()
    return model


def config(options, layers, kind="lora"):
    parameters = {"rank": options["rank"], "scale": options["scale"], "dropout": 0.0, "keys": options["keys"]}
    return {"fine_tune_type": kind, "num_layers": layers, "lora_parameters": parameters}


def save_adapter(folder, arrays, config):
    folder.mkdir(parents=True, exist_ok=True)
    save_file(arrays, folder / "adapters.safetensors", metadata={"format": "mlx"})
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")


def in_mlx_lm(path, folder, options, data, after):
    """mlx-lm's losses before each step; the trained adapter goes to the file `after`."""
    tokens, first, order = data
    model = mlx_model(path)
    load_adapters(model, folder)

    def batches(**_):
        for chosen in order:
            width = max(len(tokens[row]) for row in chosen)
            batch = np.zeros((BATCH, width), np.int32)
            for place, row in enumerate(chosen):
                batch[place, : len(tokens[row])] = tokens[row]
            yield mx.array(batch), mx.array([(first[row], len(tokens[row]) - 1) for row in chosen])

    class Losses:
        def __init__(self):
            self.losses = []

        def on_train_loss_report(self, report):
            self.losses.append(report["train_loss"])

        def on_val_loss_report(self, report):
            pass

    report = Losses()
    args = TrainingArgs(batch_size=BATCH, iters=STEPS, steps_per_report=1, adapter_file=str(after))
    optimizer = mlx.optimizers.AdamW(
        options["lr"], weight_decay=options["weight_decay"], bias_correction=True
    )
    train(model, optimizer, None, args=args, iterate_batches=batches, training_callback=report)
    return report.losses


def fresh(rng, model_path, options, layers, kind="lora"):
    """An adapter for mlx-lm's model, with a B that is not 0, as arrays by name."""
    model = mlx_model(model_path)
    linear_to_lora_layers(model, layers, config(options, layers)["lora_parameters"], use_dora=kind == "dora")
    arrays = {}
    for name, value in sorted(tree_flatten(model.trainable_parameters())):
        value = np.array(value.astype(mx.float32))
        if name.endswith("lora_a"):
            value = rng.uniform(-1, 1, value.shape) / np.sqrt(value.shape[0])
        elif name.endswith("lora_b"):
            value = rng.standard_normal(value.shape) * 0.05
        elif name.endswith(".m"):
            value = value * rng.uniform(0.8, 1.25, value.shape)
        arrays[name] = value.astype(np.float32)
    return arrays


def mlx_logits(path, folder, tokens):
    model = mlx_model(path)
    load_adapters(model, folder)
    return np.array(model(mx.array([tokens])).astype(mx.float32))[0]


CASES = {
    "gemma3-classic": {
        "model": "gemma3-classic", "kind": "lora", "rank": 4, "scale": 2.0, "layers": 8, "lr": 0.02, "warmup": 5,
        "cosine_steps": 15, "weight_decay": 0.01, "max_norm": 0.5,
        "keys": ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"], "by": ["torch"],
    },
    "llama3": {
        "model": "tiny/llama3", "kind": "lora", "rank": 4, "scale": 2.0, "layers": 2, "lr": 0.01, "weight_decay": 0.01,
        "keys": [f"self_attn.{n}_proj" for n in "qkvo"] + [f"mlp.{n}_proj" for n in ("gate", "up", "down")],
        "by": ["torch", "mlx_lm"],
    },
    "llama3-dora": {
        "model": "tiny/llama3", "kind": "dora", "rank": 2, "scale": 4.0, "layers": 3, "lr": 0.01, "weight_decay": 0.01,
        "keys": ["self_attn.q_proj", "mlp.up_proj"], "by": ["mlx_lm"],
    },
    "qwen2-packed": {
        "model": "tiny/qwen2-mlx-mixed", "kind": "lora", "rank": 4, "scale": 2.0, "layers": 2, "lr": 0.01,
        "weight_decay": 0.0, "keys": ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"], "by": ["mlx_lm"],
    },
}


def make_case(out, seed, name, options):
    rng = np.random.default_rng(seed)
    path = HERE / options["model"]
    vocab = json.loads((path / "config.json").read_text())["vocab_size"]
    tokens, first = rows(rng, vocab)
    data = (tokens, first, steps(rng, len(tokens)))
    adapter = fresh(rng, path, options, options["layers"], options["kind"])
    save_adapter(out / name, adapter, config(options, options["layers"], options["kind"]))
    result = {key: value for key, value in options.items() if key not in ("keys", "by", "kind", "layers", "rank")}
    result |= {"rows": tokens, "first": first, "steps": data[2]}
    if "torch" in options["by"]:
        result["torch"] = in_torch(path, adapter, options, data)
    if "mlx_lm" in options["by"]:
        after = out / "trained.tmp.safetensors"
        result["mlx_lm"] = in_mlx_lm(path, out / name, options, data, after)
        after.unlink()
        for other in out.glob("*_adapters.safetensors"):
            other.unlink()
    (out / f"{name}.json").write_text(json.dumps(result) + "\n")
    chosen = rng.integers(4, vocab, 12).tolist()
    save_file(
        {"tokens": np.array(chosen, np.int32), "logits": mlx_logits(path, out / name, chosen)},
        out / f"{name}.logits.safetensors",
    )
    print(name, {key: result[key][:2] + result[key][-1:] for key in ("torch", "mlx_lm") if key in result})


def make_peft(out, name, **options):
    """A folder of PEFT's with adapters that do something, and the logits with them."""
    torch.manual_seed(5)
    path = HERE / "tiny/llama3"
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.1, **options)).eval()
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.05)
        if "magnitude" in parameter_name:
            parameter.data *= torch.empty_like(parameter).uniform_(0.8, 1.25)
    model.save_pretrained(out / name)
    (out / name / "README.md").unlink(missing_ok=True)
    config = json.loads((out / name / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "tiny/llama3"
    (out / name / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    tokens = np.random.default_rng(6).integers(4, 64, 12)
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(tokens)[None]).logits[0].numpy()
    save_file({"tokens": tokens.astype(np.int32), "logits": logits}, out / f"{name}.logits.safetensors")


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    for seed, (name, options) in enumerate(CASES.items()):
        make_case(out, seed, name, options)
    make_peft(out, "peft-lora", r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"])
    make_peft(out, "peft-rslora", r=4, lora_alpha=3, use_rslora=True, rank_pattern={"k_proj": 2},
              target_modules=["k_proj", "v_proj"])
    make_peft(out, "peft-dora", r=2, lora_alpha=4, use_dora=True, target_modules=["o_proj", "up_proj"])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "finetune")
