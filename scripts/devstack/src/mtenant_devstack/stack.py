"""The stack: one PostgreSQL, one NATS and one Valkey, and the lifetime of all three."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Self

from mtenant_devstack.account import Account, server_account
from mtenant_devstack.client import WatcherClient
from mtenant_devstack.data import claim
from mtenant_devstack.errors import BinaryMissing, DevstackError
from mtenant_devstack.nats import Nats
from mtenant_devstack.postgres import Postgres
from mtenant_devstack.server import Mode, Place, Server
from mtenant_devstack.service import Program, Service
from mtenant_devstack.valkey import Valkey

SERVERS: Mapping[str, type[Server]] = {kind.name: kind for kind in (Postgres, Nats, Valkey)}
RUN_PREFIX = "mtenant-devstack-run-"


class Stack:
    """Real servers for as long as the `with` block runs; started in parallel, on loopback only.

    Nothing is left when the block ends, nor when this process is interrupted or killed: no process,
    and no directory but `data`. A fork of this process may use the servers and cannot stop them.

    Args:
        servers: which to start at once. The others start by their `start()`.
        mode: "quick" for tests that kill no server: fsync, full_page_writes and synchronous_commit
            are off, so a killed PostgreSQL loses rows that it has acknowledged. "durable" for
            those that do: all three are on, and Valkey keeps an append-only file.
        data: a directory that keeps the servers' data beyond this run, for one stack at a time.
            Wants mode "durable".
        ports: ports to use, by server name; others are chosen, and kept over a restart.

    Raises:
        ValueError: an unknown server name, or `data` in quick mode.
    """

    def __init__(
        self,
        servers: Iterable[str] = tuple(SERVERS),
        *,
        mode: Mode = "quick",
        data: str | os.PathLike[str] | None = None,
        ports: Mapping[str, int] | None = None,
    ) -> None:
        self._wanted = tuple(servers)
        self._ports = dict(ports or {})
        if unknown := {*self._wanted, *self._ports} - {*SERVERS}:
            raise ValueError(f"no such server: {', '.join(sorted(unknown))}; {[*SERVERS]} exist")
        if data is not None and mode != "durable":
            raise ValueError("data that is kept wants mode='durable': quick mode may lose it")
        self._mode = mode
        self._data = None if data is None else Path(data).absolute()
        self._client: WatcherClient | None = None
        self._servers: dict[str, Server] = {}
        self._directory: Path | None = None

    @property
    def postgres(self) -> Server:
        """PostgreSQL. Raises DevstackError outside the `with` block, as all of these do."""
        return self._server("postgres")

    @property
    def nats(self) -> Server:
        """NATS with JetStream."""
        return self._server("nats")

    @property
    def valkey(self) -> Server:
        """Valkey."""
        return self._server("valkey")

    @property
    def started(self) -> list[Server]:
        """The servers that have been started, whether or not they run now."""
        return [server for server in self._servers.values() if server.started]

    @property
    def urls(self) -> dict[str, str]:
        """URLs of the started servers by environment variable, DATABASE_URL and so on."""
        return {server.variable: server.url for server in self.started}

    @property
    def directory(self) -> Path:
        """The directory of this run, with the servers' logs; it goes when the stack does."""
        if self._directory is None:
            raise DevstackError("the stack is not open: use it in a `with` block")
        return self._directory

    def __enter__(self) -> Self:
        """Start the servers.

        Raises:
            DevstackError: a server could not be started. Those that could are stopped again.
        """
        if os.name == "nt":
            raise BinaryMissing(
                "there are no servers for Windows here: use WSL or docker-compose.yml, and set"
                f" {', '.join(kind.variable for kind in SERVERS.values())}"
            )
        account = server_account()
        self._client = self._watch(account)
        try:
            self._directory = _run_directory(self._client, account)
            place = Place(self._client, self._directory, self._data, self._mode, account)
            self._servers = {
                name: kind(place, self._ports.get(name)) for name, kind in SERVERS.items()
            }
            self.start(*self._wanted)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self, *names: str) -> None:
        """Start these servers at once, and return when all of them serve.

        When one fails, or the wait is interrupted, the whole stack is closed.

        Raises:
            DevstackError: the stack is not open, or a server could not be started.
        """
        servers = [self._server(name) for name in names]
        pool = ThreadPoolExecutor(max_workers=len(SERVERS))
        try:
            starts = [pool.submit(server.start) for server in servers]
            wait(starts, return_when=FIRST_EXCEPTION)
            for start in starts:
                if start.done():
                    start.result()
        except BaseException:
            self.close()  # the others' requests fail now, and so do they
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def run(self, argv: Sequence[str | Path], *, env: Mapping[str, str], seconds: float) -> None:
        """Run a program to its end; it is killed if the stack ends first, however that ends.

        Args:
            argv: its command line.
            env: its whole environment.
            seconds: how long it may take.

        Raises:
            ServerFailed: it ended with another status than 0, or not in time.
        """
        if self._client is None:
            raise DevstackError("the stack is not open: use it in a `with` block")
        log = self.directory / "run.log"
        self._client.run(argv, seconds=seconds, cwd=Path.cwd(), env=env, log=log)

    def service(
        self,
        program: Program,
        settings: Mapping[str, str],
        port: int,
        *,
        gateway: int | None = None,
        number: int = 1,
    ) -> Service:
        """Return a service to start; it runs as the caller, and ends with the stack.

        Args:
            program: what runs.
            settings: its whole environment, but for PORT.
            port: where it listens.
            gateway: the port where it is called, if that is another one.
            number: which of several processes of the program it is.
        """
        if self._client is None:
            raise DevstackError("the stack is not open: use it in a `with` block")
        place = Place(self._client, self.directory, None, self._mode, None)
        return Service(place, program, settings, port, gateway=gateway, number=number)

    def close(self) -> None:
        """Stop the servers and remove the directories. The second time nothing happens."""
        client, self._client = self._client, None
        self._servers, self._directory = {}, None
        if client is not None:
            client.close()

    def _watch(self, account: Account | None) -> WatcherClient:
        if self._data is None:
            return WatcherClient()
        lock = claim(self._data, account)
        try:
            return WatcherClient(keep=[lock])
        finally:
            os.close(lock)  # the watcher has it now, and no fork of this process can keep it

    def _server(self, name: str) -> Server:
        try:
            return self._servers[name]
        except KeyError:
            raise DevstackError("the stack is not open: use it in a `with` block") from None


def run_parents(account: Account | None) -> list[Path]:
    """Return where directories of runs may be, best first: those that the account can reach."""
    places = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]  # noqa: S108 -- mkdtemp
    return [
        path for path in places if path.is_dir() and (not account or account.reaches(path / "x"))
    ]


def _run_directory(client: WatcherClient, account: Account | None) -> Path:
    parent = next(iter(run_parents(account)), None)
    if parent is None:
        raise DevstackError(
            "there is no temporary directory that the servers can reach: set TMPDIR"
        )
    # The servers' account passes through it to its own folders; it can list nothing.
    return client.directory(parent, RUN_PREFIX, mode=0o711 if account else 0o700)
