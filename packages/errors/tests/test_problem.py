from __future__ import annotations

import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mtenant_errors import (
    AppError,
    BadRequest,
    InternalServerError,
    NotFound,
    ServiceUnavailable,
    from_problem,
)
from mtenant_errors.exceptions import CLASSES
from mtenant_errors.problem import SIZE_LIMIT

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
members = st.sampled_from(
    [
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "error",
        "details",
        "request_id",
        "retryable",
        "errors",
    ]
)
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80)


@given(
    cls=st.sampled_from([*CLASSES.values()]),
    code=st.from_regex(r"[A-Z][A-Z0-9_]{1,62}", fullmatch=True),
    message=texts.filter(bool),
    detail=st.none() | texts.filter(bool),
    errors=st.lists(st.dictionaries(texts.filter(lambda t: t not in {"input", "ctx"}), texts)),
    retry_after=st.none() | st.integers(0, 86_400),
)
def test_an_error_comes_back_as_it_left(  # noqa: PLR0917 - hypothesis names them
    cls: type[AppError],
    code: str,
    message: str,
    detail: str | None,
    errors: list[dict[str, Any]],
    retry_after: int | None,
) -> None:
    sent = cls(message, code=code, detail=detail, errors=errors, retry_after=retry_after)
    back = from_problem(sent.to_problem_json().encode(), sent.status_code, sent.to_headers())

    assert type(back) is cls
    assert back.remote
    assert (back.message, back.code) == (sent.message, code)
    assert back.errors == sent.errors
    assert back.retry_after == retry_after
    assert back.retryable == sent.retryable
    # A detail that repeats the message says nothing more, and is not told apart from none.
    assert back.detail == (None if detail == message else detail)
    assert (
        back.as_own().to_problem_json()
        == from_problem(back.as_own().to_problem(), sent.status_code, ()).as_own().to_problem_json()
    )


def test_a_retryable_that_a_subclass_changed_survives() -> None:
    class CommitUnknown(ServiceUnavailable):
        code, message = "COMMIT_UNKNOWN", "nobody knows whether it was committed"
        retryable = False

    back = from_problem(CommitUnknown().to_problem(), 503)

    assert (type(back), back.code, back.retryable) == (ServiceUnavailable, "COMMIT_UNKNOWN", False)


@given(st.binary(max_size=400) | st.text(max_size=400), st.integers(-1, 1000))
@example(b"", 502)
@example(b"<html><h1>502 Bad Gateway</h1></html>", 502)
@example(b"[" * 60_000, 404)
@example(b'{"a":' * 10_000, 404)
@example(b"1" * 60_000, 404)
@example(b'{"errors": ' + b"[" * 500 + b"]" * 500 + b"}", 404)
@example(b"\xff\xfe{\x00}\x00", 404)
@example(b'{"error": "\\ud800", "detail": "\\u0000"}', 404)
@example(b'{"retryable": NaN, "status": 1e999}', 404)
def test_no_bytes_make_it_raise(body: bytes | str, status: int) -> None:
    err = from_problem(body, status)

    assert isinstance(err, AppError)
    assert err.remote
    json.dumps(err.as_own().to_problem(), allow_nan=False).encode()


@given(
    st.dictionaries(members, json_values, max_size=11),
    st.integers(400, 599),
    st.lists(st.tuples(st.just("Retry-After") | st.text(), st.text() | st.binary())),
)
def test_no_members_or_headers_make_it_raise(
    body: dict[str, Any], status: int, headers: list[Any]
) -> None:
    decoded = from_problem(body, status, headers)
    read = from_problem(json.dumps(body), status, headers)

    assert decoded.to_problem() == read.to_problem()
    assert decoded.status_code in {status, status // 100 * 100}


@pytest.mark.parametrize("size", [SIZE_LIMIT, SIZE_LIMIT + 1])
def test_a_body_over_64_kib_is_not_read(size: int) -> None:
    body = json.dumps({"code": "BIG_ONE", "x": ""}).encode()
    body = body[:-2] + b" " * (size - len(body)) + body[-2:]

    assert len(body) == size
    assert (from_problem(body, 404).code == "BIG_ONE") == (size <= SIZE_LIMIT)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda b: b.decode()])
def test_a_body_may_come_in_any_buffer(wrap: Any) -> None:
    assert from_problem(wrap(b'{"code": "TEA_POT"}'), 404).code == "TEA_POT"


def test_a_body_that_is_no_body_counts_as_empty() -> None:
    assert type(from_problem(None, 404)) is NotFound  # type: ignore[arg-type]  # an absent body


def test_the_status_line_wins_over_the_body() -> None:
    assert type(from_problem({"status": 404, "code": "X_Y"}, 503)) is ServiceUnavailable


@pytest.mark.parametrize(
    ("status", "cls"),
    [(418, BadRequest), (499, BadRequest), (507, InternalServerError), (599, InternalServerError)],
)
def test_a_status_without_a_class_is_read_as_the_x00_of_its_hundred(
    status: int, cls: type[AppError]
) -> None:
    err = from_problem({"code": "TEA_POT"}, status)

    assert (type(err), err.code) == (cls, "TEA_POT")
    assert f"answered {status}" in str(err.internal)


