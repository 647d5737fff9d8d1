"""What the tests of outbox and inbox share: a database with an outbox, and rows put into it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats
import psycopg
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import StreamConfig

from mtenant_errors import AppError, InternalServerError, ServiceUnavailable
from mtenant_events.event import Message, PublishResult
from mtenant_events.store.installation import install

DEADLINE = 30.0  # seconds; only a test that fails waits so long
_numbers = itertools.count()


@dataclass(frozen=True)
class Place:
    """A database of its own, with a role that owns the outbox and one for the program."""

    admin: str
    owner: str
    app: str

    @property
    def role(self) -> str:
        return str(urlsplit(self.app).username)

    def run(self, *statements: str) -> list[Any]:
        """Run statements as the superuser; return the rows of the last."""
        with psycopg.connect(self.admin, autocommit=True) as conn:
            cursor = conn.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str) -> Any:
        """Run a query as the superuser; return its only value."""
        return self.run(query)[0][0]

    @property
    def waiting(self) -> int:
        """How many rows wait in the outbox."""
        return int(self.value("select count(*) from eventing.outbox"))

    def fill(
        self, stream: str, tenant: str, keys: Sequence[str], counts: Counter[str] | None = None
    ) -> None:
        """Put a row of each key into the outbox, its body `key:n`, where n counts the key's rows."""
        counts, rows = Counter() if counts is None else counts, []
        for key in keys:
            body = f"{key}:{counts[key]}"
            counts[key] += 1
            headers = json.dumps({"Nats-Msg-Id": f"{tenant}:{body}"})
            rows.append((tenant, key, f"{stream}.{tenant}", headers, body.encode()))
        with psycopg.connect(self.app) as conn, conn.cursor() as cursor:
            cursor.executemany(
                "insert into eventing.outbox (tenant, key, subject, headers, body)"
                " values (%s, %s, %s, %s, %s)",
                rows,
            )

    def tenant(self, tenant: str) -> str:
        """Make the schema of a tenant, with an inbox and a table of effects; return its name."""
        schema = f"tenant_{tenant}"
        with psycopg.connect(self.owner, autocommit=True) as conn:
            conn.execute(
                f"create schema {schema}; grant usage on schema {schema} to {self.role};"
                f" create table {schema}.effects (consumer text, event_id text, n int);"
                f" grant all on {schema}.effects to {self.role}".encode()
            )
        install(self.owner, inboxes=[schema], app=self.role)
        return schema


def make_place(superuser: str, *, installed: bool = True) -> Place:
    name = f"ev_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(superuser, autocommit=True) as conn:
        for statement in (
            f"create role {name}_owner login",
            f"create role {name}_app login",
            f"create database {name} owner {name}_owner",
            f"revoke all on database {name} from public",
            f"grant connect on database {name} to {name}_app",
        ):
            conn.execute(statement.encode())
    parts = urlsplit(superuser)
    at = f"{parts.hostname}:{parts.port}/{name}"
    place = Place(
        admin=parts._replace(path=f"/{name}").geturl(),
        owner=f"postgresql://{name}_owner@{at}",
        app=f"postgresql://{name}_app@{at}",
    )
    if installed:
        install(place.owner, app=place.role)
    return place


@pytest.fixture
def place(postgres_dsn: str) -> Place:
    """A new database with an outbox."""
    return make_place(postgres_dsn)


@pytest.fixture
def bare_place(postgres_dsn: str) -> Place:
    """A new database with nothing in it."""
    return make_place(postgres_dsn, installed=False)


@pytest.fixture(scope="session")
def place_on() -> Callable[[str], Place]:
    """Make a database with an outbox on a server, named by its superuser's URL."""
    return make_place


