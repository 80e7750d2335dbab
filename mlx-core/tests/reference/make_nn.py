"""Expected values of layers, activations, losses, optimizers and schedules, from Python's MLX; float64 from NumPy."""

import ml_dtypes
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from reference import Reference

mx.set_default_device(mx.cpu)
MX = {"float16": mx.float16, "bfloat16": mx.bfloat16, "float32": mx.float32}
reference = Reference("nn")
rng = np.random.default_rng(20)
mx.random.seed(20)


def array(a, dtype="float32"):
    return mx.array(np.asarray(a, np.float32)).astype(MX[dtype])


def numpy(a):
    if a.dtype == mx.bfloat16:
        return np.array(a.astype(mx.float32)).astype(ml_dtypes.bfloat16)
    return np.array(a)


def case(name, inputs, outputs):
    reference.case(name, [numpy(a) for a in inputs], [numpy(a) for a in outputs])


# Activations, and their derivatives.
POINTS = [-30.0, -6.0, -1.3, -0.5, -1e-3, 1e-3, 0.25, 1.0, 2.7, 30.0]
ACTIVATIONS = {
    "relu": nn.relu,
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.1),
    "softplus": nn.softplus,
    "silu": nn.silu,
    "gelu": nn.gelu,
    "gelu_tanh": nn.gelu_approx,
    "gelu_quick": nn.gelu_fast_approx,
}
for name, f in ACTIVATIONS.items():
    for dtype in MX:
        x = array(POINTS, dtype)
        outputs = [f(x)]
        if dtype == "float32":
            outputs.append(mx.grad(lambda x: f(x).sum())(x))
        case(f"{name}.{dtype}", [x], outputs)

# Layers, and the gradients of the sum of their squares.
for dtype in MX:
    x = array(rng.normal(size=(2, 3, 5)) * 3 + 1, dtype)
    weight, bias = array(rng.normal(size=5), dtype), array(rng.normal(size=5), dtype)

    def layer_norm(x, weight, bias):
        return mx.fast.layer_norm(x, weight, bias, 1e-5)

    outputs = [layer_norm(x, weight, bias), layer_norm(x, weight, None), layer_norm(x, None, None)]
    if dtype == "float32":
        outputs += mx.grad(lambda *a: layer_norm(*a).square().sum(), argnums=(0, 1, 2))(x, weight, bias)
    case(f"layer_norm.{dtype}", [x, weight, bias], outputs)
    case(f"rms_norm.{dtype}", [x, weight], [mx.fast.rms_norm(x, weight, 1e-5)])

    linear = nn.Linear(5, 4)
    linear.set_dtype(MX[dtype])
    case(f"linear.{dtype}", [x, linear.weight, linear.bias], [linear(x)])

tokens = mx.array([[3, 0], [6, 6]])
embedding = nn.Embedding(7, 3)
case("embedding", [tokens, embedding.weight], [embedding(tokens), embedding.as_linear(embedding(tokens))])

key = mx.random.key(5)
x = array(rng.normal(size=(4, 6)))
case("dropout", [x, key], [mx.random.bernoulli(0.75, x.shape, key=key) * x * (1 / 0.75)])

keys = mx.random.split(key, 2)
case("init", [key], [mx.random.uniform(-0.5, 0.5, s, key=k) for s, k in zip([(3, 4), (3,)], keys)])
case("init.embedding", [key], [mx.random.normal((3, 4), scale=0.5, key=key)])

# LoRA, as mlx-lm's LoRALinear computes it, over dense and quantized weights.
for dtype in ("float32", "bfloat16"):
    base = nn.Linear(64, 32)
    base.set_dtype(MX[dtype])
    packed = nn.QuantizedLinear.from_linear(base, 32, 4)
    x = array(rng.normal(size=(3, 64)), dtype)
    a, b = array(rng.normal(size=(64, 4)) / 8), array(rng.normal(size=(4, 32)) / 8)
    change = (2.5 * ((x @ a) @ b)).astype(x.dtype)
    case(f"lora.dense.{dtype}", [x, base.weight, base.bias, a, b], [base(x) + change])
    parts = [packed.weight, packed.scales, packed.biases, packed.bias]
    case(f"lora.quantized.{dtype}", [x, *parts, a, b], [packed(x) + change])

