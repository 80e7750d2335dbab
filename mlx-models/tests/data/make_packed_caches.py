#!/usr/bin/env python3
"""Makes gemma3-mlx-q4/expected_packed_caches.safetensors: logits with packed keys and values.

    python make_packed_caches.py

mlx-lm's Gemma 3 reads `tokens` of gemma3-mlx-q4/expected.safetensors at once and one at a time.
Its caches are its own, but that each key and value is packed (mx.quantize, groups of 32) and
unpacked again before it goes in: mlx-lm cannot pack a rotating cache, and its products with
packed matrices are the same sums in another order. `logits_8` and `logits_4`, float32 [40, 96],
are those of 8 and of 4 bits, one token at a time.
"""

from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import KVCache, RotatingKVCache
from mlx_lm.utils import load_model
from safetensors.numpy import load_file, save_file

FOLDER = Path(__file__).parent / "gemma3-mlx-q4"


def rounding(kind, bits):
    def through(x):
        return mx.dequantize(*mx.quantize(x, group_size=32, bits=bits), group_size=32, bits=bits)

    class Rounding(kind):
        def update_and_fetch(self, keys, values):
            return super().update_and_fetch(through(keys), through(values))

    return Rounding


def logits(model, tokens, bits, chunk):
    caches = []
    for cache in model.make_cache():
        if isinstance(cache, RotatingKVCache):
            caches.append(rounding(RotatingKVCache, bits)(max_size=cache.max_size))
        else:
            caches.append(rounding(KVCache, bits)())
    rows = []
    for start in range(0, len(tokens), chunk):
        rows.append(model(mx.array(tokens[None, start : start + chunk]), cache=caches)[0])
    return np.array(mx.concatenate(rows))


def main():
    mx.set_default_device(mx.cpu)
    model, _ = load_model(FOLDER)
    expected = load_file(FOLDER / "expected.safetensors")
    out = {}
    for bits in (8, 4):
        by_one, at_once = (logits(model, expected["tokens"], bits, chunk) for chunk in (1, 40))
        out[f"logits_{bits}"] = by_one
        off = np.abs(by_one - expected["logits"])
        print(f"{bits} bits: largest difference between chunks {np.abs(by_one - at_once).max():.1e};")
        print(f"  from unpacked caches: largest {off.max():.1e}, rms {np.sqrt((off**2).mean()):.1e}")
    save_file(out, FOLDER / "expected_packed_caches.safetensors")


main()
