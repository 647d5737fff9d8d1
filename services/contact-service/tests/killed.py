"""Import a file in a process that dies by SIGKILL after some batches, or while one is written.

`python killed.py <url of the app's role> <tenant> <file> <batches>`; a fraction of a batch dies before its commit.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from contact_service import ContactServiceSettings, create
from contact_service.queries import import_queue
from mtenant_chassis import Settings
from mtenant_chassis.nats import nats_events
from mtenant_chassis.testing import Issuer, running
from mtenant_config import Secret
from mtenant_database import DatabaseConfig


def dies_after(batches: float) -> None:
    real, done = import_queue.keep, 0

    async def keep(tx: Any, *arguments: Any) -> None:
        nonlocal done
        await real(tx, *arguments)
        done += 1
        if done > batches:  # everything of this batch is written, and nothing is committed
            os.kill(os.getpid(), signal.SIGKILL)
        if done == batches:
            tx.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))

    vars(import_queue)["keep"] = keep  # the handlers call it by its module


async def main(url: str, tenant: str, file: bytes, batches: str) -> None:
    dies_after(float(batches))
    database = DatabaseConfig(url=Secret(url), max_idle_conns=1, max_open_conns=4)
    settings = Settings(
        service="contact-service",
        database=database,
        environment="dev",
        services={"auth-service": "http://auth"},
    )
    issuer = Issuer()
    app = create(settings, ContactServiceSettings(), keys=issuer.keys, events=nats_events())
    async with running(app) as client:
        answer = await client.post(
            "/api/contacts/import",
            files={"file": ("contacts.csv", file)},
            headers=issuer.bearer(tenant, "owner"),
        )
        print(answer.status_code, answer.text, file=sys.stderr)
        await asyncio.sleep(60)


_, app_url, whose, path, after = sys.argv
asyncio.run(main(app_url, whose, Path(path).read_bytes(), after))
