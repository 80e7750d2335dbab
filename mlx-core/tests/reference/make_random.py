"""Random numbers: what MLX's own Python gives for the same keys, on the CPU."""

import ml_dtypes
import mlx.core as mx
import numpy as np
from reference import Reference

mx.set_default_device(mx.cpu)
out = Reference("random")

DTYPES = {
    "float32": (mx.float32, np.float32),
    "float16": (mx.float16, np.float16),
    "bfloat16": (mx.bfloat16, ml_dtypes.bfloat16),
}
SEEDS = [0, 7, 2**32 + 5, 2**64 - 1]
SHAPES = [(), (1,), (7,), (2, 3, 5), (0, 4)]


def numpy(a):
    if a.dtype == mx.bfloat16:
        return np.array(a.astype(mx.float32)).astype(ml_dtypes.bfloat16)
    return np.array(a)


def case(name, a, inputs=()):
    out.case(name, [numpy(i) for i in inputs], [numpy(a)])


for seed in SEEDS:
    key = mx.random.key(seed)
    case(f"key/{seed}", key)
    case(f"split/{seed}/2", mx.stack(list(mx.random.split(key))))
    case(f"split/{seed}/5", mx.random.split(key, 5))
    for shape in SHAPES:
        label = f"{seed}/" + ",".join(map(str, shape))
        for name, (dtype, _) in DTYPES.items():
            case(f"uniform/{name}/{label}", mx.random.uniform(-1.5, 2.0, shape, dtype, key))
            case(f"normal/{name}/{label}", mx.random.normal(shape, dtype, key=key))
            case(f"normal_at/{name}/{label}", mx.random.normal(shape, dtype, 1.5, 0.5, key=key))
            case(f"laplace/{name}/{label}", mx.random.laplace(shape, dtype, -1.0, 2.0, key=key))
            case(f"gumbel/{name}/{label}", mx.random.gumbel(shape, dtype, key=key))
            case(f"truncated_normal/{name}/{label}", mx.random.truncated_normal(-1.0, 0.5, shape, dtype, key))
        case(f"normal/complex64/{label}", mx.random.normal(shape, mx.complex64, key=key))
        case(f"bernoulli/{label}", mx.random.bernoulli(0.3, shape, key))
        case(f"randint/int32/{label}", mx.random.randint(-5, 9, shape, mx.int32, key))
        case(f"randint/uint8/{label}", mx.random.randint(3, 200, shape, mx.uint8, key))
        case(f"randint/int64/{label}", mx.random.randint(-5, 9, shape, mx.int64, key))
    for n in [0, 1, 2, 9]:
        if n:
            case(f"permutation_arange/{seed}/{n}", mx.random.permutation(n, key=key))
    a = mx.arange(12).reshape(3, 4)
    for axis in [0, 1, -1]:
        case(f"permutation/{axis}/{seed}", mx.random.permutation(a, axis=axis, key=key), [a])

rng = np.random.default_rng(23)
key = mx.random.key(3)
array = lambda *shape: mx.array(rng.standard_normal(shape).astype(np.float32))

low, width = array(3, 1), array(4)
case("uniform_arrays", mx.random.uniform(low, low + 1, (3, 4), key=key), [low, low + 1])
case("normal_arrays", mx.random.normal((3, 4), loc=low, scale=width, key=key), [low, width])
case("truncated_normal_arrays", mx.random.truncated_normal(low, low + 0.5, (3, 4), key=key), [low, low + 0.5])
bounds = [mx.array([0, -5, 100]), mx.array([10, 5, 1000])]
case("randint_arrays", mx.random.randint(*bounds, (4, 3), key=key), bounds)
p = mx.array([0.0, 0.25, 0.75, 1.0])
case("bernoulli_arrays", mx.random.bernoulli(p, (6, 4), key), [p])
for shape, axis in [((5,), 0), ((4, 6), -1), ((4, 6), 0), ((2, 3, 4), 1)]:
    logits = array(*shape)
    label = ",".join(map(str, shape)) + f"/{axis}"
    case(f"categorical/{label}", mx.random.categorical(logits, axis, key=key), [logits])
    case(f"categorical_count/{label}", mx.random.categorical(logits, axis, num_samples=3, key=key), [logits])
    rest = [n for i, n in enumerate(shape) if i != axis % len(shape)]
    case(f"categorical_shape/{label}", mx.random.categorical(logits, axis, shape=[2, *rest], key=key), [logits])
half = array(4, 6).astype(mx.float16)
case("categorical/float16/-1", mx.random.categorical(half, key=key), [half])
mean, root = array(2, 1, 3), array(3, 3)
covariance = root @ root.T + mx.eye(3)
case("multivariate_normal", mx.random.multivariate_normal(mean, covariance, (2, 4), key=key), [mean, covariance])
case("multivariate_normal_bare", mx.random.multivariate_normal(mean, covariance, key=key), [mean, covariance])

out.save()
