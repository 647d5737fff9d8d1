"""Exceptions are data: bounded, whole enough to find the fault, without locals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mtenant_logger.failure import MAX_CHAIN, MAX_FRAMES
from mtenant_logger.testing import RecordingLogger


class Coded(Exception):
    code = "CONTACT_NOT_FOUND"


class Numbered(Exception):
    code = 404


class Raising(Exception):
    @property
    def code(self) -> str:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError


def described(err: object) -> dict[str, Any]:
    log = RecordingLogger()
    log.error("m", err=err)
    record = log.records[0]
    return {**record["error"], "degraded": record.get("degraded", [])}


def test_an_error_has_type_message_and_code() -> None:
    found = described(Coded("no contact 7"))

    assert found["type"] == f"{__name__}.Coded"
    assert (found["message"], found["code"]) == ("no contact 7", "CONTACT_NOT_FOUND")
    assert "code" not in described(Numbered())


def test_causes_contexts_and_members_are_listed_nearest_first() -> None:
    try:
        try:
            raise KeyError("root")
        except KeyError as exc:
            raise Coded("middle") from exc
    except Coded as exc:
        group = ExceptionGroup("several", [exc, ValueError("other")])

    chain = described(group)["chain"]

    assert [(item["relation"], item["type"].rpartition(".")[2]) for item in chain] == [
        ("member", "Coded"),
        ("member", "ValueError"),
        ("cause", "KeyError"),
    ]
    assert chain[0]["code"] == "CONTACT_NOT_FOUND"
    assert "test_failure.py:" in chain[2]["at"]


def test_a_suppressed_context_is_not_listed() -> None:
    with pytest.raises(ValueError, match="shown") as caught:  # noqa: PT012  # it takes a handler
        try:
            raise KeyError("hidden")
        except KeyError:
            raise ValueError("shown") from None

    assert "chain" not in described(caught.value)


def test_a_note_stands_below_the_message() -> None:
    error = ValueError("wrong")
    error.add_note("in file 7")

    assert described(error)["message"] == "wrong\nin file 7"


def test_a_chain_that_is_a_circle_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first

    assert [item["message"] for item in described(first)["chain"]] == ["b"]


def test_a_long_chain_and_a_deep_stack_are_bounded_and_marked() -> None:
    def dive(depth: int) -> None:
        if not depth:
            raise ValueError("deep")
        dive(depth - 1)

    error: BaseException = ValueError("0")
    for n in range(1, MAX_CHAIN + 5):
        outer = ValueError(str(n))
        outer.__cause__ = error
        error = outer
    with pytest.raises(ValueError, match="deep") as caught:
        dive(100)
    deep = caught.value

    assert len(described(error)["chain"]) == MAX_CHAIN
    assert described(error)["degraded"] == ["error"]
    assert len(described(deep)["stack"]) == MAX_FRAMES
    assert "dive" in described(deep)["stack"][-1]
    assert described(deep)["degraded"] == ["error"]


def test_an_exception_that_cannot_be_printed_is_named() -> None:
    found = described(Raising())

    assert found["message"] == "<unprintable Raising>"
    assert found["degraded"] == ["error"]


@pytest.mark.parametrize(
    ("err", "kind", "message"),
    [
        ("a text", "str", "a text"),
        (ValueError, "type", "<class 'ValueError'>"),
        (404, "int", "404"),
        (False, "bool", "False"),
    ],
)
def test_what_is_no_exception_is_still_an_error(err: object, kind: str, message: str) -> None:
    found = described(err)

    assert (found["type"], found["message"]) == (kind, message)


def test_a_cause_that_cannot_be_asked_for_costs_the_chain_and_no_more() -> None:
    class Treacherous(ValueError):
        __cause__ = property(lambda self: 1 / 0)

    found = described(Treacherous("m"))

    assert found["message"] == "m"
    assert found["degraded"] == ["error"]


def test_no_local_variable_is_in_the_line() -> None:
    local = "a local variable"
    with pytest.raises(ValueError, match="16") as caught:
        raise ValueError(len(local))

    assert local not in json.dumps(described(caught.value))


def test_exception_takes_the_one_that_is_handled_and_none_is_no_failure() -> None:
    log = RecordingLogger()
    try:
        raise ValueError("now")
    except ValueError:
        log.exception("m")
        log.exception("m", err=KeyError("given"))
    log.exception("outside")
    log.error("none", err=None)

    assert [record.get("error", {}).get("type") for record in log.records] == [
        "ValueError",
        "KeyError",
        None,
        None,
    ]
