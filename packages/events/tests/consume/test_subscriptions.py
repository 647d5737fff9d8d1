"""What can be declared, and what is refused at once."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_events.consumer.group import Group
from mtenant_events.consumer.lanes import Lanes
from mtenant_events.event import Event
from mtenant_events.registry import event_type
from mtenant_events.subscriptions import Subscriptions


@event_type("deal.won")
@dataclass
class Won:
    deal: str


async def handler(event: Event[Any]) -> None: ...


async def with_tx(event: Event[Any], tx: Any) -> None: ...


class Callable:
    async def __call__(self, event: Event[Any], *, tx: Any) -> None: ...

    async def method(self, event: Event[Any], more: int = 3) -> None: ...


@pytest.mark.parametrize(
    ("declared", "wants_tx"),
    [
        (handler, False),
        (with_tx, True),
        (Callable(), True),
        (Callable().method, False),
        (partial(with_tx), True),
    ],
    ids=["function", "function with tx", "object", "method", "partial"],
)
def test_a_handler_is_asked_what_it_wants(declared: Any, wants_tx: bool) -> None:
    subs = Subscriptions()
    assert subs.on(Won, "deal.lost", Won, name="h")(declared) is declared
    (subscription,) = subs
    assert subscription.wants_tx is wants_tx
    assert subscription.types == ("deal.won", "deal.lost")
    assert len(subs) == 1


def test_what_cannot_be_called_is_refused() -> None:
    def sync(event: Event[Any]) -> None: ...

    async def nothing() -> None: ...

    async def named(*, event: Event[Any]) -> None: ...

    async def more(event: Event[Any], more: int) -> None: ...

    for wrong in (sync, nothing, named, more):
        with pytest.raises(TypeError, match=r"async|takes"):
            Subscriptions().on(Won, name="h")(wrong)  # type: ignore[type-var]  # on purpose


@pytest.mark.parametrize(
    "options",
    [
        {"name": "A"},
        {"name": "a__b"},
        {"name": "a.b"},
        {"name": "a_"},
        {"name": "x" * 65},
        {"was": "a__b"},
        {"concurrency": 0},
        {"max_attempts": 0},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"first_delay": -1},
        {"ack_wait": 0},
        {"ordering": "tenant"},
        {"broadcast": True, "ordering": "key"},
    ],
    ids=repr,
)
def test_options_that_make_no_sense_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Subscriptions().on(Won, **{"name": "h", **options})(handler)


def test_a_broadcast_has_no_tx_and_a_name_is_used_once() -> None:
    subs = Subscriptions()
    with pytest.raises(ValueError, match="broadcast"):
        subs.on(Won, name="h", broadcast=True)(with_tx)
    subs.on(Won, name="h")(handler)
    with pytest.raises(ValueError, match="already"):
        subs.on(Won, name="h")(handler)
    with pytest.raises(ValueError, match="no type"):
        subs.on(name="empty")(handler)
    with pytest.raises(TypeError, match="no event type"):
        subs.on(int, name="number")


def test_a_handler_that_asks_for_a_tx_needs_a_unit_of_work() -> None:
    subs = Subscriptions()
    subs.on(Won, name="h")(with_tx)
    ground: Any = None
    with pytest.raises(ValueError, match="unit_of_work"):
        Group(ground, subs, service="svc")
    with pytest.raises(ValueError, match="service"):
        Group(ground, Subscriptions(), service="a.b")


@given(
    share=st.integers(1, 4),
    steps=st.lists(
        st.sampled_from(["put a", "put b", "enter a", "enter c", "take", "done"]), max_size=60
    ),
)
def test_lanes_keep_order_and_share_and_starve_nobody(share: int, steps: list[str]) -> None:
    lanes = Lanes[int](share)
    waiting: dict[str, deque[int]] = {tenant: deque() for tenant in "abc"}
    out: Counter[str] = Counter()
    taken: list[str] = []
    for number, step in enumerate(steps):
        if step.startswith("put"):
            lanes.put(step[-1], number)
            waiting[step[-1]].append(number)
        elif step.startswith("enter"):
            tenant = step[-1]
            entered = lanes.enter(tenant)
            # Past those whose turn has come it does not go.
            entitled = {one for one in waiting if waiting[one] and out[one] < share}
            assert entered == (not entitled and out[tenant] < share)
            if entered:
                out[tenant] += 1
                taken.append(tenant)
        elif step == "take":
            entitled = {one for one in waiting if waiting[one] and out[one] < share}
            found = lanes.take()
            if found is None:
                assert not entitled
                continue
            tenant, item = found
            assert tenant in entitled
            assert item == waiting[tenant].popleft()
            out[tenant] += 1
            taken.append(tenant)
        elif taken:
            tenant = taken.pop(0)
            lanes.done(tenant)
            out[tenant] -= 1
        assert len(lanes) == sum(map(len, waiting.values()))
    assert sorted(lanes.clear()) == sorted(number for lane in waiting.values() for number in lane)
    assert lanes.take() is None


def test_tenants_take_turns() -> None:
    lanes = Lanes[int](share=100)
    for number in range(10):
        lanes.put("flood", number)
    lanes.put("small", 0)
    taken = [lanes.take() for _ in range(4)]
    assert ("small", 0) in taken[:2]
