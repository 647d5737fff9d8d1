"""Events that take their process with them, and ends that must not be counted."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from mtenant_errors import NotFound, ServiceUnavailable
from mtenant_events.consumer.handling import MOST_UNKNOWN
from mtenant_events.consumer.outcome import Retry
from mtenant_events.event import Event
from mtenant_events.memory import MemoryBus, MemoryInbox
from mtenant_events.subscriptions import Subscriptions


def _event() -> Event[Any]:
    return Event(type="deal.won", source="/x", tenant="acme", data={})


async def _until(bus: MemoryBus, happened: Any) -> None:
    for _ in range(1000):
        if happened():
            return
        await bus.advance(1.0)
    raise AssertionError("it did not happen")


def _handler(subs: Subscriptions, wants_tx: bool, handle: Any, **options: Any) -> None:
    if wants_tx:

        @subs.on("deal.won", name="h", **options)
        async def with_tx(event: Event[Any], tx: Any) -> None:
            await handle(event)
    else:
        subs.on("deal.won", name="h", **options)(handle)


@pytest.mark.parametrize("wants_tx", [False, True], ids=["without_tx", "with_tx"])
def test_an_event_that_kills_its_process_is_dead_lettered_before_it_kills_one_more(
    wants_tx: bool,
) -> None:
    async def main() -> None:
        subs, calls, inbox = Subscriptions(), [], MemoryInbox()

        async def kill(event: Event[Any]) -> None:
            calls.append(event)
            await bus.clock.sleep(3600)

        _handler(subs, wants_tx, kill)
        async with MemoryBus(inbox=inbox) as bus:
            await bus.publish(_event())
            for count in range(1, MOST_UNKNOWN + 1):
                group = bus.include(
                    subs, service="svc", unit_of_work=lambda event: inbox.transaction(event.tenant)
                )
                await _until(bus, lambda: len(calls) == count)  # noqa: B023 - awaited here
                bus.crash(group)
            bus.include(
                subs, service="svc", unit_of_work=lambda event: inbox.transaction(event.tenant)
            )
            await bus.settle()
            (letter,) = bus.dead_letters
            assert letter.reason == "poison"
            assert len(calls) == MOST_UNKNOWN

    asyncio.run(main())


def test_with_tx_graceful_stops_and_retries_are_no_sign_of_poison() -> None:
    async def main() -> None:
        subs, calls, inbox = Subscriptions(), [], MemoryInbox()

        async def wait(event: Event[Any]) -> None:
            calls.append(event)
            if len(calls) <= MOST_UNKNOWN:
                raise Retry(after=1)
            if len(calls) <= 2 * MOST_UNKNOWN + 5:
                await bus.clock.sleep(3600)

        _handler(subs, True, wait, max_attempts=1)
        async with MemoryBus(inbox=inbox) as bus:
            await bus.publish(_event())
            for count in range(MOST_UNKNOWN + 1, 2 * MOST_UNKNOWN + 6):
                group = bus.include(
                    subs, service="svc", unit_of_work=lambda event: inbox.transaction(event.tenant)
                )
                await _until(bus, lambda: len(calls) == count)  # noqa: B023 - awaited here
                stopping = asyncio.ensure_future(group.stop(1.0))
                await _until(bus, stopping.done)
            bus.include(
                subs, service="svc", unit_of_work=lambda event: inbox.transaction(event.tenant)
            )
            await bus.settle()
            assert bus.dead_letters == []
            assert len(calls) == 2 * MOST_UNKNOWN + 6

    asyncio.run(main())


def test_a_database_that_is_away_costs_no_attempt_however_long(caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL)

    async def main() -> None:
        subs, calls, inbox, tries = Subscriptions(), [], MemoryInbox(), []

        async def handle(event: Event[Any]) -> None:
            calls.append(event)

        def begin(event: Event[Any]) -> Any:
            tries.append(bus.clock.now())
            if bus.clock.now() < 3 * 3600:
                raise ServiceUnavailable
            return inbox.transaction(event.tenant)

        _handler(subs, True, handle, max_attempts=2)
        async with MemoryBus(inbox=inbox) as bus:
            bus.include(subs, service="svc", unit_of_work=begin)
            await bus.publish(_event())
            await bus.settle()
            assert len(tries) > 100
            assert len(calls) == 1
            assert bus.dead_letters == []

    asyncio.run(main())


def test_a_tenant_that_does_not_exist_is_an_attempt_that_failed() -> None:
    async def main() -> None:
        subs, inbox = Subscriptions(), MemoryInbox()

        async def handle(event: Event[Any]) -> None:
            raise AssertionError

        def begin(event: Event[Any]) -> Any:
            raise NotFound

        _handler(subs, True, handle, max_attempts=2)
        async with MemoryBus(inbox=inbox) as bus:
            bus.include(subs, service="svc", unit_of_work=begin)
            await bus.publish(_event())
            await bus.settle()
            (letter,) = bus.dead_letters
            assert letter.reason == "attempts_exhausted"

    asyncio.run(main())


def test_attempts_are_counted_though_they_cannot_be_noted() -> None:
    async def main() -> None:
        subs, calls, inbox, refused = Subscriptions(), [], MemoryInbox(), []

        class Refusing(MemoryInbox):
            async def end(self, *args: Any, **options: Any) -> Any:
                refused.append(args)
                raise ServiceUnavailable

        inbox = Refusing()

        async def handle(event: Event[Any]) -> None:
            calls.append(event)
            raise ValueError

        _handler(subs, True, handle, max_attempts=3)
        async with MemoryBus(inbox=inbox) as bus:
            bus.include(
                subs, service="svc", unit_of_work=lambda event: inbox.transaction(event.tenant)
            )
            await bus.publish(_event())
            await bus.settle()
            assert len(calls) == len(refused) == 3
            assert bus.dead_letters[0].attempts == 3

    asyncio.run(main())


@pytest.mark.parametrize("wants_tx", [False, True], ids=["without_tx", "with_tx"])
def test_a_letter_that_cannot_be_stored_is_tried_again_and_its_handler_is_not(
    wants_tx: bool,
) -> None:
    async def main() -> None:
        subs, calls, inbox = Subscriptions(), [], MemoryInbox()

        async def handle(event: Event[Any]) -> None:
            calls.append(event)
            if len(calls) == 2:
                bus.fail_next(3)
                bus.fail_next(1, stored=True)
            raise ValueError

        _handler(subs, wants_tx, handle, max_attempts=2)
        async with MemoryBus(inbox=inbox) as bus:
            bus.include(
                subs, service="svc", unit_of_work=lambda event: inbox.transaction(event.tenant)
            )
            await bus.publish(_event())
            await bus.settle()
            assert len(calls) == 2
            assert len(bus.dead_letters) == 1

    asyncio.run(main())


def test_a_unit_of_work_that_swallows_exceptions_does_not_make_a_failure_a_success() -> None:
    async def main() -> None:
        subs, calls, inbox = Subscriptions(), [], MemoryInbox()

        async def handle(event: Event[Any]) -> None:
            calls.append(event)
            raise ValueError

        class Swallowing:
            def __init__(self, tenant: str) -> None:
                self._tx = inbox.transaction(tenant)

            async def __aenter__(self) -> Any:
                return await self._tx.__aenter__()

            async def __aexit__(self, *exc: Any) -> bool:
                await self._tx.__aexit__(*exc)
                return True

        _handler(subs, True, handle, max_attempts=2)
        async with MemoryBus(inbox=inbox) as bus:
            bus.include(subs, service="svc", unit_of_work=lambda event: Swallowing(event.tenant))
            await bus.publish(_event())
            await bus.settle()
            assert len(calls) == 2
            assert len(bus.dead_letters) == 1

    asyncio.run(main())


@pytest.mark.parametrize("wants_tx", [False, True], ids=["without_tx", "with_tx"])
def test_an_acknowledgement_that_gets_lost_brings_the_event_again(wants_tx: bool) -> None:
    async def main() -> None:
        subs, calls, inbox = Subscriptions(), [], MemoryInbox()

        async def handle(event: Event[Any]) -> None:
            calls.append(event)

        _handler(subs, wants_tx, handle)
        async with MemoryBus(inbox=inbox) as bus:
            bus.include(
                subs, service="svc", unit_of_work=lambda event: inbox.transaction(event.tenant)
            )
            bus.drop_acks(2)
            await bus.publish(_event())
            await bus.settle()
            assert len(calls) == (1 if wants_tx else 3)
            assert bus.clock.now() >= 60  # twice ack_wait

    asyncio.run(main())


PROGRAM = """
import asyncio, os, sys
from mtenant_config import Secret
from mtenant_events.bus import EventBus
from mtenant_events.config import EventsConfig
from mtenant_events.subscriptions import Subscriptions

async def main(url, name, how):
    config = EventsConfig(
        url=Secret(url), prefix=name.lower(), stream=name, dead_letter_stream=f"{name}_DLQ"
    )
    subs, done = Subscriptions(), asyncio.Event()

    @subs.on("deal.won", name="h", ack_wait=0.5)
    async def handle(event):
        if how == "die":
            os.kill(os.getpid(), 9)
        print(event.data["deal"], flush=True)
        done.set()

    async with EventBus.connect(config) as bus:
        bus.include(subs, service="svc")
        await done.wait()

asyncio.run(main(*sys.argv[1:]))
"""


def test_the_event_of_a_process_that_was_killed_is_handled_by_the_next(place: Any) -> None:
    def run(how: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-c",
                textwrap.dedent(PROGRAM),
                place.config.servers[0],
                place.config.stream,
                how,
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    async def main() -> None:
        async with place.open() as bus:
            await bus.publish(place.event("d1"))
            assert (await asyncio.to_thread(run, "die")).returncode == -9
            assert (await asyncio.to_thread(run, "live")).stdout == "d1\n"
            await place.settled()

    asyncio.run(main())
