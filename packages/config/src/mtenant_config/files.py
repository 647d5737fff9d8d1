"""Settings files: read, parsed, and taken apart into sections of settings."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtenant_config.document import Document, FileFault, limited, walk
from mtenant_config.locate import Lines, json_lines, toml_lines
from mtenant_config.names import fold
from mtenant_config.problem import Problem
from mtenant_config.setting import Layer, Origin, Setting, decoded

DEFAULT_SECTION = "default"
_ALIASES = {"dev": "development", "prod": "production"}
_WELL_KNOWN = frozenset({DEFAULT_SECTION, "development", "production", "staging", "testing"})


def environment_name(name: str) -> str:
    """Return the one name of an environment: `dev` is `development`, `prod` is `production`."""
    folded = name.strip().lower()
    return _ALIASES.get(folded, folded)


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        FileNotFoundError: There is none.
        FileFault: It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        fault = FileFault("is not UTF-8 text")
    except OSError as exc:
        fault = FileFault(f"cannot be read ({exc.strerror})")
    raise fault


def parse_document(path: Path, text: str) -> Document:
    """Return the content of a TOML, YAML or JSON file, told by its suffix.

    Raises:
        FileFault: Another suffix, or the text is not what the suffix says.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FileFault(f"has a suffix that is none of {', '.join(_READERS)}")
    return reader(text)


def _read_toml(text: str) -> Document:
    try:
        return Document(tomllib.loads(text), toml_lines(text))
    except tomllib.TOMLDecodeError as exc:
        fault = FileFault(f"is not valid TOML: {exc}")
    except (ValueError, RecursionError) as exc:
        fault = FileFault(f"is not valid TOML ({type(exc).__name__})")
    raise fault


def _read_json(text: str) -> Document:
    try:
        content = json.loads(text, object_pairs_hook=_no_twins, parse_constant=_no_constant)
        return Document(content, json_lines(text))
    except json.JSONDecodeError as exc:
        # Built anew: the exception itself carries the whole document.
        fault = FileFault(f"is not valid JSON: {exc.msg}", exc.lineno)
    except FileFault as exc:
        fault = exc
    except (ValueError, RecursionError) as exc:
        fault = FileFault(f"is not valid JSON ({type(exc).__name__})")
    raise fault


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content: dict[str, object] = {}
    for key, value in pairs:
        if key in content:
            raise FileFault(f"has the key {key!r} twice")
        content[key] = value
    return content


def _no_constant(name: str) -> float:
    raise FileFault(f"has {name}, which is no JSON")


def _read_yaml(text: str) -> Document:
    from mtenant_config import _dynaconf  # noqa: PLC0415 - only load() needs it

    return _dynaconf.read_yaml(text)


_READERS: dict[str, Callable[[str], Document]] = {
    ".json": _read_json,
    ".toml": _read_toml,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
}


@dataclass
class SettingsFile:
    """One file, taken apart. Its problems are kept, so that all files' are reported at once.

    A file has sections if one of its tables is called `default`, like the environment, or
    `development`, `production`, `staging` or `testing`; then everything stands in a section, and
    those of other environments are not looked at. Another file counts as one `default` section.
    """

    path: Path
    problems: list[Problem] = field(default_factory=list)
    sections: dict[str, dict[str, Setting]] = field(default_factory=dict)
    section_names: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, path: str | os.PathLike[str], env: str | None, *, optional: bool) -> SettingsFile:
        """Read a file; what is wrong with it is in `problems`."""
        file = cls(Path(path))
        try:
            document = parse_document(file.path, read_text(file.path))
        except FileNotFoundError:
            if not optional:
                file.problem("does not exist", suggestion="create it, or name it in optional_files")
            return file
        except FileFault as fault:
            file.problem(fault.reason, line=fault.line)
            return file
        if document.content is None:
            return file
        if not isinstance(document.content, dict):
            file.problem("is not a table of settings")
            return file
        file.take_apart(document, env, optional=optional)
        return file

    def take_apart(self, document: Document, env: str | None, *, optional: bool) -> None:
        """Fill `sections` from the document."""
        content = document.content
        assert isinstance(content, dict)  # noqa: S101 - read() has looked; this tells mypy
        names = {env, *_WELL_KNOWN}
        tables = {
            name: environment_name(name)
            for name, value in content.items()
            if isinstance(name, str) and isinstance(value, dict)
        }
        if names.isdisjoint(tables.values()):
            layer = Layer.OPTIONAL_FILE if optional else Layer.FILE
            self.sections[DEFAULT_SECTION] = self.flatten(content, document.lines, layer, ())
            return
        self.section_names = set(tables.values())
        for name, value in content.items():
            if name not in tables:
                self.problem(
                    f"{name} stands outside of every section",
                    line=document.lines.get((str(name),)),
                    suggestion=f"move it below [{DEFAULT_SECTION}]",
                )
                continue
            section = tables[name]
            if section in self.sections:
                self.problem(f"has two sections for {section}", line=document.lines.get((name,)))
            elif section in (DEFAULT_SECTION, env):
                own = Layer.FILE if section == DEFAULT_SECTION else Layer.FILE_ENVIRONMENT
                layer = Layer.OPTIONAL_FILE if optional else own
                self.sections[section] = self.flatten(value, document.lines, layer, (name,))

    def flatten(
        self, content: Mapping[Any, object], lines: Lines, layer: Layer, path: tuple[str, ...]
    ) -> dict[str, Setting]:
        """Return the settings of a section by folded key."""
        found: dict[str, Setting] = {}
        inside = f"[{path[0]}]" if path else None
        try:
            for keys, value in limited(walk(content)):
                line = _line(lines, path + keys)
                key = fold(".".join(keys))
                usable = decoded(value) if isinstance(value, str) else value
                setting = Setting(key, usable, Origin(layer, str(self.path), line, inside))
                if key in found:
                    first = found[key].origin
                    self.problem(f"has {key} twice, first at {first}", line=line)
                found[key] = setting
        except FileFault as fault:
            self.problem(fault.reason)
        return found

    def problem(
        self, reason: str, *, line: int | None = None, suggestion: str | None = None
    ) -> None:
        """Keep a problem with this file."""
        origin = f"{self.path}:{line}" if line else None
        self.problems.append(
            Problem(str(self.path), "unreadable", reason, origin=origin, suggestion=suggestion)
        )


def _line(lines: Lines, path: tuple[str, ...]) -> int | None:
    """Return the line of a key, or of the nearest table around it that was found."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None
