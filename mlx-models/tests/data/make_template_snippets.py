"""Writes template_snippets.json: small templates, and how Hugging Face's environment renders them.

    pip install transformers==5.23.0 jinja2
    python make_template_snippets.py

Each is rendered with the variables in VARIABLES. `null` stands where the reference raises an error.
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

MESSAGES = [{"role": "user", "content": "Hi"}]
VARIABLES = {
    "s": " \u00a0Hello,\tWorld\n\x1c",
    "words": "one  two\tthree\u2003four ",
    "path": "a/b//c/",
    "uni": "ǆ ß İstanbul ΑΣ they're É e\u0301 ﬁn",
    "lines": "a\nb\r\nc\r\rd\u2028e\x0bf\x85g",
    "empty": "",
    "list": [3, 1, 2],
    "texts": ["b", "A", "a"],
    "mixed": [1, 2.0, "x", None, True, [], {}, "it's", "a\"b", "\n\\é"],
    "map": {"b": 1, "a": {"items": [1, None], "x": 1e16}, "keys": "k", "n": None},
    "maps": [{"k": "x", "v": 1}, {"k": "y", "v": 2}, {"k": "x", "v": 3}],
    "flag": True,
    "none_": None,
    "n": 7,
    "f": 2.5,
    "big": 12345678901234567890,
}

STRINGS = """
s.strip() ¦ s.lstrip() ¦ s.rstrip() ¦ s.strip(' \\nH') ¦ s | trim ¦ s | trim('\\n') ¦ 'xxhixx'.strip('x') ¦ 'abcba'.lstrip('ab') ¦ 'a'.strip('')
words.split() ¦ words.split(None, 1) ¦ words.split(' ') ¦ words.rsplit(None, 1) ¦ words.rsplit(' ', 2) ¦ ''.split() ¦ ' '.split() ¦ ''.split(',')
path.split('/') ¦ path.split('/', 2) ¦ path.rsplit('/', 1) ¦ path.split('/', maxsplit=1) ¦ path.split(sep='/') ¦ path.split('/', 0) ¦ path.split('/', -1) ¦ path.split('')
path.partition('/') ¦ path.rpartition('/') ¦ path.partition('x') ¦ path.rpartition('x') ¦ path.removeprefix('a/') ¦ path.removesuffix('/') ¦ path.removesuffix('')
lines.splitlines() ¦ lines.splitlines(True) ¦ lines.splitlines(keepends=true) ¦ ''.splitlines() ¦ '\\n'.splitlines() ¦ 'a\\n\\n'.splitlines()
uni.title() ¦ uni.upper() ¦ uni.lower() ¦ uni.capitalize() ¦ uni | upper ¦ uni | lower ¦ uni | capitalize ¦ 'HeLLo'.swapcase() ¦ "they're bill's 3rd x-ray".title() ¦ 'hello wORLD' | title
path.find('/') ¦ path.rfind('/') ¦ path.find('x') ¦ path.index('/') ¦ path.index('x') ¦ path.find('/', 2) ¦ path.find('/', -1) ¦ path.rfind('/', 0, 3) ¦ 'é/'.find('/') ¦ path.count('/') ¦ path.count('') ¦ path.count('/', 2)
path.startswith('a') ¦ path.startswith('b', 2) ¦ path.endswith('/') ¦ path.endswith('b', 0, 3) ¦ path.startswith(('x', 'a')) ¦ path.endswith(('x', 'y')) ¦ ''.startswith('')
path.replace('/', '-') ¦ path.replace('/', '-', 1) ¦ path.replace('', '.') ¦ 'aaa'.replace('aa', 'b') ¦ path | replace('/', '+') ¦ path | replace('/', '+', 2)
'7'.zfill(3) ¦ '-7'.zfill(4) ¦ 'ab'.ljust(5, '.') ¦ 'ab'.rjust(5) ¦ 'ab'.center(5, '*') ¦ 'abc'.center(6, '*') ¦ 'ab'.center(1)
'12'.isdigit() ¦ ''.isdigit() ¦ 'a1'.isalnum() ¦ 'é'.isalpha() ¦ ' \\x1c'.isspace() ¦ ''.isspace() ¦ 'aB'.isupper() ¦ 'AB'.isupper() ¦ 'ab1'.islower() ¦ 'é'.isascii()
', '.join(texts) ¦ ''.join([]) ¦ ','.join([1, 2]) ¦ list | join(',') ¦ mixed | join('|') ¦ maps | join(',', attribute='k') ¦ '-'.join('abc')
'{} {}'.format(1, 'a') ¦ '{0}{1}{0}'.format('a', 'b') ¦ '{x:>5}'.format(x=3) ¦ '{:.2f}'.format(f) ¦ '%s-%d' | format('a', 3) ¦ '%s' % 'x' ¦ '%s and %s' % ('x', 1)
'abc'[0] ¦ 'abc'[-1] ¦ 'abc'[1:] ¦ 'abc'[::-1] ¦ 'abcdef'[1:5:2] ¦ 'abc'[:-1] ¦ 'abc'[5:] ¦ 'äöü'[1] ¦ 'abc'[9]
'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1] ¦ 'a' + 'b' ¦ 'a' * 3 ¦ 'a' + 1 ¦ 'b' in 'abc' ¦ 'x' not in 'abc' ¦ '' in 'abc' ¦ 'a' < 'b' ¦ 'a' == 'a'
s | length ¦ 'éà' | length ¦ s | string ¦ 'a<b' | escape ¦ 'a<b' | e ¦ '<b>' | safe ¦ 'abc' | list ¦ 'abc' | first ¦ 'abc' | last ¦ 'abc' | reverse ¦ 'a b' | wordcount ¦ 'abc' | center(9)
'a\\nb' | indent ¦ 'a\\nb\\n\\nc' | indent(2, true) ¦ 'a\\nb' | indent(width=1, first=true, blank=true) ¦ 'long text here' | truncate(8) ¦ '3' | int + 1 ¦ 'x' | int ¦ '2.5' | float ¦ 'ab' | upper | lower
"""
NUMBERS = """
7 // 2 ¦ -7 // 2 ¦ 7 % 3 ¦ -7 % 3 ¦ 7 / 2 ¦ 6 / 2 ¦ 2 ** 10 ¦ 2 ** -1 ¦ 1 / 0 ¦ 7.5 // 2 ¦ 1e3 ¦ 1e16 ¦ 1e-5 ¦ 0.1 + 0.2 ¦ 1_000 ¦ big ¦ big + 1 ¦ -n
n | abs ¦ (-2.5) | round ¦ 2.5 | round ¦ 3.5 | round ¦ 2.567 | round(2) ¦ 2.5 | round(method='floor') ¦ f | int ¦ -2.7 | int ¦ true + 1 ¦ n is odd ¦ n is divisibleby(7) ¦ 5 | string + 'a'
1 == 1.0 ¦ true == 1 ¦ 1 < 2 < 3 ¦ 3 > 2 > 2 ¦ not n ¦ n and 0 ¦ none_ or 'x' ¦ 0 or '' or [] ¦ 1 if n > 3 else 2 ¦ 'y' if false ¦ n | float ¦ f ¦ 3.0 ¦ -0.0 ¦ 100000000000000000000.0
"""
LISTS = """
list | sort ¦ list | sort(reverse=true) ¦ texts | sort ¦ texts | sort(case_sensitive=true) ¦ maps | sort(attribute='v', reverse=true) ¦ list | min ¦ list | max ¦ list | sum ¦ maps | sum(attribute='v') ¦ [[1], [2]] | sum(start=[0])
list[0] ¦ list[-1] ¦ list[1:] ¦ list[::-1] ¦ list[:2] ¦ list[9] ¦ list[9:] ¦ list[-2:] ¦ list | first ¦ list | last ¦ [] | first ¦ list | length ¦ list | reverse | list ¦ list | unique | list ¦ texts | unique | list
list + [4] ¦ (list + [4])[0] ¦ (list + [4])[-1] ¦ (list + [4])[1:] ¦ (list + [4]) | length ¦ (list + []) is sequence ¦ list * 2 ¦ [1, [2, 'x']] ¦ (1, 2) ¦ (1,) ¦ () ¦ 3 in list ¦ 9 in list + [9] ¦ [1, 2] == [1, 2] ¦ [1] < [2] ¦ (list + [4]) == [3, 1, 2, 4] ¦ list.index(2) ¦ list.count(1) ¦ list.index(9)
mixed ¦ mixed | string ¦ [none, true, 1.5, 'a'] ¦ ['it\\'s', "q\\"", 'both\\'"', '\\n', '\\\\', 'é', '\\x7f', '\\u200b'] ¦ {'a': none, 'b': [true]} ¦ {1: 2} ¦ {} ¦ [] ¦ {'a': 1}['a']
maps | map(attribute='k') | list ¦ maps | map('length') | list ¦ texts | map('upper') | join ¦ maps | selectattr('k', 'equalto', 'x') | list | length ¦ maps | rejectattr('k', 'eq', 'x') | map(attribute='v') | list ¦ list | select('odd') | list ¦ list | reject('>', 1) | list ¦ mixed | select | list | length ¦ maps | map(attribute='z', default='d') | list ¦ maps | selectattr('k', 'in', ['y']) | list
maps | groupby('k') | list | length ¦ list | batch(2) | list ¦ list | slice(2) | list ¦ range(3) | list ¦ range(5, 1, -2) | list ¦ range(0) | list ¦ range(3)[1] ¦ range(3) | length ¦ range(200000) | list | length ¦ dict(a=1, b=2) ¦ list | tojson ¦ [list, texts] | map('first') | list
list.append(4) ¦ list.pop() ¦ map.update({}) ¦ map.clear() ¦ list.sort() ¦ list.copy() ¦ list.__class__ ¦ map.__class__ ¦ s.__len__() ¦ s.format_map({}) ¦ s.nothing ¦ s.nothing.more ¦ list.nothing ¦ none_.x ¦ n.x
"""
MAPS = """
map.b ¦ map['b'] ¦ map.missing ¦ map['missing'] ¦ map.get('b') ¦ map.get('zz') ¦ map.get('zz', 'd') ¦ map.keys() | list ¦ map.values() | list ¦ map.items() | list ¦ map | items | list ¦ map | dictsort ¦ map | length ¦ map | list ¦ 'a' in map ¦ map.a.items() | list ¦ map['keys'] ¦ map.a['items'] ¦ map.a.x ¦ map.n ¦ map.n.x ¦ map == {'b': 1}
map is mapping ¦ list is mapping ¦ list is iterable ¦ s is iterable ¦ map is iterable ¦ n is iterable ¦ list is sequence ¦ s is sequence ¦ map is sequence ¦ n is number ¦ flag is number ¦ flag is boolean ¦ n is integer ¦ f is float ¦ flag is integer ¦ s is string ¦ none_ is none ¦ zz is none ¦ zz is defined ¦ zz is undefined ¦ flag is true ¦ n is true ¦ none_ is not none ¦ 'a' is in(['a']) ¦ n is sameas(7) ¦ range is callable ¦ s is callable ¦ 'ab' is lower ¦ 1 is eq(1) ¦ 2 is gt(1) ¦ n is in list
zz ¦ zz | default('d') ¦ none_ | default('d') ¦ none_ | default('d', true) ¦ '' | default('d', boolean=true) ¦ zz or 'x' ¦ zz ~ 'a' ¦ zz | length ¦ zz == none ¦ not zz ¦ zz.x ¦ zz + 'a' ¦ zz | join ¦ zz | list ¦ zz | trim ¦ zz | upper ¦ zz | tojson ¦ zz is string ¦ 'a' in zz ¦ zz[0] ¦ none_ | length ¦ none_ | trim ¦ none_ + 'a' ¦ 7 | trim ¦ [1] | trim
"""
JSON = """
map | tojson ¦ mixed | tojson ¦ map | tojson(indent=2) ¦ map | tojson(indent=0) ¦ [] | tojson(indent=4) ¦ {} | tojson(indent=4) ¦ [[], {}, [[]]] | tojson(indent=1) ¦ map | tojson(sort_keys=true) ¦ map | tojson(separators=(',', ':')) ¦ map | tojson(indent=2, separators=(', ', ' = ')) ¦ 'é\\u2028<>&\\'"\\x7f\\x1f\\b\\f/' | tojson ¦ 'é😀' | tojson(ensure_ascii=true) ¦ true | tojson ¦ none | tojson ¦ 1.0 | tojson ¦ 1e16 | tojson ¦ 1e-7 | tojson ¦ big | tojson ¦ (1, 2) | tojson ¦ {1: 2, true: 3, none: 4, 1.5: 5} | tojson ¦ range(3) | tojson ¦ map.items() | tojson ¦ list | map('string') | tojson ¦ map | tojson(indent='\\t') ¦ map | tojson(false) ¦ list | tojson | length
"""
BLOCKS = [
    "{% for x in list %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }};{% else %}none{% endfor %}",
    "{% for x in [] %}x{% else %}none{% endfor %}",
    "{% for k, v in map.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in map %}{{ k }};{% endfor %}",
    "{% for x in list if x > 1 %}{{ loop.index }}:{{ x }};{% endfor %}",
    "{% for x in list %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in list %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in list %}{% for y in list %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{{ loop.index }}{% endfor %}",
    "{% for c in 'aé' %}[{{ c }}]{% endfor %}",
    "{% for a, b in [[1, 2], (3, 4)] %}{{ a + b }} {% endfor %}",
    "{% for x in list recursive %}{{ x }}{% endfor %}",
    "{% for x in n %}{% endfor %}",
    "{% for x in none_ %}{% endfor %}",
    "{% for x in zz %}x{% else %}nothing{% endfor %}",
    "{% set x = 1 %}{% for i in list %}{% set x = i %}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% set ns = namespace(x=1, l=[]) %}{% for i in list %}{% set ns.x = ns.x + i %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.x }}{{ ns.l }}{{ ns.l[0] }}{{ ns.l[-1] }}{{ ns.l[1:] }}{{ ns.l | length }}{{ ns.zz }}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns['a'] }}",
    "{% set ns = namespace({'a': 1}) %}{{ ns.a }}",
    "{% set ns = namespace(_a=1) %}{{ ns._a }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set (a, b) = [1, 2] %}{{ a }}{{ b }}",
    "{% set x %}  block {{ n }} {% endset %}[{{ x }}]",
    "{% set x | upper %}block{% endset %}[{{ x }}]",
    "{% set map.b = 2 %}{{ map.b }}",
    "{% macro m(a, b='d', c=n) %}[{{ a }}{{ b }}{{ c }}{{ varargs }}{{ kwargs }}]{% endmacro %}{{ m(1) }}{{ m(1, c=2) }}{{ m() }}",
    "{% macro m(a) %}<{{ a }}{{ caller() }}>{% endmacro %}{% call m(1) %}inner{% endcall %}",
    "{% macro m(a) %}{{ a }}{% if a > 0 %}{{ m(a - 1) }}{% endif %}{% endmacro %}{{ m(3) | trim }}",
    "{% macro m() %}{{ n }}{% set n = 1 %}{% endmacro %}{{ m() }}{{ n }}",
    "{%- macro m(x) -%}\n  {{ x }}\n{%- endmacro -%}\n[{{ m('a') }}]",
    "{% macro m() %}x{% endmacro %}{{ m() | length }}{{ m() is string }}",
    "{% if none_ %}a{% elif n == 7 %}b{% else %}c{% endif %}",
    "{% if not zz %}a{% endif %}{% if zz is not defined and not none_ %}b{% endif %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% filter upper %}text {{ s | trim }}{% endfilter %}",
    "{% raw %}{{ x }} {% if %}{% endraw %}",
    "{# comment {{ x }} #}a{#- trim -#}  b",
    "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "a\n  {%- if true -%}  \n b \n {%- endif %}\nc",
    "  {% if true %}x{% endif %}\n  {%+ if true %}y{% endif %}\n",
    "{{ 'a' }}\n{{ 'b' }}\n\n",
    "{%- for x in list %}\n  {{- x }},\n{%- endfor -%}\n",
    "a{% generation %}b{{ n }}{% endgeneration %}c",
    "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
    "{%- generation -%}\n b \n{%- endgeneration -%}\n",
    "{% for x in list %}{% generation %}{{ loop.index }}{{ x }}{% endgeneration %}{% endfor %}",
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{% import 'x' as y %}",
    "{% block a %}b{% endblock %}{{ self.a() }}",
    "{{ raise_exception('no') }}",
    "{% do 1 %}",
    "{{ messages }}{{ add_generation_prompt }}{{ tools }}{{ documents }}",
    "{{ messages[0]['role'] }}{{ messages[0].content }}{{ messages[-1]['missing'] }}{{ messages[5] }}",
    "{{ lipsum is defined }}{{ cycler is defined }}{{ joiner is defined }}{{ namespace is defined }}{{ strftime_now is defined }}{{ dict is defined }}",
    "{% set j = joiner(', ') %}{% for x in list %}{{ j() }}{{ x }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}",
    "{{ x.y }}",
    "{{ undefined_function() }}",
    "{{ 'a' | no_such_filter }}",
    "{{ 'a' is no_such_test }}",
    "{% if true %}",
    "{{ 'a }}",
    "{{ \"double 'quotes'\" }}{{ 'tab\\t\\x41\\u00e9\\'' }}",
    "{{ [1,\n 2][0]\n }}{{ {'a':\n1}.a }}",
    "{{ (1 if n == 7 else 2) ~ ('a' if false else 'b') }}{{ 1 + 2 * 3 - 4 }}{{ (1 + 2) * 3 }}{{ -1 ** 2 }}{{ not true or true }}",
    "{{ map.a.x if map.a is defined and map.a.x }}{{ zz.x if zz is defined }}",
    "{%- set tools = tools or [] %}{{ tools }}{{ tools | length }}",
    "{% set l = list %}{% set l = l + ['x'] + l %}{{ l }}{{ l | join }}{{ l | last }}{{ l[3] }}{{ l is iterable }}{{ l is sequence }}{% for x in l %}{{ loop.index }}{% endfor %}",
    "{{ messages + [{'role': 'x'}] }}{{ (messages + messages)[1].content }}{{ (messages + messages) | map(attribute='role') | list }}",
    "{{ 'a\\r\\nb' }}\r\nc\rd",
]


def render(template):
    try:
        rendered, _ = render_jinja_template([MESSAGES], chat_template=template, **VARIABLES)
        return rendered[0]
    except Exception:
        return None


def main() -> None:
    lines = "".join([STRINGS, NUMBERS, LISTS, MAPS, JSON]).strip().split("\n")
    snippets = ["{{ " + part.strip() + " }}" for line in lines if line for part in line.split("¦")] + BLOCKS
    rows = []
    for snippet in snippets:
        rows.append(json.dumps([snippet, render(snippet)], ensure_ascii=False))
    document = "{\"variables\":" + json.dumps(VARIABLES) + ",\n\"snippets\":[\n" + ",\n".join(rows) + "\n]}\n"
    Path(__file__).with_name("template_snippets.json").write_text(document)


if __name__ == "__main__":
    main()
