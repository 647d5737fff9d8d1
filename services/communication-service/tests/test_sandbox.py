"""Templates are programs of strangers: none of them gets out, and none of them takes much."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from communication_service.domain.errors import RenderingFailed, TemplateInvalid, ValuesInvalid
from communication_service.domain.template import (
    FILTERS,
    LONGEST_OUTPUT,
    LONGEST_SOURCE,
    LONGEST_VALUE,
    Rendered,
    Source,
    Variable,
    check,
    render,
)

A = Variable(name="a")

ESCAPES = [
    "{{ a.__class__ }}",
    "{{ a['__class__'] }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''|attr('__class__') }}",
    "{{ a|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ [a]|map(attribute='__class__')|list }}",
    "{{ (a,)|map('attr', '__class__')|first }}",
    "{{ a|map('upper') }}",
    "{{ a|selectattr('__class__')|list }}",
    "{{ a|groupby('__class__') }}",
    "{{ a|sort(attribute='__init__') }}",
    "{{ a|sum(attribute='__init__') }}",
    "{{ a|unique(attribute='x') }}",
    "{{ self }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'] }}",
    "{{ dict.__base__ }}",
    "{{ config }}",
    "{{ request }}",
    "{{ environment }}",
    "{{ context }}",
    "{{ loop }}",
    "{{ caller() }}",
    "{{ super() }}",
    "{{ varargs }}",
    "{{ '{0.__class__}'.format(a) }}",
    "{{ '{0.__class__}'|format(a) }}",
    "{{ '%s'|format(a) }}",
    "{{ a.format_map({}) }}",
    "{{ a.upper }}",
    "{{ a.upper() }}",
    "{{ a() }}",
    "{{ a|safe }}",
    "{{ a|forceescape }}",
    "{{ a|tojson }}",
    "{{ a|pprint }}",
    "{{ a|xmlattr }}",
    "{{ a|urlize }}",
    "{{ a|string|list|first }}",
    "{{ a is sameas a }}",
    "{{ a is filter }}",
    "{{ a is callable }}",
    "{{ a is defined(1) }}",
    "{% import 'os' as os %}",
    "{% from 'x' import y %}",
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{% block x %}{% endblock %}",
    "{% macro m() %}{% endmacro %}",
    "{% call a() %}{% endcall %}",
    "{% set a = 1 %}",
    "{% set ns.x = 1 %}",
    "{% set x %}y{% endset %}",
    "{% with %}{% endwith %}",
    "{% with x = a %}{{ x }}{% endwith %}",
    "{% filter upper %}x{% endfilter %}",
    "{% autoescape false %}{{ a }}{% endautoescape %}",
    "{% do a %}",
    "{% debug %}",
    "{% trans %}x{% endtrans %}",
    "{% for x in a %}{{ x }}{% endfor %}",
    "{{ range(10) }}",
    "{{ a ~ a }}",
    "{{ a + a }}",
    "{{ a in a }}",
    "{{ {} }}",
    "{{ [] }}",
    "{{ a[1:2] }}",
    "{{ b }}",
    "{{ a|default(b) }}",
    "{{ a|default(value='x') }}",
    "{{ a|default(*a) }}",
    "{{ a|default(**a) }}",
    "{{ a|truncate(5, true, 'x') }}",
    "{{ a if }}",
    "{{ a",
    "{% if a %}",
]

BOMBS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 'a' * 9999999999 }}",
    "{{ 9 ** 9 ** 9 ** 9 }}",
    "{{ 2 ** 99999999 }}",
    "{{ (1,) * 9999999999 }}",
    "{{ 'a'|center(9999999999) }}",
    "{{ '%9999999999d'|format(1) }}",
    "{{ a|replace('', a)|replace('', a) }}",
    "{{ a|indent(9999999999) }}",
    "{{ a|wordwrap(1) }}",
    "{{ 1.5|round(999999999) }}",
    "{{ lipsum(9999999) }}",
    "{{ a|batch(1, a)|list }}",
    "{% set x = 'aaaaaaaa' %}{% set x = x ~ x %}{{ x }}",
    "{{ " + "9" * 60_000 + " }}",
    "{{ " + "(" * 20_000 + "a" + ")" * 20_000 + " }}",
    "{{ " + "[" * 30_000,
    "{{ " + "not " * 15_000 + "a }}",
    "{{ " + "- " * 30_000 + "a }}",
    "{{ a" + "|upper" * 10_000 + " }}",
    "{{ a" + " or a" * 12_000 + " }}",
    "{{ a" + " == a" * 12_000 + " }}",
    "{{ a" + " if a else a" * 5_000 + " }}",
    "{% if a %}" * 3_000 + "{% endif %}" * 3_000,
    "{% if a %}x" + "{% elif a %}x" * 4_000 + "{% endif %}",
    "{{a}}" * 13_000,
    "{#" * 30_000,
    "{{" * 30_000,
    "{%" * 30_000,
    "{% raw %}" * 7_000,
    "{{ '" + "\\" * 60_000,
    "{{ a" + "\n" * 60_000,
    "x" * 65_537,
]


def of(text: str, *variables: Variable) -> Source:
    return Source("s", text, None, variables or (A,))


@pytest.mark.parametrize("text", ESCAPES)
@pytest.mark.parametrize("part", ["subject", "text", "html"])
def test_what_would_get_out_is_refused_before_anything_runs(text: str, part: str) -> None:
    parts = {"subject": "s", "text": "t", "html": "h", part: text}
    source = Source(parts["subject"], parts["text"], parts["html"], [A])
    with pytest.raises(TemplateInvalid) as caught:
        check(source)
    assert caught.value.params["part"] == part
    with pytest.raises(TemplateInvalid):  # nor is one run that got into the table in another way
        render(source, {"a": "x"})


def test_bombs_are_refused_within_seconds_and_little_memory() -> None:
    """In a process that the system would end: its limits are the proof, not a clock."""
    program = Path(__file__).with_name("bounded.py")
    done = subprocess.run(
        [sys.executable, str(program)],
        input=json.dumps(BOMBS),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == ["TemplateInvalid"] * len(BOMBS)


GROWS = [  # each escapes what it has escaped: `title` makes a plain text of it
    "{% if a" + "|e|title" * 8 + " %}x{% endif %}",
    "{% if a" + "|escape|capitalize" * 8 + " == 'x' %}x{% endif %}",
    "{{ (a" + "|e|lower" * 8 + ")|length }}",
    "{{ ('" + "&" * 500 + "'" + "|e|upper" * 8 + ")|length }}",
]


@pytest.mark.parametrize("text", GROWS)
def test_what_filters_do_is_counted_though_nothing_comes_of_it(text: str) -> None:
    many = text * min(80, LONGEST_SOURCE // len(text))
    for source in (Source("s", many, None, [A]), Source("s", "t", many, [A])):
        check(source)
        with pytest.raises(RenderingFailed) as caught:
            render(source, {"a": "&-" * (LONGEST_VALUE // 2)})
        assert "filters" in str(caught.value.params["why"])


def test_filters_of_long_values_are_within_what_is_counted() -> None:
    source = of("{{ a|title|truncate(9) }}" * 20)
    check(source)
    assert render(source, {"a": "x" * LONGEST_VALUE}).text == "Xxxxxx..." * 20


def test_output_is_cut_off_while_it_is_made() -> None:
    most = of("{{a}}" * 1_900)
    check(most)
    with pytest.raises(RenderingFailed):
        render(most, {"a": "x" * LONGEST_VALUE})
    made = render(most, {"a": "x" * 100})
    assert len(made.text) == 190_000 < LONGEST_OUTPUT


NAMES = st.sampled_from(["a", "b"])
ATOMS = st.one_of(NAMES, st.sampled_from(["'x'", "1", "2.5", "none", "true"]))
CHAINS = st.lists(st.sampled_from(sorted(FILTERS)), max_size=4)


@st.composite
def templates(draw: st.DrawFn) -> str:
    """Whatever the list allows, nested; and some of what it does not."""

    def expression(depth: int) -> str:
        kind = draw(st.integers(0, 5 if depth else 1))
        if kind <= 1:
            text = draw(ATOMS)
            for name in draw(CHAINS):
                text += f"|{name}" + ("(3)" if FILTERS[name] else "")
            return text
        left, right = expression(depth - 1), expression(depth - 1)
        joined = {2: "and", 3: "==", 4: "or", 5: "if a else"}[kind]
        return f"({left} {joined} {right})"

    pieces = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.integers(0, 3))
        if kind == 0:
            pieces.append(draw(st.text(max_size=20)))
        elif kind == 1:
            pieces.append("{{ " + expression(2) + " }}")
        elif kind == 2:
            inner = "{{ " + expression(1) + " }}"
            pieces.append("{% if " + expression(1) + " %}" + inner + "{% else %}y{% endif %}")
        else:
            pieces.append(draw(st.sampled_from(["{{", "%}", "{#", "#}", "{{ c }}", "{{ a.b }}"])))
    return "".join(pieces)


VALUES = st.one_of(st.text(max_size=50), st.integers(), st.floats(), st.booleans(), st.none())


@settings(max_examples=300, deadline=None)
@given(text=templates(), a=VALUES, b=VALUES)
def test_any_template_is_refused_by_name_or_makes_a_bounded_text(
    text: str, a: str | float | None, b: str | float | None
) -> None:
    source = of(text, A, Variable(name="b"))
    try:
        check(source)
        made = render(source, {"a": a, "b": b})
    except (TemplateInvalid, RenderingFailed):
        return
    assert len(made.text) <= LONGEST_OUTPUT
    for secret in ("<built-in", "object at 0x", "<class", "Undefined", "<function", "<bound"):
        if secret not in text and secret not in str(a) and secret not in str(b):
            assert secret not in made.text


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("{}%#'\"()[]|.,-+*/~ abif0\\\n"), max_size=200))
def test_no_bytes_are_a_fault(text: str) -> None:
    try:
        check(of(text))
        render(of(text), {"a": "x"})
    except (TemplateInvalid, RenderingFailed):
        pass


def test_values_are_those_that_are_declared() -> None:
    source = of("{{ a }}{{ b }}", A, Variable(name="b", default="!"))
    assert render(source, {"a": "x"}).text == "x!"
    assert render(source, {"a": 1, "b": None}).text == "1None"
    for values in ({}, {"a": "x", "c": "y"}, {"a": "x" * (LONGEST_VALUE + 1)}):
        with pytest.raises(ValuesInvalid):
            render(source, values)


def test_html_is_escaped_and_text_is_not() -> None:
    source = Source("{{ a }}", "{{ a }}", '<p title="{{ a }}">{{ a|upper }}</p>', [A])
    made = render(source, {"a": '<i>&"'})
    assert made == Rendered(
        '<i>&"', '<i>&"', '<p title="&lt;i&gt;&amp;&#34;">&lt;I&gt;&amp;&#34;</p>'
    )


@pytest.mark.parametrize("name", ["self", "loop", "Upper", "a-b", "1a", "__class__", ""])
def test_variables_are_plain_names(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Variable(name=name)


def test_a_variable_twice_or_too_many_are_refused() -> None:
    with pytest.raises(TemplateInvalid):
        check(of("{{ a }}", A, A))
    with pytest.raises(TemplateInvalid):
        check(of("x", *(Variable(name=f"a{n}") for n in range(51))))


@pytest.mark.parametrize("subject", ["{{ a }}\n", "a\r\nBcc: x@example.com", "a\u2028b"])
def test_a_subject_of_two_lines_is_refused(subject: str) -> None:
    with pytest.raises(TemplateInvalid):
        check(Source(subject, "t", None, [A]))


@pytest.mark.parametrize("value", ["x\ny", "x\r\nBcc: y@example.com", "", "   ", "x" * 501, "\x00"])
def test_a_subject_that_values_make_no_line_is_refused(value: str) -> None:
    with pytest.raises(RenderingFailed):
        render(Source("{{ a }}", "t", None, [A]), {"a": value})
