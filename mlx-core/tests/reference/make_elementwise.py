"""Element by element: NumPy's and SciPy's values, computed in float64 and rounded to the dtype."""

import numpy as np
import scipy.special as sp
from reference import DTYPES, Reference

np.seterr(all="ignore")
rng = np.random.default_rng(1)
out = Reference("elementwise")

SPECIAL = [np.inf, -np.inf, np.nan, 0.0, -0.0]
REAL = np.concatenate([[-3.7, -2.5, -1.0, -0.3, 0.2, 0.5, 1.0, 1.5, 2.5, 3.2], SPECIAL])
POSITIVE = np.concatenate([[1e-3, 0.3, 1.0, 2.0, 10.0, 900.0], SPECIAL])
UNIT = np.array([-1.0, -0.9, -0.5, -0.1, 0.0, 0.2, 0.7, 1.0, 1.5, np.nan])

UNARY = {
    "abs": (np.abs, REAL),
    "negative": (np.negative, REAL),
    # NumPy keeps NaN.
    "sign": (lambda x: np.nan_to_num(np.sign(x)), REAL),
    "reciprocal": (np.reciprocal, REAL),
    "floor": (np.floor, REAL),
    "ceil": (np.ceil, REAL),
    "trunc": (np.trunc, REAL),
    "exp": (np.exp, REAL),
    "expm1": (np.expm1, REAL),
    "log": (np.log, POSITIVE),
    "log2": (np.log2, POSITIVE),
    "log10": (np.log10, POSITIVE),
    "log1p": (np.log1p, POSITIVE),
    "sqrt": (np.sqrt, POSITIVE),
    "rsqrt": (lambda x: 1 / np.sqrt(x), POSITIVE[:6]),
    "square": (np.square, REAL),
    "sigmoid": (sp.expit, REAL),
    "sin": (np.sin, REAL),
    "cos": (np.cos, REAL),
    "tan": (np.tan, REAL),
    "arcsin": (np.arcsin, UNIT),
    "arccos": (np.arccos, UNIT),
    "arctan": (np.arctan, REAL),
    "sinh": (np.sinh, REAL),
    "cosh": (np.cosh, REAL),
    "tanh": (np.tanh, REAL),
    "arcsinh": (np.arcsinh, REAL),
    "arccosh": (np.arccosh, np.array([1.0, 1.5, 2.0, 10.0, 0.5, np.inf])),
    "arctanh": (np.arctanh, UNIT),
    "degrees": (np.degrees, REAL),
    "radians": (np.radians, REAL),
    "erf": (sp.erf, REAL),
    "erfinv": (sp.erfinv, np.array([-0.9, -0.5, -0.1, 0.0, 0.3, 0.8])),
    "stop_gradient": (lambda x: x, REAL),
    "conjugate": (lambda x: x, REAL),
    "real": (lambda x: x, REAL),
}
PREDICATES = {
    "isfinite": np.isfinite,
    "isinf": np.isinf,
    "isnan": np.isnan,
    "isneginf": np.isneginf,
    "isposinf": np.isposinf,
    "logical_not": np.logical_not,
}
for name, dtype in DTYPES.items():
    for op, (f, x) in UNARY.items():
        x = x.astype(dtype)
        out.case(f"{op}/{name}", [x], [f(x.astype(np.float64)).astype(dtype)])
    for op, f in PREDICATES.items():
        x = REAL.astype(dtype)
        out.case(f"{op}/{name}", [x], [f(x.astype(np.float64))])

# Complex numbers.
z = np.array([1 + 2j, -0.5 + 0.25j, -1 - 1j, 0.3j, 2.0], np.complex64)
for op, f in {
    "abs": np.abs, "negative": np.negative, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "square": np.square,
    "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "conjugate": np.conj, "real": np.real, "imag": np.imag,
    "reciprocal": np.reciprocal,
}.items():
    wide = f(z.astype(np.complex128))
    out.case(f"{op}/complex64", [z], [wide.astype(np.complex64 if np.iscomplexobj(wide) else np.float32)])

