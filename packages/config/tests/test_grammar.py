from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_config import ByteSize, Secret
from mtenant_config.grammar import (
    Refused,
    format_duration,
    parse_bool,
    parse_bytes,
    parse_duration,
    parse_float,
    parse_int,
    parse_list,
    parse_secret,
    parse_str,
)

Parse = Callable[[object], object]

ACCEPTED: list[tuple[Parse, object, object]] = [
    (parse_str, "", ""),
    (parse_str, " x\n", " x\n"),
    (parse_int, "0", 0),
    (parse_int, "-0", 0),
    (parse_int, "42", 42),
    (parse_int, "-42", -42),
    (parse_int, "007", 7),
    (parse_int, "9" * 64, int("9" * 64)),
    (parse_int, 42, 42),
    (parse_bool, "true", True),
    (parse_bool, "TRUE", True),
    (parse_bool, "1", True),
    (parse_bool, "yes", True),
    (parse_bool, "On", True),
    (parse_bool, "false", False),
    (parse_bool, "0", False),
    (parse_bool, "No", False),
    (parse_bool, "off", False),
    (parse_bool, True, True),
    (parse_bool, False, False),
    (parse_float, "1", 1.0),
    (parse_float, "-1.50", -1.5),
    (parse_float, "1e5", 100000.0),
    (parse_float, "1.5E-3", 0.0015),
    (parse_float, 2, 2.0),
    (parse_float, 2.5, 2.5),
    (parse_duration, "0", timedelta(0)),
    (parse_duration, "5s", timedelta(seconds=5)),
    (parse_duration, "1h30m", timedelta(minutes=90)),
    (parse_duration, "1.5h", timedelta(minutes=90)),
    (parse_duration, "1d2h3m4s5ms6us", timedelta(1, 4 + 3 * 60 + 2 * 3600, 5006)),
    (parse_duration, "60m", timedelta(hours=1)),
    (parse_duration, "250ms", timedelta(milliseconds=250)),
    (parse_duration, "7\u00b5s", timedelta(microseconds=7)),
    (parse_duration, "7\u03bcs", timedelta(microseconds=7)),
    (parse_duration, "-5s", timedelta(seconds=-5)),
    (parse_duration, "-1h30m", timedelta(minutes=-90)),
    (parse_duration, "0.1s", timedelta(milliseconds=100)),
    (parse_duration, timedelta(1), timedelta(1)),
    (parse_bytes, "0", 0),
    (parse_bytes, "100B", 100),
    (parse_bytes, "1kB", 1000),
    (parse_bytes, "1KB", 1000),
    (parse_bytes, "1KiB", 1024),
    (parse_bytes, "512MiB", 512 * 1024**2),
    (parse_bytes, "1.5GB", 1_500_000_000),
    (parse_bytes, "2PiB", 2 * 1024**5),
    (parse_bytes, ByteSize(7), 7),
    (parse_list, "a", ["a"]),
    (parse_list, "a, b ,c", ["a", "b", "c"]),
    (parse_list, "[]", []),
    (parse_list, ' ["a", "b, c", ""] ', ["a", "b, c", ""]),
    (parse_list, ["a", ""], ["a", ""]),
    (parse_list, ("a",), ["a"]),
    (parse_secret, "", Secret("")),
    (parse_secret, Secret("x"), Secret("x")),
]

