from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_config.locate import json_lines, toml_lines

TOML = '''\
title = "a = 'b' # no comment"  # a comment with x = 1
"quoted key" = 1
a.b . "c d" = 2

[ db ]  # a comment
host = "x"
text = """
inner = 1
[not.a.table]
"""
raw = \'\'\'
also = 2\'\'\'
hosts = [
  "a", # b = 3
  "b = 4",
  { name = "x", port = 1 },
]
pool = { min = 1, max = { hard = 2, soft = 3 } }
when = 2024-01-01T00:00:00Z
[db.replica]
host = "y"
[[servers]]
name = "one"
[[servers]]
name = "two"
'last' = 1'''


def test_toml_keys_are_found_on_their_lines() -> None:
    tomllib.loads(TOML)
    lines = toml_lines(TOML)
    expected = {
        ("title",): 1,
        ("quoted key",): 2,
        ("a", "b", "c d"): 3,
        ("db",): 5,
        ("db", "host"): 6,
        ("db", "text"): 7,
        ("db", "raw"): 11,
        ("db", "hosts"): 13,
        ("db", "pool"): 18,
        ("db", "pool", "min"): 18,
        ("db", "pool", "max", "soft"): 18,
        ("db", "when"): 19,
        ("db", "replica"): 20,
        ("db", "replica", "host"): 21,
        ("servers",): 22,
        ("servers", "last"): 26,
    }
    assert {path: lines[path] for path in expected} == expected
    assert not {"inner", "also", "not", "x", "b"} & {path[-1] for path in lines}


JSON = """\
{"a": 1, "b": {
  "c": "x: \\"y\\": {", "d": [1,
    {"e": 2}], "f"  :
 3},
 "g": {"h": {"i": null}}}"""


def test_json_keys_are_found_on_their_lines() -> None:
    json.loads(JSON)
    lines = json_lines(JSON)
    expected = {
        ("a",): 1,
        ("b",): 1,
        ("b", "c"): 2,
        ("b", "d"): 2,
        ("b", "f"): 3,
        ("g", "h", "i"): 5,
    }
    assert {path: lines[path] for path in expected} == expected


WORDS = st.from_regex(r"[a-z]{1,4}", fullmatch=True)
TREES = st.recursive(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.dictionaries(WORDS, inner, min_size=1, max_size=3),
    max_leaves=8,
)


@given(tree=st.dictionaries(WORDS, TREES, max_size=4), indent=st.sampled_from([None, 1]))
def test_every_key_of_any_json_is_found(tree: dict[str, object], indent: int | None) -> None:
    def paths(node: object, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
        if not isinstance(node, dict):
            return set()
        found = {(*path, key) for key in node}
        return found.union(*(paths(value, (*path, key)) for key, value in node.items()))

    text = json.dumps(tree, indent=indent)
    lines = json_lines(text)
    assert set(lines) == paths(tree)
    for path, line in lines.items():
        assert json.dumps(path[-1]) in text.split("\n")[line - 1]


@pytest.mark.parametrize("locate", [toml_lines, json_lines])
@given(text=st.text(alphabet="ab=.[]{}\"',:#\n\\ 1", max_size=40))
def test_any_text_is_searched_without_an_error(locate: object, text: str) -> None:
    assert callable(locate)
    assert all(1 <= line <= text.count("\n") + 1 for line in locate(text).values())
