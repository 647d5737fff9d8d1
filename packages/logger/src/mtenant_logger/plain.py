"""Turn any value into plain, bounded, redacted data that every JSON encoder takes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import Final
from uuid import UUID

from mtenant_logger.encoding import Exact
from mtenant_logger.redaction import MASK, Secrets, is_secret, is_sensitive

MAX_DEPTH: Final = 8
"""Levels of nesting in one tag; what is deeper becomes the mark `…`."""

MAX_STRING_BYTES: Final = 8 * 1024
"""Bytes of one string in UTF-8, before JSON's escapes; a longer one is cut and ends in `…`."""

MAX_TAG_CHARS: Final = 32 * 1024
"""Characters of all that is nested in one tag, so that no tag takes the whole line."""

MAX_KEY_CHARS: Final = 128
"""Characters of one key; a longer one is cut and ends in `…`."""

MAX_LINE_BYTES: Final = 64 * 1024
"""Bytes of one line with its newline; tags that do not fit are left out and named."""

CUT: Final = "…"

# Enough of what follows a cut for a secret or a URL's password that begins before it to be seen.
_LOOK_AHEAD: Final = 1024
# orjson and Python's repr write these floats alike; see `encoding`.
ALIKE_FROM: Final = 1e-4
ALIKE_BELOW: Final = 1e16
MIN_INT: Final = -(2**63)
MAX_INT: Final = 2**64 - 1


# The name itself, past any property of a metaclass.
_NAME: Final = vars(type)["__name__"].__get__


def type_name(value: object) -> str:
    """Return the name of a value's class, whatever that class does."""
    name: str = _NAME(type(value))
    return name


class Plain:
    """Makes the plain data of one line.

    Attributes:
        degraded: True as soon as something could not be kept as it was given: cut, too deep, a
            cycle, no number, no text. Masking a secret is no loss and does not set it.
    """

    __slots__ = ("_open", "_room", "_secrets", "degraded")

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._room = MAX_TAG_CHARS
        self._open: set[int] = set()
        self.degraded = False

    def tag(self, key: str, value: object) -> object:
        """Return what is written for a tag of this name; never raises an `Exception`."""
        self._room = MAX_TAG_CHARS
        return self._field(key, value, 0)

    def items(self, values: Iterable[object]) -> list[object]:
        """Return what is written for several values, within the bounds of one tag."""
        self._room = MAX_TAG_CHARS
        return self._items(values, 0)

    def _field(self, key: str, value: object, depth: int) -> object:
        # Whether there is a password is no secret, and often what one looks for.
        if is_sensitive(key) and value is not None and type(value) is not bool:
            return MASK
        return self.value(value, depth)

    def value(self, value: object, depth: int = 0) -> object:
        """Return plain data for any value; never raises an `Exception`."""
        self._room -= 2
        if self._room <= 0 or depth > MAX_DEPTH:
            return self._lost(CUT)
        kind = type(value)
        if kind is str:
            return self.text(value)  # type: ignore[arg-type]  # its exact type was just looked at
        if value is None or kind is bool:
            return value
        try:
            return self._convert(value, depth)
        except Exception:  # a value may run any code; whatever it raises is its loss
            return self._lost(f"<unprintable {type_name(value)}>")

    def text(self, text: str, at_most: int = MAX_STRING_BYTES) -> str:
        """Return the text masked, in valid Unicode, in at most so many bytes and a mark."""
        if len(text) > at_most:
            text = text[: at_most + max(_LOOK_AHEAD, self._secrets.longest)]
        text = self._secrets.mask(text)
        if not text.isascii() or len(text) > at_most:
            try:
                raw = text.encode()
            except UnicodeEncodeError:
                self.degraded = True
                raw = text.encode("utf-8", "backslashreplace")
                text = raw.decode()
            if len(raw) > at_most:
                text = self._lost(raw[:at_most].decode("utf-8", "ignore") + CUT)
        self._room -= len(text)
        return text

    def key(self, key: object) -> str:
        """Return the text of a mapping's key."""
        if type(key) is not str:
            key = MASK if is_secret(key) else str.__str__(str(key))
        if len(key) > MAX_KEY_CHARS:
            # Masked before it is cut, so that no half of a secret is left over.
            key = self._secrets.mask(key[: MAX_KEY_CHARS + max(_LOOK_AHEAD, self._secrets.longest)])
            key = self._lost(key[:MAX_KEY_CHARS] + CUT)
        return self.text(key)

    def _lost(self, mark: str) -> str:
        self.degraded = True
        return mark

    def _convert(self, value: object, depth: int) -> object:  # noqa: PLR0912  # one table of types
        if is_secret(value):
            return MASK
        if id(value) in self._open:
            return self._lost("<cycle>")
        match value:
            case Enum():
                return self.value(value.value, depth + 1)
            case int():
                return self._integer(int(value))
            case float():
                return self._float(float(value))
            case str():
                return self.text(str.__str__(value))
            case bytes() | bytearray() | memoryview():
                return self._bytes(value)
            case dt.datetime() | dt.date() | dt.time():
                return self.text(value.isoformat())
            case dt.timedelta():
                return self._float(value.total_seconds())
            case Decimal() | UUID() | PurePath():
                return self.text(str(value))
            case BaseException():
                return self.text(f"{type_name(value)}: {value}")
            case type():
                return self.text(f"{value.__module__}.{value.__qualname__}")
            case Mapping():
                return self._mapping(value, depth)
            case Sequence() | Set():
                return self._items(value, depth)
        if dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            return self._mapping(
                {field.name: getattr(value, field.name) for field in fields}, depth
            )
        return self.text(str.__str__(str(value)))

    def _integer(self, value: int) -> object:
        if MIN_INT <= value <= MAX_INT:
            return value
        # Readers keep 64 bits at most; and Python refuses to write very long decimals.
        return self._lost(self.text(str(value) if value.bit_length() < 4096 else hex(value)))

    def _float(self, value: float) -> object:
        if ALIKE_FROM <= abs(value) < ALIKE_BELOW or value == 0.0:
            return value
        if math.isfinite(value):
            return Exact(value)
        return self._lost("NaN" if value != value else "Infinity" if value > 0 else "-Infinity")  # noqa: PLR0124  # NaN is what differs from itself

    def _bytes(self, value: bytes | bytearray | memoryview) -> str:
        raw = bytes(value[: MAX_STRING_BYTES + max(_LOOK_AHEAD, self._secrets.longest)])
        # Not base64: a secret must be found in it, and a person should be able to read it.
        return self.text(raw.decode("utf-8", "backslashreplace"))

    def _mapping(self, value: Mapping[object, object], depth: int) -> dict[str, object]:
        self._open.add(id(value))
        try:
            # A copy first: another thread may change it while its values are converted.
            items = list(islice(value.items(), self._room))
            plain: dict[str, object] = {}
            for raw_key, item in items:
                key = self.key(raw_key)
                while key in plain:  # 1 and "1", or two long keys that were cut alike
                    key = self._lost(key + "_")
                plain[key] = self._field(key, item, depth + 1)
            return plain
        finally:
            self._open.discard(id(value))

    def _items(self, value: Iterable[object], depth: int) -> list[object]:
        self._open.add(id(value))
        try:
            return [self.value(item, depth + 1) for item in list(islice(value, self._room))]
        finally:
            self._open.discard(id(value))
