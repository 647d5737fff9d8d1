"""Order across writers: what `ordered=True` promises, from many writers into the stream."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest

from mtenant_events.config import EventsConfig
from mtenant_events.event import Event
from mtenant_events.outbox import Outbox
from mtenant_events.relay import Relay
from mtenant_events.store.transaction import PsycopgTransaction

WRITERS = 16
KEYS = 5
AT_ONCE = 10


@pytest.mark.parametrize(
    ("relays", "rows"),
    [
        (2, 3200),
        pytest.param(1, 20_000, marks=pytest.mark.slow),
        pytest.param(2, 20_000, marks=pytest.mark.slow),
    ],
)
def test_events_of_many_writers_reach_the_stream_as_their_transactions_committed(
    place: Any, stream: Any, eventually: Any, relays: int, rows: int
) -> None:
    chance = random.Random(5)
    # While a writer has the key's lock, which is until it has committed, it writes down what it added.
    committed: dict[str, list[str]] = defaultdict(list)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            carriers = [await stack.enter_async_context(stream.open()) for _ in range(relays)]
            running = [
                await stack.enter_async_context(Relay(place.app, carrier)) for carrier in carriers
            ]
            outbox = Outbox(
                EventsConfig(prefix=stream.name, stream=stream.name), wake=running[0].wake
            )

            async def write(_: int) -> None:
                async with await psycopg.AsyncConnection.connect(place.app) as conn:
                    tx = PsycopgTransaction(conn, tenant="acme")
                    for _ in range(rows // WRITERS // AT_ONCE):
                        key = f"k{chance.randrange(KEYS)}"
                        events = [
                            Event(type="deal.moved", source="/t", tenant="acme", data={"key": key})
                            for _ in range(AT_ONCE)
                        ]
                        await outbox.add_many(tx, events, key=key, ordered=True)
                        committed[key] += [f"acme:{event.id}" for event in events]
                        if chance.random() < 0.5:
                            await asyncio.sleep(chance.uniform(0, 0.002))
                        await conn.commit()

            await asyncio.gather(*map(write, range(WRITERS)))
            await eventually(lambda: place.waiting == 0)

        added = {event: (key, n) for key, ids in committed.items() for n, event in enumerate(ids)}
        seen: dict[str, list[int]] = defaultdict(list)
        for message in await stream.messages():
            key, number = added[message.headers["Nats-Msg-Id"]]
            seen[key].append(number)
        assert len(added) == rows
        assert seen == {key: list(range(len(ids))) for key, ids in committed.items()}

    asyncio.run(main())
