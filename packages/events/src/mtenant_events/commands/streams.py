"""`mtenant-events streams`: make the streams, see how they stand, delete what is a tenant's."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict

from mtenant_events.bus import EventBus
from mtenant_events.commands.status import DONE, LOOK
from mtenant_events.config import EventsConfig
from mtenant_events.topology import StreamStatus


async def ensure(options: Namespace) -> int:
    """Make what is missing, change what may be changed."""
    async with EventBus.connect(EventsConfig.from_env()) as bus:
        for step in await bus.topology.ensure():
            print(step)
    return DONE


async def purge(options: Namespace) -> int:
    """Delete what the streams have of one tenant."""
    async with EventBus.connect(EventsConfig.from_env()) as bus:
        count = await bus.topology.purge(options.tenant)
    print(f"{count} messages of {options.tenant} deleted")
    return DONE


async def status(options: Namespace) -> int:
    """Say how the streams stand."""
    async with EventBus.connect(EventsConfig.from_env()) as bus:
        found = await bus.topology.status()
    if options.json:
        print(json.dumps([asdict(one) for one in found]))
    else:
        for one in found:
            print(_line(one))
            for difference in one.differences:
                print(f"  {difference}")
    return DONE if all(one.well for one in found) else LOOK


def _line(stream: StreamStatus) -> str:
    if not stream.exists:
        return f"{stream.name}: not there; `mtenant-events streams ensure` makes it"
    return (
        f"{stream.name}: {stream.messages} messages, {stream.bytes} bytes, {stream.consumers} consumers,"
        f" replicas {stream.replicas}"
    )
