"""What the scripts of this folder share: cases of inputs and expected outputs, written to one safetensors file.

The order of the tensors and the bytes of the file depend on nothing but the cases, so making a file again leaves it as
it is.
"""

from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

DTYPES = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
}
FLOATS = list(DTYPES)


class Reference:
    """The cases of one family of operations."""

    def __init__(self, family):
        self.path = Path(__file__).parent / f"{family}.safetensors"
        self.tensors = {}

    def case(self, name, inputs, outputs):
        """Adds a case: arrays that go in, arrays that must come out."""
        assert f"{name}/out0" not in self.tensors, name
        for what, arrays in (("in", inputs), ("out", outputs)):
            for index, array in enumerate(arrays):
                self.tensors[f"{name}/{what}{index}"] = np.ascontiguousarray(array).reshape(np.shape(array))

    def save(self):
        save_file(dict(sorted(self.tensors.items())), self.path)
        print(self.path.name, len(self.tensors), "arrays,", self.path.stat().st_size, "bytes")
