from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from typing import Any

import pytest

from mtenant_errors import (
    AppError,
    Conflict,
    Forbidden,
    InternalServerError,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    from_problem,
)


class ContactNotFound(NotFound):
    code, message = "CONTACT_NOT_FOUND", "contact {id} not found"


class SerializationFailure(Conflict):
    code, message = "SERIALIZATION_FAILURE", "the data changed meanwhile"
    retryable = True


def test_a_subclass_needs_a_code_and_a_message_only() -> None:
    err = ContactNotFound(id=7)

    assert str(err) == err.message == "contact 7 not found"
    assert (err.code, err.status_code, err.params) == ("CONTACT_NOT_FOUND", 404, {"id": 7})
    assert repr(err) == "ContactNotFound('contact 7 not found', code='CONTACT_NOT_FOUND')"


def test_a_kind_can_be_raised_directly() -> None:
    err = NotFound("contact not found", code="CONTACT_NOT_FOUND")

    assert (err.message, err.code) == ("contact not found", "CONTACT_NOT_FOUND")


def test_without_arguments_an_error_says_what_its_row_says(kind: type[AppError]) -> None:
    err = kind()

    assert (err.message, err.code, err.retryable) == (kind.message, kind.code, kind.retryable)
    assert (err.detail, err.errors, err.params, err.internal) == (None, (), {}, None)
    assert (err.retry_after, err.remote) == (None, False)


def test_a_subclass_may_say_otherwise_about_retries() -> None:
    class CommitUnknown(ServiceUnavailable):
        code, message = "COMMIT_UNKNOWN", "nobody knows whether it was committed"
        retryable = False

    assert SerializationFailure().to_problem()["retryable"] is True
    assert CommitUnknown().to_problem()["retryable"] is False


def test_the_http_response_has_exactly_three_members() -> None:
    response = ContactNotFound(id=7, detail="more", internal="less").to_http_response()

    assert response.to_json() == (
        '{"status_code": 404, "error_code": "CONTACT_NOT_FOUND", "message": "contact 7 not found"}'
    )


def test_a_problem_carries_both_families_of_members() -> None:
    err = ContactNotFound(id=7, detail="it was merged into 9", errors=[{"pointer": "#/id"}])

    assert err.to_problem(instance="/contacts/7", request_id="r-1") == {
        "type": "urn:mtenant:error:CONTACT_NOT_FOUND",
        "title": "Not Found",
        "status": 404,
        "detail": "it was merged into 9",
        "instance": "/contacts/7",
        "code": "CONTACT_NOT_FOUND",
        "error": "contact 7 not found",
        "details": "it was merged into 9",
        "request_id": "r-1",
        "retryable": False,
        "errors": [{"pointer": "#/id"}],
    }


def test_a_problem_without_extras_has_no_empty_members() -> None:
    problem = ContactNotFound(id=7).to_problem()

    assert problem["detail"] == "contact 7 not found"
    assert not {"details", "instance", "request_id", "errors"} & problem.keys()


def test_params_and_misspelt_arguments_are_no_members_of_a_problem() -> None:
    err = NotFound("gone", intrenal="schema tenant_acme")  # the misspelling is the point

    assert "tenant_acme" not in err.to_problem_json()


def test_what_validators_echo_is_left_out_of_the_entries() -> None:
    entry: dict[str, Any] = {
        "type": "string_too_short",
        "loc": ("body", "password"),
        "msg": "String should have at least 12 characters",
        "input": "hunter2",
        "ctx": {"error": ValueError("hunter2")},
    }
    problem = NotFound(errors=[entry]).to_problem()

    assert problem["errors"] == [
        {
            "type": "string_too_short",
            "loc": ["body", "password"],
            "msg": "String should have at least 12 characters",
        }
    ]


@pytest.mark.parametrize("code", ["", "A", "contact", "1ST", "A-B", "A" * 64, "ÄB", "AB\n", 7])
def test_a_code_that_breaks_the_grammar_is_refused_where_it_is_written(code: Any) -> None:
    with pytest.raises(ValueError, match="write 2 to 63 of A-Z"):
        NotFound("x", code=code)
    with pytest.raises(ValueError, match=r"Broken\.code"):
        type("Broken", (NotFound,), {"code": code})


@pytest.mark.parametrize(
    "message", ["{}", "{0}", "{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{{a}}", "}", 7]
)
def test_a_message_with_other_braces_is_refused_where_the_class_is_written(message: Any) -> None:
    with pytest.raises(ValueError, match=r"Broken\.message"):
        type("Broken", (NotFound,), {"message": message})


@pytest.mark.parametrize(
    ("asked", "kept", "sent"),
    [(2, 2.0, "2"), (0.2, 0.2, "1"), (0, 0.0, "0"), (-5, 0.0, "0"), (1e9, 86_400.0, "86400")],
)
def test_retry_after_is_sent_in_whole_seconds_rounded_up(
    asked: float, kept: float, sent: str
) -> None:
    err = TooManyRequests(retry_after=asked)

    assert err.retry_after == kept
    assert err.to_headers()["retry-after"] == sent


