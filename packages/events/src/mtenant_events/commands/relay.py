"""`mtenant-events relay`: carry what waits in the outbox, until the process is told to stop."""

from __future__ import annotations

import asyncio
import logging
import sys
from argparse import Namespace

from mtenant_events.bus import EventBus
from mtenant_events.commands.settings import settings
from mtenant_events.commands.status import DONE, FAILED
from mtenant_events.config import EventsConfig
from mtenant_events.relay import Relay

_GLANCE = 0.5  # seconds between two looks at whether it is at work


async def run(options: Namespace) -> int:
    """Run a relay. SIGTERM and SIGINT let it end its batch; a bus or a relay that is dead ends it."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    outbox = settings(options)
    async with EventBus.connect(EventsConfig.from_env()) as bus:
        for stream in await bus.topology.status():
            if not stream.exists:
                logging.warning("there is no stream %s: mtenant-events streams ensure", stream.name)
        listen = outbox.pooler == "none"
        async with Relay(outbox.url.reveal(), bus.transport, listen=listen) as relay:
            logging.info("the relay is at work")
            try:
                while relay.running and not bus.health().closed:  # noqa: ASYNC110 - two ends, in two places
                    await asyncio.sleep(_GLANCE)
            except asyncio.CancelledError:
                logging.info("the relay was told to stop")
                return DONE
    print(f"mtenant-events: {bus.health().problem}", file=sys.stderr)
    return FAILED
