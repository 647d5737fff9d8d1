"""Take turns of a scheduler, each in a process that dies by SIGKILL before or after one of its steps.

`python killed.py <url of the app's role>` reads `<step>:<before|after>` from each line of its input, and prints
how the process ended: -9 if it was killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import httpx2 as httpx

from communication_service import CommunicationServiceSettings, create
from communication_service.handlers.directory import CALLEES
from communication_service.handlers.scheduled import ScheduledEmails
from communication_service.queries import schedule, task
from communication_service.scheduler import Scheduler
from mtenant_chassis import AuthSettings, Settings
from mtenant_chassis.testing import Issuer, RecordingEvents, running
from mtenant_config import Secret
from mtenant_database import DatabaseConfig
from mtenant_database import Transaction as Tx

STEPS: dict[str, tuple[Any, str]] = {
    "claim": (schedule, "claim"),
    "remind": (task, "remind"),
    "plan": (ScheduledEmails, "plan"),
    "remove": (schedule, "remove"),
    "commit": (Tx, "__aexit__"),
}


def dies(step: str, when: str) -> None:
    where, name = STEPS[step]
    real = getattr(where, name)

    async def done(*args: Any, **options: Any) -> Any:
        if step == "commit" and args[0].tenant is None:  # that of the look at the schedule
            return await real(*args, **options)
        if when == "after":
            await real(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    setattr(where, name, done)


async def main(url: str, step: str, when: str) -> None:
    settings = Settings(
        service="communication-service",
        database=DatabaseConfig(url=Secret(url), max_idle_conns=1, max_open_conns=3),
        environment="dev",
        auth=AuthSettings(client_secret=Secret("s3cr3t")),
        services={name: f"http://{name}" for name in CALLEES},
    )
    own = CommunicationServiceSettings()
    app = create(
        settings,
        own,
        keys=Issuer().keys,
        events=RecordingEvents().open,
        transport=httpx.MockTransport(lambda request: httpx.Response(503)),
    )
    dies(step, when)
    async with running(app):
        await Scheduler(app.state.chassis, own).turn()


async def nothing(self: Scheduler) -> None:
    await asyncio.Event().wait()


setattr(Scheduler, "run", nothing)  # noqa: B010 - the app's own would do it first
for line in sys.stdin:
    if (child := os.fork()) == 0:
        asyncio.run(main(sys.argv[1], *line.strip().split(":")))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
