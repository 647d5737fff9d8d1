"""Two JSON encoders that give the same bytes: orjson where it is installed, else the standard one.

They are given plain data only (see `plain`): exact `str`, `bool`, `None`, `dict` with `str` keys,
`list`, integers of 64 bits and finite floats. On that they differ in one thing, the exponent of a
float. Such a float is given as `Exact`, and both then write Python's `repr` of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Protocol

try:
    import orjson
except ImportError:  # the extra [fast] is not installed
    _HAVE_ORJSON = False
else:
    _HAVE_ORJSON = True


class Exact(float):
    """A float to be written as its `repr`: orjson would write 1e16 for 1e+16.

    orjson does not know subclasses of float and asks what to do; nobody else sees a difference.
    """

    __slots__ = ()


class Encoder(Protocol):
    """Turns plain data into compact UTF-8 JSON, with no escape that JSON does not ask for."""

    encode: Callable[[object], bytes]
    """Raises ValueError or TypeError on a lone surrogate."""

    encode_simple: Callable[[object], bytes]
    """The same for data without an `Exact`; the sooner of the two where they differ."""


class StandardEncoder:
    """The encoder of the standard library."""

    def __init__(self) -> None:
        compact = json.JSONEncoder(
            ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False
        ).encode
        self.encode: Callable[[object], bytes] = lambda value: compact(value).encode()
        self.encode_simple: Callable[[object], bytes] = self.encode


class OrjsonEncoder:
    """The encoder of orjson."""

    def __init__(self) -> None:
        self.encode: Callable[[object], bytes] = partial(orjson.dumps, default=_exactly)
        self.encode_simple: Callable[[object], bytes] = orjson.dumps


def best_encoder() -> Encoder:
    """Return orjson's encoder if there is orjson, else the standard library's."""
    return OrjsonEncoder() if _HAVE_ORJSON else StandardEncoder()


def _exactly(value: object) -> object:
    return orjson.Fragment(repr(value).encode())
