from __future__ import annotations

import asyncio
import concurrent.futures
import json

import pytest

from mtenant_errors import (
    AppError,
    BadGateway,
    Conflict,
    Forbidden,
    GatewayTimeout,
    InternalServerError,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
    from_exception,
    from_problem,
    wrap,
)
from mtenant_errors.exceptions import CLASSES

NO_ERRORS = [KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError(), GeneratorExit()]
NO_ERRORS += [BaseExceptionGroup("mixed", [ValueError("x"), KeyboardInterrupt()])]


class ContactNotFound(NotFound):
    code, message = "CONTACT_NOT_FOUND", "contact {id} not found"

    def __init__(self, number: int) -> None:
        super().__init__(id=number, internal="tenant_acme", retry_after=3)
        self.number = number


def test_an_own_error_is_itself(kind: type[AppError]) -> None:
    err = kind()

    assert from_exception(err) is err


@pytest.mark.parametrize(
    ("exc", "cls"),
    [
        (TimeoutError("x"), GatewayTimeout),
        (ConnectionError("x"), ServiceUnavailable),
        (ConnectionRefusedError("x"), ServiceUnavailable),
        (BrokenPipeError("x"), ServiceUnavailable),
        (ValueError("x"), InternalServerError),
        (PermissionError("x"), InternalServerError),
        (FileNotFoundError("x"), InternalServerError),
        (concurrent.futures.CancelledError("x"), InternalServerError),
    ],
    ids=repr,
)
def test_a_foreign_exception_becomes_the_right_kind(exc: Exception, cls: type[AppError]) -> None:
    err = from_exception(exc)

    assert type(err) is cls
    assert (err.message, err.code) == (cls.message, cls.code)
    assert err.internal == f"{type(exc).__name__}: x"
    assert err.__cause__ is exc


@pytest.mark.parametrize("exc", NO_ERRORS, ids=repr)
def test_what_is_no_error_passes_untouched(exc: BaseException) -> None:
    with pytest.raises(type(exc)) as caught:
        from_exception(exc)
    assert caught.value is exc
    with pytest.raises(type(exc)) as caught:
        wrap(exc, "never")
    assert caught.value is exc


def test_an_exception_that_cannot_tell_its_text_is_converted_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert from_exception(Mute()).internal == "Mute: <unprintable>"
    assert from_exception(ValueError()).internal == "ValueError"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500, 501, 502, 504])
def test_a_remote_error_that_is_not_retryable_becomes_our_502(status: int) -> None:
    remote = from_problem({"code": "CALLEE_CODE", "error": "callee said"}, status)
    remote.retry_after = 17
    err = from_exception(remote)

    assert type(err) is BadGateway
    assert "retry-after" not in err.to_headers()
    assert err.__cause__ is remote
    assert "CALLEE_CODE" in str(err.internal)
    assert "CALLEE_CODE" not in err.to_problem_json()
    assert "callee said" not in err.to_problem_json()


@pytest.mark.parametrize("status", [408, 429, 503])
def test_a_remote_error_that_is_retryable_becomes_our_503_with_its_wait(status: int) -> None:
    err = from_exception(from_problem(b"", status, {"Retry-After": "17"}))

    assert type(err) is ServiceUnavailable
    assert err.to_headers()["retry-after"] == "17"


def test_wrap_keeps_the_kind_the_code_and_the_retry_hint_and_adds_params() -> None:
    inner = ContactNotFound(7)
    err = wrap(inner, "cannot close deal {deal}: contact {id} is missing", deal=12)

    assert type(err) is ContactNotFound
    assert err.message == str(err) == "cannot close deal 12: contact 7 is missing"
    assert (err.code, err.retry_after, err.number) == ("CONTACT_NOT_FOUND", 3, 7)
    assert err.params == {"id": 7, "deal": 12}
    assert (err.__cause__, err.internal) == (inner, None)
    assert inner.message == "contact 7 not found"
    assert inner.params == {"id": 7}


