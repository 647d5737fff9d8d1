"""The connection: lost, silent, refused, closed; and what a caller sees of it."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from mtenant_config import Secret
from mtenant_events import BusClosed, Event, EventBus, EventsConfig, EventsUnavailable
from mtenant_events import connection as connection_module
from mtenant_events.connection import Connection
from mtenant_events.login import tls_context

Make = Callable[..., Event[Any]]
Eventually = Callable[[Callable[[], object]], Any]
Servers = Callable[..., Any]
ConfigOn = Callable[..., EventsConfig]
SHORT = timedelta(seconds=0.5)


async def refused(config: EventsConfig) -> EventsUnavailable:
    async with asyncio.timeout(10):
        with pytest.raises(EventsUnavailable) as caught:
            async with EventBus.connect(config):
                pass
    return caught.value


def test_a_server_that_is_not_there_is_an_error_in_time(config_on: ConfigOn) -> None:
    config = config_on("nats://127.0.0.1:1", connect_timeout=SHORT)

    assert "ConnectionRefused" in str(asyncio.run(refused(config)).internal)


def test_something_that_is_no_nats_server_is_an_error_in_time(config_on: ConfigOn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = config_on(f"nats://127.0.0.1:{silent.getsockname()[1]}", connect_timeout=SHORT)
        asyncio.run(refused(config))


def test_one_server_of_several_is_enough(
    config_on: ConfigOn, nats_url: str, make_event: Make
) -> None:
    config = config_on(f"nats://127.0.0.1:1, {nats_url}")

    async def program() -> None:
        async with EventBus.connect(config) as bus:
            await bus.topology.ensure()
            await bus.publish(make_event())

    asyncio.run(program())


@pytest.mark.parametrize(
    "login",
    [
        {"user": "deals", "password": Secret("pa@ss:w/rd")},
        {"url": "nats://deals:pa%40ss%3Aw%2Frd@"},
    ],
    ids=["settings", "url"],
)
def test_a_user_logs_in(servers: Servers, config_on: ConfigOn, login: dict[str, Any]) -> None:
    server = servers("--user=deals", "--pass=pa@ss:w/rd")
    url = server.url.replace("nats://", login.pop("url", "nats://"))
    config = config_on(url, **login)

    async def program() -> None:
        async with EventBus.connect(config) as bus:
            assert bus.health().connected

    asyncio.run(program())


def test_a_token_logs_in(servers: Servers, config_on: ConfigOn) -> None:
    server = servers("--auth=s3cret")

    async def program(config: EventsConfig) -> None:
        async with EventBus.connect(config) as bus:
            assert bus.health().connected

    asyncio.run(program(config_on(server.url, token=Secret("s3cret"))))
    asyncio.run(program(config_on(server.url.replace("//", "//s3cret@"))))


def test_a_wrong_password_is_told_at_once_and_not_shown(
    servers: Servers, config_on: ConfigOn, caplog: pytest.LogCaptureFixture
) -> None:
    server = servers("--user=deals", "--pass=right")
    config = config_on(
        server.url, user="deals", password=Secret("hunter2"), connect_timeout=timedelta(seconds=60)
    )
    with caplog.at_level(logging.DEBUG):
        error = asyncio.run(refused(config))

    assert "authorization" in str(error.internal).lower()
    assert "hunter2" not in f"{error!r} {error.__notes__} {caplog.text}"


def test_a_reset_after_a_refusal_does_not_hide_it(
    config_on: ConfigOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server closes what it refuses, and the client may tell of both before anyone looks."""

    async def program() -> None:
        connection = Connection(config_on("nats://127.0.0.1:1"))

        async def connect(*, error_cb: Callable[[Exception], Awaitable[None]], **_: object) -> None:
            await error_cb(nats.errors.Error("nats: 'Authorization Violation'"))
            await error_cb(ConnectionResetError(104, "Connection reset by peer"))
            await asyncio.Event().wait()

        monkeypatch.setattr(connection.client, "connect", connect)
        with pytest.raises(EventsUnavailable) as caught:
            await connection.open()
        assert "authorization" in str(caught.value.internal).lower()

    asyncio.run(program())


def test_a_server_that_offers_no_tls_gets_no_password(config_on: ConfigOn) -> None:
    """nats-py would log in in clear text to whoever leaves TLS out of the greeting."""
    heard = b""

    async def program() -> None:
        nonlocal heard

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal heard
            writer.write(b'INFO {"server_id":"x","version":"2.11.0","max_payload":1048576}\r\n')
            heard += await reader.read(1000)
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            config = config_on(
                f"tls://127.0.0.1:{port}",
                user="deals",
                password=Secret("hunter2"),
                connect_timeout=SHORT,
            )
            await refused(config)

    asyncio.run(program())
    assert heard == b""


