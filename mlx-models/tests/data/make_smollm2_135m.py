#!/usr/bin/env python3
"""Expected greedy continuations and perplexity of SmolLM2 135M Instruct, from a GGUF file.

    python make_smollm2_135m.py GGUF OUT

GGUF: smollm2-135m-instruct's file (its SHA-256 is in the output). OUT: the JSON file to write.

transformers reads the file itself, model and tokenizer, and runs the dequantized weights in float32
on the CPU with eager attention. Nothing of the weights goes into OUT.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch
from make_gemma3_270m import PARAGRAPH, continue_greedily, perplexity
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    ("count", "1, 2, 3, 4, 5, 6,"),
    ("fox", "The quick brown fox"),
    ("code", "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n"),
]
CHAT = [{"role": "user", "content": "What is the capital of France?"}]


def main():
    torch.set_num_threads(2)
    path, out = Path(sys.argv[1]), Path(sys.argv[2])
    source = dict(pretrained_model_name_or_path=str(path.parent), gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(**source)
    config = model.config
    result = {
        "gguf": path.name,
        "gguf_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "how": "transformers, float32, eager, CPU; weights dequantized by transformers' own reader",
        "config": {key: getattr(config, key) for key in (
            "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "rms_norm_eps", "vocab_size", "rope_parameters", "tie_word_embeddings")},
        "prompts": [],
    }
    chat = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    for name, text in [*PROMPTS, ("chat", chat)]:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        found = continue_greedily(model, ids)
        entry = {"name": name, "text": text, "ids": ids,
                 "expected_text": tokenizer.decode(found["expected_ids"]), **found}
        result["prompts"].append(entry)
        print(f"{name}: {len(ids)} tokens, smallest gap {min(found['gap'])}: {entry['expected_text']!r}", flush=True)
    ids = tokenizer(PARAGRAPH, add_special_tokens=False).input_ids
    nll, ppl = perplexity(model, ids)
    result["perplexity"] = {
        "name": "paragraph", "source": "Mary Shelley, Frankenstein, Letter 1 (public domain)",
        "text": PARAGRAPH, "ids": ids, "predicted": len(ids) - 1,
        "mean_nll": round(nll, 6), "perplexity": round(ppl, 5),
    }
    print(f"paragraph: {len(ids)} tokens, mean NLL {nll:.6f}, perplexity {ppl:.5f}")
    out.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
