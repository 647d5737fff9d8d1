"""What the tests share: a database with an owner and an application role, tenants, a proxy, and
servers that replicate."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from mtenant_config import Secret
from mtenant_database.config import DatabaseConfig
from mtenant_database.database import Database
from mtenant_database.doctor import Report, examine
from mtenant_database.migrate import Fleet, History, MigrateSettings, Migration, provision
from mtenant_devstack import binaries
from mtenant_devstack.account import Account, server_account

DEADLINE = 30.0  # seconds; only a test that fails waits so long
_numbers = itertools.count()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True)
class Place:
    """One database of its own on the test server, with an owner for DDL and a role for the program."""

    admin: str
    owner: str
    app: str

    def run(self, *statements: str) -> list[Any]:
        """Run statements as the superuser; return the rows of the last."""
        return _run(self.admin, *statements)

    def tenant(self, tenant: str, *statements: str) -> str:
        """Make a tenant with a table of contacts: one with id 1, and the tenant's id as its name."""
        schema = f"tenant_{tenant}"
        _run(
            self.owner,
            f"create schema {schema}",
            f"grant usage on schema {schema} to {self.role}",
            f"alter default privileges in schema {schema} grant all on tables to {self.role}",
            f"alter default privileges in schema {schema} grant all on sequences to {self.role}",
            f"set search_path to {schema}",
            "create table contacts (id int primary key, name text not null)",
            f"insert into contacts values (1, '{tenant}')",
            *statements,
        )
        return tenant

    def fresh(self, *statements: str) -> str:
        """Make a tenant with an id that no other test has."""
        return self.tenant(f"t{next(_numbers)}_{os.getpid()}", *statements)

    @property
    def role(self) -> str:
        return str(urlsplit(self.app).username)

    @property
    def name(self) -> str:
        return urlsplit(self.app).path.lstrip("/")

    def config(self, **settings: Any) -> DatabaseConfig:
        settings = {"max_idle_conns": 2, "max_open_conns": 4, "max_retries": 0} | settings
        return DatabaseConfig(url=Secret(settings.pop("url", self.app)), **settings)


