"""The way back in: from an HTTP answer to the exception that the far side raised."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from mtenant_errors import retry_after, text
from mtenant_errors.codes import TYPE_PREFIX, is_code
from mtenant_errors.exceptions import CLASSES, AppError

SIZE_LIMIT = 65_536
"""The largest body in bytes that is read as a problem."""

Headers = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]


def from_problem(
    body: bytes | str | Mapping[str, object], status: int, headers: Headers = ()
) -> AppError:
    """Return the error of an HTTP answer: the class of its kind, marked `remote`.

    It never raises, whatever the far side sent. The body may be a problem of this library, another
    RFC 9457 problem, or anything: HTML, nothing, more than 64 KiB. What is no JSON object counts as
    an empty one, and a member of the wrong type is ignored (RFC 9457, 3.1). The status line wins over
    the body's `status`. A status without a class of its own is read as the x00 of its hundred (RFC 9110,
    15), and one that is no error at all as a 500. A code that nobody here knows is kept.

    Args:
        body: The body as it came, or the decoded object.
        status: The status code of the status line.
        headers: The response's fields, as a mapping or as pairs; only `Retry-After` is read, as seconds
            or as a date, and capped at a day.
    """
    members, fault = _read(body)
    kind = _class_of(status)
    message = _first(members, "error", "title")
    detail = _first(members, "details", "detail")
    err = kind(
        message,
        code=_code(members),
        detail=None if detail == message else detail,
        errors=_entries(members.get("errors")),
        internal=_circumstances(members, status, fault),
        retry_after=_wait(headers),
    )
    err.remote = True
    retryable = members.get("retryable")
    if isinstance(retryable, bool):
        err.retryable = retryable
    return err


def _read(body: object) -> tuple[Mapping[str, object], str | None]:
    if isinstance(body, Mapping):
        return body, None
    if not isinstance(body, (bytes, bytearray, memoryview, str)):
        return {}, f"a body of type {type(body).__name__}"
    if len(body) > SIZE_LIMIT:
        return {}, f"a body of {len(body)} bytes, which is too large to read"
    try:
        members = json.loads(bytes(body) if isinstance(body, memoryview) else body)
    except (ValueError, RecursionError):
        members = None
    if isinstance(members, dict):
        return members, None
    # Not the body itself: it may say anything, and this goes to the log.
    return {}, f"a body of {len(body)} bytes that is no JSON object"


def _class_of(status: int) -> type[AppError]:
    if status in CLASSES:
        return CLASSES[status]
    return CLASSES[400] if 400 <= status < 500 else CLASSES[500]


def _first(members: Mapping[str, object], *names: str) -> str | None:
    for name in names:
        value = members.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def _code(members: Mapping[str, object]) -> str | None:
    named = _first(members, "code")
    if named is None:
        named = (_first(members, "type") or "").removeprefix(TYPE_PREFIX)
    return named if is_code(named) else None


def _entries(errors: object) -> list[Mapping[str, object]]:
    if not isinstance(errors, list):
        return []
    return [entry for entry in errors if isinstance(entry, Mapping)]


def _circumstances(members: Mapping[str, object], status: int, fault: str | None) -> str:
    told = f"answered {status}"
    if fault is not None:
        told += f" with {fault}"
    request_id = _first(members, "request_id")
    if request_id is not None:
        told += f", request_id {text.shown(request_id)!r}"
    return told


def _wait(headers: Headers) -> float | None:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        if _latin(name).lower() == "retry-after":
            return retry_after.parse(_latin(value))
    return None


def _latin(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