def test_wrap_keeps_a_retry_hint_that_the_far_side_gave() -> None:
    remote = from_problem({"retryable": True}, 409)

    assert wrap(remote, "again").retryable is True


@pytest.mark.parametrize("status", sorted(CLASSES))
def test_however_often_it_is_wrapped_a_remote_error_stays_remote(status: int) -> None:
    err = from_problem(b"", status)
    for depth in range(3):
        err = wrap(err, "at depth {depth}", depth=depth)

    assert err.remote
    assert from_exception(err).status_code in {502, 503}
    assert err.as_own().status_code == status


def test_a_wrapped_foreign_exception_is_ours_and_its_text_is_internal() -> None:
    exc = TimeoutError("tenant_acme")
    err = wrap(exc, "cannot close deal {id}", id=12)

    assert type(err) is InternalServerError
    assert (err.message, err.internal) == ("cannot close deal 12", "TimeoutError: tenant_acme")
    assert err.__cause__ is exc
    assert "tenant_acme" not in err.to_problem_json()


def test_notes_stay_with_the_error_that_they_were_added_to() -> None:
    inner = NotFound()
    inner.add_note("canary")
    outer = wrap(inner, "outer")
    outer.add_note("another")

    assert (inner.__notes__, outer.__notes__) == (["canary"], ["another"])


def test_a_chain_of_wraps_keeps_every_link() -> None:
    first = ValueError("x")
    second = wrap(first, "second")
    third = wrap(second, "third")

    assert (third.__cause__, second.__cause__) == (second, first)
    assert third.to_http_response().message == "third"


def test_any_name_can_be_a_param_of_wrap() -> None:
    err = wrap(ValueError("x"), "{code} {detail} {self}", code="a", detail="b", self="c")

    assert (err.message, err.code) == ("a b c", "INTERNAL_SERVER_ERROR")


def test_a_group_of_one_is_its_member() -> None:
    err = NotFound()
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [err])])

    assert from_exception(group) is err
    assert type(wrap(group, "again")) is NotFound
    assert wrap(group, "again").__cause__ is group


def test_a_group_of_one_foreign_exception_keeps_the_group_as_cause() -> None:
    group = ExceptionGroup("outer", [TimeoutError("x")])
    err = from_exception(group)

    assert (type(err), err.__cause__, err.internal) == (GatewayTimeout, group, "TimeoutError: x")
    assert type(wrap(group, "again")) is InternalServerError


@pytest.mark.parametrize(
    ("members", "winner"),
    [
        ([NotFound(), ValueError("x"), Conflict()], InternalServerError),
        ([NotFound(), Forbidden(), Conflict()], Forbidden),
        ([TooManyRequests(), Forbidden()], Forbidden),
        ([ServiceUnavailable(), GatewayTimeout()], GatewayTimeout),
        ([NotFound(), Conflict()], NotFound),
        ([Conflict(), NotFound()], Conflict),
        ([NotFound(), from_problem(b"", 404)], BadGateway),
        ([ServiceUnavailable(), from_problem(b"", 429)], ServiceUnavailable),
    ],
    ids=repr,
)
def test_the_most_severe_member_of_a_group_decides(
    members: list[Exception], winner: type[AppError]
) -> None:
    assert type(from_exception(ExceptionGroup("many", members))) is winner


def test_a_group_may_be_nested_as_deep_as_one_likes() -> None:
    group: Exception = NotFound()
    for _ in range(5_000):
        group = ExceptionGroup("nested", [group])

    assert type(from_exception(group)) is NotFound


def test_only_the_deciding_member_of_a_group_is_told() -> None:
    group = ExceptionGroup("canary-1", [NotFound("canary-2"), ValueError("canary-3")])

    assert "canary" not in json.dumps(from_exception(group).to_problem())


def test_a_timeout_of_asyncio_is_a_gateway_timeout() -> None:
    async def too_slow() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(too_slow())
    assert type(from_exception(caught.value)) is GatewayTimeout