# Input and, where one is worth giving, the hint.
REFUSED: list[tuple[Parse, object, str | None]] = [
    (parse_str, 5, "put it in quotes"),
    (parse_str, 1.10, "put it in quotes"),
    (parse_str, True, "put it in quotes"),
    (parse_str, ["a"], None),
    (parse_str, Secret("x"), None),
    (parse_int, "", None),
    (parse_int, "1_000", "did you mean '1000'?"),
    (parse_int, "1,000", "did you mean '1000'?"),
    (parse_int, " 12 ", "did you mean '12'?"),
    (parse_int, "12\n", "did you mean '12'?"),
    (parse_int, "+5", "did you mean '5'?"),
    (parse_int, "12.0", "did you mean '12'?"),
    (parse_int, "12.5", None),
    (parse_int, "0x10", None),
    (parse_int, "1e3", None),
    (parse_int, "--1", None),
    (parse_int, "-", None),
    (parse_int, "\u0661\u0662", None),  # Arabic digits, which int() takes
    (parse_int, "\uff11", None),  # a full-width digit
    (parse_int, "9" * 65, None),
    (parse_int, "12345 #abc", None),
    (parse_int, True, None),
    (parse_int, 5.0, None),
    (parse_int, None, None),
    (parse_bool, "", None),
    (parse_bool, " true ", "did you mean 'true'?"),
    (parse_bool, "t", "did you mean 'true'?"),
    (parse_bool, "enabled", "did you mean 'true'?"),
    (parse_bool, "n", "did you mean 'false'?"),
    (parse_bool, "2", None),
    (parse_bool, "tru\u0435", None),  # the last letter is Cyrillic
    (parse_bool, 1, "did you mean 'true'?"),
    (parse_bool, 0, "did you mean 'false'?"),
    (parse_bool, None, None),
    (parse_float, "", None),
    (parse_float, "nan", None),
    (parse_float, "inf", None),
    (parse_float, "-Infinity", None),
    (parse_float, "1e999", None),
    (parse_float, ".5", "did you mean '0.5'?"),
    (parse_float, "5.", "did you mean '5'?"),
    (parse_float, "1_0.5", "did you mean '10.5'?"),
    (parse_float, "0x1p3", None),
    (parse_float, math.nan, None),
    (parse_float, math.inf, None),
    (parse_float, 10**400, None),
    (parse_float, True, None),
    (parse_duration, "", None),
    (parse_duration, "5", "did you mean '5s'?"),
    (parse_duration, "-5", "did you mean '-5s'?"),
    (parse_duration, 5, "did you mean '5s'?"),
    (parse_duration, 1.5, "did you mean '1.5s'?"),
    (parse_duration, True, None),
    (parse_duration, "5 s", "did you mean '5s'?"),
    (parse_duration, "5S", "did you mean '5s'?"),
    (parse_duration, "5min", "did you mean '5m'?"),
    (parse_duration, "2 hours", "did you mean '2h'?"),
    (parse_duration, "5sec", "did you mean '5s'?"),
    (parse_duration, "1s1h", None),  # not from large to small
    (parse_duration, "1s1s", None),
    (parse_duration, "1h-5m", None),
    (parse_duration, "s", None),
    (parse_duration, "-", None),
    (parse_duration, "1w", None),
    (parse_duration, "0.0000001s", None),
    (parse_duration, "999999999999d", None),
    (parse_duration, "1:30", None),
    (parse_duration, "PT5M", None),
    (parse_duration, "\u0665s", None),
    (parse_duration, "9" * 65 + "s", None),
    (parse_bytes, "", None),
    (parse_bytes, "512", "did you mean '512B'?"),
    (parse_bytes, 512, "did you mean '512B'?"),
    (parse_bytes, True, None),
    (parse_bytes, "512M", "did you mean '512MiB'?"),
    (parse_bytes, "512Mi", "did you mean '512MiB'?"),
    (parse_bytes, "512mib", "did you mean '512MiB'?"),
    (parse_bytes, "512 MiB", "did you mean '512MiB'?"),
    (parse_bytes, "10mb", "did you mean '10MB'?"),
    (parse_bytes, "-1B", None),
    (parse_bytes, "0.5B", None),
    (parse_bytes, "1e3B", None),
    (parse_bytes, "5XB", None),
    (parse_bytes, "9" * 65 + "B", None),
    (parse_list, "", "an empty list is '[]'"),
    (parse_list, "  ", "an empty list is '[]'"),
    (parse_list, "a,,b", "there is an empty item"),
    (parse_list, "a,", "there is an empty item"),
    (parse_list, "[a, b]", "what begins with '[' must be a JSON array"),
    (parse_list, "[" * 100_000, "what begins with '[' must be a JSON array"),
    (parse_list, "[1, 2]", "put it in quotes"),
    (parse_list, [1], "put it in quotes"),
    (parse_list, 5, None),
    (parse_list, None, None),
    (parse_secret, 5, None),
    (parse_secret, None, None),
]


@pytest.mark.parametrize(
    ("parse", "value", "expected"), ACCEPTED, ids=map(str, range(len(ACCEPTED)))
)
def test_accepted(parse: Parse, value: object, expected: object) -> None:
    parsed = parse(value)
    assert parsed == expected
    assert type(parsed) is type(expected) or isinstance(parsed, ByteSize)


@pytest.mark.parametrize(("parse", "value", "hint"), REFUSED, ids=map(str, range(len(REFUSED))))
def test_refused(parse: Parse, value: object, hint: str | None) -> None:
    with pytest.raises(Refused) as caught:
        parse(value)
    assert caught.value.hint == hint


@pytest.mark.parametrize("parse", [parse_int, parse_bool, parse_float, parse_duration, parse_bytes])
@given(value=st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none()))
def test_a_grammar_accepts_or_refuses_and_never_fails_otherwise(
    parse: Parse, value: object
) -> None:
    try:
        parse(value)
    except Refused as refused:
        assert str(refused) == f"expected {refused.expected}"  # noqa: PT017 - either way is right


@given(st.text(alphabet="0123456789-+._ eE", max_size=12))
def test_what_parse_int_accepts_means_the_same_to_python(text: str) -> None:
    try:
        parsed = parse_int(text)
    except Refused:
        return
    assert parsed == int(text)


@given(st.timedeltas())
def test_a_duration_survives_being_written(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.integers(min_value=0, max_value=2**70))
def test_a_size_survives_being_written(size: int) -> None:
    assert parse_bytes(str(ByteSize(size))) == size


def test_a_size_is_an_int_that_shows_its_unit() -> None:
    size = ByteSize(3 * 1024**3)
    assert (str(size), repr(size), f"{size}", f"{size:d}") == (
        "3GiB", "ByteSize('3GiB')", "3GiB", str(3 * 1024**3),
    )  # fmt: skip
    assert str(ByteSize(0)) == "0B"


@given(st.lists(st.text()))
def test_a_list_survives_being_written_as_json(items: list[str]) -> None:
    assert parse_list(json.dumps(items)) == items


@pytest.mark.parametrize("parse", [parse_int, parse_float, parse_duration, parse_bytes])
@given(
    value=st.one_of(
        st.from_regex(r"[ +-]?[0-9_,.]{1,70} ?[a-zA-Zµ]{0,8}", fullmatch=True), st.integers()
    )
)
def test_what_a_hint_suggests_is_accepted(parse: Parse, value: object) -> None:
    try:
        parse(value)
    except Refused as refused:
        if refused.hint and "'" in refused.hint:
            parse(refused.hint.split("'")[1])
