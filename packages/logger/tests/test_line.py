"""Every line is valid, whatever it is given, and all ways to it give the same bytes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import sys
from collections import UserDict
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_logger import Logger, log_context
from mtenant_logger.encoding import OrjsonEncoder, StandardEncoder
from mtenant_logger.levels import INFO
from mtenant_logger.line import MAX_TAGS, RESERVED, Lines
from mtenant_logger.plain import MAX_DEPTH, MAX_KEY_CHARS, MAX_LINE_BYTES, MAX_STRING_BYTES
from mtenant_logger.testing import RecordingLogger

Strict = Callable[[bytes], dict[str, Any]]
NOW = 1_790_000_000_123_456_789

# Any text at all, lone surrogates too, and the characters that make trouble more often than chance.
TRICKY = '\x00\x1b\x7f\x85\u2028\u2029\ud800\udfff\U0001f600"\\/{}<red>%s\n\r\t://@:'
text = st.text(
    st.one_of(st.characters(codec=None, categories=None), st.sampled_from(TRICKY)), max_size=40
)
keys = st.one_of(st.sampled_from([*sorted(RESERVED), "tag_level", "password", "err2"]), text)
numbers = st.one_of(
    st.integers(), st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
) | st.one_of(st.floats(), st.sampled_from([1e16, 1e15, 1e-4, 9.9e-5, -0.0, 5e-324, 1e22, -1e17]))
scalars = st.one_of(st.none(), st.booleans(), numbers, text, st.binary(max_size=20))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.tuples(inner, inner),
    ),
    max_leaves=8,
)
tags = st.dictionaries(keys, values, max_size=6)


def both(log: Callable[[RecordingLogger], object], **settings: Any) -> bytes:
    """Return the one line that a call gives, after holding both encoders to the same bytes."""
    lines = []
    for encoder in (OrjsonEncoder(), StandardEncoder()):
        logger = RecordingLogger(clock=lambda: NOW, encoder=encoder, **settings)
        log(logger)
        lines.append(logger.recorder.lines)
    assert lines[0] == lines[1]
    assert len(lines[0]) == 1
    return lines[0][0]


@given(message=text | values, tags=tags, args=st.lists(values, max_size=2))
def test_a_call_gives_one_valid_line_with_the_same_bytes_from_both_encoders(
    strict: Strict, message: object, tags: dict[str, Any], args: list[object]
) -> None:
    tags.pop("err", None)

    record = strict(both(lambda log: log.info(message, *args, **tags)))

    assert record["level"] == "info"
    assert record["service"] == "test"
    assert ("args" in record) == bool(args)


@given(
    message=text,
    tags=st.dictionaries(st.sampled_from("abcdefgh"), scalars, max_size=5),
    bound=st.dictionaries(st.sampled_from("ijk") | keys, scalars, max_size=3),
    scope=st.dictionaries(st.sampled_from("lmn") | keys, scalars, max_size=3),
    identity=st.dictionaries(
        st.sampled_from(["service", "request_id", "tenant_id", "trace_id"]), text
    ),
)
def test_the_quick_way_gives_the_same_bytes_as_the_thorough_one(
    message: str,
    tags: dict[str, Any],
    bound: dict[str, Any],
    scope: dict[str, Any],
    identity: dict[str, Any],
) -> None:
    scope = {name: value for name, value in scope.items() if name not in RESERVED}
    for encoder in (OrjsonEncoder(), StandardEncoder()):
        lines = Lines("test", encoder=encoder, clock=lambda: NOW)
        source = RecordingLogger().bind(**bound)
        with log_context(**identity, **scope):
            call = (source, INFO, message, (), tags)
            thorough = lines.render(lines.event(*call, None))  # learns the names
            assert lines.encode(*call, None) == thorough
            assert lines.quick(*call, None) in {None, thorough}


def test_a_usual_call_takes_the_quick_way() -> None:
    # Or the property above would compare nothing.
    lines = Lines("test", clock=lambda: NOW)
    source = RecordingLogger().bind(region="eu")
    call = (
        source,
        INFO,
        "sold ü gladly",
        (),
        {"path": "/x", "n": 1, "t": 0.5, "ok": True, "no": None},
    )
    with log_context(request_id="r", tenant_id="acme", user_id="u"):
        thorough = lines.render(lines.event(*call, None))

        assert lines.quick(*call, None) == thorough


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_written_as_python_writes_it(value: float) -> None:
    line = both(lambda log: log.info("x", number=value))

    assert f'"number":{value!r},'.encode() in line


def test_any_word_can_be_a_tag() -> None:
    record = json.loads(both(lambda log: log.bind(self=1, name=2).info("m", key=3, tags=4)))
    with log_context(self=5):
        assert json.loads(both(lambda log: log.info("m", self=6)))["self"] == 6

    assert (record["self"], record["name"], record["key"], record["tags"]) == (1, 2, 3, 4)


def test_a_line_looks_exactly_like_this() -> None:
    with log_context(request_id="r-1", tenant_id="acme", user_id="u-7"):
        line = both(lambda log: log.bind(region="eu").warning("sold", 1, pieces=3), service="shop")

    assert line == (
        b'{"timestamp":"2026-09-21T14:13:20.123456Z","level":"warning","message":"sold",'
        b'"service":"shop","request_id":"r-1","tenant_id":"acme","user_id":"u-7","region":"eu",'
        b'"pieces":3,"args":[1],"logger":"test"}\n'
    )


def test_markup_braces_and_per_cents_mean_nothing() -> None:
    log = RecordingLogger()
    log.info("{} {0} {name} %s %(x)d <red>x</red>", "arg", name="n")

    assert log.records[0]["message"] == "{} {0} {name} %s %(x)d <red>x</red>"
    assert log.records[0]["args"] == ["arg"]


@pytest.mark.parametrize("name", sorted(RESERVED - {"err"}))
def test_a_tag_with_a_reserved_name_is_renamed(strict: Strict, name: str) -> None:
    record = strict(both(lambda log: log.info("m", **{name: "mine", f"tag_{name}": "other"})))

    assert record[f"tag_{name}"] == "mine"
    assert record[f"tag_tag_{name}"] == "other"


def test_a_tag_cannot_say_that_a_line_belongs_to_another_tenant() -> None:
    with log_context(tenant_id="acme"):
        record = json.loads(both(lambda log: log.bind(tenant_id="b").info("m", tenant_id="c")))

    assert record["tenant_id"] == "acme"
    assert record["tag_tenant_id"] == "c"


def test_the_call_wins_over_bind_and_bind_over_the_context() -> None:
    def log(logger: RecordingLogger) -> None:
        with log_context(a="context", b="context", c="context"):
            logger.bind(b="bind", c="bind").info("m", c="call")

    record = json.loads(both(log))

    assert (record["a"], record["b"], record["c"]) == ("context", "bind", "call")


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


@dataclasses.dataclass
class Point:
    x: int
    password: str


class Name(str):
    __slots__ = ()


KNOWN: list[tuple[object, object]] = [
    (Decimal("1.50"), "1.50"),
    (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (PurePosixPath("/a/b"), "/a/b"),
    (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05+00:00"),
    (dt.date(2026, 1, 2), "2026-01-02"),
    (dt.time(3, 4), "03:04:00"),
    (dt.timedelta(milliseconds=1500), 1.5),
    (Colour.RED, "red"),
    (Size.BIG, 3),
    (Point(1, "hunter2"), {"x": 1, "password": "***"}),
    (b"abc", "abc"),
    (b"\xff", "\\xff"),
    (bytearray(b"x"), "x"),
    (memoryview(b"y"), "y"),
    ({1}, [1]),
    (frozenset({2}), [2]),
    ((1, "a"), [1, "a"]),
    (range(3), [0, 1, 2]),
    (UserDict({"a": 1}), {"a": 1}),
    ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
    (ValueError("bad"), "ValueError: bad"),
    (ValueError, "builtins.ValueError"),
    (Name("n"), "n"),
    (complex(1, 2), "(1+2j)"),
    (2**64 - 1, 2**64 - 1),
    (-(2**63), -(2**63)),
]


@pytest.mark.parametrize(
    ("value", "written"), KNOWN, ids=[type(v).__name__ + str(i) for i, (v, _) in enumerate(KNOWN)]
)
def test_a_usual_type_has_a_usual_form(strict: Strict, value: object, written: object) -> None:
    record = strict(both(lambda log: log.info("m", value=value, nested=[value])))

    assert record["value"] == written
    assert record["nested"] == [written]
    assert "degraded" not in record


class Raising:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class NotText:
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307  # what a broken class does


class Treacherous:
    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)


class Nameless(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]  # what a hostile metaclass does
        raise RuntimeError


class Unnamed(metaclass=Nameless):
    def __str__(self) -> str:
        raise RuntimeError


class Endless(list[int]):
    def __iter__(self) -> Iterator[int]:
        while True:
            yield 1


class Changing(dict[str, int]):
    def items(self) -> Any:
        yield from super().items()
        raise RuntimeError("dictionary changed size during iteration")


def nest(depth: int) -> object:
    value: object = "deep"
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> object:
    value: dict[str, object] = {}
    value["self"] = [value]
    return value


LOSSES: dict[str, tuple[object, object]] = {
    "nan": (math.nan, "NaN"),
    "inf": (math.inf, "Infinity"),
    "minus inf": (-math.inf, "-Infinity"),
    "surrogate": ("a\ud800b", "a\\ud800b"),
    "cycle": (cycle(), {"self": ["<cycle>"]}),
    "raising str": (Raising(), "<unprintable Raising>"),
    "not text": (NotText(), "<unprintable NotText>"),
    "treacherous": (Treacherous(), "<unprintable Treacherous>"),
    "unnamed": (Unnamed(), "<unprintable Unnamed>"),
    "changing": (Changing(a=1), "<unprintable Changing>"),
    "65 bits": (2**64, str(2**64)),
    "huge": (1 << 20_000, hex(1 << 20_000)),
    "too deep": (nest(MAX_DEPTH + 1), nest(MAX_DEPTH + 1)),
    "endless": (Endless(), None),
    "10 MB": ("x" * 10_000_000, "x" * MAX_STRING_BYTES + "…"),
    "long and wide": ("ü" * MAX_STRING_BYTES, "ü" * (MAX_STRING_BYTES // 2) + "…"),
}


@pytest.mark.parametrize("case", LOSSES)
def test_what_cannot_be_kept_is_marked(strict: Strict, case: str) -> None:
    value, written = LOSSES[case]

    line = both(lambda log: log.info("m", before=1, value=value, after=2))

    record = strict(line)
    assert len(line) <= MAX_LINE_BYTES
    assert "value" in record["degraded"]
    if case == "too deep":
        assert record["value"] == json.loads(json.dumps(written).replace("deep", "…"))
    elif written is not None:
        assert record["value"] == written


@pytest.mark.parametrize("case", LOSSES)
def test_what_cannot_be_kept_is_marked_wherever_it_is(strict: Strict, case: str) -> None:
    value, _ = LOSSES[case]

    def log(logger: RecordingLogger) -> None:
        with log_context(inside=value):
            logger.bind(bound=value).info("m", value, nested={"deep": [value]})

    line = both(log)

    assert len(line) <= MAX_LINE_BYTES
    assert {"inside", "bound", "nested", "args"} <= {*strict(line)["degraded"], *(["args"])}


@pytest.mark.parametrize("case", LOSSES)
def test_any_object_can_be_the_message_or_the_error(strict: Strict, case: str) -> None:
    value, _ = LOSSES[case]

    record = strict(both(lambda log: log.info(value, err=value)))

    assert isinstance(record["message"], str)
    assert set(record["error"]) == {"type", "message"}


def test_a_key_that_is_too_long_is_cut_and_stays_unique(strict: Strict) -> None:
    long = "k" * 10_000

    record = strict(
        both(lambda log: log.info("m", **{long: 1, long + "x": 2}, d={long: 1, long + "x": 2}))
    )

    cut = "k" * MAX_KEY_CHARS + "…"
    assert (record[cut], record[f"tag_{cut}"]) == (1, 2)
    assert record["d"] == {cut: 1, cut + "_": 2}


def test_more_tags_than_the_cap_are_left_out_and_marked(strict: Strict) -> None:
    many = {f"t{i}": i for i in range(MAX_TAGS + 5)}

    record = strict(both(lambda log: log.info("m", **many)))

    assert [name for name in record if name.startswith("t") and name[1:].isdigit()] == [
        f"t{i}" for i in range(MAX_TAGS)
    ]
    assert record["degraded"] == ["tags"]


def test_a_line_that_is_too_long_loses_tags_and_says_which(strict: Strict) -> None:
    big = {f"big{i}": "\x01" * MAX_STRING_BYTES for i in range(3)}

    line = both(lambda log: log.info("m", small=1, **big, last=2))

    record = strict(line)
    assert len(line) <= MAX_LINE_BYTES
    assert (record["small"], record["last"]) == (1, 2)
    assert record["degraded"] == ["big1", "big2"]


def test_a_line_that_is_too_long_without_tags_is_shortened(strict: Strict) -> None:
    worst = "\x01" * MAX_STRING_BYTES
    try:
        try:
            raise KeyError(worst)
        except KeyError as cause:
            raise ValueError(worst) from cause
    except ValueError as exc:
        error = exc

    with log_context(request_id=worst, tenant_id=worst, service=worst):
        line = both(lambda log: log.error(worst, err=error, tag=worst), name=worst)

    record = strict(line)
    assert len(line) <= MAX_LINE_BYTES
    assert {"message", "error", "tag"} <= set(record["degraded"])
    assert record["error"]["type"] == "ValueError"


@given(
    size=st.integers(0, 3),
    tags=st.dictionaries(
        text, st.sampled_from(["\x01" * 9000, "ü" * 9000, "\x85" * 5000]), max_size=20
    ),
)
def test_no_line_is_longer_than_the_cap(strict: Strict, size: int, tags: dict[str, Any]) -> None:
    tags.pop("err", None)

    line = both(lambda log: log.info("\x02" * 9000 * size, **tags))

    assert len(line) <= MAX_LINE_BYTES
    strict(line)


def test_a_signal_that_arrives_inside_a_tag_is_not_swallowed_and_the_call_is_counted() -> None:
    class Interrupted:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    log = RecordingLogger()
    with pytest.raises(KeyboardInterrupt):
        log.info("m", tag=Interrupted())

    assert log.recorder.lines == []
    assert log.recorder.stats().dropped["info"] == 1


def test_a_failure_of_our_own_is_a_counted_drop() -> None:
    def broken() -> int:
        raise RuntimeError("the clock is gone")

    log = RecordingLogger(clock=broken)
    log.info("m")

    assert log.recorder.stats().submitted["info"] == log.recorder.stats().dropped["info"] == 1


def test_near_the_recursion_limit_a_call_gives_one_line_or_the_programs_own_error() -> None:
    log = RecordingLogger()
    returned = 0

    def dive() -> None:
        nonlocal returned
        log.info("m", tag={"a": [1]})
        returned += 1
        dive()

    with pytest.raises(RecursionError):
        dive()

    stats = log.recorder.stats()
    assert returned > 10
    assert stats.submitted["info"] - returned in {0, 1}
    assert stats.written["info"] == len(log.recorder.lines)


def test_a_dictionary_that_another_thread_changes_costs_no_line(strict: Strict) -> None:
    import threading  # noqa: PLC0415  # of this test alone

    shared: dict[str, int] = {}
    done = threading.Event()

    def change() -> None:
        count = 0
        while not done.is_set():
            shared[str(count % 50)] = count
            shared.pop(str((count * 7) % 50), None)
            count += 1

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=change)
    thread.start()
    log = RecordingLogger()
    try:
        for _ in range(300):
            log.info("m", shared=shared)
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(before)

    assert len([strict(line) for line in log.recorder.lines]) == 300


def test_a_logger_is_cheap_to_make_and_shows_its_name() -> None:
    assert repr(Logger("a.b")) == "Logger('a.b')"
    assert not hasattr(Logger("a.b"), "__dict__")


def test_names_that_a_program_makes_up_do_not_slow_the_usual_ones_for_ever() -> None:
    lines = Lines("test", clock=lambda: NOW)
    source = RecordingLogger()
    for n in range(5000):
        lines.encode(source, INFO, "m", (), {f"made_up_{n}": 1}, None)
    lines.encode(source, INFO, "m", (), {"usual": 1}, None)

    assert lines.quick(source, INFO, "m", (), {"usual": 1}, None) is not None
