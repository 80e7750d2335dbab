"""Matrix products: NumPy's values in float64, rounded."""

import numpy as np
from reference import DTYPES, Reference

rng = np.random.default_rng(4)
out = Reference("matmul")
normal = lambda *shape: rng.normal(size=shape).astype(np.float32)

for name, dtype in DTYPES.items():
    a, b, c = normal(2, 1, 3, 5).astype(dtype), normal(4, 5, 2).astype(dtype), normal(3, 2).astype(dtype)
    wide = [x.astype(np.float64) for x in (a, b, c)]
    out.case(f"matmul/{name}", [a, b], [(wide[0] @ wide[1]).astype(dtype)])
    out.case(f"addmm/{name}", [c, a, b], [(0.5 * wide[2] + 2 * (wide[0] @ wide[1])).astype(dtype)])
    v = normal(5).astype(dtype)
    wide.append(v.astype(np.float64))
    out.case(f"matmul_vector/{name}", [a, v], [(wide[0] @ wide[3]).astype(dtype)])
    out.case(f"inner/{name}", [a, v], [np.inner(wide[0], wide[3]).astype(dtype)])
    out.case(f"outer/{name}", [v, c], [np.outer(wide[3], wide[2]).astype(dtype)])
    out.case(f"vecdot/{name}", [a, a[:1]], [(wide[0] * wide[0][:1]).sum(2).astype(dtype)])
    out.case(f"kron/{name}", [c, c], [np.kron(wide[2], wide[2]).astype(dtype)])

a, b = normal(3, 4, 5), normal(5, 2, 4)
out.case("tensordot", [a, b], [np.tensordot(a, b, ((2, 1), (0, 2)))])
out.case("tensordot_none", [a[0], b[0]], [np.tensordot(a[0], b[0], 0)])
for index, (subscripts, *operands) in enumerate(
    [("ij,jk->ik", a[0], b[:, 0]), ("ijk,klj->il", a, b), ("ii->i", a[0, :, :4]), ("ij->", a[0]),
     ("...ij->...ji", a), ("bi,bj->bij", a[0], a[0]), ("i,j,k->kji", a[0, 0], b[0, 0], b[0, 1]), ("ij,ij", a[0], a[0])]
):
    out.case(f"einsum/{subscripts}", operands, [np.einsum(subscripts, *operands)])

a, b = normal(4, 3, 5), normal(2, 3, 5, 2)
left, right = np.array([3, 0, 0], np.uint32), np.array([[5], [2]], np.int32)
flat = b.reshape(6, 5, 2)
both = np.stack([[a[i] @ flat[j[0]] for i in left] for j in right])
out.case("gather_mm", [a, b, left, right], [both])
out.case("gather_mm_right", [a[:1], b, right - 6], [np.stack([[a[0] @ flat[j[0]]] for j in right])])
segments = np.array([[0, 2], [2, 5], [4, 4]], np.int64)
a, b = normal(3, 5), normal(5, 2)
out.case("segmented_mm", [a, b, segments], [np.stack([a[:, s:e] @ b[s:e] for s, e in segments])])
a, b = normal(64, 32), normal(32, 70)
mask = np.array([[True, False, True], [False, True, True]])
grown = np.repeat(np.repeat(mask, 32, 0), 32, 1)[:, :70]
out.case("block_masked_mm", [a, b, mask], [np.where(grown, a @ b, np.float32(0))])

q, k, v = normal(2, 4, 3, 8), normal(2, 2, 5, 8), normal(2, 2, 5, 8)
def attention(q, k, v, scale, mask=None, sinks=None):
    k, v = np.repeat(k, 2, 1), np.repeat(v, 2, 1)
    scores = scale * np.einsum("bhld,bhsd->bhls", q.astype(np.float64), k)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    extra = 0 if sinks is None else np.exp(sinks)[None, :, None, None]
    e = np.exp(scores)
    return np.einsum("bhls,bhsd->bhld", e / (e.sum(-1, keepdims=True) + extra), v).astype(np.float32)
additive, sinks = normal(3, 5), normal(4)
causal = np.tri(3, 5, 2, dtype=bool)
out.case("attention", [q, k, v], [attention(q, k, v, 0.3)])
out.case("attention_causal", [q, k, v], [attention(q, k, v, 0.3, causal)])
out.case("attention_boolean", [q, k, v, causal], [attention(q, k, v, 0.3, causal)])
out.case("attention_additive", [q, k, v, additive], [attention(q, k, v, 0.3, additive)])
out.case("attention_sinks", [q, k, v, sinks], [attention(q, k, v, 0.3, None, sinks)])

def rope(x, dims, angles):
    """Pairs (i, i + dims / 2) turned by angles [.., L, dims / 2]."""
    a, b, rest = x[..., : dims // 2], x[..., dims // 2 : dims], x[..., dims:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos, rest], -1).astype(np.float32)
x = normal(2, 3, 4, 8)
lengths = rng.uniform(1, 9, 3).astype(np.float32)
positions = np.array([7, 2], np.int32)[:, None, None, None] + np.arange(4)[:, None]
out.case("rope", [x], [rope(x, 6, 0.5 * (5 + np.arange(4))[:, None] * 100.0 ** (-np.arange(3) / 3))])
out.case("rope_base", [x, np.array([7, 2], np.int32)], [rope(x, 6, 0.5 * positions * 100.0 ** (-np.arange(3) / 3))])
out.case("rope_wavelengths", [x, np.array([7, 2], np.int32), lengths], [rope(x, 6, positions / lengths)])
w = normal(8)
wide = x.astype(np.float64)
out.case("rms_norm", [x, w], [(wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-5) * w).astype(np.float32)])
out.save()