# Whole numbers stay what they are, or become float32 where the result has fractions.
INTEGERS = {
    "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
    "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
}
for name, dtype in INTEGERS.items():
    signed = np.issubdtype(dtype, np.signedinteger)
    x = np.array([0, 1, 2, 7, 100] + ([-1, -8] if signed else [200, 255]), dtype)
    out.case(f"abs/{name}", [x], [np.abs(x)])
    out.case(f"square/{name}", [x[:4]], [np.square(x[:4])])
    out.case(f"sign/{name}", [x], [np.sign(x)])
    out.case(f"bitwise_invert/{name}", [x], [np.invert(x)])
    out.case(f"logical_not/{name}", [x], [np.logical_not(x)])
    out.case(f"sqrt/{name}", [np.abs(x)], [np.sqrt(np.abs(x).astype(np.float64)).astype(np.float32)])
    y = np.array([3, 0, 2, 3, 1] + ([-1, 3] if signed else [7, 2]), dtype)
    for op, f in {
        "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum,
        "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
        "equal": np.equal, "not_equal": np.not_equal, "less": np.less, "less_equal": np.less_equal,
        "greater": np.greater, "greater_equal": np.greater_equal, "logical_and": np.logical_and,
        "logical_or": np.logical_or, "logical_xor": np.logical_xor,
    }.items():
        out.case(f"{op}/{name}", [x, y], [f(x, y)])
    out.case(f"divide/{name}", [x, y], [(x.astype(np.float64) / y).astype(np.float32)])
    shift = np.array([0, 1, 2, 3, 4, 5, 6], dtype)
    out.case(f"left_shift/{name}", [x, shift], [np.left_shift(x, shift)])
    out.case(f"right_shift/{name}", [x, shift], [np.right_shift(x, shift)])
    out.case(f"power/{name}", [x[:4], np.array([0, 5, 3, 2], dtype)], [np.array([1, 1, 8, 49], dtype)])
    # Every pair of signs, zero, and the smallest number by -1.
    low = [np.iinfo(dtype).min] if signed else [5]
    a = np.array([7, 7, -7, -7, 6, -6, 0, 5, -5, 1][: 10 if signed else 0] + [7, 6, 200 % 128, 5] + low * 3, dtype)
    b = np.array([2, -2, 2, -2, 3, 3, 4, 0, 0, -1][: 10 if signed else 0] + [2, 3, 9, 0] + [1, 0, -1 if signed else 2], dtype)
    out.case(f"floor_divide/{name}", [a, b], [np.floor_divide(a, b)])
    out.case(f"remainder/{name}", [a, b], [np.remainder(a, b)])
    out.case(f"divmod/{name}", [a, b], list(np.divmod(a, b)))

booleans = [np.array([True, True, False, False]), np.array([True, False, True, False])]
for op, f in {
    "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor, "equal": np.equal,
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
}.items():
    out.case(f"{op}/bool", booleans, [f(*booleans)])

# Two operands, broadcast: [3, 1, 4] and [2, 1].
for name, dtype in DTYPES.items():
    x = rng.normal(size=(3, 1, 4)).astype(dtype)
    y = rng.normal(size=(2, 1)).astype(dtype)
    wide = x.astype(np.float64), y.astype(np.float64)
    for op, f in {
        "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "maximum": np.maximum,
        "minimum": np.minimum, "arctan2": np.arctan2, "logaddexp": np.logaddexp,
        "floor_divide": np.floor_divide, "remainder": np.remainder,
    }.items():
        # Near a whole quotient the rounding of the dtype decides; these are not.
        out.case(f"{op}/{name}", [x, y], [f(*wide).astype(dtype)])
    out.case(f"power/{name}", [np.abs(x), y], [np.power(np.abs(wide[0]), wide[1]).astype(dtype)])
    for op, f in {
        "equal": np.equal, "not_equal": np.not_equal, "less": np.less, "less_equal": np.less_equal,
        "greater": np.greater, "greater_equal": np.greater_equal,
    }.items():
        tied = np.round(x.astype(np.float32)), np.round(y.astype(np.float32))
        tied = tied[0].astype(dtype), tied[1].astype(dtype)
        out.case(f"{op}/{name}", list(tied), [f(tied[0].astype(np.float32), tied[1].astype(np.float32))])

# Operations with a number beside their arrays.
x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 1234.567], np.float32)
out.case("round", [x], [np.round(x)])
out.case("round_2", [x], [np.round(x, 2)])
out.case("round_tens", [x], [np.round(x, -1)])
out.case("nan_to_num", [REAL.astype(np.float32)], [np.nan_to_num(REAL.astype(np.float32), nan=7.0)])
out.case("nan_to_num_given", [REAL.astype(np.float32)],
         [np.nan_to_num(REAL.astype(np.float32), nan=0.5, posinf=9.0, neginf=-9.0)])
a, b = np.array([1.0, 1.0, np.nan, np.inf, 0.0], np.float32), np.array([1.0 + 1e-6, 1.1, np.nan, np.inf, 1e-9], np.float32)
out.case("isclose", [a, b], [np.isclose(a, b, 1e-5, 1e-8)])
out.case("isclose_nan", [a, b], [np.isclose(a, b, 1e-5, 1e-8, equal_nan=True)])
low, high = np.float32(-1), np.array([[2.0], [0.5]], np.float32)
out.case("clip", [x, low, high], [np.clip(x, low, high)])
out.case("select", [booleans[0], x[:4], np.int32(3)], [np.where(booleans[0], x[:4], np.float32(3))])
out.save()
