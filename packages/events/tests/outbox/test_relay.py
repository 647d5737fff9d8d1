"""The relay, on a real PostgreSQL and a real stream."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from mtenant_devstack import Stack
from mtenant_errors import AppError
from mtenant_events import relay as relay_module
from mtenant_events.event import Message, PublishResult
from mtenant_events.relay import Relay
from mtenant_events.store.errors import OutboxNotInstalled, OutboxUnavailable
from mtenant_events.store.notifier import INTERVAL, Notifier
from mtenant_events.store.queue import OutboxQueue


def _inversions(bodies: Sequence[str]) -> list[str]:
    """Return what is not behind everything before it of its key; `key:n` each."""
    newest: dict[str, int] = defaultdict(lambda: -1)
    wrong = []
    for body in bodies:
        key, _, number = body.rpartition(":")
        if int(number) <= newest[key]:
            wrong.append(body)
        newest[key] = int(number)
    return wrong


def test_what_waits_is_published_as_it_was_written_and_gone(
    place: Any, stream: Any, eventually: Any
) -> None:
    async def main() -> None:
        body, headers = bytes(range(256)), '{"Nats-Msg-Id": "acme:1", "X-\\u00e4": "b c"}'
        with psycopg.connect(place.app) as conn:
            conn.execute(
                "insert into eventing.outbox (tenant, key, subject, headers, body)"
                " values ('acme', 'k', %s, %s, %s)",
                [f"{stream.name}.acme", headers.replace("\\u00e4", "a"), body],
            )
        async with stream.open() as carrier, Relay(place.app, carrier):
            await eventually(lambda: place.waiting == 0)
        (message,) = await stream.messages()

        assert message.subject == f"{stream.name}.acme"
        assert message.data == body
        assert {"Nats-Msg-Id": "acme:1", "X-a": "b c"}.items() <= message.headers.items()

    asyncio.run(main())


@pytest.mark.parametrize(
    "relays",
    [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow), 5],
)
def test_rows_of_one_key_never_overtake_each_other_and_no_two_relays_publish_one(
    place: Any, stream: Any, eventually: Any, monkeypatch: Any, relays: int
) -> None:
    chance = random.Random(7)
    monkeypatch.setattr(relay_module, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(relay_module, "POLL", 0.02)

    def fails(message: Message) -> bool:
        # Tried again later, when others of its key are there.
        return chance.random() < 0.02

    async def main() -> None:
        counts: Counter[str] = Counter()
        async with AsyncExitStack() as stack:
            carriers = [await stack.enter_async_context(stream.open()) for _ in range(relays)]
            for carrier in carriers:
                carrier.fails = fails
                await stack.enter_async_context(Relay(place.app, carrier))
            for _ in range(10):
                for tenant in ("acme", "blue", "cyan", "dove"):
                    keys = [f"{tenant}-{chance.randrange(50)}" for _ in range(500)]
                    await asyncio.to_thread(place.fill, stream.name, tenant, keys, counts)
            await eventually(lambda: place.waiting == 0)
        bodies = await stream.bodies()

        assert len(set(bodies)) == len(bodies) == 20_000
        assert _inversions(bodies) == []
        assert sum(carrier.published for carrier in carriers) == 20_000
        assert sum(carrier.published > 0 for carrier in carriers) >= min(relays, 2)

    asyncio.run(main())


def test_a_row_that_fails_holds_its_key_and_nothing_else(
    place: Any, stream: Any, eventually: Any
) -> None:
    async def main() -> None:
        place.fill(stream.name, "acme", ["bad", "good", "bad", "good", "bad"])
        place.fill(stream.name, "blue", ["bad"])
        async with stream.open() as carrier:
            carrier.fails = lambda message: message.headers["Nats-Msg-Id"] == "acme:bad:0"
            async with Relay(place.app, carrier):
                await eventually(lambda: place.waiting == 3)
            waits = place.run("select body, attempts, last_error from eventing.outbox order by id")

        assert [(bytes(body).decode(), attempts) for body, attempts, _ in waits] == [
            ("bad:0", 1),
            ("bad:1", 0),
            ("bad:2", 0),
        ]
        assert "the test wants it so" in waits[0][2]
        assert await stream.bodies() == ["good:0", "bad:0", "good:1"]

    asyncio.run(main())


def test_a_row_that_is_no_message_at_all_stops_no_other(
    place: Any, stream: Any, eventually: Any
) -> None:
    async def main() -> None:
        place.fill(stream.name, "acme", ["a", "b", "c"])
        place.run("update eventing.outbox set subject = 'with a space' where key = 'b'")
        async with stream.open() as carrier, Relay(place.app, carrier) as relay:
            await eventually(lambda: place.waiting == 1)
            assert relay.running
        assert sorted(await stream.bodies()) == ["a:0", "c:0"]
        assert place.value("select last_error from eventing.outbox") is not None

    asyncio.run(main())


def test_a_row_that_fails_is_tried_again_later_and_later(place: Any, stream: Any) -> None:
    delays = [[relay_module._delay(attempts) for _ in range(100)] for attempts in range(12)]

    assert all(0.5 <= delay <= 1 for delay in delays[0])
    assert all(max(few) <= 2 * max(more) for few, more in pairwise(delays))
    assert all(30 <= delay <= 60 for delay in delays[11])


def test_tenants_whose_rows_all_wait_for_a_delay_hold_nobody_up(
    place: Any, stream: Any, eventually: Any
) -> None:
    async def main() -> None:
        # More of them than one batch claims, older than everything else, in every shard.
        stuck = [f"stuck{n}" for n in range(60)]
        for tenant in stuck:
            place.fill(stream.name, tenant, ["k"] * 3)
        place.run(
            "update eventing.outbox set delayed_until = now() + interval '1 hour' where id in"
            " (select min(id) from eventing.outbox group by tenant)"
        )
        fresh = [f"fresh{n}" for n in range(60)]
        for tenant in fresh:
            place.fill(stream.name, tenant, ["k"])
        async with stream.open() as carrier, Relay(place.app, carrier):
            await eventually(lambda: place.waiting == 180)

        assert len(await stream.bodies()) == 60

    asyncio.run(main())


def test_every_tenant_gets_its_share_of_a_batch_while_one_floods(
    place: Any, stream: Any, eventually: Any
) -> None:
    async def main() -> None:
        place.fill(stream.name, "flood", [f"k{n}" for n in range(5_000)])
        for n in range(99):
            place.fill(stream.name, f"t{n}", ["k"])
        async with stream.open() as carrier, Relay(place.app, carrier):
            await eventually(lambda: place.waiting == 0)
        subjects = [message.subject for message in await stream.messages()]

        last = max(place for place, subject in enumerate(subjects) if "flood" not in subject)
        assert last <= 3 * relay_module.BATCH

    asyncio.run(main())


def test_no_transaction_is_open_while_the_stream_is_away(
    place_on: Any, stream_on: Any, eventually: Any
) -> None:
    async def main(servers: Stack) -> None:
        place, stream = place_on(servers.postgres.url), stream_on(servers.nats.url)
        open_ones = (
            "select count(*) from pg_stat_activity where xact_start is not null"
            f" and usename = '{place.role}'"
        )
        async with stream.open() as carrier, Relay(place.app, carrier) as relay:
            await asyncio.to_thread(servers.nats.kill)
            place.fill(stream.name, "acme", ["k"] * 100)
            relay.wake()
            await eventually(lambda: not carrier.connected)
            await eventually(lambda: place.value(open_ones) == 0)
            for _ in range(20):
                relay.wake()
                await asyncio.sleep(0.01)
                assert place.value(open_ones) == 0
            assert place.value("select sum(attempts) from eventing.outbox") == 0

            await asyncio.to_thread(servers.nats.start)
            await eventually(lambda: place.waiting == 0)
        assert await stream.bodies() == [f"k:{n}" for n in range(100)]

    with Stack(["postgres", "nats"]) as servers:
        asyncio.run(main(servers))


def test_a_relay_that_dies_before_it_deletes_is_followed_by_one_that_publishes_no_row_twice(
    place: Any, stream: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        place.fill(stream.name, "acme", ["k"] * 50)
        published = asyncio.Event()

        async def die(*arguments: object) -> None:
            published.set()
            await asyncio.Event().wait()

        async with stream.open() as carrier:
            with monkeypatch.context() as patch:
                patch.setattr(OutboxQueue, "finish", die)
                first = asyncio.create_task(Relay(place.app, carrier).run())
                await published.wait()
                first.cancel()
                await asyncio.wait({first})
            assert place.waiting == len(await stream.bodies()) == 50
            async with Relay(place.app, carrier):
                await eventually(lambda: place.waiting == 0)
        assert await stream.bodies() == [f"k:{n}" for n in range(50)]

    asyncio.run(main())


def test_a_relay_goes_on_when_its_connection_is_cut(
    place: Any, stream: Any, eventually: Any
) -> None:
    async def main() -> None:
        async with stream.open() as carrier, Relay(place.app, carrier) as relay:
            for n in range(3):
                place.run(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    f" where usename = '{place.role}'"
                )
                place.fill(stream.name, f"t{n}", ["k"] * 10)
                await eventually(lambda: place.waiting == 0)
            assert relay.running
        assert len(await stream.bodies()) == 30

    asyncio.run(main())


def test_stopping_ends_the_batch_that_is_open_and_leaves_the_rest(
    place: Any, stream: Any, eventually: Any
) -> None:
    async def main() -> None:
        place.fill(stream.name, "acme", [f"k{n}" for n in range(3_000)])
        async with stream.open() as carrier:
            async with Relay(place.app, carrier):
                await eventually(lambda: carrier.published)
            left = place.waiting
            published = len(await stream.bodies())

            assert 0 < left == 3_000 - published
            async with Relay(place.app, carrier):
                await eventually(lambda: place.waiting == 0)
        assert len(await stream.bodies()) == 3_000

    asyncio.run(main())


def test_a_relay_may_be_started_again(place: Any, stream: Any, eventually: Any) -> None:
    async def main() -> None:
        async with stream.open() as carrier:
            relay = Relay(place.app, carrier)
            for n in range(2):
                async with relay:
                    place.fill(stream.name, f"t{n}", ["k"])
                    await eventually(lambda: place.waiting == 0)
                assert not relay.running

    asyncio.run(main())


def test_a_relay_that_ends_by_a_fault_is_seen_not_to_run_and_says_why_in_the_end(
    place: Any, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        @property
        def connected(self) -> bool:
            raise ZeroDivisionError

        async def publish_many(
            self, messages: Sequence[Message], *, window: int = 256
        ) -> list[PublishResult | AppError]:
            raise NotImplementedError

    async def main() -> None:
        async with Relay(place.app, Broken()) as relay:
            await eventually(lambda: not relay.running)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    assert "ended by a fault of its own" in caplog.text


def test_cancelling_the_program_ends_the_relay(place: Any, stream: Any, eventually: Any) -> None:
    async def main() -> None:
        async def program() -> None:
            async with stream.open() as carrier, Relay(place.app, carrier) as relay:
                relays.append(relay)
                await asyncio.Event().wait()

        relays: list[Relay] = []
        task = asyncio.create_task(program())
        await eventually(lambda: relays)
        task.cancel()
        await asyncio.wait({task}, timeout=10)
        assert task.cancelled()
        assert not relays[0].running
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_what_is_wrong_from_the_beginning_is_told_at_once(bare_place: Any, stream: Any) -> None:
    async def main(conninfo: str) -> None:
        async with stream.open() as carrier, Relay(conninfo, carrier):
            raise AssertionError("it must not start")

    with pytest.raises(OutboxNotInstalled):
        asyncio.run(main(bare_place.app))
    with pytest.raises(OutboxUnavailable):
        asyncio.run(main("postgresql://x@127.0.0.1:1/x"))


def test_the_lag_is_the_age_of_the_oldest_row(place: Any, stream: Any, eventually: Any) -> None:
    async def main() -> None:
        place.fill(stream.name, "acme", ["bad"])
        place.run("update eventing.outbox set created_at = now() - interval '90 s'")
        async with stream.open() as carrier:
            carrier.fails = lambda message: True
            async with Relay(place.app, carrier) as relay:
                await eventually(lambda: relay.lag > 90)
                carrier.fails = lambda message: False
                place.run("update eventing.outbox set delayed_until = null")
                await eventually(lambda: place.waiting == 0)
                await eventually(lambda: relay.lag == 0)

    asyncio.run(main())


@pytest.fixture
def no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "POLL", 3600.0)


@pytest.mark.usefixtures("no_polling")
def test_wake_finds_a_transaction_that_commits_later(
    place: Any, stream: Any, eventually: Any
) -> None:
    async def main() -> None:
        async with stream.open() as carrier, Relay(place.app, carrier) as relay:
            await asyncio.sleep(0.05)  # it has looked, and found nothing
            async with await psycopg.AsyncConnection.connect(place.app) as conn:
                await conn.execute(
                    "insert into eventing.outbox (tenant, key, subject, headers, body)"
                    " values ('acme', 'k', %s, '{}', '')",
                    [f"{stream.name}.acme"],
                )
                relay.wake()
                await asyncio.sleep(0.05)
            await eventually(lambda: place.waiting == 0)

    asyncio.run(main())


@pytest.mark.usefixtures("no_polling")
def test_a_notifier_wakes_the_relay_of_another_process(
    place: Any, stream: Any, eventually: Any
) -> None:
    async def main() -> None:
        async with (
            stream.open() as carrier,
            Relay(place.app, carrier),
            Notifier(place.app) as notifier,
        ):
            for n in range(3):
                place.fill(stream.name, f"t{n}", ["k"])
                notifier.wake()
                await eventually(lambda: place.waiting == 0)
                place.run(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    f" where usename = '{place.role}' and query like '%pg_notify%'"
                )
                notifier.wake()  # whether it is lost or not: the next one is heard

    asyncio.run(main())


def test_many_events_are_few_notifications(place: Any, eventually: Any) -> None:
    async def main() -> None:
        heard: list[psycopg.Notify] = []
        async with (
            await psycopg.AsyncConnection.connect(place.app, autocommit=True) as conn,
            Notifier(place.app) as notifier,
        ):
            conn.add_notify_handler(heard.append)
            await conn.execute("listen mtenant_outbox")
            loop = asyncio.get_running_loop()
            begin = loop.time()
            while loop.time() < begin + 0.2:
                notifier.wake()
                await asyncio.sleep(0)
            took = loop.time() - begin
            await conn.execute("select 1")

        assert 1 <= len(heard) <= took / INTERVAL + 1

    asyncio.run(main())


def test_behind_a_transaction_pooler_a_relay_polls(
    place: Any, stream: Any, eventually: Any, pgbouncer: str
) -> None:
    async def main() -> None:
        async with stream.open() as carrier, AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(Relay(pgbouncer, carrier, listen=False))
            for n in range(3):
                place.fill(stream.name, f"t{n}", ["k"] * 200)
                await eventually(lambda: place.waiting == 0)
        assert (
            _inversions([f"{m.subject}-{m.data.decode()}" for m in await stream.messages()]) == []
        )
        assert place.run("select from pg_listening_channels()") == []

    asyncio.run(main())


def test_behind_a_pooler_that_nobody_told_of_a_relay_works_too(
    place: Any, stream: Any, eventually: Any, pgbouncer: str
) -> None:
    async def main() -> None:
        async with stream.open() as carrier, AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(Relay(pgbouncer, carrier))
            for n in range(6):
                place.fill(stream.name, f"t{n}", ["k"] * 50)
                await eventually(lambda: place.waiting == 0)
        assert (
            _inversions([f"{m.subject}-{m.data.decode()}" for m in await stream.messages()]) == []
        )

    asyncio.run(main())


def test_a_message_goes_on_with_the_trace_of_its_making_and_the_batch_is_linked_to_it(
    place: Any, stream: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: provider)
    monkeypatch.setattr("opentelemetry.trace.get_tracer", provider.get_tracer)
    made_in = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def main() -> None:
        place.fill(stream.name, "acme", ["good", "bad"])
        place.run(
            "update eventing.outbox set headers = headers"
            f""" || '{{"traceparent": "{made_in}"}}' where key = 'good'"""
        )
        async with stream.open() as carrier:
            carrier.fails = lambda message: message.headers["Nats-Msg-Id"] == "acme:bad:0"
            async with Relay(place.app, carrier):
                await eventually(lambda: place.waiting == 1)
        (message,) = await stream.messages()
        assert message.headers["traceparent"] == made_in

    asyncio.run(main())
    span = exporter.get_finished_spans()[0]
    assert (span.name, span.kind) == ("publish outbox", SpanKind.CLIENT)
    assert [f"{link.context.trace_id:032x}" for link in span.links] == [made_in[3:35]]
    assert (span.attributes or {})["messaging.batch.message_count"] == 2
    assert span.status.description == "1 of 2 events failed"


def test_it_is_the_same_on_postgresql_15(
    old_server: str, place_on: Any, stream: Any, eventually: Any
) -> None:
    async def main() -> None:
        place = place_on(old_server)
        place.tenant("acme")
        for n in range(40):
            place.fill(stream.name, f"t{n}", ["a", "b", "a"])
        async with stream.open() as carrier, AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(Relay(place.app, carrier))
            await eventually(lambda: place.waiting == 0)
        bodies = [
            f"{message.subject}-{message.data.decode()}" for message in await stream.messages()
        ]
        assert len(bodies) == 120
        assert _inversions(bodies) == []

    asyncio.run(main())


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tell of each look of a relay how many rows it took."""
    found: list[int] = []
    take = OutboxQueue.take

    async def counted(queue: OutboxQueue, most: int) -> Any:
        batch = await take(queue, most)
        found.append(len(batch.rows))
        return batch

    monkeypatch.setattr(OutboxQueue, "take", counted)
    return found


