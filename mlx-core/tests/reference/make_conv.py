"""Convolutions as their definitions say, by loops in NumPy; the transform and the windows of SciPy and NumPy."""

import itertools

import ml_dtypes
import numpy as np
import scipy.linalg
from reference import Reference

rng = np.random.default_rng(22)
out = Reference("conv")


def spread(a, axis, step):
    """Puts `step - 1` zeros between elements."""
    shape = list(a.shape)
    shape[axis] = (shape[axis] - 1) * step + 1
    b = np.zeros(shape, a.dtype)
    b[tuple(slice(None, None, step) if i == axis else slice(None) for i in range(a.ndim))] = a
    return b


def conv(x, w, stride, low, high, dilation, input_dilation, groups, flip):
    x, w = x.astype(np.float64), w.astype(np.float64)
    d = x.ndim - 2
    for i in range(d):
        x = spread(x, i + 1, input_dilation[i])
        w = np.flip(w, i + 1) if flip else w
        x = np.pad(x, [(low[i], high[i]) if j == i + 1 else (0, 0) for j in range(x.ndim)])
    reach = [dilation[i] * (w.shape[i + 1] - 1) + 1 for i in range(d)]
    lengths = [(x.shape[i + 1] - reach[i]) // stride[i] + 1 for i in range(d)]
    c, o = w.shape[-1], w.shape[0] // groups
    y = np.zeros([x.shape[0], *lengths, w.shape[0]])
    for at in itertools.product(*map(range, lengths)):
        cut = tuple(
            slice(at[i] * stride[i], at[i] * stride[i] + reach[i], dilation[i]) for i in range(d)
        )
        patch = x[(slice(None), *cut)]
        for g in range(groups):
            part = patch[..., g * c : (g + 1) * c].reshape(x.shape[0], w[0].size)
            kernel = w[g * o : (g + 1) * o].reshape(o, w[0].size)
            y[(slice(None), *at, slice(g * o, (g + 1) * o))] = part @ kernel.T
    return y


def conv_transpose(x, w, stride, padding, dilation, output_padding, groups):
    x, w = x.astype(np.float64), w.astype(np.float64)
    d = x.ndim - 2
    reach = [dilation[i] * (w.shape[i + 1] - 1) + 1 for i in range(d)]
    lengths = [(x.shape[i + 1] - 1) * stride[i] + reach[i] + output_padding[i] for i in range(d)]
    c, o = w.shape[-1], w.shape[0] // groups
    y = np.zeros([x.shape[0], *lengths, w.shape[0]])
    for at in itertools.product(*(range(x.shape[i + 1]) for i in range(d))):
        for k in itertools.product(*(range(w.shape[i + 1]) for i in range(d))):
            place = tuple(at[i] * stride[i] + k[i] * dilation[i] for i in range(d))
            for g in range(groups):
                part = x[(slice(None), *at, slice(g * c, (g + 1) * c))]
                kernel = w[(slice(g * o, (g + 1) * o), *k)]
                y[(slice(None), *place, slice(g * o, (g + 1) * o))] += part @ kernel.T
    return y[(slice(None), *(slice(padding[i], lengths[i] - padding[i]) for i in range(d)))]


DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def label(*lists):
    return "/".join(",".join(map(str, numbers)) for numbers in lists)


def case(x, w, stride=None, low=None, high=None, dilation=None, spread=None, groups=1, flip=0, dtypes=("float32",)):
    d = len(x) - 2
    stride, dilation, spread = stride or [1] * d, dilation or [1] * d, spread or [1] * d
    low = low or [0] * d
    high = low if high is None else high
    for name in dtypes:
        a, b = rng.standard_normal(x).astype(DTYPES[name]), rng.standard_normal(w).astype(DTYPES[name])
        y = conv(a, b, stride, low, high, dilation, spread, groups, flip)
        parts = label(x, w, stride, low, high, dilation, spread, [groups], [flip])
        out.case(f"conv/{name}/{parts}", [a, b], [y.astype(DTYPES[name])])


ALL = tuple(DTYPES)
case((1, 5, 1), (1, 3, 1), dtypes=ALL)
case((2, 7, 3), (4, 3, 3), [2], [1], dtypes=ALL)
case((2, 7, 3), (4, 3, 3), [1], [2], dilation=[2], dtypes=ALL)
case((2, 7, 4), (6, 3, 2), [2], [1], groups=2, dtypes=ALL)
case((2, 7, 4), (4, 3, 1), [1], [1], groups=4)
case((2, 7, 4), (4, 3, 1), [1], [1], dilation=[2], groups=4)
case((1, 6, 2), (3, 1, 2), [1], [2])
case((1, 6, 2), (3, 1, 2), [3], [2])
case((1, 6, 2), (3, 2, 2), [3], [4], [0])
case((1, 6, 2), (3, 2, 2), [2], [0], [3])
case((1, 6, 2), (3, 3, 2), [1], [1], [2], flip=1)
case((1, 6, 2), (3, 3, 2), [2], [1], spread=[2])
case((1, 6, 2), (3, 2, 2), [3], [1], spread=[2])
case((1, 6, 2), (3, 2, 2), [4], [0], [1], spread=[3], flip=1)
case((0, 6, 2), (3, 2, 2), [2])
case((1, 1, 1), (1, 1, 1))
case((2, 5, 6, 3), (4, 3, 2, 3), dtypes=ALL)
case((2, 5, 6, 3), (4, 3, 2, 3), [2, 1], [1, 0])
case((2, 5, 6, 3), (4, 3, 2, 3), [1, 2], [2, 1], dilation=[2, 3])
case((1, 5, 6, 4), (4, 3, 3, 2), [2, 2], [1, 1], groups=2, dtypes=ALL)
case((1, 5, 4, 2), (2, 1, 1, 2), [2, 1], [1, 2])
case((1, 5, 4, 2), (2, 3, 2, 2), [1, 1], [0, 1], [2, 0], flip=1)
case((1, 3, 4, 2), (2, 3, 2, 2), [2, 3], [1, 0], spread=[2, 3])
case((1, 4, 3, 5, 2), (3, 2, 3, 2, 2), dtypes=ALL)
case((2, 4, 3, 5, 2), (3, 2, 3, 2, 2), [1, 2, 3], [0, 1, 1], dilation=[2, 1, 1])
case((1, 3, 2, 3, 1), (2, 2, 2, 1, 1), [2, 1, 2], [1, 1, 0], spread=[2, 1, 2], flip=1)


def transposed(x, w, stride=None, padding=None, dilation=None, extra=None, groups=1, dtypes=("float32",)):
    d = len(x) - 2
    stride, dilation = stride or [1] * d, dilation or [1] * d
    padding, extra = padding or [0] * d, extra or [0] * d
    for name in dtypes:
        a, b = rng.standard_normal(x).astype(DTYPES[name]), rng.standard_normal(w).astype(DTYPES[name])
        y = conv_transpose(a, b, stride, padding, dilation, extra, groups)
        parts = label(x, w, stride, padding, dilation, extra, [groups])
        out.case(f"transpose/{name}/{parts}", [a, b], [y.astype(DTYPES[name])])


transposed((1, 5, 1), (1, 3, 1), dtypes=ALL)
transposed((2, 4, 3), (4, 3, 3), [2], [1], dtypes=ALL)
transposed((2, 4, 3), (4, 3, 3), [3], [1], extra=[2])
transposed((2, 4, 3), (4, 3, 3), [2], [1], [2], [1])
transposed((2, 4, 4), (6, 3, 2), [2], [1], groups=2)
transposed((1, 5, 2), (1, 1, 2), [2], [1])
transposed((1, 5, 2), (1, 2, 2), [3], [3], extra=[1])
transposed((1, 5, 2), (1, 1, 2), [1], [2])
transposed((2, 3, 4, 3), (4, 3, 2, 3), dtypes=ALL)
transposed((2, 3, 4, 3), (4, 3, 2, 3), [2, 3], [1, 0], extra=[1, 0])
transposed((1, 4, 3, 2), (2, 1, 2, 2), [2, 1], [1, 2], [1, 2])
transposed((1, 3, 3, 4), (4, 2, 2, 2), [2, 2], groups=2)
transposed((1, 2, 3, 2, 2), (3, 2, 2, 3, 2), [2, 1, 2], [1, 0, 1], dtypes=ALL)

for shape in [(1,), (2,), (3, 8), (2, 2, 16), (64,)]:
    for name, dtype in DTYPES.items():
        a = rng.standard_normal(shape).astype(dtype)
        h = scipy.linalg.hadamard(shape[-1])
        y = a.astype(np.float64) @ h.T / np.sqrt(shape[-1])
        out.case(f"hadamard/{name}/{label(shape)}", [a], [y.astype(dtype)])

for n in [0, 1, 2, 5, 64]:
    for name in ["bartlett", "blackman", "hamming", "hanning"]:
        out.case(f"{name}/{n}", [], [getattr(np, name)(n).astype(np.float32)])

out.save()
