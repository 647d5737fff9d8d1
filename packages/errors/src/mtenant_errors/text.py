"""Text and values that may be shown to a caller.

An error is made while something else goes wrong, so nothing here raises, whatever it is given: a
second exception would hide the first. Secrets (anything with a true `__secret__`) and exceptions
become `***`; exceptions because their text was written for a log and not for a caller.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from uuid import UUID

MASK = "***"
UNPRINTABLE = "<unprintable>"

# In characters. Enough for people, and no value floods a body or a log.
VALUE_LIMIT = 256
MESSAGE_LIMIT = 1024
DETAIL_LIMIT = 4096
INTERNAL_LIMIT = 8192
# Of one `errors[]`, and of one value that is a container.
ENTRIES_LIMIT = 100
NODES_LIMIT = 200
DEPTH_LIMIT = 5

_PLAIN = frozenset(
    {str, int, float, bool, type(None), UUID, datetime, date, time, timedelta, Decimal}
)
_PLACEHOLDER = re.compile(r"\{([^\W\d]\w*)\}")

_BRACE = re.compile(r"[{}]")

# Validators (pydantic is one) put what the caller sent into these; it may be a password.
_ECHOES = frozenset({"input", "ctx"})


def render(template: str, params: Mapping[str, object]) -> str:
    """Put params into the `{name}` places of a template.

    It is not `str.format`: there is no attribute access, no index, no format spec and no escape.
    A place without a param stays as it is written.
    """
    if not params or "{" not in template:
        return clean(template, MESSAGE_LIMIT)
    filled = _PLACEHOLDER.sub(
        lambda place: shown(params[place[1]]) if place[1] in params else place[0], template
    )
    return clean(filled, MESSAGE_LIMIT)


def fill(template: str, params: Mapping[str, object]) -> str:
    """Do the same as `render`, faster, for params that are `kept` and a template that `is_template`."""
    try:
        # Plain values in places without attributes leave `format_map` nothing to call but `str`.
        filled = template.format_map(params)
    except Exception:
        return render(template, params)
    # A short text holds no value that is too long.
    return clean(filled, MESSAGE_LIMIT) if len(filled) <= VALUE_LIMIT else render(template, params)


def is_template(value: object) -> bool:
    """Tell whether a value is a string in which every brace belongs to a `{name}` place."""
    return isinstance(value, str) and not _BRACE.search(_PLACEHOLDER.sub("", value))


def clean(value: str, limit: int) -> str:
    """Return a plain string that any encoder takes: no lone surrogate, at most `limit` characters."""
    if type(value) is not str:
        value = str.__str__(value)  # a subclass may have methods of its own
    if len(value) > limit:
        value = value[: limit - 1] + "…"
    if value.isascii():
        return value
    return value.encode("utf-8", "replace").decode("utf-8")


def shown(value: object, limit: int = VALUE_LIMIT) -> str:
    """Return how a value reads inside a message."""
    return clean(value if type(value) is str else str(public(value)), limit)


def kept(params: Mapping[str, object]) -> Mapping[str, object]:
    """Return what an error keeps of its params: plain values, and of others their public form.

    So params hold no secret, no exception, nothing that cannot be pickled, and keep nothing alive.
    """
    for value in params.values():
        if type(value) not in _PLAIN:
            return {
                name: value if type(value) in _PLAIN else public(value)
                for name, value in params.items()
            }
    return params


def public(value: object) -> object:
    """Return a value as JSON has it, with secrets and exceptions masked."""
    return _node(value, DEPTH_LIMIT, iter(range(NODES_LIMIT)))


def entries(errors: Iterable[Mapping[str, object]]) -> tuple[Mapping[str, object], ...]:
    """Return the entries of a problem's `errors[]` as JSON has them, without what the caller sent."""
    try:
        return tuple(
            {shown(key): public(item) for key, item in entry.items() if key not in _ECHOES}
            for entry in islice(errors, ENTRIES_LIMIT)
        )
    except Exception:
        return ()


def _node(value: object, depth: int, budget: Iterator[int]) -> object:
    try:
        if isinstance(value, Enum):
            value = value.value
        if value is None or value is True or value is False:
            return value
        if is_hidden(value):
            return MASK
        if isinstance(value, (Mapping, list, tuple, set, frozenset)):
            return _container(value, depth, budget)
        return _scalar(value)
    except Exception:
        return UNPRINTABLE


def _container(value: Iterable[object], depth: int, budget: Iterator[int]) -> object:
    # The budget ends what refers to itself many times over; the depth alone would not.
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        pairs = value.items()
        return {
            shown(k): _node(v, depth - 1, budget) for (k, v), _ in zip(pairs, budget, strict=False)
        }
    return [_node(item, depth - 1, budget) for item, _ in zip(value, budget, strict=False)]


def _scalar(value: object) -> str | int | float:
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    return clean(value if isinstance(value, str) else str(value), MESSAGE_LIMIT)


def is_hidden(value: object) -> bool:
    """Tell whether a value is a secret or an exception."""
    try:
        return isinstance(value, BaseException) or bool(getattr(value, "__secret__", False))
    except Exception:
        return True


def describe(exc: BaseException) -> str:
    """Return the class and the text of an exception, for logs."""
    try:
        told = str(exc)
    except Exception:
        told = UNPRINTABLE
    return clean(f"{type(exc).__name__}: {told}" if told else type(exc).__name__, INTERNAL_LIMIT)
