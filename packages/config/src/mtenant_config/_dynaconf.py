"""Everything that dynaconf does here: it reads YAML and `.env`, and puts the layers on each other.

The only file that imports dynaconf, and nobody imports this file before `Config.load` runs.

dynaconf has ideas of its own about values: it guesses types, runs `@format`, follows includes and
hook files, and takes orders from `*_FOR_DYNACONF` variables and from keys such as
`dynaconf_merge`. None of that can happen here: a bare `Settings` is used, which loads nothing by
itself; what it merges are `Setting` objects, which it hands through untouched; and no key can be
one of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from typing import Any

from dynaconf.base import Settings
from dynaconf.loaders import yaml_loader
from dynaconf.loaders.base import SourceMetadata
from dynaconf.vendor.dotenv.parser import parse_stream

from mtenant_config.document import Document, FileFault, check_depth, limited
from mtenant_config.locate import Lines, Path
from mtenant_config.setting import Setting

# The YAML parser as dynaconf's own loader sees it: where it lies inside dynaconf is not promised.
_yaml = yaml_loader.yaml
_ROOT = "ROOT"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What a dynaconf name never begins with; see the module's docstring.
_MARK = "/"


def merge(layers: Iterable[Mapping[str, Setting]]) -> dict[str, Setting]:
    """Return for each key the setting of the highest layer that has it."""
    store = Settings(
        dynaconf_skip_loaders=True,
        dynaconf_skip_validators=True,
        dynaboxify=False,
        AUTO_CAST_FOR_DYNACONF=False,
        DOTTED_LOOKUP_FOR_DYNACONF=False,
        INDEX_SEPARATOR_FOR_DYNACONF=None,
        NESTED_SEPARATOR_FOR_DYNACONF=None,
    )
    for height, layer in enumerate(layers):
        if layer:
            store.update(
                {_ROOT: _tree(layer)},
                loader_identifier=SourceMetadata("mtenant", str(height)),
                merge=True,
            )
    return {setting.key: setting for setting in _settings(store.get(_ROOT, {}))}


def _tree(layer: Mapping[str, Setting]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, setting in layer.items():
        *sections, last = key.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(_MARK + section, {})
        branch[_MARK + last] = setting
    return tree


def _settings(tree: Mapping[str, Any]) -> Iterator[Setting]:
    for value in tree.values():
        if isinstance(value, Setting):
            yield value
        else:
            yield from _settings(value)


def read_dotenv(text: str) -> tuple[dict[str, str], Lines]:
    """Return the variables of a `.env` file and the line of each; the last of two counts.

    `${NAME}` stands as it is: nothing is put in its place. A name alone, as in `export NAME`, sets
    nothing.

    Raises:
        FileFault: A line that is no assignment.
    """
    texts: dict[str, str] = {}
    lines: Lines = {}
    for binding in parse_stream(StringIO(text)):  # type: ignore[no-untyped-call] # dynaconf has no types
        # The parser counts empty lines before a statement as part of it.
        source = binding.original.string
        line = binding.original.line + source[: -len(source.lstrip()) or None].count("\n")
        bare = binding.key is not None and binding.value is None
        if binding.error or (bare and not _NAME.fullmatch(binding.key)):
            raise FileFault("is no NAME=value", line)
        if binding.key is not None and binding.value is not None:
            texts[binding.key] = binding.value
            lines[(binding.key,)] = line
    return texts, lines


def read_yaml(text: str) -> Document:
    """Return the content of a YAML 1.2 file, with the line of each key.

    Raises:
        FileFault: No YAML, more than one document, or a key that stands there twice.
    """
    try:
        loader = _yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines = dict(limited(_yaml_lines(node)))
        return Document(loader.construct_document(node) if node is not None else None, lines)
    except _yaml.YAMLError as exc:
        # Only the parser's own words: its full text quotes the file, secrets and all.
        mark = getattr(exc, "problem_mark", None)
        reason = getattr(exc, "problem", None) or "no YAML"
        fault = FileFault(f"is not valid YAML: {reason}", mark.line + 1 if mark else None)
    except FileFault as exc:
        fault = exc
    except Exception as exc:
        # The constructors of numbers and dates raise whatever they meet.
        fault = FileFault(f"is not valid YAML ({type(exc).__name__})")
    raise fault


def _yaml_lines(node: object, path: Path = ()) -> Iterator[tuple[Path, int]]:
    if not isinstance(node, _yaml.MappingNode):
        return
    check_depth(path)
    seen: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, _yaml.ScalarNode):
            continue
        line = key.start_mark.line + 1
        if key.value in seen and key.value != "<<":
            raise FileFault(
                f"has the key {key.value!r} twice, first on line {seen[key.value]}", line
            )
        seen[key.value] = line
        here = (*path, key.value)
        yield here, line
        yield from _yaml_lines(value, here)
