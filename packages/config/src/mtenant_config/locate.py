"""Which line a key stands on. `tomllib` and `json` do not say.

Only advice hangs on it: a key that is not found here has an origin without a line.
"""

from __future__ import annotations

import re

Path = tuple[str, ...]
Lines = dict[Path, int]

_BARE_OR_QUOTED = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_BARE_OR_QUOTED}(?:[ \t]*\.[ \t]*{_BARE_OR_QUOTED})*"
_TOML = re.compile(
    rf"""
    (?P<skip> \"\"\"(?:[^\\]|\\.)*?\"{{3,5}} | '''.*?'{{3,5}} | \#[^\n]* )
    | (?P<key> {_DOTTED} ) [ \t]* (?P<sign> = )
    | (?P<text> "(?:[^"\\\n]|\\.)*" | '[^'\n]*' )
    | (?P<mark> [\[\]{{}},\n] )
    | (?P<other> [^\s\[\]{{}},="'\#]+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_HEADER = re.compile(rf"[ \t]*\[\[?[ \t]*({_DOTTED})[ \t]*\]\]?[ \t]*(?:\#[^\n]*)?(?:\n|\Z)")
_PART = re.compile(_BARE_OR_QUOTED)
_JSON = re.compile(r'(?P<text>"(?:[^"\\]|\\.)*")(?P<colon>\s*:)?|[{}\[\],]')


def toml_lines(text: str) -> Lines:
    """Return the line, from 1, of each key and table of a valid TOML document."""
    lines: Lines = {}
    table: Path = ()
    tables: list[Path] = []  # inline tables around this place
    depth = 0  # of arrays
    position = 0
    at_line_start = True
    line = 1
    pending: Path = ()
    while position < len(text):
        header = (
            _HEADER.match(text, position) if at_line_start and not depth and not tables else None
        )
        if header:
            table = _parts(header[1])
            lines.setdefault(table, line)
            line += header[0].count("\n")
            position = header.end()
            continue
        token = _TOML.match(text, position)
        if token is None:
            position += 1
            continue
        if token["key"]:
            path = (tables[-1] if tables else table) + _parts(token["key"])
            lines.setdefault(path, line)
            pending = path
        elif token["mark"] == "{":
            tables.append(pending)
        elif token["mark"] == "}" and tables:
            tables.pop()
        elif token["mark"] in ("[", "]"):
            depth += 1 if token["mark"] == "[" else -1
        at_line_start = token["mark"] == "\n"
        line += token[0].count("\n")
        position = token.end()
    return lines


def json_lines(text: str) -> Lines:
    """Return the line, from 1, of each key of a valid JSON document."""
    lines: Lines = {}
    open_paths: list[Path] = []
    pending: Path = ()
    line, counted = 1, 0
    for token in _JSON.finditer(text):
        line += text.count("\n", counted, token.start())
        counted = token.start()
        if token["colon"]:
            pending = (open_paths[-1] if open_paths else ()) + (token["text"][1:-1],)
            lines.setdefault(pending, line)
        elif token[0] in "{[":
            open_paths.append(pending)
        elif token[0] in "}]" and open_paths:
            open_paths.pop()
    return lines


def _parts(dotted: str) -> Path:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