@pytest.mark.parametrize("status", [0, 200, 302, 600])
def test_a_status_that_is_no_error_is_a_fault(status: int) -> None:
    assert type(from_problem(b"", status)) is InternalServerError


@pytest.mark.parametrize(
    "member", ["error", "title", "detail", "details", "code", "type", "request_id"]
)
@pytest.mark.parametrize("value", [7, None, [], {}, True, ""])
def test_a_member_of_the_wrong_type_is_ignored(member: str, value: Any) -> None:
    with_it, without = from_problem({member: value}, 404), from_problem({}, 404)

    assert vars(with_it) == vars(without)


def test_a_retryable_of_the_wrong_type_is_ignored() -> None:
    assert from_problem({"retryable": 0}, 503).retryable is True
    assert from_problem({"retryable": "yes"}, 404).retryable is False


@pytest.mark.parametrize("errors", [7, "x", {"a": 1}, [7, None, "x"]])
def test_errors_of_the_wrong_type_are_ignored(errors: Any) -> None:
    assert from_problem({"errors": errors}, 404).errors == ()


def test_a_problem_of_another_library_keeps_its_words() -> None:
    body = {
        "type": "https://example.com/no-credit",
        "title": "Not enough credit",
        "detail": "30 < 50",
    }
    err = from_problem(body, 403)

    assert (err.message, err.detail, err.code) == ("Not enough credit", "30 < 50", "FORBIDDEN")


def test_the_three_old_members_alone_are_understood() -> None:
    err = from_problem({"error": "Validation failed", "code": "BAD_EMAIL", "details": "no @"}, 400)

    assert (err.message, err.code, err.detail) == ("Validation failed", "BAD_EMAIL", "no @")


def test_the_code_is_found_in_the_type_too() -> None:
    assert from_problem({"type": "urn:mtenant:error:TEA_POT"}, 400).code == "TEA_POT"


def test_what_the_far_side_sent_as_code_must_fit_the_grammar() -> None:
    assert from_problem({"code": "tea pot"}, 400).code == "BAD_REQUEST"


def test_braces_from_the_far_side_are_text() -> None:
    assert from_problem({"error": "{0} {a.b} {"}, 404).message == "{0} {a.b} {"


def test_a_body_that_is_no_problem_is_told_in_internal_by_its_size_only() -> None:
    err = from_problem(b"<html>token=hunter2</html>", 502)

    assert err.internal == "answered 502 with a body of 26 bytes that is no JSON object"


def test_the_request_id_of_the_far_side_is_kept_for_the_log() -> None:
    assert (
        from_problem({"request_id": "r-1\n"}, 404).internal == r"answered 404, request_id 'r-1\n'"
    )


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", b"Retry-After"], ids=repr)
def test_retry_after_is_found_in_any_form_of_headers(name: Any) -> None:
    assert from_problem(b"", 503, [(b"x", b"y"), (name, b"7")]).retry_after == 7
    assert from_problem(b"", 503, {"x": "y", name: "7"}).retry_after == 7


@pytest.mark.parametrize(
    ("field", "wait"),
    [("120", 120), (" 5 ", 5), ("0", 0), ("9" * 5000, 86_400), ("007", 7)],
)
def test_retry_after_in_seconds(field: str, wait: float) -> None:
    assert from_problem(b"", 503, {"Retry-After": field}).retry_after == wait


@pytest.mark.parametrize(
    "field",
    [
        "",
        "soon",
        "-1",
        "1.5",
        "\uff11\uff12",
        "²",
        "Sun, 99 Nov 1994 08:49:37 GMT",
        "0, 0 0 0 0:0:0",
        "\x00",
    ],
)
def test_a_retry_after_in_no_form_is_ignored(field: str) -> None:
    assert from_problem(b"", 503, {"Retry-After": field}).retry_after is None


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/Lima"])
def _timezone(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_timezone")
def test_retry_after_as_a_date_in_each_of_its_three_forms() -> None:
    moment = time.time() + 3600
    utc = time.gmtime(moment)
    day, month = formatdate(moment)[:3], formatdate(moment)[8:11]
    weekday = {"Sun": "Sunday", "Mon": "Monday", "Tue": "Tuesday", "Wed": "Wednesday"} | {
        "Thu": "Thursday",
        "Fri": "Friday",
        "Sat": "Saturday",
    }
    clock = f"{utc.tm_hour:02}:{utc.tm_min:02}:{utc.tm_sec:02}"
    for field in (
        formatdate(moment, usegmt=True),
        f"{weekday[day]}, {utc.tm_mday:02}-{month}-{utc.tm_year % 100:02} {clock} GMT",
        f"{day} {month} {utc.tm_mday:2} {clock} {utc.tm_year}",
    ):
        wait = from_problem(b"", 503, {"Retry-After": field}).retry_after
        assert wait is not None, field
        assert 3500 < wait <= 3600, field


def test_a_date_in_the_past_is_no_wait_and_one_far_away_is_a_day() -> None:
    past, far = "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"

    assert from_problem(b"", 503, {"Retry-After": past}).retry_after == 0
    assert from_problem(b"", 503, {"Retry-After": far}).retry_after == 86_400
