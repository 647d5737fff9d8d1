"""The demo: speak to each server with a bare driver, then run scripts against all of them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mtenant_devstack.errors import DevstackError
from mtenant_devstack.stack import Stack

TIMEOUT = 10  # seconds for a server to answer
SCRIPT_TIMEOUT = 300.0  # seconds for a script to end

Say = Callable[[str], None]


def demo(stack: Stack, urls: Mapping[str, str], scripts: Sequence[str], say: Say) -> None:
    """Run every step and say a line for each. What is made on the servers is removed again.

    Args:
        stack: an open stack; the scripts end with it, however it ends.
        urls: DATABASE_URL, NATS_URL and REDIS_URL, of the stack's servers or of others.
        scripts: Python files, run in this order with the URLs in their environment.
        say: prints a line.

    Raises:
        DevstackError: a step failed; the message begins with its name.
    """
    with step("PostgreSQL", say) as notes:
        notes.append(ask_postgres(urls["DATABASE_URL"]))
    with step("NATS", say) as notes:
        notes.append(asyncio.run(ask_nats(urls["NATS_URL"])))
    with step("Valkey", say) as notes:
        notes.append(ask_valkey(urls["REDIS_URL"]))
    for script in scripts:
        with step(script, say):
            run_script(stack, Path(script), urls)


@contextmanager
def step(name: str, say: Say) -> Iterator[list[str]]:
    """Say one line at the end of the block: its time, its name, and what it put into the list.

    Raises:
        DevstackError: the block failed; the message begins with the name of the step.
    """
    began = time.perf_counter()
    notes: list[str] = []
    try:
        yield notes
    except ModuleNotFoundError as exc:
        advice = f"{exc.name} is not installed: pip install 'mtenant-devstack[demo]'"
        raise DevstackError(f"{name}: {advice}") from exc
    except Exception as exc:
        raise DevstackError(f"{name}: {str(exc) or type(exc).__name__}") from exc
    say(f"ok  {time.perf_counter() - began:6.2f} s  {', '.join([name, *notes])}")


def ask_postgres(url: str) -> str:
    """Write rows into a temporary table, read them back, and return the server's version."""
    import psycopg  # noqa: PLC0415 -- drivers come with the extra [demo]

    with psycopg.connect(url, connect_timeout=TIMEOUT) as connection:
        connection.execute("CREATE TEMP TABLE demo (n int) ON COMMIT DROP")
        connection.execute("INSERT INTO demo SELECT generate_series(1, 100)")
        _expect((5050,), connection.execute("SELECT sum(n)::int FROM demo").fetchone())
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
            _expect(b"hello", message.data)
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
        _expect(b"hello", client.getdel(key))
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


def _expect(expected: object, got: object) -> None:
    if got != expected:
        raise DevstackError(f"expected {expected!r}, got {got!r}")
