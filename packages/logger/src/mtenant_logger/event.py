"""One log call as data, and who made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class Source(Protocol):
    """Whoever logs: a logger, or the stand-in for one of another library."""

    name: str
    bound: Mapping[str, object]
    prepared: Any


class Named:
    """A source that is nothing but a name."""

    __slots__ = ("bound", "name", "prepared")

    def __init__(self, name: str) -> None:
        self.name = name
        self.bound: Mapping[str, object] = {}
        self.prepared: Any = None


@dataclass(slots=True)
class Event:
    """One log call, redacted and bounded, before it is bytes."""

    time_ns: int
    level: int
    message: str
    identity: dict[str, object]
    tags: dict[str, object]
    degraded: list[str]
    error: dict[str, object] | None
    logger: str
    caller: str | None

    def fields(self) -> dict[str, object]:
        """Return what follows timestamp, level and message, in the order of the line."""
        fields = {**self.identity, **self.tags}
        if self.degraded:
            fields["degraded"] = self.degraded
        if self.error is not None:
            fields["error"] = self.error
        fields["logger"] = self.logger
        if self.caller is not None:
            fields["caller"] = self.caller
        return fields
