"""Renders the templates of this folder with jinja2, set up as transformers sets it up, into cases.json.

smollm2.jinja is the template of HuggingFaceTB/SmolLM2-135M-Instruct (Apache-2.0), from its GGUF file. The other templates
were written for these tests; each uses the constructs of one family of chat templates. Run with jinja2 3.1.6:

    python3 make.py
"""

import json
import pathlib

import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent


class Generation(Extension):
    """Accepts {% generation %}, whose body is printed as it stands."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    return made


def turns(*pairs):
    return [{"content": content, "role": role} for role, content in pairs]


CONVERSATIONS = {
    "question": turns(("user", "Hi")),
    "answer": turns(("user", "Hi"), ("assistant", "Hello  there\n")),
    "system": turns(
        ("system", "  Be brief. "), ("user", "2+2?"), ("assistant", "4"), ("user", "Naïve 日本\n\"q\" 'x' \\ <|im_end|>"),
        ("assistant", "<think>\nhmm\n</think>\n\nfive")),
    "thoughts": turns(
        ("user", "a"), ("assistant", "<think>b</think>c"), ("user", "d"), ("assistant", "<think>e</think>f")),
    "tool": turns(("user", "look"), ("assistant", "I look."), ("tool", "{\"a\": 1}"), ("assistant", "It is 1.")),
    "system only": turns(("system", "x")),
    "out of order": turns(("assistant", "x"), ("assistant", "y")),
    "empty": [],
}

TOOL = {
    "function": {
        "description": "Finds \"things\"; naïve & <fast>.", "name": "find",
        "parameters": {"properties": {"n": {"type": "integer"}}, "required": []}, "return": {"type": "string"}},
    "type": "function",
}

VARIANTS = {
    "": {"tools": None},
    "prompt": {"tools": None, "add_generation_prompt": True},
    "tools": {"tools": [TOOL], "add_generation_prompt": True, "enable_thinking": False, "builtin_tools": ["search", "x"]},
}

VARIABLES = {
    "n": None, "t": True, "f": False, "i": 7, "x": 2.5, "s": "Hello wörld", "e": "", "l": [3, 1, 2], "z": [],
    "d": {"a": 1, "b": {"c": "deep"}, "items": "mine"}, "w": " \tpad\u00a0\n",
    "m": [{"k": 1, "r": "u"}, {"k": 2, "r": "a"}, {"r": "u"}],
}

# Each is rendered with VARIABLES; what jinja2 refuses, the interpreter must refuse too.
SNIPPETS = r"""
{{ s }}|{{ missing }}|{{ n }}|{{ t }}|{{ x }}|{{ l }}|{{ d }}
{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ -x }} {{ 7.5 // 2 }}
{{ 'a' ~ 1 ~ n ~ missing ~ true }} {{ 'a' 'b' }} {{ 'ab' * 3 }} {{ [1] + [2] }} {{ (1, 2) }} {{ (1,) }}
{{ 'a' + s | upper }} {{ (s + 'x') | length }} {{ s[0] }}{{ s[-1] }}{{ s[1:4] }}{{ s[::-1] }}{{ s[:-3] }}{{ s[::2] }}
{{ l[::-1] }} {{ l[1:] }} {{ l[-2:] }} {{ l[5:] }} {{ l[10:0:-1] }} {{ l[-1] }} {{ l[9] }} {{ l[9] is defined }}
{{ d.a }} {{ d['b']['c'] }} {{ d.b.c }} {{ d.nope }} {{ d['items'] }} {{ d.get('q') }} {{ d.get('q', 5) }} {{ d.keys() | list }}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'añ' %}[{{ c }}]{% endfor %}
{{ 1 < 2 < 3 }} {{ 1 == 1.0 }} {{ 'a' in s }} {{ 'H' in s }} {{ 1 not in l }} {{ 'a' in d }} {{ true == 1 }} {{ 'b' > 'a' }} {{ 1 in missing }}
{{ t and 5 }} {{ f or 'q' }} {{ not e }} {{ not s is string }} {{ 'y' if t else 'n' }} {{ 'y' if f }}| {{ 1 if f else 2 if f else 3 }}
{{ s is defined }}{{ missing is defined }}{{ missing is not defined }}{{ n is none }}{{ n is not none }}{{ d is mapping }}{{ s is mapping }}
{{ s is iterable }}{{ i is iterable }}{{ l is sequence }}{{ d is sequence }}{{ i is number }}{{ x is number }}{{ t is number }}{{ t is integer }}
{{ t is true }}{{ f is false }}{{ i is true }}{{ t is boolean }}{{ i is odd }}{{ i is even }}{{ i is divisibleby 7 }}{{ i is eq 7 }}{{ i is equalto(8) }}{{ 3 is in l }}
{{ x is float }}{{ i is integer }}{{ 'ab' is lower }}{{ 'AB' is upper }}{{ range is callable }}{{ n is sameas none }}{{ i is gt 3 }}
{{ w | trim }}|{{ '--a--' | trim('-') }}|{{ s | length }}{{ d | count }}|{{ s | upper }}|{{ s | capitalize }}|{{ 'some words-here' | title }}
{{ l | join(', ') }}|{{ l | join }}|{{ m | join('+', attribute='r') }}|{{ l | first }}{{ l | last }}{{ z | first }}|{{ l | sort }}{{ l | sort(reverse=true) }}
{{ missing | default('x') }}{{ e | default('x') }}{{ e | default('x', true) }}{{ missing | d }}{{ n | d('q') }}
{{ d | tojson }}|{{ l | tojson(indent=2) }}|{{ d | tojson(indent=1) }}|{{ 'a"\\\n\u00e9<' | tojson }}|{{ {} | tojson }}{{ 1.0 | tojson }}{{ z | tojson(indent=2) }}
{{ m | map(attribute='r') | list }}{{ m | map(attribute='k', default=0) | list }}{{ ['a', 'b'] | map('upper') | join }}
{{ m | selectattr('k', 'defined') | list }}{{ m | selectattr('r', 'equalto', 'u') | list | length }}{{ m | rejectattr('r', '==', 'u') | list }}{{ m | selectattr('k') | list }}
{{ l | select('gt', 1) | list }}{{ l | reject('equalto', 1) | list }}{{ [0, 1, ''] | select | list }}{{ l | reverse | list }}{{ 'abc' | reverse }}
{{ s | replace('l', 'L') }}{{ s | replace('l', 'L', 1) }}{{ '42' | int + 1 }}{{ 'q' | int }}{{ '3.7' | int }}{{ 2.7 | int }}{{ i | string + '!' }}{{ '2.5' | float }}
{{ d | items | list }}{{ d | dictsort | first }}{{ [1, 1, 2, 'a', 'A'] | unique | list }}{{ -3 | abs }}{{ l | sum }}{{ l | max }}{{ l | min }}{{ 2.567 | round(1) }}{{ 2.5 | round }}
{{ w.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xxaxx'.lstrip('x') }}|{{ 'xxaxx'.rstrip('x') }}|{{ 'a b  c'.split() }}{{ 'a,b,c'.split(',') }}{{ 'a,b,c'.split(',', 1) }}
{{ s.startswith('He') }}{{ s.endswith('x') }}{{ s.upper() }}{{ s.lower() }}{{ s.title() }}{{ s.replace('o', '0') }}{{ s.find('w') }}{{ s.count('l') }}{{ ','.join(['a', 'b']) }}
{{ 'a\nb'.splitlines() }}{{ 'aXb'.rsplit('X', 1) }}{{ 'pre-x'.removeprefix('pre-') }}{{ s.startswith(('x', 'H')) }}{{ '12'.isdigit() }}{{ l.index(1) }}{{ l.count(3) }}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}-{{ loop.nextitem }};{% endfor %}
{% for x in l if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}none{% endfor %}{% for x in z %}{% else %}none{% endfor %}{% for x in missing %}{% else %}none{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}{% for x in l %}{{ loop.cycle('o', 'e') }}{{ loop.changed(x) }}{% endfor %}
{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{% for y in l %}{% if y == 2 %}{% break %}{% endif %}{{ y }}{% endfor %};{% endfor %}
{% set q = 1 %}{% for x in l %}{% set q = x %}{{ q }}{% endfor %}{{ q }}{% if t %}{% set q = 9 %}{% endif %}{{ q }}{% set a, b = 1, 2 %}{{ b }}{{ a }}
{% set ns = namespace(n=0) %}{% for x in l %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}{% set ns.new = 'v' %}{{ ns.new }}{{ ns.missing }}
{% set b %}  block {{ i }}  {% endset %}[{{ b }}]{% set b | upper | trim %} abc {% endset %}[{{ b }}]{{ dict(a=1, b=2) }}{{ range(3) | list }}{{ range(5, 1, -2) | list }}
{% macro g(a, b='B') %}{{ a }}{{ b }}{{ i }}{% endmacro %}{{ g(1) }}{{ g(1, 2) }}{{ g(b=3, a=4) }}{{ g() }}
{{ "it's" }}{{ ["it's", 'q"', 'a\nb', 'é'] }}{{ 'tab\there \u00e9 \x41 \q' }}{{ {'a': n, 1: t}.a }}{{ {1: 'one'}[1] }}{{ {'a': {'b': 1}} }}
{%- if t -%}   x   {%- endif -%}   y {#- c -#} z {{- 1 -}} q
a {{ '}}' }} {{ {'a': {}} }} {% if '%}' %}ok{% endif %} {# {{ no }} #} b
{{ 1.5e3 }} {{ 1_000 }} {{ 100000000000000000000.0 }} {{ 0.00001 }} {{ 1e16 }} {{ 10 / 5 }}
{{ missing.x }}
{{ missing() }}
{{ missing + 1 }}
{{ 'a' + 1 }}
{{ 1 // 0 }}
{{ 5 < 'a' }}
{{ none | length }}
{% for x in 5 %}{% endfor %}
{{ raise_exception('no') }}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% set i.x = 1 %}
{{ s.append(1) }}
{{ 1 in 'a' }}
""".strip().split("\n")

LAYOUTS = [
    "a\n  {% if t %}\n  b\n  {% endif %}\nc\n", "a\n  {%- if t %}\n  b\n  {%- endif %}\n\nc\n\n", "  {{ s }}  \n  {{ s }}\n",
    "{% for x in l %}\n{{ x }}\n{% endfor %}\nend", "x {% if t %} y {% endif %} z", "  {%+ if t %}\n a {%+ endif +%}\n b",
    "{# c #}\nx\n  {# d #}  \ny", "a\r\n{% if t %}\r\nb{% endif %}\r\n", "\n\n{{- s -}}\n\n", "{% if t %}\n\n  x{% endif %}\n  \n",
    "  {% if t %}  {% endif %}\n  {% if t %}x{% endif %}", "{{ s }}\n{% if f %}{% else %}\n\ny\n{% endif %}", "{%- if t +%}\nx{% endif %}", "",
    "\n", "only text\n", "{% if t %}a{% elif f %}b{% else %}c{% endif -%}\n  d",
]


def rendered(template, variables):
    try:
        return {"output": environment().from_string(template).render(**variables)}
    except Exception as problem:
        return {"refused": str(problem) or type(problem).__name__}


def main():
    cases = []
    for path in sorted(HERE.glob("*.jinja")):
        template = path.read_text()
        for name, messages in CONVERSATIONS.items():
            for variant, extra in VARIANTS.items():
                variables = {"messages": messages, "add_generation_prompt": False, "bos_token": "<s>", "eos_token": "</s>"}
                variables |= extra
                cases.append({"template": path.name, "conversation": name, "variant": variant, "variables": variables}
                             | rendered(template, variables))
    snippets = [{"source": source} | rendered(source, VARIABLES) for source in SNIPPETS + LAYOUTS]
    (HERE / "cases.json").write_text(
        json.dumps({"cases": cases, "snippets": snippets, "variables": VARIABLES}, ensure_ascii=False, indent=1) + "\n")
    print(len(cases), "cases,", len(snippets), "snippets")


main()
