"""Layout, slices, positions: NumPy's values."""

import numpy as np
from reference import Reference

rng = np.random.default_rng(3)
out = Reference("shape")
x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

for mode in ("edge", "reflect", "symmetric"):
    out.case(f"pad_{mode}", [x], [np.pad(x, ((0, 0), (2, 1), (3, 6)), mode=mode)])
out.case("pad_constant", [x, np.int32(7)], [np.pad(x, ((1, 0), (0, 0), (2, 3)), constant_values=7)])
out.case("tile", [x], [np.tile(x, (2, 1, 3))])
out.case("tile_more", [x[0]], [np.tile(x[0], (2, 2, 1))])
out.case("tile_none", [x], [np.tile(x, (0, 1, 1))])
out.case("repeat", [x], [np.repeat(x, 3, 1)])
out.case("roll", [x], [np.roll(x, (1, -7), (0, 2))])
out.case("flip", [x], [np.flip(x, (0, 2))])
out.case("moveaxis", [x], [np.moveaxis(x, 0, -1)])
out.case("swapaxes", [x], [np.swapaxes(x, 0, 2)])
out.case("flatten", [x], [x.reshape(2, 12)])
out.case("unflatten", [x], [x.reshape(2, 3, 2, 2)])
out.case("tril", [x], [np.tril(x, 1)])
out.case("triu", [x], [np.triu(x, -1)])
out.case("triu_all_zero", [x], [np.triu(x, 9)])
out.case("diag_of_list", [x[0, 0]], [np.diag(x[0, 0], -2)])
out.case("diag_of_matrix", [x[0]], [np.diag(x[0], 1)])
out.case("diagonal", [x], [np.diagonal(x, 1, 2, 0)])
out.case("trace", [x], [np.trace(x, -1, 1, 2).astype(np.float32)])
out.case("diff", [x**2], [np.diff(x**2, 2, 2)])
out.case("diff_away", [x], [np.diff(x, 3, 1)])
out.case("stack", [x, x + 1], [np.stack([x, x + 1], -1)])
out.case("concatenate", [x, x[:, :1]], [np.concatenate([x, x[:, :1]], 1)])
out.case("meshgrid", [x[0, 0], x[0, 1, :2]], np.meshgrid(x[0, 0], x[0, 1, :2], indexing="ij"))
out.case("meshgrid_xy", [x[0, 0], x[0, 1, :2]], np.meshgrid(x[0, 0], x[0, 1, :2], sparse=True))
out.case("broadcast_arrays", [x, x[:, :1], x[0, 0]], np.broadcast_arrays(x, x[:, :1], x[0, 0]))
out.case("atleast", [np.float32(3), x[0, 0], x[0]],
         [np.atleast_1d(np.float32(3)), np.atleast_2d(x[0, 0]), np.atleast_3d(x[0])])
out.case("linspace", [], [np.linspace(-1, 2, 7, dtype=np.float32)])
out.case("linspace_open", [], [np.linspace(0, 1, 4, endpoint=False, dtype=np.float32)])
out.case("eye", [], [np.eye(3, 4, 1, dtype=np.float32)])
out.case("tri", [], [np.tri(3, 4, -1, dtype=np.float32)])
out.case("arange", [], [np.arange(5, -4, -2, dtype=np.int32)])

# Slices by NumPy's rules; each case's numbers are its second input: starts, stops, steps.
LOWEST = -(2**31)
cases = [[[0, 0, 0], [2, 3, 4], [1, 1, 1]], [[1, 2, 3], [LOWEST] * 3, [-1, -2, -3]], [[5, -9, 1], [9, 9, -1], [1, 2, 7]]]
for _ in range(40):
    steps = rng.choice([-3, -2, -1, 1, 2, 3, 2**31 - 1, LOWEST], 3)
    cases.append([rng.integers(-6, 7, 3), rng.integers(-6, 7, 3), steps])
for index, (start, stop, step) in enumerate(cases):
    cut = tuple(slice(int(a), None if b == LOWEST else int(b), int(c)) for a, b, c in zip(start, stop, step))
    out.case(f"slice/{index}", [x, np.array([start, stop, step], np.int32)], [x[cut]])
    update = rng.integers(-5, 6, x[cut].shape).astype(np.float32)
    for join, f in {"set": lambda a, b: b, "add": np.add, "multiply": np.multiply, "max": np.maximum, "min": np.minimum}.items():
        if index % 8 == 0 or join == "set":
            changed = x.copy()
            changed[cut] = f(changed[cut], update)
            out.case(f"slice_update/{join}/{index}", [x, np.array([start, stop, step], np.int32), update], [changed])

for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
    positions = np.array([[2, 0], [1, 2]], name)
    out.case(f"take/{name}", [x, positions], [np.take(x, positions, 1)])
    along = np.array([[[3], [0], [2]]], name)
    out.case(f"take_along/{name}", [x, along], [np.take_along_axis(x, along, 2)])
negative = np.array([-1, 0, -3], np.int8)
out.case("take/negative", [x, negative], [np.take(x, negative, 1)])
along = np.array([[[3, 1], [0, -1], [2, 0]], [[1, 2], [3, 0], [-4, -2]]], np.int32)
values = rng.normal(size=along.shape).astype(np.float32)
put, added = x.copy(), x.copy()
np.put_along_axis(put, along, values, 2)
lines = np.indices(along.shape)
np.add.at(added, (lines[0], lines[1], along), values)
out.case("take_along/negative", [x, along], [np.take_along_axis(x, along, 2)])
out.case("put_along", [x, along, values], [put])
out.case("add_along", [x, along, values], [added])

# gather and scatter: slices of [1, 2, 1] that begin at (i, ., k).
i, k = np.array([[0], [1]], np.uint32), np.array([3, 0, -1], np.int64)
gathered = np.stack([np.stack([x[a : a + 1, :2, b % 4 : b % 4 + 1] for b in k]) for a in i[:, 0]])
out.case("gather", [x, i, k], [gathered])
k = np.array([3, 0, 1], np.int32)
for join, f in {"add": np.add, "multiply": np.multiply, "max": np.maximum, "min": np.minimum, "set": lambda a, b: b}.items():
    updates = rng.integers(1, 50, (2, 3, 1, 2, 1)).astype(np.float32)
    changed = x.copy()
    for n, a in enumerate(i[:, 0]):
        for m, b in enumerate(k):
            changed[a : a + 1, :2, b : b + 1] = f(changed[a : a + 1, :2, b : b + 1], updates[n, m])
    out.case(f"scatter/{join}", [x, i.astype(np.int32), k, updates], [changed])
mask = rng.random((2, 3)) < 0.6
rows = rng.normal(size=(int(mask.sum()), 4)).astype(np.float32)
changed = x.copy()
changed[mask] = rows
out.case("masked_scatter", [x, mask, rows], [changed])
everything = rng.random(x.shape) < 0.4
changed = x.copy()
changed[everything] = -1
out.case("masked_scatter_value", [x, everything, np.float32(-1)], [changed])
out.case("slice_dynamic", [x, np.array([1, 2], np.int64)], [x[:, 1:3, 2:4]])
update = np.full((2, 2, 1), 9, np.float32)
changed = x.copy()
changed[:, 1:3, 3:4] = update
out.case("slice_update_dynamic", [x, update, np.array([1, 3], np.uint8)], [changed])
out.save()
