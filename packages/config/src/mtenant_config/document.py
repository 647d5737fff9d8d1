"""A parsed file: its content, the lines of its keys, and the walk through its tables."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mtenant_config.locate import Lines

T = TypeVar("T")

MAX_DEPTH = 32
"""Deepest nesting of tables. A YAML file can contain itself."""

MAX_KEYS = 100_000
"""Most keys of a file. A few lines of YAML aliases can stand for billions."""


class FileFault(Exception):
    """A file that cannot be used, and why; without a word of its content but keys."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file and the line of each of its keys."""

    content: object
    lines: Lines = field(default_factory=dict)


def walk(
    content: Mapping[Any, object], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield the path and value of everything in nested tables that is no table.

    Raises:
        FileFault: A key that is no text or empty, or tables too deep in each other.
    """
    check_depth(path)
    for key, value in content.items():
        if not _is_name(key):
            raise FileFault(f"has a key that is no name: {key!r}")
        if isinstance(value, dict):
            yield from walk(value, (*path, key))
        elif isinstance(value, float) and not math.isfinite(value):
            raise FileFault(f"has {value} at {'.'.join((*path, key))}, which is no setting")
        else:
            # Copied, because a YAML alias or the caller's own list may be shared.
            yield (*path, key), copy.deepcopy(value) if isinstance(value, list) else value


def _is_name(key: object) -> bool:
    # A line break in a key would be one in every report about it.
    return isinstance(key, str) and key.isprintable() and all(p.strip() for p in key.split("."))


def check_depth(path: tuple[str, ...]) -> None:
    """Raise FileFault for a path that is too deep."""
    if len(path) > MAX_DEPTH:
        raise FileFault(f"has tables more than {MAX_DEPTH} levels deep")


def limited(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, and raise FileFault when there are too many."""
    for count, item in enumerate(items):
        if count >= MAX_KEYS:
            raise FileFault(f"has more than {MAX_KEYS} keys")
        yield item
