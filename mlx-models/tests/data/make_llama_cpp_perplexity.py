#!/usr/bin/env python3
"""What llama.cpp gives as the mean negative log-likelihood of the paragraph that the packaged models are measured on.

    python make_llama_cpp_perplexity.py LLAMA_CPP_NLL LLAMA_QUANTIZE GEMMA_GGUF SMOLLM2_GGUF OUT

LLAMA_CPP_NLL: llama_cpp_nll.cpp, compiled. LLAMA_QUANTIZE: llama.cpp's own program. The files are those of
gemma3_270m_expected.json and smollm2_135m_expected.json, whose ids are used. OUT: the JSON file to write.

Each file is measured as it is, where llama.cpp rounds what goes into a product to 8 bits, and unpacked to float32 by
LLAMA_QUANTIZE, where it does not round.
"""

import hashlib
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def mean_nll(program, path, ids):
    ids = " ".join(map(str, ids))
    return float(subprocess.run([program, path], input=ids, text=True, check=True, capture_output=True).stdout)


def main():
    program, quantize, gemma, smollm, out = sys.argv[1:]
    result = {"how": "llama.cpp as in llama-cpp-python 0.3.36, CPU; see llama_cpp_nll.cpp"}
    for key, path, expected in [("gemma-3-270m", gemma, "gemma3_270m_expected.json"),
                                ("smollm2-135m-instruct", smollm, "smollm2_135m_expected.json")]:
        expected = json.loads((HERE / expected).read_text())
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == expected["gguf_sha256"], path
        paragraph = expected["perplexity"]
        with tempfile.TemporaryDirectory() as folder:
            floats = Path(folder) / "floats.gguf"
            subprocess.run([quantize, "--allow-requantize", path, floats, "F32", "2"], check=True, capture_output=True)
            result[key] = {"tokens": len(paragraph["ids"]),
                           "mean_nll": mean_nll(program, floats, paragraph["ids"]),
                           "mean_nll_rounding_to_8_bits": mean_nll(program, path, paragraph["ids"])}
        print(f"{key}: {result[key]}")
        for name in ("mean_nll", "mean_nll_rounding_to_8_bits"):
            share = 100 * math.expm1(result[key][name] - paragraph["mean_nll"])
            print(f"  {name}: perplexity {math.exp(result[key][name]):.5f}, {share:+.4f}% of transformers'")
    Path(out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
