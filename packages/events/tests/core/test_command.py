"""`mtenant-events streams` and `relay`, as processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from mtenant_events import Event, EventsConfig, Outbox
from mtenant_events.store.installation import install
from mtenant_events.store.transaction import PsycopgTransaction

Run = subprocess.CompletedProcess[str]
COMMAND = [sys.executable, "-W", "error", "-m", "mtenant_events"]


def environ(config: EventsConfig, **others: str) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "NATS_URL": config.url.reveal(),
        "NATS_STREAM": config.stream,
        "NATS_DEAD_LETTER_STREAM": config.dead_letter_stream,
        "NATS_SUBJECT_PREFIX": config.prefix,
        **others,
    }


def run(config: EventsConfig, *arguments: str, **others: str) -> Run:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environ(config, **others),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_streams_are_made_once_and_told_of(config: EventsConfig) -> None:
    missing = run(config, "streams", "status")
    made = run(config, "streams", "ensure")
    again = run(config, "streams", "ensure")
    status = run(config, "streams", "status", "--json")

    assert missing.returncode == 3
    assert f"{config.stream}: not there" in missing.stdout
    assert made.stdout == f"{config.stream} made\n{config.dead_letter_stream} made\n"
    assert again.stdout == f"{config.stream} kept\n{config.dead_letter_stream} kept\n"
    assert (made.returncode, again.returncode, status.returncode) == (0, 0, 0)
    assert [one["name"] for one in json.loads(status.stdout)] == [
        config.stream,
        config.dead_letter_stream,
    ]


def test_a_tenant_is_purged_by_name(config: EventsConfig) -> None:
    run(config, "streams", "ensure")
    purged = run(config, "streams", "purge", "--tenant", "acme")
    refused = run(config, "streams", "purge", "--tenant", ">")
    nobody = run(config, "streams", "purge")

    assert (purged.returncode, purged.stdout) == (0, "0 messages of acme deleted\n")
    assert refused.returncode == 1
    assert "INVALID_TENANT" in refused.stderr
    assert nobody.returncode == 2


def test_a_change_that_would_lose_messages_is_refused(config: EventsConfig) -> None:
    run(config, "streams", "ensure")
    status = run(config, "streams", "status", NATS_MAX_AGE="24h")
    refused = run(config, "streams", "ensure", NATS_MAX_AGE="24h")

    assert status.returncode == 3
    assert "max_age" in status.stdout
    assert refused.returncode == 1
    assert "TOPOLOGY_CONFLICT" in refused.stderr
    assert "max_age is 604800, not 86400" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_server_that_is_not_there_is_said_without_the_password(config: EventsConfig) -> None:
    refused = run(
        config,
        *("streams", "ensure"),
        NATS_URL="nats://deals:hunter2@127.0.0.1:1",
        NATS_CONNECT_TIMEOUT="200ms",
    )

    assert refused.returncode == 1
    assert "EVENTS_UNAVAILABLE" in refused.stderr
    assert "hunter2" not in refused.stderr


def test_a_wrong_setting_is_named(config: EventsConfig) -> None:
    refused = run(config, "streams", "ensure", NATS_REPLICAS="many")

    assert refused.returncode == 1
    assert "NATS_REPLICAS" in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_relay_carries_until_it_is_told_to_stop(
    config: EventsConfig, postgres_dsn: str, make_event: Callable[..., Event[Any]], number: int
) -> None:
    name = f"relay_{os.getpid()}_{number}"
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        conn.execute(f"create database {name}".encode())
    dsn = psycopg.conninfo.make_conninfo(postgres_dsn, dbname=name)
    install(dsn)
    run(config, "streams", "ensure")

    async def add() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            tx = PsycopgTransaction(conn, tenant="acme")
            await Outbox(config).add_many(tx, [make_event() for _ in range(10)])

    asyncio.run(add())
    relay = subprocess.Popen(
        [*COMMAND, "relay"],
        env=environ(config, DATABASE_URL=dsn),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with psycopg.connect(dsn, autocommit=True) as conn:
            while conn.execute("select from eventing.outbox limit 1").rowcount:
                assert relay.poll() is None
        relay.send_signal(number)
        _, said = relay.communicate(timeout=30)
    finally:
        relay.kill()
    status = run(config, "streams", "status", "--json")

    assert relay.returncode == 0, said
    assert "told to stop" in said
    assert json.loads(status.stdout)[0]["messages"] == 10


def test_a_relay_without_an_outbox_says_what_to_do(config: EventsConfig, postgres_dsn: str) -> None:
    refused = run(config, "relay", DATABASE_URL=postgres_dsn)

    assert refused.returncode == 1
    assert "mtenant-events outbox install" in refused.stderr
    assert "Traceback" not in refused.stderr
