from __future__ import annotations

import asyncio

import pytest

from mtenant_chassis import tally
from mtenant_chassis.tally import Tally
from mtenant_logger.testing import recorded_logs

pytestmark = pytest.mark.anyio


class Counting:
    """Counts how often it is asked; answers when it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.may = asyncio.Event()
        self.may.set()
        self.error: Exception | None = None

    async def __call__(self) -> dict[str, int | float]:
        self.asked += 1
        await self.may.wait()
        if self.error is not None:
            raise self.error
        return {"asked": self.asked}


@pytest.fixture
def any_age_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "AGE", 0.0)


async def test_a_count_serves_all_who_ask_meanwhile_and_for_a_while() -> None:
    count = Counting()
    one = Tally(count)

    await asyncio.gather(*(one.refresh() for _ in range(10)))
    await one.refresh()

    assert (one.numbers, count.asked) == ({"asked": 1}, 1)


@pytest.mark.usefixtures("any_age_is_too_old")
async def test_what_is_too_old_is_counted_anew() -> None:
    one = Tally(Counting())

    await one.refresh()
    await one.refresh()

    assert one.numbers == {"asked": 2}


@pytest.mark.usefixtures("any_age_is_too_old")
async def test_nobody_waits_long_and_what_was_counted_is_told_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = Counting()
    one = Tally(count)
    await one.refresh()
    count.may.clear()
    with monkeypatch.context() as patched:
        patched.setattr(tally, "PATIENCE", 0.0)
        await one.refresh()
        await one.refresh()
    assert (one.numbers, count.asked) == ({"asked": 1}, 2)
    count.may.set()

    await one.refresh()

    assert (one.numbers, count.asked) == ({"asked": 2}, 2)


@pytest.mark.usefixtures("any_age_is_too_old")
async def test_what_cannot_be_counted_is_not_told_and_fails_nobody() -> None:
    count = Counting()
    one = Tally(count)
    await one.refresh()
    count.error = LookupError("away")

    with recorded_logs() as logs:
        await one.refresh()

    assert one.numbers == {}
    assert [line["message"] for line in logs.records] == ["a tally cannot be taken"]


async def test_the_end_waits_for_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "PATIENCE", 0.0)
    count = Counting()
    count.may.clear()
    one = Tally(count)
    await one.refresh()
    before = asyncio.all_tasks()

    await one.close()

    assert len(asyncio.all_tasks()) == len(before) - 1
    assert one.numbers == {}
