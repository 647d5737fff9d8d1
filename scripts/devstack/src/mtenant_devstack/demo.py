"""The demo's first and last part: a bare driver speaks to each server, scripts run against all."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from mtenant_devstack.errors import DevstackError
from mtenant_devstack.stack import Stack
from mtenant_devstack.step import expect, step

TIMEOUT = 10  # seconds for a server to answer
SCRIPT_TIMEOUT = 300.0  # seconds for a script to end


def ask_servers(urls: Mapping[str, str]) -> None:
    """Speak to each server. What is made there is removed again.

    Args:
        urls: DATABASE_URL, NATS_URL and REDIS_URL, of the stack's servers or of others.

    Raises:
        DevstackError: a step failed; the message begins with its name.
    """
    with step("PostgreSQL") as notes:
        notes.append(ask_postgres(urls["DATABASE_URL"]))
    with step("NATS") as notes:
        notes.append(asyncio.run(ask_nats(urls["NATS_URL"])))
    with step("Valkey") as notes:
        notes.append(ask_valkey(urls["REDIS_URL"]))


def run_scripts(stack: Stack, urls: Mapping[str, str], scripts: Sequence[str]) -> None:
    """Run Python files, in this order, with the URLs in their environment.

    Raises:
        DevstackError: one failed; the message begins with its name.
    """
    for script in scripts:
        with step(script):
            run_script(stack, Path(script), urls)


def ask_postgres(url: str) -> str:
    """Write rows into a temporary table, read them back, and return the server's version."""
    import psycopg  # noqa: PLC0415 -- drivers come with the extra [demo]

    with psycopg.connect(url, connect_timeout=TIMEOUT) as connection:
        connection.execute("CREATE TEMP TABLE demo (n int) ON COMMIT DROP")
        connection.execute("INSERT INTO demo SELECT generate_series(1, 100)")
        expect((5050,), connection.execute("SELECT sum(n)::int FROM demo").fetchone())
        version = connection.info.parameter_status("server_version")
    return f"{version}, 100 rows there and back"


async def ask_nats(url: str) -> str:
    """Publish to a new JetStream stream, fetch from it, and return the server's version."""
    import nats  # noqa: PLC0415 -- drivers come with the extra [demo]

    client = await nats.connect(
        url,
        connect_timeout=TIMEOUT,
        allow_reconnect=False,
        max_reconnect_attempts=1,  # holds for the first connect too, whatever allow_reconnect is
        reconnect_time_wait=0,
        error_cb=_ignore_error,
    )
    try:
        jetstream, name = client.jetstream(timeout=TIMEOUT), f"demo_{uuid.uuid4().hex}"
        await jetstream.add_stream(name=name, subjects=[name])
        try:
            await jetstream.publish(name, b"hello")
            subscription = await jetstream.pull_subscribe(name)
            [message] = await subscription.fetch(timeout=TIMEOUT)
            await message.ack()
            expect(b"hello", message.data)
        finally:
            await jetstream.delete_stream(name)
        about = client.connected_server_version
    finally:
        await client.close()
    return f"{about.major}.{about.minor}.{about.patch}, a message through a JetStream stream"


def ask_valkey(url: str) -> str:
    """Set a key, get it, delete it, and return the server's version."""
    import redis  # noqa: PLC0415 -- drivers come with the extra [demo]

    key = f"demo:{uuid.uuid4().hex}"
    with redis.Redis.from_url(url, socket_timeout=TIMEOUT) as client:
        client.set(key, "hello", ex=TIMEOUT)
        expect(b"hello", client.getdel(key))
        facts = client.info("server")
    version = facts.get("valkey_version") or facts["redis_version"]
    return f"{version}, a key there and back"


def run_script(stack: Stack, script: Path, urls: Mapping[str, str]) -> None:
    """Run a Python script to its end.

    Raises:
        DevstackError: it is not there, it ended with another status than 0, or not in time.
    """
    if not script.is_file():
        raise DevstackError("there is no such file")
    command = [sys.executable, str(script.absolute())]
    stack.run(command, env={**os.environ, **urls}, seconds=SCRIPT_TIMEOUT)


async def _ignore_error(error: Exception) -> None:
    """Swallow what nats-py would log: the call that fails says it too."""
