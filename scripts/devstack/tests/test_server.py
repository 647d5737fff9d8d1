from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import nats
import psycopg
import pytest
import redis

from mtenant_devstack import DevstackError, PortTaken, Server, ServerFailed, Stack
from mtenant_devstack.demo import ask_valkey
from mtenant_devstack.process import Process

WRITERS = 4


@pytest.fixture
def durable() -> Iterator[Stack]:
    with Stack((), mode="durable") as stack:
        yield stack


def acknowledged_rows(server: Server, enough: int, rows: list[int]) -> None:
    """Insert from several connections until `enough` are acknowledged, then kill the server."""
    reached, lock = threading.Event(), threading.Lock()
    ids = iter(range(len(rows) * 2 + 1, 10**9))

    def write() -> None:
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(server.url, autocommit=True) as connection,
        ):
            while True:
                with lock:
                    row = next(ids)
                connection.execute("INSERT INTO acknowledged VALUES (%s)", [row])
                with lock:
                    rows.append(row)
                    if len(rows) >= enough:
                        reached.set()

    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [pool.submit(write) for _ in range(WRITERS)]
        assert reached.wait(30)
        server.kill()
        for writer in writers:
            writer.result(timeout=30)


def kill_and_count(server: Server, kills: int) -> None:
    server.start()
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE acknowledged (n bigint PRIMARY KEY)")
    rows: list[int] = []
    for _ in range(kills):
        acknowledged_rows(server, len(rows) + 200, rows)
        server.start()
        with psycopg.connect(server.url) as connection:
            found = {n for (n,) in connection.execute("SELECT n FROM acknowledged")}
        assert {*rows} <= found, f"lost {len({*rows} - found)} of {len(rows)} acknowledged rows"


def test_a_killed_durable_postgres_has_every_acknowledged_row(durable: Stack) -> None:
    kill_and_count(durable.postgres, kills=2)


@pytest.mark.slow
def test_a_durable_postgres_killed_many_times_has_every_acknowledged_row(durable: Stack) -> None:
    kill_and_count(durable.postgres, kills=60)


def test_a_killed_nats_has_every_acknowledged_message(durable: Stack) -> None:
    async def publish(count: int) -> None:
        async with await nats.connect(durable.nats.url, allow_reconnect=False) as client:
            stream = client.jetstream()
            await stream.add_stream(name="acknowledged", subjects=["acknowledged"])
            for _ in range(count):
                await stream.publish("acknowledged", b"x")

    async def count() -> int:
        async with await nats.connect(durable.nats.url) as client:
            return (await client.jetstream().stream_info("acknowledged")).state.messages

    durable.nats.start()
    asyncio.run(publish(100))
    durable.nats.kill()
    durable.nats.start()

    assert asyncio.run(count()) == 100


def test_a_killed_durable_valkey_has_every_acknowledged_key(durable: Stack) -> None:
    durable.valkey.start()
    with redis.Redis.from_url(durable.valkey.url) as client:
        for n in range(100):
            client.set(f"key:{n}", n)
    durable.valkey.kill()
    durable.valkey.start()

    with redis.Redis.from_url(durable.valkey.url) as client:
        assert client.dbsize() == 100


@pytest.mark.parametrize("name", ["postgres", "nats", "valkey"])
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_server_comes_back_on_its_port_as_another_process(name: str, end: str) -> None:
    with Stack([name]) as stack:
        server = stack.started[0]
        port, pid = server.port, server.pid
        getattr(server, end)()
        assert not server.running
        assert server.pid is None
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), timeout=5)

        server.start()

        assert server.port == port
        assert server.pid not in (None, pid)
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_restart_keeps_the_url_and_the_data(durable: Stack) -> None:
    durable.postgres.start()
    url = durable.postgres.url
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept ()")

    durable.postgres.restart()

    assert durable.postgres.url == url
    with psycopg.connect(url) as connection:
        connection.execute("SELECT FROM kept")


def test_kill_ends_a_backend_that_is_busy(
    durable: Stack,
    family: Callable[[int], list[Process]],
    gone: Callable[[list[Process]], bool],
) -> None:
    durable.postgres.start()
    with contextlib.suppress(psycopg.OperationalError):
        connection = psycopg.connect(durable.postgres.url)
        connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1e12)")
        pid = durable.postgres.pid
        assert pid is not None
        everybody = family(pid)
        assert connection.info.backend_pid in {process.pid for process in everybody}

        durable.postgres.kill()

        assert gone(everybody)
        connection.close()
    durable.postgres.start()


def test_what_is_not_running_can_be_stopped_and_killed(durable: Stack) -> None:
    for _ in range(2):
        durable.valkey.stop()
        durable.valkey.kill()
    durable.valkey.start()
    for _ in range(2):
        durable.valkey.kill()
        durable.valkey.stop()


def test_starting_twice_at_once_gives_one_server(durable: Stack) -> None:
    with ThreadPoolExecutor(4) as pool:
        for start in [pool.submit(durable.valkey.start) for _ in range(4)]:
            start.result(timeout=30)

    with redis.Redis.from_url(durable.valkey.url) as client:
        assert client.info("server")["process_id"] == durable.valkey.pid


def test_a_server_that_was_not_started_has_no_address(durable: Stack) -> None:
    with pytest.raises(DevstackError, match=r"PostgreSQL .*start it first"):
        _ = durable.postgres.url
    with pytest.raises(ServerFailed, match="has not been started"):
        durable.postgres.check()
    assert repr(durable.postgres) == "<Postgres not running>"
    assert not durable.postgres.started


def test_check_says_how_a_server_ended(durable: Stack) -> None:
    durable.valkey.start()
    durable.valkey.check()
    assert repr(durable.valkey) == f"<Valkey pid={durable.valkey.pid} port={durable.valkey.port}>"
    durable.valkey.kill()

    with pytest.raises(ServerFailed, match="Valkey ended with status -9") as caught:
        durable.valkey.check()
    assert "Ready to accept connections" in caught.value.log


def test_a_port_taken_while_the_server_was_down_is_named(durable: Stack) -> None:
    durable.valkey.start()
    port = durable.valkey.port
    durable.valkey.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()

        with pytest.raises(PortTaken, match=str(port)):
            durable.valkey.start()

    durable.valkey.start()
    assert ask_valkey(durable.valkey.url)


def test_a_server_that_ignores_the_polite_signal_is_killed(
    durable: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable.valkey.start()
    pid = durable.valkey.pid
    assert pid is not None
    monkeypatch.setattr("mtenant_devstack.server.GRACE", 0.05)
    os.kill(pid, signal.SIGSTOP)  # it cannot act on any signal now

    durable.valkey.stop()

    assert not durable.valkey.running


def test_a_server_that_is_never_ready_is_given_up(
    durable: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtenant_devstack.server.START_TIMEOUT", 0.2)
    monkeypatch.setattr("mtenant_devstack.valkey.Valkey._ready", lambda *_: None)

    with pytest.raises(ServerFailed, match=r"Valkey was not ready after 0\.2 s"):
        durable.valkey.start()
    assert not durable.valkey.running