def test_a_hint_after_the_commit_costs_one_look(
    place: Any, stream: Any, eventually: Any, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr(relay_module, "POLL", 30.0)
        async with stream.open() as carrier, Relay(place.app, carrier, listen=False) as relay:
            await eventually(lambda: looks)
            place.fill(stream.name, "acme", ["k"])
            relay.wake(committed=True)
            await eventually(lambda: looks[1:] and place.waiting == 0)
            await asyncio.sleep(0.1)  # in which an unsure relay looks six times

    asyncio.run(main())
    assert looks == [0, 1]


def test_a_relay_that_finds_everything_taken_looks_no_more_often_than_one_that_finds_nothing(
    place: Any, stream: Any, eventually: Any, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr(relay_module, "POLL", 0.2)
        place.fill(stream.name, "acme", ["k"])
        async with OutboxQueue(place.app, listen=False) as busy:
            await busy.take(10)
            async with stream.open() as carrier, Relay(place.app, carrier, listen=False):
                await asyncio.sleep(1)
                assert 1 < len(looks) <= 1 + 1 + 1 / 0.2
                await busy.finish([], [])
                await eventually(lambda: place.waiting == 0)

    asyncio.run(main())


def test_a_hint_that_finds_everything_taken_is_followed_until_it_is_seen(
    place: Any, stream: Any, eventually: Any, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr(relay_module, "POLL", 30.0)
        place.fill(stream.name, "acme", ["k"])
        async with OutboxQueue(place.app, listen=False) as busy:
            seen = await busy.take(10)
            async with stream.open() as carrier, Relay(place.app, carrier, listen=False) as relay:
                await eventually(lambda: looks[1:])
                place.fill(stream.name, "acme", ["k"])  # behind what the other has seen
                relay.wake(committed=True)
                await eventually(lambda: looks[2:])
                await busy.finish(seen.rows, [])
                await eventually(lambda: place.waiting == 0)

    asyncio.run(main())
    assert looks[:3] == [1, 0, 0]
