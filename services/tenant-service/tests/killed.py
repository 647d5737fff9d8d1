"""Begin registrations, each in a process that dies by SIGKILL before or after one of its steps.

`python killed.py <url of the app's role> <url of the owner> <step>:<before|after>:<subdomain> ...`
prints how each of them ended, as `os.waitpid` has it. The owner of `refused-...` is refused. A number of
milliseconds instead of a step is when the process dies, wherever it is then.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

import httpx2 as httpx

from mtenant_chassis import AuthSettings, Settings
from mtenant_chassis.testing import Issuer, RecordingEvents, running
from mtenant_config import Secret
from mtenant_database import DatabaseConfig
from mtenant_database.migrate import MigrateSettings
from tenant_service import TenantServiceSettings, create
from tenant_service.handlers.registration import Registrar


def auth_service(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/api/auth/token":
        return httpx.Response(200, json={"access_token": "t", "expires_in": 600})
    if json.loads(request.content)["email"].startswith("refused"):
        return httpx.Response(422, json={"code": "PASSWORD_WEAK", "status": 422})
    return httpx.Response(201, json={})


def dies(step: str, when: str) -> None:
    if step.isdigit():
        return
    real = getattr(Registrar, step)

    async def done(self: Registrar, *args: Any) -> None:
        if when == "after":
            await real(self, *args)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(Registrar, step, done)


async def main(app_url: str, owner_url: str, step: str, when: str, subdomain: str) -> None:
    dies(step, when)
    settings = Settings(
        service="tenant-service",
        database=DatabaseConfig(url=Secret(app_url), max_idle_conns=1, max_open_conns=4),
        environment="dev",
        migrate=MigrateSettings.from_env(),
        services={"auth-service": "http://auth"},
        auth=AuthSettings(client_secret=Secret("s3cr3t")),
    )
    app = create(
        settings,
        TenantServiceSettings(provision_url=Secret(owner_url)),
        keys=Issuer().keys,
        events=RecordingEvents().open,
        transport=httpx.MockTransport(auth_service),
    )
    owner = {
        "email": f"{subdomain}@example.com",
        "name": "Ada",
        "password": "correct horse battery",
    }
    asked = {"name": "Killed", "subdomain": subdomain, "owner": owner}
    async with running(app) as client:
        answer = await client.post("/api/tenants/register", json=asked)
        print(answer.status_code, answer.text, file=sys.stderr)


for crash in sys.argv[3:]:
    if (child := os.fork()) == 0:
        asyncio.run(main(*sys.argv[1:3], *crash.split(":")))
        os._exit(0)
    if (milliseconds := crash.partition(":")[0]).isdigit():
        time.sleep(int(milliseconds) / 1000)
        os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1])
