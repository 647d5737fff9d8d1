"""Two JSON encoders that give the same bytes: orjson where it is installed, else the standard one.

They are given plain data only (see `plain`): exact `str`, `bool`, `None`, `dict` with `str` keys,
`list`, integers of 64 bits and finite floats. On that they differ in one thing, the exponent of a
float, and `number` settles it: Python's `repr` is the form that both write.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Protocol

try:
    import orjson
except ImportError:  # the extra [fast] is not installed
    _HAVE_ORJSON = False
else:
    _HAVE_ORJSON = True


class Encoder(Protocol):
    """Turns plain data into compact UTF-8 JSON, with no escape that JSON does not ask for."""

    encode: Callable[[object], bytes]
    """Raises ValueError or TypeError on a lone surrogate."""

    def number(self, value: float) -> object:
        """Return what stands for a finite float in plain data."""
        ...


class StandardEncoder:
    """The encoder of the standard library."""

    def __init__(self) -> None:
        compact = json.JSONEncoder(
            ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False
        ).encode
        self.encode: Callable[[object], bytes] = lambda value: compact(value).encode()

    def number(self, value: float) -> object:
        """Return the float itself: the standard encoder writes its `repr`."""
        return value


class OrjsonEncoder:
    """The encoder of orjson."""

    def __init__(self) -> None:
        self.encode: Callable[[object], bytes] = orjson.dumps

    def number(self, value: float) -> object:
        """Return the float's `repr` as raw JSON: orjson would write 1e16 for 1e+16."""
        return orjson.Fragment(repr(value).encode())


def best_encoder() -> Encoder:
    """Return orjson's encoder if there is orjson, else the standard library's."""
    return OrjsonEncoder() if _HAVE_ORJSON else StandardEncoder()
