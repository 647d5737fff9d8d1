"""What an error costs: construct it, raise it, catch it and render its problem body.

    python tests/benchmarks/bench_errors.py

The peer that the promise names is the least that anybody could pay: a plain exception with a ready
message, and one `json.dumps` of a body that is already there. The others are for information: the
problem as a mapping that an encoder of the standard library turns into text, and what FastAPI and
Starlette do for their own `HTTPException`, if Starlette is installed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from harness import Bound, Case, Comparison, report

from mtenant_errors import AppError, NotFound, TooManyRequests, from_problem

ID = "0193e2b1-8c55-7d10-9a63-5b0f6a1c7e42"


class ContactNotFound(NotFound):
    """An error as a program names it: a code and a template."""

    code, message = "CONTACT_NOT_FOUND", "contact {id} not found"


class SeatLimitReached(TooManyRequests):
    """One with more to say."""

    code, message = "SEAT_LIMIT_REACHED", "the plan {plan} has {limit} seats"


class PlainError(Exception):
    """The exception of a program that uses no library."""


def _repeat(once: Callable[[], object]) -> Callable[[int], object]:
    def run(n: int) -> None:
        for _ in range(n):
            once()

    return run


def _ours() -> str:
    try:
        raise ContactNotFound(id=ID)
    except AppError as err:
        return err.to_problem_json(instance="/contacts/7", request_id="r-1")


def _ours_as_mapping() -> str:
    try:
        raise ContactNotFound(id=ID)
    except AppError as err:
        return json.dumps(err.to_problem(instance="/contacts/7", request_id="r-1"))


def _ours_with_more() -> str:
    try:
        raise SeatLimitReached(
            plan="basic", limit=5, detail="one more is asked for", retry_after=60
        )
    except AppError as err:
        return err.to_problem_json(instance="/seats", request_id="r-1")


BODY = json.loads(_ours())
MESSAGE = BODY["error"]
BODY_WITH_MORE = json.loads(_ours_with_more())


def _plain() -> str:
    try:
        raise PlainError(MESSAGE)
    except PlainError:
        return json.dumps(BODY)


def _plain_with_more() -> str:
    try:
        raise PlainError(MESSAGE)
    except PlainError:
        return json.dumps(BODY_WITH_MORE)


def _rendering() -> Comparison:
    cases = [
        Case("mtenant_errors", _repeat(_ours)),
        Case("mtenant_errors, by to_problem and json.dumps", _repeat(_ours_as_mapping)),
        Case("plain exception and json.dumps", _repeat(_plain)),
    ]
    try:
        from starlette.exceptions import HTTPException  # noqa: PLC0415 - a peer that may be absent
    except ImportError:
        print("no Starlette here: its HTTPException is left out")
    else:

        def starlette() -> str:
            try:
                raise HTTPException(404, BODY)
            except HTTPException as exc:
                # What JSONResponse.render does with it.
                return json.dumps(
                    {"detail": exc.detail},
                    ensure_ascii=False,
                    allow_nan=False,
                    indent=None,
                    separators=(",", ":"),
                )

        cases.append(Case("starlette HTTPException and JSONResponse", _repeat(starlette)))
    return Comparison(
        "errors: construct, raise, catch and render a problem body",
        cases,
        [Bound("mtenant_errors", "plain exception and json.dumps", 1.5)],
    )


def main() -> int:
    """Print the ratios; the exit status is 1 if a bound was missed."""
    assert _ours() == json.dumps(BODY), "the two bodies must be the same"
    assert json.loads(_ours_as_mapping()) == BODY
    with_more = Comparison(
        "errors: the same with a detail and two params",
        [
            Case("mtenant_errors", _repeat(_ours_with_more)),
            Case("plain exception and json.dumps", _repeat(_plain_with_more)),
        ],
        [Bound("mtenant_errors", "plain exception and json.dumps", 1.5)],
    )
    raw = _ours().encode()
    reading = Comparison(
        "errors: read a problem body (for information)",
        [
            Case("from_problem", _repeat(lambda: from_problem(raw, 404))),
            Case("json.loads", _repeat(lambda: json.loads(raw))),
        ],
        [],
        rounds=11,
    )
    return report("errors", [_rendering(), with_more, reading])


if __name__ == "__main__":
    sys.exit(main())
