"""No secret reaches a line: by key, by type, by value, wherever it is put."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_logger import log_context, register_secret
from mtenant_logger.redaction import Secrets, is_sensitive
from mtenant_logger.testing import RecordingLogger

Strict = Callable[[bytes], dict[str, Any]]
CANARY = 'c4n"ary\\ü/+& \n'


class Secret:
    __secret__ = True

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __str__(self) -> str:  # a careless one
        return self._value

    __repr__ = __str__


class PydanticLike:
    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        return self._value

    __repr__ = get_secret_value


def forms(value: str) -> list[str]:
    """Return how a value may stand in a text, apart from how the line itself escapes it."""
    return [
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        urllib.parse.quote(value, safe=""),
        urllib.parse.quote_plus(value),
    ]


def assert_clean(line: bytes, strict: Strict, value: str = CANARY) -> dict[str, Any]:
    record = strict(line)
    # In the line as parsed, and once more in what is JSON inside of its texts.
    text = json.dumps(record, ensure_ascii=False)
    for form in forms(value):
        assert form not in text
        assert json.dumps(form, ensure_ascii=False)[1:-1] not in text
    assert "ary\\" not in text
    return record


@pytest.mark.parametrize(
    "text",
    [
        "host=db.example.com password=hunter2x dbname=crm",
        "host=db.example.com password='hunter2x and hunter2x'",
        '--api-key="hunter2x "',
        "GET https://example.com/mail?page=2&access_token=hunter2x&x=1",
        "PGPASSWORD=hunter2x",
        "dsn=password=hunter2x==",
        "secret='hunter2x",
        "token=a=hunter2x",
        'token=a"hunter2x"',
    ],
)
def test_what_is_assigned_to_a_sensitive_name_inside_a_text_is_masked(
    text: str, strict: Strict
) -> None:
    log = RecordingLogger()

    log.info(text, note=text, nested=[{"deep": text}])
    log.error("failed", err=ValueError(text))

    for line in log.recorder.lines:
        assert_clean(line, strict, "hunter2x")


def test_what_is_assigned_to_another_name_stays() -> None:
    text = "page=2&sort=name monkey='a b' a==b tokenizer=fast ="

    assert Secrets().mask(text) == text


def test_masking_assignments_is_linear_in_the_text() -> None:
    def seconds(size: int) -> float:
        text = "a" * size + "=" + "=a" * size
        started = time.perf_counter()
        Secrets().mask(text)
        return time.perf_counter() - started

    # A quadratic search takes 256 times as long for 16 times the text.
    assert min(seconds(160_000) for _ in range(3)) < 64 * min(seconds(10_000) for _ in range(3))


@pytest.mark.parametrize(
    ("key", "sensitive"),
    [
        ("token", True),
        ("access_token", True),
        ("accessToken", True),
        ("ACCESS_TOKEN", True),
        ("api-key", True),
        ("apiKey", True),
        ("APIKey", True),
        ("x-api-key", True),
        ("apikey", True),
        ("db.password", True),
        ("passwords", True),
        ("passWord", True),
        ("Authorization", True),
        ("set-cookie", True),
        ("client_secret", True),
        ("private_key", True),
        ("session_id", True),
        ("token2", True),
        ("PGPASSWORD", True),
        ("dbpasswords", True),
        ("authtoken", True),
        ("clientsecret", True),
        ("sessionid", True),
        ("tokenizer", False),
        ("secretary", False),
        ("key", False),
        ("monkey", False),
        ("primary_key", False),
        ("author", False),
        ("compass", False),
        ("passenger", False),
        ("", False),
    ],
)
def test_a_key_is_read_as_segments(key: str, sensitive: bool) -> None:
    assert is_sensitive(key) is sensitive


def test_a_sensitive_key_masks_its_value_at_any_depth(strict: Strict) -> None:
    log = RecordingLogger()
    with log_context(token=CANARY):
        log.bind(password=CANARY).info(
            "m", {"secret": CANARY}, api_key=CANARY, a=[{"b": {"cookie": CANARY}}]
        )

    record = assert_clean(log.recorder.lines[0], strict)
    assert record["token"] == record["password"] == record["api_key"] == "***"
    assert record["a"] == [{"b": {"cookie": "***"}}]


def test_whether_there_is_a_secret_stays_visible() -> None:
    log = RecordingLogger()
    log.info("m", password=None, has_token=True, token=0)

    assert {k: log.records[0][k] for k in ("password", "has_token", "token")} == {
        "password": None,
        "has_token": True,
        "token": "***",
    }


@pytest.mark.parametrize("kind", [Secret, PydanticLike])
def test_a_secret_type_is_masked_wherever_it_is(strict: Strict, kind: type[Secret]) -> None:
    log = RecordingLogger()
    with log_context(a=kind(CANARY)):
        log.info(
            kind(CANARY), kind(CANARY), b=kind(CANARY), c=[{"d": kind(CANARY)}], e={kind(CANARY): 1}
        )

    record = assert_clean(log.recorder.lines[0], strict)
    assert (record["message"], record["args"], record["b"]) == ("***", ["***"], "***")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("given_as", [str, str.encode, Secret, PydanticLike])
def test_a_registered_value_is_masked_wherever_it_is(
    strict: Strict, given_as: Callable[[str], object]
) -> None:
    register_secret(given_as(CANARY))
    log = RecordingLogger(CANARY)
    for form in forms(CANARY):
        with log_context(request_id=form, tenant_id=form, service=form, inside=form):
            log.bind(bound=form).info(
                f"said {form}!", form, tag=form, raw=form.encode(), deep=[{form: {"x": f"<{form}>"}}],
                **{form: 1},
            )  # fmt: skip

    for line in log.recorder.lines:
        record = assert_clean(line, strict)
        assert record["message"] == "said ***!"
        assert record["deep"] == [{"***": {"x": "<***>"}}]


@pytest.mark.usefixtures("fresh")
def test_what_was_encoded_before_a_value_was_registered_is_masked_too(strict: Strict) -> None:
    log = RecordingLogger()
    bound = log.bind(region=CANARY)
    with log_context(request_id=CANARY, place=CANARY):
        bound.info("m", plain=1)
        register_secret(CANARY)
        bound.info("m", plain=1)

    assert "ary" in log.records[0]["region"]
    assert_clean(log.recorder.lines[1], strict)


def failures() -> list[BaseException]:
    with_note = ValueError("x")
    with_note.add_note(f"a note on {CANARY}")
    found: list[BaseException] = [ValueError(CANARY), KeyError(CANARY), with_note]
    try:
        try:
            raise RuntimeError(f"cause {CANARY}")
        except RuntimeError as exc:
            raise LookupError("effect") from exc
    except LookupError as exc:
        found.append(exc)
    try:
        try:
            raise RuntimeError(f"context {CANARY}")
        except RuntimeError:
            raise LookupError("effect")  # noqa: B904  # a context is what is tried here
    except LookupError as exc:
        found.append(exc)
    found.append(
        ExceptionGroup(CANARY, [ValueError(CANARY), ExceptionGroup("in", [KeyError(CANARY)])])
    )
    return found


@pytest.mark.usefixtures("fresh")
def test_a_registered_value_is_masked_in_exceptions_causes_groups_and_notes(strict: Strict) -> None:
    register_secret(CANARY)
    log = RecordingLogger()
    for exc in failures():
        log.error("m", err=exc, tag=exc)

    for line in log.recorder.lines:
        assert "***" in json.dumps(assert_clean(line, strict))


@pytest.mark.usefixtures("fresh")
@given(before=st.integers(8100, 8300), pieces=st.integers(1, 3))
def test_no_half_of_a_secret_is_left_where_a_text_is_cut(before: int, pieces: int) -> None:
    register_secret("abcdefghijklmnop")
    log = RecordingLogger()
    log.info("m", tag="." * before + "abcdefghijklmnop" * pieces + "." * 9000)

    assert "abc" not in log.records[0]["tag"]


@pytest.mark.usefixtures("fresh")
def test_the_longer_of_two_secrets_goes_whole() -> None:
    register_secret("abcd")
    register_secret("abcdefgh")
    log = RecordingLogger()
    log.info("abcdefgh")

    assert log.records[0]["message"] == "***"


@pytest.mark.usefixtures("fresh")
def test_what_cannot_be_searched_for_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="fewer than 4") as short:
        register_secret("xyz")
    with pytest.raises(TypeError, match="not int"):
        register_secret(12345)

    assert "xyz" not in str(short.value)


def test_a_secret_with_a_lone_surrogate_is_found() -> None:
    secrets = Secrets()
    secrets.register("pass\ud800word")

    assert secrets.mask("a pass\ud800word") == "a ***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p@ss:w@h/d", "postgresql://u:***@h/d"),
        ("redis://:p@h", "redis://:***@h"),
        ("a nats://a:b@x,nats://c:d@y b", "a nats://a:***@x,nats://c:***@y b"),
        ("http://h:8080/x?mail=a@b", "http://h:8080/x?mail=a@b"),
        ("https://t0ken@h/", "https://***@h/"),
        ("NATS://t0ken@h:4222,nats://h2", "NATS://***@h:4222,nats://h2"),
        ("postgresql://user@h/", "postgresql://user@h/"),
        ("://", "://"),
    ],
)
def test_the_password_of_a_url_is_masked(text: str, masked: str) -> None:
    log = RecordingLogger()
    log.error(text, err=ValueError(text), tag=text, nested=[text])

    record = log.records[0]
    assert (
        record["message"]
        == record["tag"]
        == record["nested"][0]
        == record["error"]["message"]
        == masked
    )


@pytest.mark.usefixtures("fresh")
def test_values_that_threads_register_at_once_are_all_masked() -> None:
    values = [f"secret-{n:04d}" for n in range(60)]
    barrier = threading.Barrier(6, timeout=30)

    def register(some: list[str]) -> None:
        barrier.wait()
        for value in some:
            register_secret(value)

    threads = [threading.Thread(target=register, args=(values[i::6],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    log = RecordingLogger()
    log.info(" ".join(values))

    assert log.records[0]["message"] == " ".join(["***"] * 60)
