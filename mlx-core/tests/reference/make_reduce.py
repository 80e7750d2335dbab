"""Reductions, running reductions and order: NumPy's values, computed in float64 and rounded to the dtype."""

import numpy as np
import scipy.special as sp
from reference import DTYPES, Reference

rng = np.random.default_rng(2)
out = Reference("reduce")

AXES = {"0": (0,), "2": (2,), "0,2": (0, 2), "1,-1": (1, -1), "all": (0, 1, 2), "none": ()}
REDUCTIONS = {
    "sum": np.sum, "prod": np.prod, "mean": np.mean, "max": np.max, "min": np.min, "median": np.median,
    "logsumexp": lambda a, axis, keepdims: sp.logsumexp(a, axis=axis, keepdims=keepdims),
    "var": np.var, "std": np.std,
}

for name, dtype in DTYPES.items():
    x = rng.uniform(0.5, 1.5, size=(3, 4, 5)).astype(dtype)
    wide = x.astype(np.float64)
    for op, f in REDUCTIONS.items():
        for axes, axis in AXES.items():
            if (not axis and op != "sum") or (name != "float32" and axes not in ("0", "2", "all")):
                continue
            for keep in (False, True) if axes == "0,2" else (False,):
                suffix = "keep" if keep else "drop"
                out.case(f"{op}/{axes}/{suffix}/{name}", [x], [f(wide, axis=axis, keepdims=keep).astype(dtype)])
    out.case(f"var_sample/{name}", [x], [np.var(wide, axis=1, ddof=1).astype(dtype)])
    out.case(f"std_sample/{name}", [x], [np.std(wide, axis=1, ddof=1).astype(dtype)])
    for op, f in {"argmax": np.argmax, "argmin": np.argmin}.items():
        for axis in (0, 1, -1):
            out.case(f"{op}/{axis}/{name}", [x], [f(wide, axis=axis).astype(np.uint32)])
    out.case(f"softmax/-1/{name}", [x], [sp.softmax(wide, axis=-1).astype(dtype)])
    out.case(f"softmax/0,1/{name}", [x], [sp.softmax(wide, axis=(0, 1)).astype(dtype)])
    sorted_ = np.sort(wide, axis=1).astype(dtype)
    out.case(f"sort/1/{name}", [x], [sorted_])
    out.case(f"argsort/1/{name}", [x], [np.argsort(wide, axis=1, kind="stable").astype(np.uint32)])
    scan = x[:2, :, :3]
    wide = scan.astype(np.float64)
    for op, f in {
        "cumsum": np.cumsum, "cumprod": np.cumprod, "cummax": np.maximum.accumulate, "cummin": np.minimum.accumulate,
        "logcumsumexp": np.logaddexp.accumulate,
    }.items():
        start = {"cumsum": 0, "cumprod": 1, "cummax": -np.inf, "cummin": np.inf, "logcumsumexp": -np.inf}[op]
        for axis in (0, 1, -1) if name == "float32" else (1,):
            inclusive = f(wide, axis=axis)
            back = np.flip(f(np.flip(wide, axis), axis=axis), axis)
            ones = np.full_like(np.take(wide, [0], axis), start)
            drop = lambda a, where: np.delete(a, where, axis)
            out.case(f"{op}/{axis}/in/{name}", [scan], [inclusive.astype(dtype)])
            out.case(f"{op}/{axis}/in,back/{name}", [scan], [back.astype(dtype)])
            exclusive = np.concatenate([ones, drop(inclusive, -1)], axis)
            out.case(f"{op}/{axis}/ex/{name}", [scan], [exclusive.astype(dtype)])
            exclusive = np.concatenate([drop(back, 0), ones], axis)
            out.case(f"{op}/{axis}/ex,back/{name}", [scan], [exclusive.astype(dtype)])

# Whole numbers: sums in int32 at least.
for name, dtype in {"int8": np.int8, "uint8": np.uint8, "int32": np.int32, "int64": np.int64, "uint32": np.uint32}.items():
    x = rng.integers(0, 7, size=(3, 4)).astype(dtype)
    wide = x.astype(np.int64)
    out.case(f"max/0/drop/{name}", [x], [wide.max(0).astype(dtype)])
    out.case(f"min/0/drop/{name}", [x], [wide.min(0).astype(dtype)])
    out.case(f"sort/1/{name}", [x], [np.sort(x, 1)])
    out.case(f"argmax/0/{name}", [x], [np.argmax(x, 0).astype(np.uint32)])
    out.case(f"all/0/drop/{name}", [x], [np.all(x, 0)])
    out.case(f"any/0/drop/{name}", [x], [np.any(x, 0)])
    out.case(f"mean/0/drop/{name}", [x], [wide.mean(0).astype(np.float32)])
x = np.array([[0, 2, 0], [3, 0, 1]], np.float32)
out.case("count_nonzero/1/drop/float32", [x], [np.count_nonzero(x, 1).astype(np.int32)])
out.case("all/all/drop/float32", [x], [np.all(x)])
out.case("any/1/keep/float32", [x], [np.any(x, 1, keepdims=True)])
# NaN: last in order, and what largest and middle are.
x = np.array([3, np.nan, -1, np.inf, -np.inf, 0], np.float32)
out.case("sort/0/nan", [x], [np.sort(x)])
out.case("argsort/0/nan", [x], [np.argsort(x).astype(np.uint32)])
out.case("max/0/drop/nan", [x], [np.max(x)])
out.case("min/0/drop/nan", [x], [np.min(x)])
out.case("median/0/drop/nan", [x], [np.median(x).astype(np.float32)])
edges = np.array([1, 3, 3, 7], np.float32)
values = np.array([[0, 1, 3], [5, 7, 9]], np.float32)
out.case("searchsorted_left", [edges, values], [np.searchsorted(edges, values, "left").astype(np.uint32)])
out.case("searchsorted_right", [edges, values], [np.searchsorted(edges, values, "right").astype(np.uint32)])
out.save()