class Carrier:
    """Publishes by bare nats-py, so that what is tested is the relay; fails when it is told to."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._inbox = client.new_inbox()
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._sent = itertools.count()
        self.fails: Callable[[Message], bool] = lambda message: False
        self.published = 0

    @property
    def connected(self) -> bool:
        return bool(self.client.is_connected)

    async def open(self) -> None:
        await self.client.subscribe(f"{self._inbox}.*", cb=self._answered)

    async def _answered(self, message: Msg) -> None:
        if (future := self._waiting.pop(message.subject.rpartition(".")[2], None)) is not None:
            future.set_result(message)

    async def publish_many(
        self, messages: Sequence[Message], *, window: int = 256
    ) -> list[PublishResult | AppError]:
        answers = []
        for message in messages:
            token, future = str(next(self._sent)), asyncio.get_running_loop().create_future()
            answers.append(future)
            if self.fails(message):
                future.cancel()
                continue
            self.published += 1
            self._waiting[token] = future
            await self.client.publish(
                message.subject,
                message.body,
                reply=f"{self._inbox}.{token}",
                headers=dict(message.headers),
            )
        return [await self._result(future) for future in answers]

    async def _result(self, future: asyncio.Future[Msg]) -> PublishResult | AppError:
        if future.cancelled():
            return InternalServerError("the test wants it so")
        answer = await future
        if answer.headers:
            return ServiceUnavailable("no stream")
        ack = json.loads(answer.data)
        if "error" in ack:
            return InternalServerError(ack["error"]["description"])
        return PublishResult(ack["stream"], ack["seq"], ack.get("duplicate", False), 1)


@dataclass(frozen=True)
class Stream:
    """A stream of the test server, for subjects that begin with its name."""

    url: str
    name: str

    @asynccontextmanager
    async def open(self, **settings: Any) -> AsyncIterator[Carrier]:
        """Make the stream if it is not there, and connect."""
        client = await nats.connect(
            self.url,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.05,
            error_cb=_ignore,
        )
        try:
            config = StreamConfig(
                name=self.name, subjects=[f"{self.name}.>"], duplicate_window=600, **settings
            )
            await client.jetstream().add_stream(config)
            carrier = Carrier(client)
            await carrier.open()
            yield carrier
        finally:
            await client.close()

    async def messages(self) -> list[Msg]:
        """Return everything in it, in order."""
        client = await nats.connect(self.url)
        try:
            js = client.jetstream()
            wanted = (await js.stream_info(self.name)).state.messages
            found: list[Msg] = []
            if wanted:
                subscription = await js.subscribe(f"{self.name}.>", ordered_consumer=True)
                found = [await subscription.next_msg(timeout=DEADLINE) for _ in range(wanted)]
            return found
        finally:
            await client.close()

    async def bodies(self) -> list[str]:
        """Return the bodies of everything in it, in order."""
        return [message.data.decode() for message in await self.messages()]


async def _ignore(error: Exception) -> None:
    pass  # a lost connection is what some tests are about


Eventually = Callable[[Callable[[], object]], Any]


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a predicate holds, and fail if it does not in time."""

    async def wait(predicate: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not predicate():
            assert time.monotonic() < deadline, "it did not happen in time"
            await asyncio.sleep(0.005)

    return wait


@pytest.fixture
def stream(nats_url: str) -> Stream:
    """A stream of its own on the test server."""
    return Stream(nats_url, f"S{os.getpid()}_{next(_numbers)}")


@pytest.fixture(scope="session")
def stream_on() -> Callable[[str], Stream]:
    """Make a stream on a server, named by its URL."""
    return lambda url: Stream(url, f"S{os.getpid()}_{next(_numbers)}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _as_ordinary(home: Path, *argv: object) -> list[str]:
    """Return a command line for a server that does not run as root, and give it its folder."""
    command = [str(one) for one in argv]
    if os.geteuid() != 0:
        return command
    for path in (home, *home.iterdir()):
        shutil.chown(path, "postgres", "postgres")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]


@contextmanager
def _serving(home: Path, url: str, *argv: object) -> Iterator[str]:
    process = subprocess.Popen(
        _as_ordinary(home, *argv), cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                psycopg.connect(url, connect_timeout=2).close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None, "the server has ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.02)
        yield url
    finally:
        process.send_signal(signal.SIGQUIT)  # at once: no client is waited for
        process.wait(20)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def old_server() -> Iterator[str]:
    """A PostgreSQL 15, the oldest that is promised; the URL of its superuser."""
    programs = Path("/usr/lib/postgresql/15/bin")
    if not (programs / "postgres").exists():
        pytest.skip("this machine has no PostgreSQL 15")
    home, port = Path(tempfile.mkdtemp(prefix="mtenant-pg15-")), _free_port()
    initdb = [programs / "initdb", "-D", home / "data", "-U", "postgres", "-A", "trust", "-N"]
    subprocess.run(
        _as_ordinary(home, *initdb), cwd=home, check=True, capture_output=True, timeout=60
    )
    options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-k", home]
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    with _serving(home, url, programs / "postgres", "-D", home / "data", "-p", port, *options):
        yield url


@pytest.fixture
def pgbouncer(place: Place) -> Iterator[str]:
    """The place's database behind PgBouncer, which gives each transaction any of two connections."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("this machine has no PgBouncer")
    home, port = Path(tempfile.mkdtemp(prefix="mtenant-pgbouncer-")), _free_port()
    target = psycopg.conninfo.conninfo_to_dict(place.app)
    (home / "users.txt").write_text(f'"{place.role}" ""\n')
    (home / "pgbouncer.ini").write_text(
        f"[databases]\n{target['dbname']} = host={target['host']} port={target['port']}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {home}/users.txt\npool_mode = transaction\n"
        "default_pool_size = 2\n"
    )
    url = f"postgresql://{place.role}@127.0.0.1:{port}/{target['dbname']}"
    with _serving(home, url, program, home / "pgbouncer.ini"):
        yield url