def _run(url: str, *statements: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as conn:
        cursor = conn.cursor()
        for statement in statements:
            cursor.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def make_place(superuser: str) -> Place:
    name = f"mt_{os.getpid()}_{next(_numbers)}"
    _run(
        superuser,
        f"create role {name}_owner login",
        f"create role {name}_app login",
        f"create database {name} owner {name}_owner",
        f"revoke all on database {name} from public",
        f"grant connect on database {name} to {name}_app",
    )
    parts = urlsplit(superuser)
    at = f"{parts.hostname}:{parts.port}/{name}"
    return Place(
        admin=parts._replace(path=f"/{name}").geturl(),
        owner=f"postgresql://{name}_owner@{at}",
        app=f"postgresql://{name}_app@{at}",
    )


@pytest.fixture(scope="session")
def place(postgres_dsn: str) -> Place:
    """A database that all tests of the session share; each makes tenants of its own."""
    return make_place(postgres_dsn)


@pytest.fixture(scope="session")
def new_place(postgres_dsn: str) -> Callable[[], Place]:
    """Make another database, for tests that change what tenants share."""
    return lambda: make_place(postgres_dsn)


@pytest.fixture(scope="session")
def place_on() -> Callable[[str], Place]:
    """Make a database on another server, named by its superuser's URL."""
    return make_place


@pytest.fixture
async def db(place: Place) -> AsyncIterator[Database]:
    """A connected Database of at most four connections."""
    async with Database(place.config()) as database:
        yield database


Eventually = Callable[[Callable[[], object]], Any]


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a predicate holds, and fail if it does not in time."""

    async def wait(predicate: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not predicate():
            assert time.monotonic() < deadline, "it did not happen in time"
            await asyncio.sleep(0.002)

    return wait


class Requests:
    """Finds, in what a client says, the messages by which something happens.

    To prepare a statement is not to run it: a connection that the pool makes in the background prepares
    a COMMIT, and has nothing to commit.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._typed = False  # what comes before the session begins has no type

    def read(self, data: bytes) -> list[bytes]:
        """Return those that have become whole."""
        self._rest += data
        found = []
        while message := self._next():
            named = message[:1] == b"P" and message[5:6] != b"\0"
            if message[:1] in {b"Q", b"P", b"B"} and not named:
                found.append(message)
        return found

    def _next(self) -> bytes:
        head = 1 if self._typed else 0
        size = head + int.from_bytes(self._rest[head : head + 4])
        if not head + 4 <= size <= len(self._rest):
            return b""
        message, self._rest = self._rest[:size], self._rest[size:]
        if self._typed:
            return message
        self._typed = message[4:6] == b"\0\3"  # version 3.x: no question before it, such as for TLS
        return b"\0" + message


@dataclass
class Proxy:
    """A TCP proxy before the server that counts round trips, and loses answers when told to.

    A round trip begins when the client speaks after the server has (or first). What is lost is the answer
    to the first statement that is run, of whichever connection, with some text in it.
    """

    url: str = ""
    trips: int = 0
    lose_answer_to: bytes | None = None
    cut_after: bytes | None = None
    refuse: bool = False
    lost: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @asynccontextmanager
    async def serving(self, upstream: str) -> AsyncIterator[Proxy]:
        parts = urlsplit(upstream)
        target = (str(parts.hostname), int(parts.port or 5432))
        server = await asyncio.start_server(lambda r, w: self._serve(r, w, target), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}").geturl()
        try:
            yield self
        finally:
            server.close()
            for writer in list(self.writers):
                writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int]
    ) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        up_reader, up_writer = await asyncio.open_connection(*target)
        self.writers |= {writer, up_writer}
        state = {"client": False, "losing": False}
        requests = Requests()

        async def upward() -> None:
            while data := await reader.read(65536):
                if not state["client"]:
                    self.trips += 1
                    state["client"] = True
                asked = requests.read(data)
                if (text := self.lose_answer_to) is not None and any(text in one for one in asked):
                    self.lose_answer_to = None
                    state["losing"] = True
                up_writer.write(data)
                await up_writer.drain()
                if (text := self.cut_after) is not None and any(text in one for one in asked):
                    # The server works on it, and the client is gone at once.
                    self.cut_after = None
                    writer.transport.abort()
            up_writer.close()

        async def downward() -> None:
            while data := await up_reader.read(65536):
                state["client"] = False
                if state["losing"]:
                    # The server has done it and says so, and nobody hears it.
                    self.lost += 1
                    writer.transport.abort()
                    return
                writer.write(data)
                await writer.drain()
            writer.close()

        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(upward(), downward())
        up_writer.close()
        self.writers -= {writer, up_writer}


@pytest.fixture
def new_proxy() -> type[Proxy]:
    """Make a proxy before another server."""
    return Proxy


@pytest.fixture
async def proxy(place: Place) -> AsyncIterator[Proxy]:
    """A proxy before the application's database."""
    async with Proxy().serving(place.app) as it:
        yield it


