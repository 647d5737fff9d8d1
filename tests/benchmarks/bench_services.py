"""What the services cost beside a minimal FastAPI and asyncpg program that does the same by hand.

Each is a process of its own with one worker, on the same PostgreSQL; the load generator is this process.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from harness import Bound, Case, Comparison, report
from load import Load

from mtenant_devstack import Stack
from mtenant_devstack.crm import Crm
from mtenant_devstack.http import Http
from mtenant_devstack.service import Service
from mtenant_devstack.story import Organization, log_in, register

CONNECTIONS = 16
OURS = "GET /api/auth/profile of auth-service"
PEER = "the same by FastAPI and asyncpg"
PATH = "/api/auth/profile"
LOGINS = 5  # ten in five minutes are allowed
DEADLINE = 30.0  # seconds for the peer to start


@contextmanager
def peer(crm: Crm) -> Iterator[tuple[str, int]]:
    """Run the peer; yield its URL and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    keys = f"{crm.services['auth-service'].url}/.well-known/jwks.json"
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("peer_fastapi.py"), str(port)],
        env={**os.environ, "DATABASE_URL": crm.app, "KEYS_URL": keys},
    ) as process:
        try:
            url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + DEADLINE
            while not answers(f"{url}/openapi.json"):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield url, process.pid
        finally:
            process.terminate()


def answers(url: str) -> bool:
    """Tell whether somebody answers."""
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False


def memory(pid: int) -> float:
    """Return what a process has in memory, in MiB (proc(5), VmRSS)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    [kib] = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return kib / 1024


def start_again(service: Service) -> float:
    """Stop a service and start it; return the seconds until it is ready."""
    service.stop()
    began = time.perf_counter()
    service.start()
    return time.perf_counter() - began


def login(organization: Organization, urls: dict[str, str]) -> float:
    """Return the seconds of a login; the hash of the password is nearly all of it."""
    who = {
        "tenant": organization.tenant,
        "email": organization.owner_email,
        "password": organization.password,
    }
    nobody = Http(urls)
    began = time.perf_counter()
    for _ in range(LOGINS):
        nobody.post("auth-service", "/api/auth/login", who)
    return (time.perf_counter() - began) / LOGINS


def main() -> int:
    """Run the suite; the exit status is 1 if a bound was missed."""
    with Stack() as stack, Crm(stack, stack.urls) as crm, asyncio.Runner() as runner:
        crm.start()
        for service in crm.services.values():
            print(f"{service.name}: ready {start_again(service):.2f} s after its start")
        urls = {name: service.url for name, service in crm.services.items()}
        acme = log_in(Http(urls), register(Http(urls), "acme"))
        bearer = {"authorization": f"Bearer {acme.owner.token}"}
        with peer(crm) as (url, pid):
            life = AsyncExitStack()
            loads = [
                Load(where + PATH, bearer, CONNECTIONS) for where in (urls["auth-service"], url)
            ]
            ours, theirs = [runner.run(life.enter_async_context(load)) for load in loads]
            status = report(
                "services",
                [
                    Comparison(
                        f"services: the profile, {CONNECTIONS} at once",
                        [
                            Case(OURS, lambda n: runner.run(ours.send(n))),
                            Case(PEER, lambda n: runner.run(theirs.send(n))),
                        ],
                        [Bound(OURS, PEER, 1 / 0.75)],
                        rounds=21,
                        seconds_a_turn=0.3,
                    )
                ],
            )
            runner.run(life.aclose())
            print(f"\na login: {login(acme, urls) * 1e3:.1f} ms")
            print(f"memory of the peer: {memory(pid):.0f} MiB")
            for service in crm.services.values():
                assert service.pid is not None
                print(f"memory of {service.name}: {memory(service.pid):.0f} MiB")
    return status


if __name__ == "__main__":
    sys.exit(main())
