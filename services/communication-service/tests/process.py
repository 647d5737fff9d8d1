"""Run the service in processes of its own: one for each line of the input, which says when it dies.

`python process.py <url of the app's role> <url of NATS> <directory of mails>`: for a line `never` a process runs until
its input ends; for `before:3` or `after:3` it dies by SIGKILL before or after the third commit of a tenant's
transaction. Prints the process's id, for a line `wait` how the first of them ended, and at the end how the others did; nothing is served by HTTP, everything comes by events.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from typing import Any

import httpx2 as httpx

from communication_service import CommunicationServiceSettings, create
from communication_service.handlers.directory import CALLEES
from mtenant_chassis import AuthSettings, MailSettings, Settings
from mtenant_chassis.mail import worker
from mtenant_chassis.testing import Issuer, running
from mtenant_config import Secret
from mtenant_database import DatabaseConfig, Transaction
from mtenant_events import Subscriptions


def others(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/api/auth/token":
        return httpx.Response(200, json={"access_token": "t", "expires_in": 600})
    return httpx.Response(200, json={"first_name": "Ada", "email": "ada@example.com"})


def dies(when: str, number: int) -> None:
    real: Any = Transaction.__aexit__
    left = number

    async def ended(self: Transaction, *exc: Any) -> Any:
        nonlocal left
        left -= self.tenant is not None
        last = left == 0  # now: others end while this one does
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return await real(self, *exc)
        finally:  # a commit that failed has ended, too, and there is no other that it could die at
            if last:
                os.kill(os.getpid(), signal.SIGKILL)

    setattr(Transaction, "__aexit__", ended)  # noqa: B010 - the moment of death is in there


async def main(database: str, nats: str, directory: str) -> None:
    settings = Settings(
        service="communication-service",
        database=DatabaseConfig(url=Secret(database), max_idle_conns=1, max_open_conns=4),
        environment="dev",
        nats_url=Secret(nats),
        mail=MailSettings(directory=directory),
        services={name: f"http://{name}" for name in CALLEES},
        auth=AuthSettings(client_secret=Secret("s3cr3t")),
    )
    own = CommunicationServiceSettings(
        public_url="https://crm.example.com", tracking_secret=Secret("x" * 32)
    )
    app = create(settings, own, keys=Issuer().keys, transport=httpx.MockTransport(others))
    async with running(app):
        await asyncio.Event().wait()


# What a process had that died is others' soon: the test need not wait for half a minute.
defaults: Any = Subscriptions.on.__kwdefaults__
defaults["ack_wait"] = 1.0
setattr(worker, "LEASE", timedelta(seconds=2))  # noqa: B010 - final for everybody else

children: list[int] = []
for line in sys.stdin:
    doom = line.strip()
    if doom == "wait":
        print(os.waitstatus_to_exitcode(os.waitpid(children.pop(0), 0)[1]), flush=True)
        continue
    if (child := os.fork()) == 0:
        signal.alarm(600)  # if the test is killed, too, whose waits are shorter
        if doom != "never":
            dies(doom.partition(":")[0], int(doom.partition(":")[2]))
        asyncio.run(main(*sys.argv[1:4]))
        os._exit(0)
    children.append(child)
    print(child, flush=True)
for child in children:
    os.kill(child, signal.SIGTERM)  # one that is dead waits to be asked how it ended
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
