"""What a caller can tell two answers apart by."""

from __future__ import annotations

from typing import Final, NamedTuple

import httpx2 as httpx

_VARYING: Final = frozenset({"x-request-id", "traceparent", "date", "server-timing"})


class Seen(NamedTuple):
    """An answer without what is different in every one: two that are equal tell a caller the same.

    Attributes:
        status: Its status.
        headers: Names and values, sorted.
        body: Its text, with `<request>` and `<id>` for what named the request and the thing.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str


def seen(answer: httpx.Response, *identities: str) -> Seen:
    """Return what a caller sees.

    Args:
        answer: The answer.
        *identities: The ids that the caller itself has sent.

    >>> said = {"x-request-id": "r-1", "date": "today"}
    >>> seen(httpx.Response(404, headers=said, text="r-1: no contact 7"), "7").body
    '<request>: no contact <id>'
    """
    body = answer.text
    for name in ("x-request-id", "traceparent"):
        if value := answer.headers.get(name):
            body = body.replace(value, "<request>")
    for identity in identities:
        body = body.replace(identity, "<id>")
    headers = sorted(
        (name, value) for name, value in answer.headers.items() if name not in _VARYING
    )
    return Seen(answer.status_code, tuple(headers), body)
