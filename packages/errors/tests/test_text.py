from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_errors import AppError, InternalServerError, NotFound
from mtenant_errors.text import MESSAGE_LIMIT, fill, kept, render


class Secret:
    __secret__ = True

    def __str__(self) -> str:
        return "hunter2"

    __repr__ = __str__


class LateSecret(str):
    """A string that says only on its instances that it is secret."""

    def __init__(self, _: str) -> None:
        self.__secret__ = True


class Raising:
    def __str__(self) -> str:
        raise RuntimeError("hunter2")

    def __format__(self, spec: str) -> str:
        raise RuntimeError("hunter2")

    __repr__ = __str__

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("hunter2")


class Closed:
    """It does not tell whether it is a secret, so it counts as one."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __str__(self) -> str:
        return "hunter2"

    __repr__ = __str__


class Shouting(str):
    """A string with methods of its own."""

    def __str__(self) -> str:
        raise RuntimeError("hunter2")

    __format__ = __len__ = isascii = encode = __getitem__ = __str__  # type: ignore[assignment]  # all raise


class Colour(Enum):
    RED = "red"
    TOKEN = Secret()


class Noted(NotFound):
    code, message = "NOTED", "thing {a} of {b}"


def looped() -> list[Any]:
    loop: list[Any] = []
    loop.extend([loop] * 100)
    return loop


def nested(depth: int) -> list[Any]:
    nest: list[Any] = []
    for _ in range(depth):
        nest = [nest]
    return nest


HOSTILE: dict[str, Callable[[], object]] = {
    "raising": Raising,
    "a loop": looped,
    "deep": lambda: nested(100_000),
    "huge": lambda: "x" * 10_000_000,
    "a huge number": lambda: 10**5000,
    "a string subclass": lambda: Shouting("x" * 2000),
    "surrogate": lambda: "\ud800",
    "braces": lambda: "{b} {a.__class__} {0} {",
    "bytes": lambda: b"\xff",
    "a class": lambda: Raising,
    "nan": lambda: float("nan"),
    "a dict that raises": lambda: {Raising(): Raising()},
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_value_never_hides_the_error(make: Callable[[], object]) -> None:
    value = make()
    for err in (
        Noted(a=value, b=1),
        NotFound("thing {a} of {b}", a=value, b=1),
        NotFound(detail=value, internal=value, errors=[{"a": value}], headers={"x-a": value}),  # type: ignore[arg-type, dict-item]  # hostile on purpose
        NotFound(value),  # type: ignore[arg-type]  # hostile on purpose
        NotFound(errors=value),  # type: ignore[arg-type]  # hostile on purpose
        NotFound(errors=[value]),  # type: ignore[list-item]  # hostile on purpose
    ):
        problem = json.loads(err.to_problem_json())
        assert problem["status"] == 404
        assert len(err.message) <= MESSAGE_LIMIT
        assert "hunter2" not in err.to_problem_json() + repr(err)
        json.dumps(err.to_problem(), allow_nan=False).encode()
        assert all(value.isascii() for value in err.to_headers().values())


def test_a_place_without_a_param_stays_as_it_is_written() -> None:
    assert Noted(a=1).message == "thing 1 of {b}"
    assert Noted().message == "thing {a} of {b}"


def test_braces_in_a_value_are_text() -> None:
    assert Noted(a="{b}", b="{a.__class__}").message == "thing {b} of {a.__class__}"


def test_attributes_are_out_of_reach() -> None:
    class Holder:
        secret = "hunter2"

    err = NotFound("{a.secret} {a.__class__} {a!r} {a[0]} {0}", a=Holder())

    assert err.message == "{a.secret} {a.__class__} {a!r} {a[0]} {0}"


def test_a_message_without_params_is_no_template() -> None:
    assert NotFound("what {id} is").message == "what {id} is"


@pytest.mark.parametrize(
    "value",
    [
        Secret(),
        LateSecret("hunter2"),
        Closed(),
        ["a", Secret()],
        {"a": {"b": Secret()}},
        (Secret(),),
        {Secret()},
        {Secret(): 1},
        Colour.TOKEN,
        ValueError("hunter2"),
        [ValueError("hunter2")],
        InternalServerError("hunter2"),
    ],
    ids=lambda value: f"{type(value).__name__} {value!r}",
)
def test_secrets_and_exceptions_are_masked_wherever_they_are(value: Any) -> None:
    err = Noted(
        a=value,
        b=value,
        detail=value,
        errors=[{"a": value}],
        internal=value,
        headers={"x-a": value},
    )

    assert "***" in err.message
    for told in (err.to_problem_json(), repr(err), err.params, err.internal, err.to_headers()):
        assert "hunter2" not in str(told)


def test_plain_params_stay_what_they_are_and_others_become_their_public_form() -> None:
    moment, uuid = datetime(2024, 5, 1, tzinfo=UTC), UUID(int=7)
    err = NotFound("x", a=uuid, b=moment, c=1, d=Decimal("1.50"), e=Colour.RED, f=[uuid], g=object)

    assert err.params == {
        "a": uuid,
        "b": moment,
        "c": 1,
        "d": Decimal("1.50"),
        "e": "red",
        "f": [str(uuid)],
        "g": "<class 'object'>",
    }


def test_a_long_value_is_cut_and_the_rest_of_the_message_stays() -> None:
    message = Noted(a="x" * 10_000, b=9).message

    assert message.endswith("… of 9")
    assert len(message) < 300


def test_what_is_nested_too_deep_is_cut() -> None:
    assert Noted(a=nested(100), b=1).message == "thing [[[[['…']]]]] of 1"


def test_a_loop_ends_at_a_bounded_size() -> None:
    assert len(NotFound(errors=[{"a": looped()}]).to_problem_json()) < 10_000


plain = st.one_of(
    *(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.uuids()),
    *(st.datetimes(), st.decimals(), st.timedeltas(), st.dates(), st.times()),
    st.text(min_size=250, max_size=270),
    st.integers(min_value=10**250, max_value=10**260),
)
everything = st.recursive(
    plain | st.binary() | st.builds(Secret) | st.builds(ValueError, st.text()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    template=st.lists(st.sampled_from(["{a}", "{b}", "{c}", " text ", "é", "\ud800"])).map("".join),
    params=st.dictionaries(st.sampled_from(["a", "b", "d"]), everything),
)
def test_the_fast_way_to_a_message_gives_the_same_text(
    template: str, params: dict[str, Any]
) -> None:
    plain_params = kept(params)

    assert fill(template, plain_params) == render(template, plain_params)


@given(
    message=st.none() | st.text(), params=st.dictionaries(st.text(), everything), detail=everything
)
def test_whatever_it_is_given_an_error_renders(
    message: str | None, params: dict[str, Any], detail: Any
) -> None:
    reserved = {"message", "code", "detail", "errors", "internal", "retry_after", "headers"}
    params = {name: value for name, value in params.items() if name not in reserved}
    err = NotFound(message, detail=detail, errors=[params], **params)

    assert isinstance(err, AppError)
    problem = json.loads(err.to_problem_json(), parse_constant=pytest.fail)
    assert problem == json.loads(json.dumps(err.to_problem(), allow_nan=False))
    err.message.encode("utf-8")
