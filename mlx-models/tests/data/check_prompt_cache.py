#!/usr/bin/env python3
"""Checks that mlx-lm goes on from prompt caches that this crate wrote.

    mkdir DIR && KEEP_PROMPT_CACHES=DIR cargo test -p mlx-models --test prompt_cache files_can_be_kept
    python check_prompt_cache.py DIR

mlx-lm's Gemma 3 loads each file, reads some more tokens, in one step and one at a time, and
gives the logits that it gives when it reads the whole itself. It rounds the embedding scale,
which we do not, so they differ by a little; those of a wrong cache differ by 1 and more.
"""

import json
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import load_prompt_cache
from mlx_lm.utils import load_model

REST = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]


def main():
    mx.set_default_device(mx.cpu)
    model, _ = load_model(Path(__file__).parent / "gemma3-classic")
    worst = 0.0
    for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
        _, metadata = load_prompt_cache(str(path), return_metadata=True)
        tokens = json.loads(metadata["rust_mlx_prompt_cache"])["tokens"]
        whole = np.array(model(mx.array([tokens + REST]))[0, len(tokens) :])
        for chunk in (1, 5, len(REST)):
            cache = load_prompt_cache(str(path))
            steps = [mx.array([REST[i : i + chunk]]) for i in range(0, len(REST), chunk)]
            logits = np.concatenate([np.array(model(step, cache=cache)[0]) for step in steps])
            off = np.abs(logits - whole).max()
            worst = max(worst, off)
            print(f"{path.name}: {len(tokens)} tokens, then steps of {chunk}: {off:.1e}")
    sys.exit(f"a logit differs by {worst}" if worst > 2e-2 else 0)


main()
