"""A commented example of everything that can be set, made from a settings class."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from mtenant_config.names import FILE_SUFFIX, variable
from mtenant_config.schema import Leaf, Section, schema_of, written

_PLAIN = re.compile(r"[A-Za-z0-9_./:@,+%-]*")


def env_template(cls: type, prefix: str | None = None) -> str:
    """Return the text of a `.env.example`: one variable for each field.

    A field with a default is commented out and shows it; a secret never shows one.
    """
    blocks = []
    for leaf in schema_of(cls).all_leaves():
        name = leaf.env or variable(leaf.key, prefix)
        lines = [f"# {_described(leaf)}"]
        if leaf.secret and leaf.indirect:
            lines.append(f"# Or the path of a file that holds it, in {name}{FILE_SUFFIX}.")
        value = "" if leaf.secret else _env_value(written(_default(leaf)))
        lines.append(f"{'' if leaf.required else '# '}{name}={value}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def toml_template(cls: type, prefix: str | None = None) -> str:
    """Return the text of an example settings file. Secrets are left to variables and files."""
    return "\n".join(_toml_section(schema_of(cls), prefix)) + "\n"


def _toml_section(section: Section, prefix: str | None) -> Iterator[str]:
    yield f"[default.{section.key}]" if section.key else "[default]"
    for leaf in section.leaves:
        word = leaf.key.rpartition(".")[2]
        yield f"# {_described(leaf)}"
        if leaf.secret:
            yield f"# It does not belong into a file like this: set {leaf.env or variable(leaf.key, prefix)}."
        else:
            value = _default(leaf)
            mark = "# " if leaf.default else ""
            yield f"{mark}{word} = {_toml_value(value) if value is not None else chr(34) * 2}"
    for inner in section.sections:
        yield ""
        yield from _toml_section(inner, prefix)


def _described(leaf: Leaf) -> str:
    return f"{leaf.key}: {leaf.type.expected}; {'required' if leaf.required else 'optional'}"


def _default(leaf: Leaf) -> object:
    return leaf.default() if leaf.default else None


def _env_value(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _toml_value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    if type(value) in (bool, int, float):
        return written(value)
    # A JSON string is a TOML basic string, but for DEL, which only TOML wants escaped.
    return json.dumps(written(value), ensure_ascii=False).replace("\x7f", "\\u007f")
