"""Writes sampling.json: the distributions that mlx-lm's own functions draw from.

    pip install mlx-lm==0.32.2 'mlx[cpu]==0.32.2' numpy
    python make_sampling.py

Rows are multiples of 1/64, so that JSON carries them exactly and ties occur. `make_logits_processors` and `make_sampler`
run unchanged; only the final draw is replaced, to record what it is given.
"""

import json
import pathlib

import mlx.core as mx
import numpy as np
from mlx_lm import sample_utils

SEED = 20260101
SHAPES = {"tiny": (12, 1.0), "flat": (40, 0.4), "peaked": (64, 3.0), "wide": (200, 2.0)}
HISTORY = [3, 7, 7, 1, 0, 7, 11, 3, 5, 5, 5, 2, 9, 9, 4, 4, 6, 8, 10, 10, 7, 2, 3, 3, 7]
SETTINGS = [
    {"temp": 1.0},
    {"temp": 0.3},
    {"temp": 2.5},
    {"temp": 1.0, "top_k": 1},
    {"temp": 0.7, "top_k": 5},
    {"temp": 0.7, "top_p": 0.1},
    {"temp": 0.7, "top_p": 0.5},
    {"temp": 1.3, "top_p": 0.95},
    {"temp": 0.9, "min_p": 0.05},
    {"temp": 0.9, "min_p": 0.6},
    {"temp": 1.1, "top_p": 0.8, "min_p": 0.1},
    {"temp": 1.1, "top_p": 0.8, "top_k": 7},
    {"temp": 1.1, "top_p": 0.9, "min_p": 0.02, "top_k": 9},
    {"temp": 1.0, "xtc_probability": 1.0},
    {"temp": 0.8, "xtc_probability": 1.0, "xtc_threshold": 0.03},
    {"temp": 1.0, "xtc_probability": 1.0, "xtc_threshold": 0.0, "xtc_special_tokens": [0, 5]},
    {"temp": 1.0, "xtc_probability": 1.0, "xtc_threshold": 0.5},
    {"temp": 1.1, "xtc_probability": 1.0, "xtc_threshold": 0.04, "top_k": 3},
    {"temp": 1.1, "xtc_probability": 1.0, "xtc_threshold": 0.05, "top_p": 0.8, "min_p": 0.05, "top_k": 4},
    {"temp": 1.0, "xtc_probability": 1.0, "xtc_threshold": 0.02, "xtc_special_tokens": [1, 2, 3], "repetition_penalty": 1.2},
    {"temp": 1.0, "repetition_penalty": 1.3},
    {"temp": 1.0, "repetition_penalty": 0.8, "repetition_context_size": 3},
    {"temp": 1.0, "presence_penalty": 0.75, "presence_context_size": 6},
    {"temp": 1.0, "frequency_penalty": 0.4},
    {"temp": 1.0, "frequency_penalty": -0.25, "frequency_context_size": 4},
    {"temp": 1.0, "logit_bias": {"2": 1.5, "5": -3.0}},
    {
        "temp": 0.8, "top_p": 0.9, "min_p": 0.01, "top_k": 8,
        "logit_bias": {"1": 2.0}, "repetition_penalty": 1.2, "repetition_context_size": 10,
        "presence_penalty": 0.3, "frequency_penalty": 0.2,
    },
]
PENALTIES = (
    "logit_bias", "repetition_penalty", "repetition_context_size", "presence_penalty", "presence_context_size",
    "frequency_penalty", "frequency_context_size",
)


def distribution(row, setting):
    """Returns the penalised log-probabilities and the probabilities of the draw, both as arrays [V]."""
    penalties = {k: v for k, v in setting.items() if k in PENALTIES}
    filters = {k: v for k, v in setting.items() if k not in PENALTIES}
    if "logit_bias" in penalties:
        penalties["logit_bias"] = {int(k): v for k, v in penalties["logit_bias"].items()}
    logits = mx.array(row, dtype=mx.float32)[None]
    for processor in sample_utils.make_logits_processors(**penalties):
        logits = processor(mx.array(HISTORY), logits)
    logprobs = logits - mx.logsumexp(logits, keepdims=True)

    seen = []
    draw = sample_utils.categorical_sampling
    sample_utils.categorical_sampling = lambda lp, temp: seen.append((lp, temp)) or draw(lp, temp)
    sample_utils.make_sampler(**filters)(logprobs)
    sample_utils.categorical_sampling = draw
    kept, temp = seen[0]
    return np.array(logprobs[0]), np.array(mx.softmax(kept[0] * (1.0 / temp), precise=True))


def main():
    rng = np.random.default_rng(SEED)
    rows, cases = {}, []
    for name, (size, scale) in SHAPES.items():
        row = np.round(rng.normal(0.0, scale, size) * 64) / 64
        row[size // 2] = row[size // 3]
        rows[name] = row.tolist()
    rows["tied"] = [1.0, 2.0, 2.0, 0.5, 2.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5]
    rows["masked"] = [None if i % 3 == 0 else x for i, x in enumerate(rows["tiny"])]
    for name, values in rows.items():
        row = [float("-inf") if x is None else x for x in values]
        for setting in SETTINGS:
            logprobs, probs = distribution(row, setting)
            ids = np.flatnonzero(probs).tolist()
            cases.append({
                "row": name,
                "setting": setting,
                "ids": ids,
                "probs": [float(f"{probs[i]:.7g}") for i in ids],
                "logprobs": [float(f"{logprobs[i]:.7g}") for i in ids],
            })
    document = {"history": HISTORY, "rows": rows, "cases": cases}
    text = json.dumps(document, separators=(",", ":")).replace('{"row"', '\n{"row"')
    pathlib.Path(__file__).with_name("sampling.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
