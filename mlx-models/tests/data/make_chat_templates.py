"""Writes chat_templates.json: conversations, and how Hugging Face's `apply_chat_template` renders them.

    pip install transformers jinja2
    python make_chat_templates.py

With arguments, the templates of those tokenizer_config.json files are rendered too, into the last argument:

    python make_chat_templates.py gemma3/tokenizer_config.json qwen3/tokenizer_config.json cases.json
    CHAT_TEMPLATE_CASES=$PWD/cases.json cargo test -p mlx-models --test chat_template
"""

import json
import sys
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

HERE = Path(__file__).parent


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather — \"today's\" <or tomorrow's> & more.\n",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1, "maximum": 1e16}},
            "required": ["city"],
            "empty": {},
            "none": None,
        },
    },
}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Kraków", "days": 2, "p": 0.5}}}

CONVERSATIONS = {
    "one turn": [user("Hello")],
    "space round the text": [user("  \n Hello,\n\nworld! \t\n")],
    "several turns": [user("Hi"), assistant("Hello!  "), user("What is 1 < 2 & \"3\"?")],
    "system": [system("Be brief.\n"), user("Hi"), assistant("Yes?"), user("Why?")],
    "empty system": [system(""), user("Hi")],
    "empty texts": [user(""), assistant(""), user(" ")],
    "unicode": [user("Grüße 👩‍👩‍👧 שלום नमस्ते \u00a0\u2028e\u0301"), assistant("\u3000好\u3000"), user("\ufeff")],
    "template syntax in the text": [user("{{ 7 * 7 }} {% raw %} {# x #} \\n </turn>")],
    "parts": [user([{"type": "image"}, {"type": "text", "text": " What is this? "}])],
    "system in parts": [system([{"type": "text", "text": "Be kind."}]), user("Hi")],
    "roles that don't alternate": [user("Hi"), user("again")],
    "reasoning": [user("Hi"), assistant("<think>\nhm\n</think>\n\nHello"), user("And?")],
    "reasoning at the end": [user("Hi"), assistant("Hello", reasoning_content="\nwell\n"), user("Go on"), assistant("<think>a</think>b")],
    "tool call": [
        user("Weather?"),
        assistant("", tool_calls=[CALL, CALL]),
        {"role": "tool", "content": "{\"sky\": \"grey\"}"},
        {"role": "tool", "content": "cold"},
        assistant("Grey."),
        user("Thanks"),
    ],
    "result typed by the user": [user("Hi"), assistant("Yes"), user("<result>1</result>")],
}

VARIABLES = [
    ({}, True),
    ({}, False),
    ({"enable_thinking": False}, True),
    ({"enable_thinking": True, "tools": [WEATHER, {"type": "function", "function": {"name": "é"}}]}, True),
]


def cases(name, template, tokens):
    for conversation, messages in CONVERSATIONS.items():
        for variables, prompt in VARIABLES:
            case = {
                "name": f"{name}: {conversation}",
                "template": template,
                "tokens": tokens,
                "messages": messages,
                "variables": variables,
                "add_generation_prompt": prompt,
            }
            try:
                rendered, _ = render_jinja_template(
                    [messages], chat_template=template, add_generation_prompt=prompt, **{**tokens, **variables}
                )
                case["expected"] = rendered[0]
            except Exception as error:  # what a template does with a conversation that it isn't for
                case["error"] = f"{type(error).__name__}: {error}"
            yield case


def main() -> None:
    *configs, target = sys.argv[1:] or [HERE / "chat_templates.json"]
    out = {"templates": {}, "cases": []}
    sources = [(path.stem, path.read_text(), {"bos_token": "<s>"}) for path in sorted(HERE.glob("templates/*.jinja"))]
    for path in configs:
        config = json.loads(Path(path).read_text())
        text = lambda token: token["content"] if isinstance(token, dict) else token
        tokens = {key: text(config[key]) for key in ("bos_token", "eos_token") if config.get(key)}
        sources.append((path, config["chat_template"], tokens))
    for name, template, tokens in sources:
        out["templates"][name] = template
        out["cases"] += [{**case, "template": name} for case in cases(name, template, tokens)]
    if not configs:
        del out["templates"]  # they lie beside this file
    rows = ",\n".join(json.dumps(case, separators=(",", ":")) for case in out.pop("cases"))
    head = json.dumps(out)[1:-1] + ("," if out else "")
    Path(target).write_text("{" + head + "\"cases\":[\n" + rows + "\n]}\n")


if __name__ == "__main__":
    main()