# Losses: targets are classes.
logits, targets = rng.normal(size=(3, 4, 7)) * 4, rng.integers(0, 7, size=(3, 4))
weights = np.asarray([[1, 0, 0.5, 2], [0, 0, 0, 0], [1, 1, 1, 0]], np.float32)
for dtype in MX:
    x, y, w = array(logits, dtype), mx.array(targets.astype(np.int32)), array(weights)
    wide = x.astype(mx.float32)
    for smoothing in (0.0, 0.1):

        def loss(x, reduction="none", w=None):
            return nn.losses.cross_entropy(x, y, w, label_smoothing=smoothing, reduction=reduction)

        def weighted_mean(x):
            return loss(x, "sum", w) / w.sum()

        outputs = [loss(wide), loss(wide, "sum"), loss(wide, "mean"), loss(wide, "none", w), weighted_mean(wide)]
        if dtype == "float32":
            outputs += [mx.grad(weighted_mean)(x)]
        case(f"cross_entropy.{smoothing}.{dtype}", [x, y, w], outputs)
large = array([[1e6, 1e6 + 1, 0], [-1e6, 0, 1e6], [5e4, 5e4, 5e4]])
y = mx.array([0, 2, 1])
case("cross_entropy.large", [large, y], [nn.losses.cross_entropy(large, y)])
for dtype in MX:
    x, y = array(rng.normal(size=(3, 5)), dtype), array(rng.normal(size=(3, 5)), dtype)
    wide = [a.astype(mx.float32) for a in (x, y)]
    case(f"mse.{dtype}", [x, y], [nn.losses.mse_loss(*wide, r) for r in ("none", "sum", "mean")])

# Optimizers: a parameter and ten gradients, then the parameter after each step.
STEPS = 10
start = rng.normal(size=(2, 3))
gradients = rng.normal(size=(STEPS, 2, 3)) * np.geomspace(1e-3, 10, STEPS)[:, None, None]
OPTIMIZERS = {
    "adamw": lambda: optim.AdamW(0.1, weight_decay=0.05, bias_correction=True),
    "adamw.uncorrected": lambda: optim.AdamW(0.1, betas=[0.8, 0.99], eps=1e-6, weight_decay=0.0),
    "sgd": lambda: optim.SGD(0.1),
    "sgd.decay": lambda: optim.SGD(0.1, weight_decay=0.2),
    "sgd.momentum": lambda: optim.SGD(0.1, momentum=0.9),
    "sgd.nesterov": lambda: optim.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.2),
}
for name, make in OPTIMIZERS.items():
    optimizer, parameter, outputs = make(), {"w": array(start)}, []
    for gradient in gradients:
        parameter = optimizer.apply_gradients({"w": array(gradient)}, parameter)
        outputs.append(parameter["w"])
    if name.startswith("adamw") or optimizer.momentum:
        outputs += [optimizer.state["w"][slot] for slot in ("m", "v") if slot in optimizer.state["w"]]
    case(f"optimizer.{name}", [array(start), *map(array, gradients)], outputs)

# AdamW in float64.
w, m, v, outputs = start, 0, 0, []
for t, g in enumerate(gradients, 1):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    w = w * (1 - 0.1 * 0.05) - 0.1 * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    outputs.append(w)
reference.case("optimizer.adamw.float64", [start, *gradients], [*outputs, m, v])

for max_norm in (0.5, 100.0):
    grads = [array(gradients[9]), array(gradients[8][0])]
    clipped, norm = optim.clip_grad_norm(grads, max_norm)
    case(f"clip.{max_norm}", grads, [*clipped, norm])

# Schedules: the learning rates of steps 0 to 29.
SCHEDULES = {
    "linear": optim.linear_schedule(0.1, 0.01, 20),
    "cosine": optim.cosine_decay(0.1, 20, 0.01),
    "warmup": optim.join_schedules([optim.linear_schedule(0, 0.1, 5), optim.cosine_decay(0.1, 20)], [5]),
}
for name, schedule in SCHEDULES.items():
    steps = mx.arange(30)
    case(f"schedule.{name}", [], [mx.stack([mx.array(schedule(step)) for step in steps]).astype(mx.float32)])

reference.save()
