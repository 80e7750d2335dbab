"""Fourier transforms: NumPy, in double precision, rounded to what MLX gives."""

import numpy as np
from reference import Reference

rng = np.random.default_rng(21)
out = Reference("fft")

NORMS = ["backward", "ortho", "forward"]


def real(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def complex_(*shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def wide(a):
    return a.astype(np.complex128 if np.iscomplexobj(a) else np.float64)


# The name tells the axes, the lengths ("-" for none) and the norm; "/" parts them.
for shape, axes, lengths in [
    ((1,), (0,), None),
    ((8,), (0,), None),
    ((7,), (-1,), None),
    ((7,), (0,), (11,)),
    ((7,), (0,), (4,)),
    ((3, 5), (0,), None),
    ((3, 5), (1,), (8,)),
    ((3, 5), (0, 1), None),
    ((3, 5), (1, 0), None),
    ((2, 6, 3), (-2, -1), (4, 7)),
    ((2, 6, 3), (0, 1, 2), None),
    ((2, 6, 3), (2, 0), (5, 3)),
    ((0, 4), (1,), None),
    ((1, 101), (1,), None),
]:
    for norm in NORMS if shape in [(7,), (3, 5), (2, 6, 3)] else NORMS[:1]:
        label = "/".join(
            [
                "x".join(map(str, shape)),
                ",".join(map(str, axes)),
                ",".join(map(str, lengths)) if lengths else "-",
                norm,
            ]
        )
        x, z = real(*shape), complex_(*shape)
        for name, f, a, dtype in [
            ("fft", np.fft.fftn, z, np.complex64),
            ("fft_real", np.fft.fftn, x, np.complex64),
            ("ifft", np.fft.ifftn, z, np.complex64),
            ("rfft", np.fft.rfftn, x, np.complex64),
        ]:
            out.case(f"{name}/{label}", [a], [f(wide(a), lengths, axes, norm).astype(dtype)])
        if lengths or shape[axes[-1]] > 1:
            # The frequencies 0 and n / 2 of real numbers are real; NumPy and MLX take no notice of the rest.
            out.case(f"irfft/{label}", [z], [np.fft.irfftn(wide(z), lengths, axes, norm).astype(np.float32)])

for dtype in [np.float16, np.int32, np.uint8, np.bool_]:
    a = (rng.integers(0, 5, (6,)) if dtype != np.float16 else real(6)).astype(dtype)
    out.case(f"dtype/{np.dtype(dtype).name}", [a], [np.fft.fft(a.astype(np.float64)).astype(np.complex64)])

for shape, axes in [((7,), (0,)), ((6,), (0,)), ((3, 4), (0, 1)), ((3, 4), (-1,)), ((1, 0, 5), (0, 1, 2))]:
    label = "x".join(map(str, shape)) + "/" + ",".join(map(str, axes))
    for name, f in [("fftshift", np.fft.fftshift), ("ifftshift", np.fft.ifftshift)]:
        for a in [real(*shape), complex_(*shape), rng.integers(0, 99, shape).astype(np.int32)]:
            out.case(f"{name}/{label}/{a.dtype.name}", [a], [f(a, axes)])

for n in [1, 2, 7, 8]:
    for d in [1.0, 0.1, -2.0]:
        out.case(f"fftfreq/{n}/{d}", [], [np.fft.fftfreq(n, d).astype(np.float32)])
        out.case(f"rfftfreq/{n}/{d}", [], [(np.arange(n // 2 + 1) / (n * d)).astype(np.float32)])

out.save()
