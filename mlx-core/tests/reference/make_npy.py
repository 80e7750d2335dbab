"""npy files as NumPy and MLX write them, as bytes, and what they hold.

Files whose name begins with `plain` are what `save_npy` has to write byte for byte.
"""

import io
import tempfile
from pathlib import Path

import ml_dtypes
import mlx.core as mx
import numpy as np
from numpy.lib import format as npy

from reference import Reference

reference = Reference("npy")
rng = np.random.default_rng(0)

NUMBERS = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8"]


def numbers(kind, shape):
    values = rng.integers(0 if kind[0] == "u" else -100, 100, shape).astype(kind)
    if kind == "c8":
        values += (1j * rng.integers(-100, 100, shape)).astype("c8")
    return values


def case(name, array, version=None):
    file = io.BytesIO()
    npy.write_array(file, array, version=version)
    reference.case(name, [np.frombuffer(file.getvalue(), "u1")], [array.astype(array.dtype.newbyteorder("<"))])


for kind in NUMBERS:
    case(f"plain_{kind}", numbers(kind, (2, 3)))
    case(f"big_{kind}", numbers(kind, (2, 3)).astype(">" + kind))
    case(f"fortran_{kind}", np.asfortranarray(numbers(kind, (2, 3))))
case("plain_bool", np.array([[True, False, True]]))
case("plain_scalar", np.array(2.5, "f4"))
case("plain_one_axis", np.arange(5, dtype="i4"))
case("plain_empty", np.zeros((0, 3), "f4"))
case("fortran_deep", np.asfortranarray(numbers("f4", (2, 3, 4, 2))))
case("fortran_big", np.asfortranarray(numbers("f4", (2, 3)).astype(">f4")))
case("version_2", numbers("f4", (2, 2)), (2, 0))
case("version_3", numbers("f4", (2, 2)), (3, 0))

half = numbers("f4", (2, 3)).astype(ml_dtypes.bfloat16)
for name, array in {"mlx_bfloat16": half, "mlx_f4": numbers("f4", (4,)), "mlx_scalar": np.array(7, "i4")}.items():
    mlx_array = mx.array(array.astype("f4")).astype(mx.bfloat16) if array.dtype == ml_dtypes.bfloat16 else mx.array(array)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "array.npy"
        mx.save(str(path), mlx_array)
        reference.case(name, [np.frombuffer(path.read_bytes(), "u1")], [array])

reference.save()
