"""The streams, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import nats
import pytest
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.client import JetStreamContext

from mtenant_config import ByteSize
from mtenant_events import (
    Event,
    EventBus,
    EventsConfig,
    StreamUnavailable,
    TopologyConflict,
)
from mtenant_events.tenant_id import InvalidTenantId
from mtenant_events.topology import StreamStatus, Topology

Make = Callable[..., Event[Any]]


def on_server(
    config: EventsConfig, work: Callable[[JetStreamContext, Topology], Awaitable[None]]
) -> None:
    async def program() -> None:
        client = await nats.connect(config.servers[0])
        try:
            await work(client.jetstream(), Topology(client, config))
        finally:
            await client.close()

    asyncio.run(program())


def test_streams_are_what_the_settings_ask(config: EventsConfig) -> None:
    async def work(stream: JetStreamContext, topology: Topology) -> None:
        assert [str(step) for step in await topology.ensure()] == [
            f"{config.stream} made",
            f"{config.dead_letter_stream} made",
        ]
        made = (await stream.stream_info(config.stream)).config
        letters = (await stream.stream_info(config.dead_letter_stream)).config

        assert made.subjects == [f"{config.prefix}.evt.>", f"{config.prefix}.replay.>"]
        assert made.duplicate_window == 600
        assert made.retention == "limits"
        assert made.discard == "new"
        assert made.storage == "file"
        assert made.max_age == config.max_age.total_seconds()
        assert letters.subjects == [f"{config.prefix}.dlq.>"]
        assert letters.max_age == config.dead_letter_max_age.total_seconds()

    on_server(config, work)


def test_a_second_time_nothing_happens(config: EventsConfig) -> None:
    async def work(stream: JetStreamContext, topology: Topology) -> None:
        await topology.ensure()
        before = await stream.stream_info(config.stream)

        assert {step.done for step in await topology.ensure()} == {"kept"}
        assert (await stream.stream_info(config.stream)).config == before.config
        assert [one.well for one in await topology.status()] == [True, True]

    on_server(config, work)


def test_many_programs_at_once_make_it_once(config: EventsConfig) -> None:
    async def work(_: JetStreamContext, topology: Topology) -> None:
        await asyncio.gather(*(topology.ensure() for _ in range(10)))

        assert [one.well for one in await topology.status()] == [True, True]

    on_server(config, work)


GROWN = {
    "max_age": timedelta(days=8),
    "duplicate_window": timedelta(minutes=20),
    "max_payload": ByteSize(2 << 20),
    "dead_letter_max_age": timedelta(days=60),
}


def test_what_grows_is_changed_and_what_others_have_set_stays(config: EventsConfig) -> None:
    async def work(stream: JetStreamContext, topology: Topology) -> None:
        await topology.ensure()
        there = (await stream.stream_info(config.stream)).config
        await stream.update_stream(there.evolve(description="ours", metadata={"owner": "crm"}))
        wider: dict[str, Any] = GROWN
        grown = Topology(stream._nc, replace(config, **wider))

        assert not any(one.well for one in await grown.status())
        steps = await grown.ensure()
        now = (await stream.stream_info(config.stream)).config

        assert [step.done for step in steps] == ["changed", "changed"]
        assert "max_age is 604800, not 691200" in str(steps[0])
        assert (now.max_age, now.duplicate_window) == (8 * 86400, 1200)
        assert now.description == "ours"
        assert (now.metadata or {})["owner"] == "crm"

    on_server(config, work)


@pytest.mark.parametrize("name", sorted(GROWN))
def test_what_shrinks_is_refused_and_nothing_is_changed(config: EventsConfig, name: str) -> None:
    wider: dict[str, Any] = GROWN
    grown = replace(config, **wider)
    shrunk = replace(grown, **{name: getattr(config, name)})

    async def work(stream: JetStreamContext, topology: Topology) -> None:
        await topology.ensure()
        before = [await stream.stream_info(name) for name in streams]
        with pytest.raises(TopologyConflict, match="Change the settings"):
            await Topology(stream._nc, shrunk).ensure()
        assert [(await stream.stream_info(name)).config for name in streams] == [
            info.config for info in before
        ]

    streams = (config.stream, config.dead_letter_stream)
    on_server(grown, work)


def test_a_limit_where_there_was_none_is_refused(config: EventsConfig) -> None:
    async def work(stream: JetStreamContext, topology: Topology) -> None:
        await topology.ensure()
        limited = replace(config, max_bytes=ByteSize(1 << 20))
        with pytest.raises(TopologyConflict, match="max_bytes is unlimited, not 1048576"):
            await Topology(stream._nc, limited).ensure()

    on_server(config, work)


@pytest.mark.parametrize(
    ("others", "what"),
    [
        ({"storage": StorageType.MEMORY}, "storage is memory, not file"),
        ({"retention": RetentionPolicy.WORK_QUEUE}, "retention is workqueue, not limits"),
    ],
)
def test_a_stream_of_another_kind_is_refused(
    config: EventsConfig, others: dict[str, Any], what: str
) -> None:
    async def work(stream: JetStreamContext, topology: Topology) -> None:
        await stream.add_stream(
            StreamConfig(name=config.stream, subjects=[f"{config.prefix}.evt.>"], **others)
        )
        with pytest.raises(TopologyConflict, match=what):
            await topology.ensure()

    on_server(config, work)


def test_a_subject_that_would_no_longer_be_stored_is_refused(config: EventsConfig) -> None:
    async def work(stream: JetStreamContext, topology: Topology) -> None:
        await stream.add_stream(
            StreamConfig(name=config.stream, subjects=[f"{config.prefix}.>"], max_age=3600)
        )
        with pytest.raises(TopologyConflict, match="would no longer be stored"):
            await topology.ensure()

    on_server(config, work)


def test_subjects_of_another_stream_are_refused_with_its_name(config: EventsConfig) -> None:
    other = f"{config.prefix}_OTHER"

    async def work(stream: JetStreamContext, topology: Topology) -> None:
        await stream.add_stream(StreamConfig(name=other, subjects=[f"{config.prefix}.evt.*.>"]))
        with pytest.raises(TopologyConflict, match=f"{other}.*NATS_SUBJECT_PREFIX"):
            await topology.ensure()

    on_server(config, work)


def test_the_status_counts_what_is_there(config: EventsConfig, make_event: Make) -> None:
    async def program() -> tuple[list[StreamStatus], list[StreamStatus]]:
        async with EventBus.connect(config) as bus:
            before = await bus.topology.status()
            await bus.topology.ensure()
            await bus.publish_many([make_event() for _ in range(5)])
            return before, await bus.topology.status()

    before, after = asyncio.run(program())
    assert [(one.exists, one.well) for one in before] == [(False, False)] * 2
    assert [(one.name, one.messages) for one in after] == [
        (config.stream, 5),
        (config.dead_letter_stream, 0),
    ]
    assert after[0].bytes > 0


def test_a_tenant_that_is_purged_leaves_nothing_and_others_keep_all(
    config: EventsConfig, make_event: Make
) -> None:
    async def work(stream: JetStreamContext, topology: Topology) -> None:
        await topology.ensure()
        for tenant in ("acme", "acme_2", "globex"):
            for subject in (
                f"{config.prefix}.evt.{tenant}.deal.closed_won.3",
                f"{config.prefix}.evt.{tenant}.contact.created.1",
                f"{config.prefix}.replay.mail__send.{tenant}.deal.closed_won.3",
                f"{config.prefix}.dlq.mail__send.{tenant}.deal.closed_won.3",
            ):
                await stream.publish(subject, b"{}")
        assert await topology.purge("acme") == 4
        assert await topology.purge("acme") == 0
        with pytest.raises(InvalidTenantId):
            await topology.purge("*")
        left = [one.messages for one in await topology.status()]
        assert left == [6, 2]
        info = await stream.stream_info(config.stream, subjects_filter=f"{config.prefix}.>")
        assert not [subject for subject in info.state.subjects or {} if ".acme." in subject]

    on_server(config, work)


def test_purging_where_there_are_no_streams_does_nothing(config: EventsConfig) -> None:
    async def work(stream: JetStreamContext, topology: Topology) -> None:
        assert await topology.purge("acme") == 0

    on_server(config, work)


def test_a_server_without_jetstream_is_an_error_in_time(
    config: EventsConfig, nats_url: str
) -> None:
    # An account without JetStream answers its API with "no responders".
    async def work(stream: JetStreamContext, topology: Topology) -> None:
        topology._manager._prefix = "$NOBODY.API"
        for call in (topology.ensure, topology.status):
            with pytest.raises(StreamUnavailable):
                await call()

    on_server(config, work)
