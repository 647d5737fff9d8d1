"""`mtenant-events outbox`: make it, upgrade it, see what waits."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from dataclasses import asdict

from mtenant_events.commands.settings import settings
from mtenant_events.commands.status import DONE, LOOK
from mtenant_events.store import installation
from mtenant_events.store.installation import Step
from mtenant_events.store.queue import OutboxQueue


async def install(options: Namespace) -> int:
    """Make the outbox, and inboxes."""
    dsn = settings(options).url.reveal()
    _say(await asyncio.to_thread(installation.install, dsn, inboxes=options.inbox, app=options.app))
    return DONE


async def upgrade(options: Namespace) -> int:
    """Bring everything to the newest version."""
    _say(await asyncio.to_thread(installation.upgrade, settings(options).url.reveal()))
    return DONE


async def files(options: Namespace) -> int:
    """Print where the migrations are."""
    print(installation.MIGRATIONS)
    return DONE


async def status(options: Namespace) -> int:
    """Count what waits."""
    async with OutboxQueue(settings(options).url.reveal(), listen=False) as queue:
        status = await queue.status()
    if options.json:
        print(json.dumps(asdict(status)))
    else:
        print(f"{status.pending} wait, the oldest for {status.oldest_age:.1f} s")
        print(f"{status.failed} of them could not be published before")
    return LOOK if status.failed else DONE


def _say(steps: list[Step]) -> None:
    for step in steps:
        print(step)
    if not steps:
        print("nothing to do: everything is there")
