from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import mtenant_logger
from mtenant_logger import testing
from mtenant_logger.pytest_plugin import recorded_logs

__all__ = ["recorded_logs"]

SCHEMA = json.loads(Path(mtenant_logger.__file__).with_name("log.schema.json").read_text())
jsonschema.Draft202012Validator.check_schema(SCHEMA)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def _strict(line: bytes) -> dict[str, Any]:
    def refuse(name: str) -> object:
        raise AssertionError(f"{name} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), f"duplicate key in {names}"
        return dict(pairs)

    assert line.endswith(b"\n")
    text = line[:-1].decode("utf-8")
    assert len(text.splitlines()) == 1, "a reader would split this line"
    record: dict[str, Any] = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    VALIDATOR.validate(record)
    fixed = [name for name in record if name in SCHEMA["properties"]]
    assert fixed == [name for name in SCHEMA["properties"] if name in record], "wrong order"
    return record


@pytest.fixture(scope="session")
def strict() -> Callable[[bytes], dict[str, Any]]:
    """Parse one line as strictly as can be: UTF-8, one line, JSON, no key twice, the schema."""
    return _strict


@pytest.fixture
def fresh() -> Iterator[None]:
    """Undo whatever the test configures or registers."""
    testing.reset()
    yield
    testing.reset()


class Pipe:
    """A pipe that is read when the test says so."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self._read = b""

    def read(self) -> bytes:
        """Return what is there now."""
        parts = []
        while True:
            try:
                part = os.read(self.reader, 1 << 16)
            except BlockingIOError:
                break
            if not part:
                break
            parts.append(part)
        return b"".join(parts)

    def records(self) -> list[dict[str, Any]]:
        """Return the lines that are there now, each parsed strictly."""
        return [_strict(line) for line in self.read().splitlines(keepends=True)]

    def stall(self) -> int:
        """Fill it to the last byte; return how many there are."""
        os.set_blocking(self.writer, False)
        size = 0
        try:
            for part in (4096, 1):
                try:
                    while True:
                        size += os.write(self.writer, b"-" * part)
                except BlockingIOError:
                    continue
        finally:
            os.set_blocking(self.writer, True)
        return size

    def close_reader(self) -> None:
        """Be gone, as a reader that died."""
        os.close(self.reader)
        self.reader = -1

    def close(self) -> None:
        """Close what is open."""
        for end in (self.reader, self.writer):
            if end >= 0:
                os.close(end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Give a pipe."""
    one = Pipe()
    yield one
    one.close()