class Node:
    """One PostgreSQL 18, in a directory of its own."""

    def __init__(self, programs: Path, home: Path, account: Account | None) -> None:
        self._programs = programs
        self._home = home
        self._account = account
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    @property
    def data(self) -> Path:
        return self._home / f"data-{self.port}"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def initialise(self) -> None:
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--no-sync")

    def copy_of(self, source: Node, name: str = "replica") -> None:
        """Become a streaming replica of another node, which runs."""
        url = f"{source.url}?application_name={name}"
        self._run("pg_basebackup", "-D", self.data, "-d", url, "-R", "-c", "fast", "-N")

    def follow(self, source: Node) -> None:
        """Stream from another node from now on."""
        conninfo = f"host=127.0.0.1 port={source.port} user=postgres"
        self.run(f"alter system set primary_conninfo = '{conninfo}'", "select pg_reload_conf()")

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",
            "fsync": "off",
            "max_connections": 60,
            "wal_retrieve_retry_interval": "50ms",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self.data, "-p", str(self.port), *options],
            stderr=subprocess.DEVNULL,
            cwd=self._home,
            **self._who(),
        )
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, "the server has ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """End it at once, as a crash of the machine would."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End it in good order, if it runs."""
        self._end(signal.SIGINT)

    def _end(self, how: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def run(self, *statements: str) -> list[Any]:
        """Run statements as the superuser; return the rows of the last."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            cursor = conn.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def promote(self) -> None:
        """End being a replica, and wait until it is none."""
        assert self.run("select pg_promote(wait => true, wait_seconds => 60)") == [(True,)]

    def pause(self) -> None:
        """Receive, but replay no more."""
        self.run("select pg_wal_replay_pause()")
        while self.run("select pg_get_wal_replay_pause_state()") != [("paused",)]:
            time.sleep(0.01)

    def resume(self) -> None:
        self.run("select pg_wal_replay_resume()")

    def catch_up_with(self, source: Node) -> None:
        """Wait until it has replayed what another node has written by now."""
        [(target,)] = source.run("select pg_current_wal_lsn()::text")
        deadline = time.monotonic() + DEADLINE
        while self.run(f"select pg_last_wal_replay_lsn() >= '{target}'") != [(True,)]:
            assert time.monotonic() < deadline, "the replica does not catch up"
            time.sleep(0.01)

    def _run(self, program: str, *arguments: Any) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            capture_output=True,
            cwd=self._home,
            timeout=120,
            **self._who(),
        )

    def _who(self) -> dict[str, Any]:
        account = self._account
        return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


NewNode = Callable[[], Node]


@pytest.fixture(scope="session")
def new_node() -> Iterator[NewNode]:
    """Make a node that is nothing yet; it ends with the session."""
    account = server_account()
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="mtenant-nodes-"))
        stack.callback(shutil.rmtree, home)
        if account:
            os.chown(home, *account.ids)

        def staging(folder: Path, prefix: str) -> Path:
            made = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
            stack.callback(shutil.rmtree, made, ignore_errors=True)
            return made

        programs = binaries.runnable(binaries.postgres(), account, staging).parent

        def make() -> Node:
            node = Node(programs, home, account)
            stack.callback(node.stop)
            return node

        yield make


@pytest.fixture(scope="session")
def primary(new_node: NewNode) -> Node:
    """A primary that tests share, and leave one."""
    node = new_node()
    node.initialise()
    node.start()
    node.run(
        "create role app login",
        "create role owner login",
        "grant create on database postgres to owner",
    )
    return node


@pytest.fixture(scope="session")
def replica(primary: Node, new_node: NewNode) -> Node:
    """A replica of it that streams."""
    node = new_node()
    node.copy_of(primary)
    node.start()
    return node


@pytest.fixture
def new_replica(primary: Node, new_node: NewNode) -> Iterator[Node]:
    """Another one, which a test may do anything to."""
    node = new_node()
    node.copy_of(primary)
    node.start()
    yield node
    node.stop()


# Debian's place; others may put one on the PATH.
_PLACES = [f"/usr/lib/postgresql/{release}/bin" for release in (17, 16, 15)]


@pytest.fixture(scope="session")
def older_postgres_dsn() -> Iterator[str]:
    """The URL, for the superuser, of a PostgreSQL below 18."""
    programs = next((Path(place) for place in _PLACES if Path(place, "postgres").exists()), None)
    if programs is None:
        pytest.skip("there is no PostgreSQL below 18 on this machine")
    account = server_account()
    who: dict[str, Any] = {"user": account.uid, "group": account.gid} if account else {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = Path(tempfile.mkdtemp(prefix="mtenant-old-"))
    if account:
        os.chown(home, *account.ids)
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        subprocess.run(
            [
                programs / "initdb",
                "-D",
                home / "data",
                "-A",
                "trust",
                "-U",
                "postgres",
                "--no-sync",
            ],
            check=True,
            capture_output=True,
            cwd=home,
            extra_groups=[] if account else None,
            **who,
        )
        server = subprocess.Popen(
            [
                programs / "postgres",
                *("-D", home / "data"),
                *(f"--port={port}", "--listen_addresses=127.0.0.1", "--unix_socket_directories="),
                "--fsync=off",
            ],
            stderr=subprocess.DEVNULL,
            cwd=home,
            extra_groups=[] if account else None,
            **who,
        )
        try:
            _wait_for(url)
            yield url
        finally:
            server.terminate()
            server.wait(20)
    finally:
        shutil.rmtree(home)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.05)
        else:
            return


_FILES: Final = History(
    [
        Migration.of("auth", 1, "users", "create table users (id int primary key)"),
        Migration.of(
            "contact",
            1,
            "people",
            "create table people (id serial primary key, email text, boss int references people);"
            "create view bosses as select boss from people;"
            "create function greet() returns text language sql security definer"
            " set search_path = pg_catalog, pg_temp as $$ select 'hello' $$",
        ),
    ]
)


@dataclass
class Patient:
    """A database for the doctor, with an owner, a role for the program, and one that migrates."""

    server: str
    name: str
    database: str
    sessions: ExitStack = field(default_factory=ExitStack)

    @property
    def admin(self) -> str:
        return make_conninfo(self.server, dbname=self.database)

    def url(self, role: str) -> str:
        return make_conninfo(self.server, dbname=self.database, user=f"{self.name}_{role}")

    def run(self, text: str) -> list[Any]:
        """Run statements as the superuser, with `%` for the roles' common prefix; return rows."""
        with psycopg.connect(self.admin, autocommit=True) as conn:
            cursor = conn.execute(text.replace("%", self.name).encode())
            return cursor.fetchall() if cursor.description else []

    def session(self, role: str) -> None:
        """Keep a connection of a role open until the test ends."""
        self.sessions.enter_context(psycopg.connect(self.url(role)))

    def examine(self, role: str = "app") -> Report:
        return asyncio.run(examine(self.url(role)))

    def install(self, *tenants: str) -> None:
        """Set up the registry and tenants with the tools of this library."""
        settings = MigrateSettings(owner=f"{self.name}_owner", app=f"{self.name}_app")

        async def main() -> None:
            async with Fleet(self.url("deploy"), settings=settings) as fleet:
                await fleet.install()
                await fleet.register(_FILES)
            for tenant in tenants:
                await provision(self.url("deploy"), tenant, settings=settings)

        asyncio.run(main())


@contextmanager
def admitted(server: str) -> Iterator[Patient]:
    name = f"doc{os.getpid()}_{next(_numbers)}"
    patient = Patient(server, name, name)
    with psycopg.connect(server, autocommit=True) as conn:
        for text in (
            f"create role {name}_owner",
            f"create role {name}_app login",
            f"create role {name}_deploy login noinherit",
            f"grant {name}_owner to {name}_deploy",
            f"create database {name} owner {name}_owner",
            f"revoke temporary on database {name} from public",
        ):
            conn.execute(text.encode())
    with patient.sessions:
        yield patient


@pytest.fixture(params=["newest", "oldest"])
def server(request: pytest.FixtureRequest) -> str:
    """The superuser's URL of the newest server and of an older one."""
    fixture = "postgres_dsn" if request.param == "newest" else "older_postgres_dsn"
    return str(request.getfixturevalue(fixture))


@pytest.fixture
def patient(server: str) -> Iterator[Patient]:
    """A new, empty database."""
    with admitted(server) as it:
        yield it


@pytest.fixture
def new_patient(postgres_dsn: str) -> Iterator[Callable[[], Patient]]:
    """Make databases on the newest server only."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(admitted(postgres_dsn))
