"""What the services cost beside a minimal FastAPI and asyncpg program that does the same by hand.

Each is a process of its own with one worker, on the same PostgreSQL; the load generator is this process.
"""

from __future__ import annotations

import asyncio
import itertools
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
from services_files import comparisons as of_files
from services_files import people, rates

from mtenant_devstack import Stack
from mtenant_devstack.crm import Crm
from mtenant_devstack.http import Http
from mtenant_devstack.service import Service
from mtenant_devstack.story import Organization, log_in, register

CONNECTIONS = 16
SHARE = 1 / 0.75  # at least 0.75 of the peer's requests per second
PATH = "/api/auth/profile"
LOGINS = 5  # ten in five minutes are allowed
DEADLINE = 30.0  # seconds for the peer to start

_numbers = itertools.count()


@contextmanager
def peer(crm: Crm) -> Iterator[tuple[str, int]]:
    """Run the peer; yield its URL and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    keys = f"{crm.services['auth-service'].url}/.well-known/jwks.json"
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("peer_fastapi.py"), str(port)],
        env={**os.environ, "DATABASE_URL": crm.app, "KEYS_URL": keys, "NATS_URL": crm.nats_url},
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


def body() -> bytes:
    """Return a contact that nobody has."""
    number = next(_numbers)
    return b'{"first_name": "Person", "last_name": "Example", "email": "p%d@example.org"}' % number


def comparisons(
    runner: asyncio.Runner, life: AsyncExitStack, urls: dict[str, str], token: str
) -> list[Comparison]:
    """Return what is compared; `urls` of the services and the peer."""
    bearer = {"authorization": f"Bearer {token}"}

    def case(name: str, where: str, path: str, *, posts: bool = False) -> Case:
        load = Load(urls[where] + path, bearer, CONNECTIONS, body if posts else None)
        runner.run(life.enter_async_context(load))
        return Case(name, lambda n: runner.run(load.send(n)))

    contacts = "contact-service"
    Http(urls, token).upload(contacts, "/api/contacts/import", "people.csv", people(1000))
    found = Http(urls, token).get(contacts, "/api/contacts?limit=1")["items"][0]["id"]
    pairs = [
        ("the profile", "auth-service", PATH),
        ("one contact", contacts, f"/api/contacts/{found}"),
        ("a page of 50 contacts", contacts, "/api/contacts?limit=50"),
    ]
    made = [
        Comparison(
            f"services: {what}, {CONNECTIONS} at once",
            [case(f"{what}, {service}", service, path), case(f"{what}, peer", "peer", path)],
            [Bound(f"{what}, {service}", f"{what}, peer", SHARE)],
            rounds=21,
            seconds_a_turn=0.3,
        )
        for what, service, path in pairs
    ]
    ours = "a new contact with its event, contact-service"
    bare, published = "a new contact, peer", "a new contact, then its event, peer"
    create = Comparison(
        f"services: a new contact, {CONNECTIONS} at once",
        [
            case(ours, contacts, "/api/contacts", posts=True),
            case(bare, "peer", "/api/contacts", posts=True),
            case(published, "peer", "/api/contacts-published", posts=True),
        ],
        [Bound(ours, bare, SHARE), Bound(ours, published, SHARE)],
        rounds=61,  # the ratio of one turn differs from the next by a tenth: the disk takes part
        seconds_a_turn=0.3,
    )
    return [*made, create]


def main() -> int:
    """Run the suite; the exit status is 1 if a bound was missed."""
    with Stack(mode="durable") as stack, Crm(stack, stack.urls) as crm, asyncio.Runner() as runner:
        crm.start()
        for service in crm.services.values():
            print(f"{service.name}: ready {start_again(service):.2f} s after its start")
        urls = {name: service.url for name, service in crm.services.items()}
        acme = log_in(Http(urls), register(Http(urls), "acme"))
        assert acme.owner.token is not None
        with peer(crm) as (url, pid):
            life = AsyncExitStack()
            try:
                compared = comparisons(runner, life, {**urls, "peer": url}, acme.owner.token)
                files = of_files(crm)
                status = report("services", [*compared, *files])
            finally:
                runner.run(life.aclose())
            print("", *rates(files), sep="\n")
            print(f"\na login: {login(acme, urls) * 1e3:.1f} ms")
            print(f"memory of the peer: {memory(pid):.0f} MiB")
            for service in crm.services.values():
                assert service.pid is not None
                print(f"memory of {service.name}: {memory(service.pid):.0f} MiB")
    return status


if __name__ == "__main__":
    sys.exit(main())