@pytest.mark.parametrize("asked", [math.nan, "soon", True, None])
def test_a_retry_after_that_is_no_number_is_none(asked: Any) -> None:
    err = TooManyRequests(retry_after=asked)

    assert err.retry_after is None
    assert "retry-after" not in err.to_headers()


def test_an_infinite_wait_is_a_day() -> None:
    assert TooManyRequests(retry_after=math.inf).retry_after == 86_400


def test_a_401_always_carries_a_challenge() -> None:
    class TokenExpired(Unauthorized):
        code, message = "TOKEN_EXPIRED", "the token has expired"
        headers: Mapping[str, str] = {"WWW-Authenticate": 'Bearer error="invalid_token"'}

    assert Unauthorized().to_headers()["www-authenticate"] == "Bearer"
    assert TokenExpired().to_headers()["www-authenticate"] == 'Bearer error="invalid_token"'
    assert "www-authenticate" not in Forbidden().to_headers()


def test_headers_of_an_error_are_sent_with_it() -> None:
    err = MethodNotAllowed(headers={"Allow": "GET, HEAD"})

    assert err.to_headers() == {
        "allow": "GET, HEAD",
        "content-type": "application/problem+json",
        "cache-control": "no-store",
    }


def test_a_header_cannot_break_out_of_its_line_or_change_the_framing() -> None:
    hostile = {
        "X-Reason": "a\r\nSet-Cookie: session=evil\x00é",
        "X Bad": "1",
        "X:Bad\r\n": "1",
        "Content-Length": "0",
        "Transfer-Encoding": "chunked",
        "Content-Type": "text/html",
        "Cache-Control": "public",
    }
    fields = NotFound(headers=hostile).to_headers()

    assert fields == {
        "x-reason": "a  Set-Cookie: session=evil  ",
        "content-type": "application/problem+json",
        "cache-control": "no-store",
    }


def test_an_exception_as_message_stays_internal() -> None:
    err = InternalServerError(ValueError("row 7 of tenant_acme"))  # type: ignore[arg-type]  # people do

    assert err.message == InternalServerError.message
    assert err.internal == "ValueError: row 7 of tenant_acme"


def test_an_internal_that_was_given_is_kept_beside_an_exception_as_message() -> None:
    err = InternalServerError(ValueError("x"), internal="given")  # type: ignore[arg-type]  # people do

    assert err.internal == "given"


def test_of_many_entries_the_first_hundred_are_kept() -> None:
    err = NotFound(errors=({"pointer": f"#/{n}"} for n in range(1_000_000)))

    assert [entry["pointer"] for entry in err.errors] == [f"#/{n}" for n in range(100)]


def test_a_message_that_is_no_string_is_shown_as_one() -> None:
    class Lazy:
        def __str__(self) -> str:
            return "übersetzt"

    assert NotFound(Lazy()).message == "übersetzt"  # type: ignore[arg-type]  # as gettext_lazy is


def test_an_init_that_forgets_super_still_gives_a_problem() -> None:
    class Forgetful(NotFound):
        code, message = "FORGETFUL", "contact {id} not found"

        def __init__(self, number: int) -> None:
            self.number = number

    err = Forgetful(7)

    assert err.to_problem()["error"] == "contact {id} not found"
    assert err.as_own() is err


def test_an_error_may_be_a_builtin_exception_too() -> None:
    class SettingMissing(InternalServerError, KeyError):
        code, message = "SETTING_MISSING", "{key} is not set"

    with pytest.raises(KeyError) as caught:
        raise SettingMissing(key="DB_NAME")

    assert isinstance(caught.value, AppError)
    assert caught.value.message == "DB_NAME is not set"


def test_a_remote_error_renders_as_what_we_answer_and_not_as_what_came() -> None:
    err = from_problem(ContactNotFound(id=7).to_problem(), 404)

    assert err.to_problem()["status"] == err.to_http_response().status_code == 502
    assert "contact" not in err.to_problem_json()


def test_as_own_answers_as_it_came_and_keeps_the_remote_error_as_cause() -> None:
    sent = ContactNotFound(id=7, detail="merged", errors=[{"pointer": "#/id"}], retry_after=3)
    remote = from_problem(sent.to_problem(), 404, sent.to_headers())
    own = remote.as_own()

    assert own.to_problem() == sent.to_problem()
    assert own.to_headers() == sent.to_headers()
    assert (own.remote, remote.remote, own.__cause__) == (False, True, remote)
    assert own.internal is None


def test_as_own_of_an_own_error_is_itself() -> None:
    err = NotFound()

    assert err.as_own() is err


def test_a_traceback_tells_the_internal_text_and_the_message_does_not() -> None:
    err = NotFound("contact 7 not found", internal="looked in tenant_acme")

    assert "tenant_acme" in "".join(traceback.format_exception(err))
    assert "tenant_acme" not in str(err)
