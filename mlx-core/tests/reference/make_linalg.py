"""Linear algebra: NumPy and SciPy. Signs of factors are the libraries' own choice, so tests rebuild the matrix from them
instead; what stands here is unique."""

import numpy as np
import scipy.linalg
from reference import Reference

rng = np.random.default_rng(20)
out = Reference("linalg")

REALS = {"float32": np.float32, "float64": np.float64}


def real(*shape):
    return rng.standard_normal(shape)


def complex_(*shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def well(*shape):
    """Square matrices far from singular."""
    return real(*shape) + 4 * np.eye(shape[-1])


def definite(*shape):
    a = real(*shape)
    return a @ np.swapaxes(a, -1, -2) + np.eye(shape[-1])


def one(name, f, *inputs, dtypes=REALS, result=None):
    for label, dtype in dtypes.items():
        given = [np.asarray(a).astype(dtype) for a in inputs]
        wide = [a.astype(np.float64) for a in given]
        expected = f(*wide)
        expected = expected if isinstance(expected, tuple) else (expected,)
        out.case(f"{name}/{label}", given, [np.asarray(e).astype(result or dtype) for e in expected])


for shape in [(1, 1), (3, 3), (5, 5), (2, 4, 4), (2, 1, 3, 3)]:
    label = "x".join(map(str, shape))
    one(f"cholesky_lower/{label}", np.linalg.cholesky, definite(*shape))
    one(f"cholesky_upper/{label}", lambda a: np.swapaxes(np.linalg.cholesky(a), -1, -2), definite(*shape))
    one(f"cholesky_inv_lower/{label}", lambda l: np.linalg.inv(np.tril(l) @ np.swapaxes(np.tril(l), -1, -2)), well(*shape))
    one(f"cholesky_inv_upper/{label}", lambda u: np.linalg.inv(np.swapaxes(np.triu(u), -1, -2) @ np.triu(u)), well(*shape))
    one(f"det/{label}", np.linalg.det, real(*shape))
    one(f"slogdet/{label}", lambda a: tuple(np.linalg.slogdet(a)), real(*shape))
    one(f"inv/{label}", np.linalg.inv, well(*shape))
    one(f"tri_inv_lower/{label}", lambda a: np.linalg.inv(np.tril(a)), well(*shape))
    one(f"tri_inv_upper/{label}", lambda a: np.linalg.inv(np.triu(a)), well(*shape))
    one(f"eigvalsh_lower/{label}", lambda a: np.linalg.eigvalsh(a, "L"), real(*shape))
    one(f"eigvalsh_upper/{label}", lambda a: np.linalg.eigvalsh(a, "U"), real(*shape))

for a, b in [
    ((4, 4), (4,)),
    ((4, 4), (4, 1)),
    ((3, 3), (3, 5)),
    ((2, 3, 3), (2, 3, 2)),
    ((3, 3), (2, 3, 2)),
    ((2, 3, 3), (3, 2)),
    ((2, 1, 3, 3), (4, 3, 2)),
]:
    label = "x".join(map(str, a)) + "_" + "x".join(map(str, b))
    one(f"solve/{label}", np.linalg.solve, well(*a), real(*b))
    one(f"solve_triangular_lower/{label}", lambda a, b: np.linalg.solve(np.tril(a), b), well(*a), real(*b))
    one(f"solve_triangular_upper/{label}", lambda a, b: np.linalg.solve(np.triu(a), b), well(*a), real(*b))
one("solve/batch_of_vectors", lambda a, b: np.stack([np.linalg.solve(m, b) for m in a]), well(2, 4, 4), real(4))

for shape in [(1, 1), (3, 5), (5, 3), (2, 4, 3)]:
    label = "x".join(map(str, shape))
    one(f"svdvals/{label}", lambda a: np.linalg.svd(a, compute_uv=False), real(*shape))
    one(f"pinv/{label}", np.linalg.pinv, real(*shape))
deficient = real(4, 2) @ real(2, 5)
one("pinv/rank2", lambda a: np.linalg.pinv(a, rcond=1e-5), deficient, dtypes={"float64": np.float64})
for shape in [(3, 3), (2, 4, 5)]:
    a = complex_(*shape)
    values = np.linalg.svd(a.astype(np.complex128), compute_uv=False).astype(np.float32)
    out.case(f"svdvals/{'x'.join(map(str, shape))}/complex64", [a], [values])
a = complex_(4, 4)
out.case("eigvalsh_lower/4x4/complex64", [a], [np.linalg.eigvalsh(a.astype(np.complex128), "L").astype(np.float32)])
out.case("eigvalsh_upper/4x4/complex64", [a], [np.linalg.eigvalsh(a.astype(np.complex128), "U").astype(np.float32)])

for shape in [(4, 4), (5, 3), (3, 5)]:
    label = "x".join(map(str, shape))

    def lu(a):
        lu, pivots = scipy.linalg.lu_factor(a)
        return lu

    one(f"lu_factor/{label}", lambda a: scipy.linalg.lu_factor(a)[0], real(*shape))
    for dtype in REALS.values():
        a = real(*shape).astype(dtype)
        pivots = scipy.linalg.lu_factor(a)[1].astype(np.uint32)
        out.case(f"lu_pivots/{label}/{np.dtype(dtype).name}", [a], [pivots])

for name, x, y, axis in [
    ("vectors", real(3), real(3), -1),
    ("batch", real(4, 3), real(3), -1),
    ("columns", real(3, 4), real(3, 4), 0),
    ("middle", real(2, 3, 2), real(3, 2), -2),
]:
    one(f"cross{axis}/{name}", lambda a, b, axis=axis: np.cross(a, b, axis=axis), x, y)
x, y = real(4, 2), real(4, 3)
padded = lambda a: np.concatenate([a, np.zeros((4, 3 - a.shape[1]))], -1)
one("cross-1/two_three", lambda a, b: np.cross(padded(a), padded(b)), x, y)
one("cross-1/three_two", lambda a, b: np.cross(padded(a), padded(b)), y, x)
one("cross-1/two_two", lambda a, b: np.cross(padded(a), padded(b)), x, real(4, 2))

a = real(3, 4)
a[0, 1] = 0
vectors = {"l2": None, "0": 0, "1": 1, "2": 2, "3": 3, "-1": -1, "0.5": 0.5, "inf": np.inf, "-inf": -np.inf}
for label, order in vectors.items():
    b = np.abs(a) + 0.5 if label == "-1" else a
    one(f"vector_norm/{label}", lambda a: np.linalg.norm(a, order, axis=1), b)
    one(f"vector_norm_kept/{label}", lambda a: np.linalg.norm(a, order, axis=0, keepdims=True), b)
matrices = {"l2": None, "1": 1, "-1": -1, "2": 2, "-2": -2, "inf": np.inf, "-inf": -np.inf, "nuc": "nuc"}
for label, order in matrices.items():
    one(f"matrix_norm/{label}", lambda a: np.linalg.norm(a, order), a)
    one(f"matrix_norm_first/{label}", lambda a: np.linalg.norm(a, order, axis=(2, 0)), real(3, 2, 4))
    one(f"matrix_norm_kept/{label}", lambda a: np.linalg.norm(a, order, axis=(0, 2), keepdims=True), real(3, 2, 4))
for label, order in {"l2": None, "3": 3, "inf": np.inf}.items():
    z = complex_(5)
    out.case(f"complex_norm/{label}", [z], [np.float32(np.linalg.norm(z.astype(np.complex128), order))])
for label, order in {"l2": None, "2": 2, "-2": -2, "1": 1, "nuc": "nuc"}.items():
    z = complex_(3, 4)
    out.case(f"complex_norm/matrix_{label}", [z], [np.float32(np.linalg.norm(z.astype(np.complex128), order))])
for dtype in (np.int8, np.uint8, np.int32):
    i = np.array([100, 120, 90], dtype)
    out.case(f"vector_norm/l2/{np.dtype(dtype).name}", [i], [np.float32(np.linalg.norm(i.astype(np.float64)))])

out.save()
