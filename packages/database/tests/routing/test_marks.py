from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_database.position import InvalidPosition, parse_position, position_text
from mtenant_database.routing import marks as module
from mtenant_database.routing.course import Course
from mtenant_database.routing.marks import Marks
from mtenant_database.routing.sight import Sight


@given(st.integers(0, 2**64 - 1))
def test_a_position_survives_being_text(position: int) -> None:
    assert parse_position(position_text(position)) == position


@pytest.mark.parametrize(
    "text",
    ["", "16", "16/", "/16", "16/B374D8480", "16/B3 ", "x/y", "16/1\n", "'; drop table t; --"],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(InvalidPosition):
        parse_position(text)


_events = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.none() | st.integers(1, 100)), max_size=30
)


@given(_events, st.randoms(use_true_random=False))
def test_a_mark_is_never_before_a_write_of_its_tenant(
    events: list[tuple[str, int | None]], chance: random.Random
) -> None:
    """Positions grow; a look's is behind all commits before it, also those that nobody knows of."""
    marks, now, truth = Marks(), 0, dict.fromkeys("abc", 0)
    looks: list[tuple[int, int]] = []
    for tenant, grown in events:
        if chance.random() < 0.5:
            looks.append((marks.unknown, now))
        now += grown or 1
        truth[tenant] = now
        marks.note(tenant, None if grown is None else now)
        if looks and chance.random() < 0.5:
            marks.bound(*looks.pop(chance.randrange(len(looks))))
        for each, written in truth.items():
            mark = marks.of(each)
            assert mark is None or mark >= written
    marks.bound(marks.unknown, now)
    assert all(marks.of(tenant) is not None for tenant in truth)


def test_marks_of_very_many_tenants_are_one_mark_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    marks = Marks()
    for number in range(11):
        marks.note(str(number), 100 + number)

    assert len(marks) == 0
    assert marks.of("3") == marks.of("never seen") == 110

    for number in range(11):
        marks.note(str(number), None)
    assert marks.of("never seen") is None
    marks.bound(marks.unknown, 300)
    assert marks.of("never seen") == 300


def _sight(at: float, position: int, timeline: int = 1) -> Sight:
    return Sight(at, False, position, timeline, 7)


def test_lag_is_how_long_ago_the_primary_was_there() -> None:
    course = Course(10.0)
    for second in range(5):
        course.add(_sight(second, 100 * second))

    assert course.lag(400) == course.lag(10_000) == 0.0
    assert course.lag(399) == 1.0
    assert course.lag(100) == 3.0


def test_an_idle_primary_makes_no_lag() -> None:
    course = Course(10.0)
    for second in range(100):
        course.add(_sight(second, 100))

    assert course.lag(100) == 0.0
    assert course.lag(99) == float("inf")


def test_after_a_failover_positions_of_before_mean_nothing() -> None:
    course = Course(10.0)
    course.add(_sight(1, 500))
    course.add(_sight(2, 300, timeline=2))

    assert course.lag(299) == float("inf")
    assert course.lag(300) == 0.0
