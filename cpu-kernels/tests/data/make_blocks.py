"""Writes the blocks and expected values that tests/blocks.rs compares with.

For each format, `<name>.blocks` holds blocks of random levels and scales, `<name>.f32` what `gguf.quants.dequantize`
makes of them. For the formats that fit MLX's affine quantization, `<name>.words` holds the levels packed as MLX wants
them; the script checks that `mx.dequantize` of those words equals gguf's values.

    pip install 'mlx[cpu]==0.32.2' gguf==0.19.0 numpy && python make_blocks.py
"""

from pathlib import Path

import mlx.core as mx
import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import Q4_K, dequantize

HERE = Path(__file__).parent
RNG = np.random.default_rng(20)
VALUES = 2048

# Zeros, subnormals, the smallest and largest normal numbers; the rest is random.
EXTREMES = [0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 65504.0, -65504.0, 1.0, -1.0, 0.1]


def halves(n: int) -> np.ndarray:
    """n finite f16 with the extremes among them, as bytes [n, 2]."""
    values = RNG.normal(size=n).astype(np.float16)
    count = min(n, len(EXTREMES))
    values[RNG.permutation(n)[:count]] = RNG.permutation(np.array(EXTREMES, np.float16))[:count]
    return values.view(np.uint8).reshape(n, 2)


def f32(half_bytes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(half_bytes).view(np.float16).astype(np.float32)


def nibbles(levels: np.ndarray) -> np.ndarray:
    """Levels [n, 2, w] to bytes [n, w]: the first w in the low nibbles."""
    return (levels[:, 0] & 15) | ((levels[:, 1] & 15) << 4)


def legacy(name: str):
    """Blocks of 32, built from their levels; returns blocks, levels, scales, biases."""
    n = VALUES // 32
    bits = int(name[1])
    q = RNG.integers(0, 1 << bits, size=(n, 32), dtype=np.uint8)
    d, m = halves(n), halves(n)
    parts = [d] + ([m] if name.endswith("_1") else [])
    if bits == 5:
        parts.append(np.packbits(q >> 4, axis=1, bitorder="little"))
    parts.append((q ^ 0x80) if bits == 8 else nibbles(q.reshape(n, 2, 16)))
    bias = f32(m) if name.endswith("_1") else f32(d) * np.float32(-(1 << (bits - 1)))
    return np.concatenate(parts, axis=1), q, f32(d), bias


def k45(name: str):
    """Blocks of 256 of Q4_K and Q5_K, built from their levels."""
    n = VALUES // 256
    bits = int(name[1])
    q = RNG.integers(0, 1 << bits, size=(n, 4, 2, 32), dtype=np.uint8)
    d, dmin = halves(n), halves(n)
    scales = RNG.integers(0, 256, size=(n, 12), dtype=np.uint8)
    parts = [d, dmin, scales]
    if bits == 5:
        high = (q >> 4).reshape(n, 8, 32) << np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
        parts.append(np.bitwise_or.reduce(high, axis=1))
    parts.append(nibbles(q.reshape(n * 4, 2, 32)).reshape(n, 128))
    sc, m = Q4_K.get_scale_min(scales)
    return (
        np.concatenate(parts, axis=1),
        q.reshape(n * 8, 32),
        (f32(d) * sc.astype(np.float32)).reshape(-1, 1),
        -(f32(dmin) * m.astype(np.float32)).reshape(-1, 1),
    )


def k236(name: str) -> np.ndarray:
    """Blocks of 256 of Q2_K, Q3_K and Q6_K: random bytes but for the f16 scales at the end."""
    n = VALUES // 256
    size, scales = {"Q2_K": (84, 2), "Q3_K": (110, 1), "Q6_K": (210, 1)}[name]
    blocks = RNG.integers(0, 256, size=(n, size), dtype=np.uint8)
    for i in range(scales):
        blocks[:, size - 2 * scales + 2 * i :][:, :2] = halves(n)
    return blocks


def pack(q: np.ndarray, bits: int) -> np.ndarray:
    """Levels [groups, 32] as a little-endian bit stream in u32 words, written bit by bit."""
    stream = np.unpackbits(q[..., None], axis=2, bitorder="little")[..., :bits].reshape(-1)
    return np.packbits(stream, bitorder="little").view("<u4").reshape(len(q), bits)


def main() -> None:
    for name in ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]:
        affine = name not in ("Q2_K", "Q3_K", "Q6_K")
        if affine:
            blocks, q, scales, biases = (k45 if name.endswith("K") else legacy)(name)
        else:
            blocks = k236(name)
        expected = dequantize(blocks.reshape(1, -1), GGMLQuantizationType[name]).reshape(-1)
        assert np.isfinite(expected).all() and expected.size == VALUES

        stem = HERE / name.lower()
        stem.with_suffix(".blocks").write_bytes(blocks.tobytes())
        stem.with_suffix(".f32").write_bytes(expected.astype("<f4").tobytes())
        if affine:
            words = pack(q, int(name[1]))
            stem.with_suffix(".words").write_bytes(words.tobytes())
            # Four rows, so that MLX sees more than one.
            w, s, b = (mx.array(a.reshape(4, -1)) for a in (words, scales, biases))
            values = np.array(mx.dequantize(w, s, b, group_size=32, bits=int(name[1]))).reshape(-1)
            # Adding 0 makes -0 a +0: the affine form has no negative zero where gguf multiplies by (q - zero).
            same = (values + 0).view(np.uint32) == (expected + 0).view(np.uint32)
            print(f"{name}: mx.dequantize equals gguf in {same.sum()} of {same.size} values")
            assert same.all()


main()
