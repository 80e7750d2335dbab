"""Packed weights, as Python's MLX packs and multiplies them."""

import mlx.core as mx
import ml_dtypes
import numpy as np
from reference import Reference

rng = np.random.default_rng(5)
out = Reference("quantized")


def numpy(a):
    return np.array(a.view(mx.uint16)).view(ml_dtypes.bfloat16) if a.dtype == mx.bfloat16 else np.array(a)


modes = [("affine", group, bits) for group, bits in [(32, 2), (64, 3), (128, 4), (32, 5), (64, 6), (128, 8)]]
modes += [("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4)]
for mode, group_size, bits in modes:
    how = {"mode": mode, "group_size": group_size, "bits": bits}
    name = f"{mode}-{group_size}-{bits}"
    w = rng.normal(size=(2, 3, 128)).astype(np.float32)
    parts = mx.quantize(mx.array(w), **how)
    out.case(f"quantize/{name}", [w], [numpy(part) for part in parts])
    out.case(f"dequantize/{name}", [numpy(part) for part in parts], [numpy(mx.dequantize(*parts, **how))])
    first = [part[0] for part in parts]
    x = rng.normal(size=(2, 128)).astype(np.float32)
    y = rng.normal(size=(2, 3)).astype(np.float32)
    arrays = [numpy(part) for part in first]
    out.case(f"matmul/{name}", [x, *arrays], [numpy(mx.quantized_matmul(mx.array(x), *first, transpose=True, **how))])
    out.case(f"matmul_plain/{name}", [y, *arrays], [numpy(mx.quantized_matmul(mx.array(y), *first, transpose=False, **how))])
    batch = rng.normal(size=(3, 1, 128)).astype(np.float32)
    lhs, rhs = np.array([2, 0, 1, 2], np.uint32), np.array([1, 0, 0, 1], np.uint32)
    product = mx.gather_qmm(mx.array(batch), *parts, lhs_indices=mx.array(lhs), rhs_indices=mx.array(rhs), **how)
    out.case(f"gather/{name}", [batch, lhs, rhs, *[numpy(part) for part in parts]], [numpy(product)])
out.save()