def make_certificate(home: Path) -> tuple[Path, Path]:
    key, certificate = home / "key.pem", home / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key)),
            *("-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return key, certificate


@pytest.mark.parametrize("scheme", ["tls", "nats"])
def test_tls_with_an_authority_of_our_own(
    servers: Servers, config_on: ConfigOn, tmp_path: Path, scheme: str
) -> None:
    key, certificate = make_certificate(tmp_path)
    server = servers(
        *("--tls", "--tlsverify", f"--tlscacert={certificate}"),
        *(f"--tlscert={certificate}", f"--tlskey={key}"),
        scheme=scheme,
    )
    ours = {"tls_ca_file": certificate, "tls_cert_file": certificate, "tls_key_file": key}

    async def program() -> None:
        async with EventBus.connect(config_on(server.url, **ours)) as bus:
            assert bus.health().connected
        error = await refused(config_on(server.url, connect_timeout=SHORT))
        assert isinstance(error, EventsUnavailable)

    asyncio.run(program())


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("tls_ca_file", "NATS_TLS_CA_FILE"),
        ("credentials_file", "NATS_CREDENTIALS_FILE"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_by_its_setting(
    config: EventsConfig, name: str, variable: str, tmp_path: Path
) -> None:
    missing: dict[str, Any] = {name: tmp_path / "none.pem"}

    with pytest.raises(ValueError, match=variable):
        asyncio.run(refused(replace(config, **missing)))


def test_a_file_that_is_no_certificate_is_told(config: EventsConfig, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")

    with pytest.raises(ValueError, match="NATS_TLS"):
        asyncio.run(refused(replace(config, tls_ca_file=tmp_path / "ca.pem")))


def test_a_lost_connection_is_made_again_and_told(
    servers: Servers,
    config_on: ConfigOn,
    make_event: Make,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = servers()
    events: list[str] = []

    async def program() -> None:
        async with EventBus.connect(config_on(server.url)) as bus:
            bus._connection.on_loss(lambda: events.append("lost"))
            bus._connection.on_loss(lambda: 1 / 0)
            bus._connection.on_return(lambda: events.append("back"))
            await bus.topology.ensure()
            for _ in range(2):
                server.kill()
                await eventually(lambda: not bus.health().connected)
                assert not bus.health().healthy
                assert not bus.health().closed
                await asyncio.to_thread(server.start)
                await eventually(lambda: bus.health().connected)
                await bus.publish(make_event())

    asyncio.run(program())
    assert events[:4] == ["lost", "back"] * 2
    assert "ZeroDivisionError" in caplog.text


def test_waits_between_attempts_grow_and_differ() -> None:
    def some() -> list[float]:
        waits = connection_module._waits()
        return [next(waits) for _ in range(20)]

    first, second = some(), some()
    assert first != second
    assert first[0] <= 0.1
    assert all(0 <= wait <= connection_module.LONGEST_WAIT for wait in first + second)
    assert all(wait >= connection_module.LONGEST_WAIT / 2 for wait in first[10:])


def test_a_silent_server_is_seen_and_left(
    servers: Servers,
    config_on: ConfigOn,
    make_event: Make,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "BEAT", 0.05)
    monkeypatch.setattr(connection_module, "DEAF", 0.3)
    server = servers()

    async def program() -> None:
        async with EventBus.connect(config_on(server.url)) as bus:
            await bus.topology.ensure()
            await eventually(lambda: bus.health().heartbeat_age < 0.05)
            server.send(signal.SIGSTOP)
            try:
                await eventually(lambda: not bus.health().connected)
            finally:
                server.send(signal.SIGCONT)
            await eventually(lambda: bus.health().connected)
            await bus.publish(make_event())

    asyncio.run(program())


def test_a_connection_whose_reading_has_ended_is_made_again(
    config: EventsConfig,
    make_event: Make,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A pong after the timeout of a `flush` ends nats-py's reading, and it notices nothing."""
    monkeypatch.setattr(connection_module, "BEAT", 0.05)
    monkeypatch.setattr(connection_module, "DEAF", 0.3)

    async def program() -> None:
        async with EventBus.connect(config) as bus:
            await bus.topology.ensure()
            client = bus._connection.client
            flushing = asyncio.create_task(client.flush())
            await asyncio.sleep(0)
            flushing.cancel()
            reading = client._reading_task
            assert reading is not None
            await eventually(reading.done)
            assert client.is_connected
            await eventually(lambda: "silent" in caplog.text)
            await eventually(lambda: bus.health().heartbeat_age < 0.1)
            await bus.publish(make_event())

    asyncio.run(program())


def test_a_password_that_is_changed_on_the_server_is_seen_and_may_come_back(
    servers: Servers, config_on: ConfigOn, make_event: Make, eventually: Eventually, tmp_path: Path
) -> None:
    def settings(password: str) -> str:
        return f"authorization {{ user: deals, password: {password} }}"

    (tmp_path / "server.conf").write_text(settings("first"))
    server = servers(f"--config={tmp_path / 'server.conf'}")
    config = config_on(server.url, user="deals", password=Secret("first"))

    async def program() -> None:
        async with EventBus.connect(config) as bus:
            await bus.topology.ensure()
            (tmp_path / "server.conf").write_text(settings("second"))
            server.send(signal.SIGHUP)
            await eventually(lambda: "Authorization" in bus.health().problem)
            await eventually(lambda: not bus.health().healthy)
            (tmp_path / "server.conf").write_text(settings("first"))
            server.send(signal.SIGHUP)
            await eventually(lambda: bus.health().healthy)
            await bus.publish(make_event())

    asyncio.run(program())


def test_a_connection_that_the_server_ends_for_ever_is_visibly_dead(
    config: EventsConfig, make_event: Make, eventually: Eventually
) -> None:
    async def program() -> None:
        async with EventBus.connect(config) as bus:
            await bus.topology.ensure()
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                events = [make_event() for _ in range(5000)]
                publishing = group.create_task(bus.publish_many(events))
                await eventually(lambda: bus.transport.under_way)
                # What the client does when a server says -ERR: it closes, and never connects again.
                await bus._connection.client._process_err("'Maximum Payload Violation'")
            results = publishing.result()
            await eventually(lambda: bus.health().closed)

            assert not bus.health().healthy
            assert isinstance(results[-1], BusClosed | EventsUnavailable)
            async with asyncio.timeout(1):
                with pytest.raises(BusClosed) as caught:
                    await bus.publish(make_event())
            assert "Maximum Payload" in str(caught.value.internal)

    asyncio.run(program())


def test_closing_ends_in_time_with_a_server_that_is_silent(
    servers: Servers, config_on: ConfigOn
) -> None:
    server = servers()
    config = config_on(server.url, drain_timeout=SHORT)

    async def program() -> None:
        try:
            async with asyncio.timeout(5):
                async with EventBus.connect(config):
                    server.send(signal.SIGSTOP)
        finally:
            server.send(signal.SIGCONT)

    asyncio.run(program())


def test_closing_ends_in_time_without_a_server(
    servers: Servers, config_on: ConfigOn, eventually: Eventually
) -> None:
    server = servers()

    async def program() -> None:
        async with EventBus.connect(config_on(server.url)) as bus:
            server.kill()
            await eventually(lambda: not bus.health().connected)
            start = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - start < 5

    asyncio.run(program())


def test_closing_is_not_hung_by_a_subscription_that_somebody_reads_from(
    config: EventsConfig,
) -> None:
    """V8: nats-py's drain waits for the whole timeout after two fetches that found nothing."""
    config = replace(config, drain_timeout=SHORT)

    async def program() -> None:
        async with asyncio.timeout(5), EventBus.connect(config) as bus:
            await bus.topology.ensure()
            stream = bus._connection.client.jetstream()
            pulling = await stream.pull_subscribe(
                f"{config.prefix}.evt.>", durable="d", stream=config.stream
            )
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    await pulling.fetch(1, timeout=0.05)

    asyncio.run(program())


def test_closing_twice_and_at_once_is_closing(config: EventsConfig) -> None:
    async def program() -> None:
        async with EventBus.connect(config) as bus:
            await asyncio.gather(bus.close(), bus.close())
            await bus.close()
            assert bus.health().closed

    asyncio.run(program())


def test_a_cancelled_start_leaves_no_task_behind(config: EventsConfig) -> None:
    async def program() -> None:
        for count in range(40):
            connection = Connection(config)
            opening = asyncio.create_task(connection.open())
            for _ in range(count):
                await asyncio.sleep(0)
            if not opening.cancel():
                await connection.close()
            await asyncio.wait({opening})
            assert opening.cancelled() or connection.closed
        await asyncio.sleep(0.1)
        assert asyncio.all_tasks() - {asyncio.current_task()} == set()

    # What is left would be told by a ResourceWarning, which is an error here.
    asyncio.run(program())


def test_a_program_that_is_cancelled_closes_its_bus(config: EventsConfig) -> None:
    async def program() -> None:
        opened = asyncio.Event()
        found: list[EventBus] = []

        async def use() -> None:
            async with EventBus.connect(config) as bus:
                found.append(bus)
                opened.set()
                await asyncio.Event().wait()

        using = asyncio.create_task(use())
        await opened.wait()
        using.cancel()
        await asyncio.wait({using})

        assert using.cancelled()
        assert found[0]._connection.client.is_closed

    asyncio.run(program())


def test_the_context_of_tls_checks_names(tmp_path: Path) -> None:
    _, certificate = make_certificate(tmp_path)
    context = tls_context(EventsConfig(tls_ca_file=certificate))

    assert context is not None
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_client_that_is_drained_by_hand_is_closed(
    config: EventsConfig, make_event: Make, eventually: Eventually
) -> None:
    async def program() -> None:
        async with EventBus.connect(config) as bus:
            await bus.topology.ensure()
            async with asyncio.TaskGroup() as group:
                group.create_task(bus.client.drain())
                await eventually(lambda: bus.client.is_draining or bus.client.is_closed)
                with pytest.raises(BusClosed):
                    await bus.publish(make_event())

    asyncio.run(program())


def test_health_may_be_asked_from_another_thread(config: EventsConfig) -> None:
    async def program() -> None:
        async with EventBus.connect(config) as bus:
            status = (await asyncio.to_thread(bus.health)).to_dict()

            assert status["healthy"]
            assert status["consumers"] == {}
            assert "error" not in status

    asyncio.run(program())
