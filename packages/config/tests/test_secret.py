from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import pprint
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_config import Secret
from mtenant_config.secret import names_a_secret, without_passwords

CANARY = "hunter2-canary"


@dataclasses.dataclass(frozen=True)
class Login:
    user: str
    password: Secret


SHOWN: dict[str, Callable[[Secret], str]] = {
    "str": str,
    "repr": repr,
    "format": lambda secret: f"{secret} {secret!r} {secret!s:>40} {secret:>40}",
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - logging formats so
    "attribute in a format": "{.reveal}".format,
    "list": lambda secret: str([secret]),
    "dataclass": lambda secret: repr(Login("crm", secret)),
    "asdict": lambda secret: str(dataclasses.asdict(Login("crm", secret))),
    "pprint": lambda secret: pprint.pformat({"password": secret}),
    "slots": lambda secret: str([getattr(secret, name) for name in Secret.__slots__]),
    "dir": lambda secret: str(dir(secret)),
    "json with a default": lambda secret: json.dumps({"password": secret}, default=str),
    "log record": lambda secret: logging.LogRecord(
        "crm", logging.INFO, __file__, 1, "password %s", (secret,), None
    ).getMessage(),
    "exception": lambda secret: repr(ValueError(secret)) + str(ValueError(secret)),
}


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_a_secret_shows_itself_nowhere(show: Callable[[Secret], str]) -> None:
    assert CANARY not in show(Secret(CANARY))


@given(st.text(), st.text())
def test_what_is_shown_tells_nothing_about_the_text(one: str, other: str) -> None:
    assert (str(Secret(one)), repr(Secret(one))) == (str(Secret(other)), repr(Secret(other)))


@given(st.text())
def test_reveal_returns_the_text(text: str) -> None:
    assert Secret(text).reveal() == text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_refuses_a_secret(protocol: int) -> None:
    with pytest.raises(TypeError, match="not pickled") as caught:
        pickle.dumps({"password": Secret(CANARY)}, protocol)
    assert CANARY not in str(caught.value)


def test_json_refuses_a_secret() -> None:
    with pytest.raises(TypeError) as caught:
        json.dumps({"password": Secret(CANARY)})
    assert CANARY not in str(caught.value)


def test_nothing_hands_out_its_state() -> None:
    with pytest.raises(TypeError, match="reveal"):
        Secret(CANARY).__getstate__()


def test_a_copy_is_the_same_secret() -> None:
    secret = Secret(CANARY)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


@given(st.text(), st.text())
def test_secrets_are_equal_exactly_when_their_texts_are(one: str, other: str) -> None:
    assert (Secret(one) == Secret(other)) == (one == other)
    assert (hash(Secret(one)) == hash(Secret(one))) is True


def test_a_secret_is_not_equal_to_its_text() -> None:
    assert Secret(CANARY) != CANARY
    assert Secret(CANARY).__eq__(CANARY) is NotImplemented


def test_lone_surrogates_are_compared_like_other_text() -> None:
    assert Secret("\ud800") == Secret("\ud800") != Secret("\ud801")


def test_only_the_empty_secret_is_false() -> None:
    assert Secret("x")
    assert not Secret("")


def test_a_secret_does_not_change() -> None:
    secret = Secret(CANARY)
    with pytest.raises(AttributeError):
        secret.reveal = lambda: "other"
    with pytest.raises(AttributeError):
        del secret.reveal
    assert secret.reveal() == CANARY


def test_only_text_can_be_secret_and_the_error_does_not_show_what_was_given() -> None:
    with pytest.raises(TypeError) as caught:
        Secret(CANARY.encode())  # type: ignore[arg-type] # that is what is tried
    assert CANARY not in str(caught.value)


def test_other_libraries_know_it_by_its_class_attribute() -> None:
    assert Secret.__secret__ is True


@pytest.mark.parametrize(
    "key",
    ["db.password", "DB_PASSWD", "dbPassword", "api-key", "apikey", "jwt.signing_key", "auth.token",
     "access_token", "client_secret", "aws_credentials", "salt", "db.pwd", "session.cookie", "dsn"],
)  # fmt: skip
def test_names_of_secrets_are_known(key: str) -> None:
    assert names_a_secret(key)


@pytest.mark.parametrize(
    "key",
    ["db.host", "port", "log.level", "max_conns", "pinned", "keyboard", "authority", "passive"],
)
def test_other_names_are_not_taken_for_secrets(key: str) -> None:
    assert not names_a_secret(key)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://crm:{CANARY}@db:5432/crm",
        f"postgresql://:{CANARY}@db/crm",
        f"nats://a:{CANARY}@one:4222,nats://b:{CANARY}@two:4222",
        f"redis://:p@ss:{CANARY}@cache",
        f"host=db password={CANARY} user=crm",
        f"host=db password='x {CANARY} y'",
        f"postgresql://db/crm?user=crm&password={CANARY}",
        f"https://example.com/?token={CANARY}",
        f"https://{CANARY}@example.com/7",
    ],
)
def test_passwords_inside_text_are_masked(text: str) -> None:
    assert CANARY not in without_passwords(text)


@pytest.mark.parametrize(
    "text", ["postgresql://db:5432/crm", "user@example.com", "12:30", "a=b", "http://[::1]:8080/"]
)
def test_text_without_a_password_stays_as_it_is(text: str) -> None:
    assert without_passwords(text) == text
