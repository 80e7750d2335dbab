"""Writes what tests/real_gguf.rs expects of the Gemma 3 270M Q4_K_M file.

For each tensor: name, type, shape in row-major order, and the sha256 of its values as little-endian f32, dequantized
by the Python package `gguf`.

    pip install gguf==0.19.0 numpy && python make_gguf_sums.py gemma-3-270m-q4_k_m.gguf
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

tensors = [
    {
        "name": tensor.name,
        "type": tensor.tensor_type.name,
        "shape": [int(n) for n in reversed(tensor.shape)],
        "sha256": hashlib.sha256(
            dequantize(tensor.data, tensor.tensor_type).astype("<f4", copy=False).tobytes()
        ).hexdigest(),
    }
    for tensor in GGUFReader(sys.argv[1]).tensors
]
lines = ",\n".join(json.dumps(tensor) for tensor in tensors)
Path(__file__).with_name("gemma3_270m_gguf_values.json").write_text(f"[\n{lines}\n]\n")
