"""The processes of test_crash: `relay`, or `consumer`. They are killed, and started again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

import nats
import psycopg
from nats.aio.client import Client
from nats.aio.msg import Msg

from mtenant_errors import AppError, from_exception
from mtenant_events.event import Message, PublishResult
from mtenant_events.inbox import Inbox
from mtenant_events.relay import Relay
from mtenant_events.store.transaction import PsycopgTransaction

DATABASE = os.environ["DATABASE_URL"]
NATS = os.environ["NATS_URL"]
STREAM = os.environ["STREAM"]


class Carrier:
    """Publishes by bare nats-py."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def connected(self) -> bool:
        return bool(self._client.is_connected)

    async def publish_many(
        self, messages: Sequence[Message], *, window: int = 256
    ) -> list[PublishResult | AppError]:
        return await asyncio.gather(*map(self._publish, messages))

    async def _publish(self, message: Message) -> PublishResult | AppError:
        try:
            ack = await self._client.jetstream().publish(
                message.subject, message.body, headers=dict(message.headers)
            )
        except nats.errors.Error as exc:
            return from_exception(exc)
        return PublishResult(ack.stream, ack.seq, bool(ack.duplicate), 1)


async def relay() -> None:
    client = await nats.connect(NATS, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    await Relay(DATABASE, Carrier(client)).run()


async def consumer() -> None:
    while True:
        try:
            await _consume()
        except (psycopg.Error, nats.errors.Error, OSError):
            await asyncio.sleep(0.05)  # a server is away: it comes back


async def _consume() -> None:
    client = await nats.connect(NATS, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    try:
        async with await psycopg.AsyncConnection.connect(DATABASE, autocommit=True) as conn:
            pull = await client.jetstream().pull_subscribe_bind("effects", STREAM)
            while True:
                try:
                    messages = await pull.fetch(100, timeout=0.5)
                except nats.errors.TimeoutError:
                    continue
                for message in messages:
                    await _handle(conn, message)
                    await message.ack()
    finally:
        await client.close()


async def _handle(conn: psycopg.AsyncConnection, message: Msg) -> None:
    tenant = message.subject.split(".")[1]
    event_id = (message.headers or {})["Nats-Msg-Id"]
    async with conn.transaction():
        await conn.execute(f"set local search_path to tenant_{tenant}, pg_temp")
        tx = PsycopgTransaction(conn, tenant=tenant)
        if await Inbox().begin(tx, "effects", event_id) is not None:
            await tx.execute(
                "insert into effects values ('effects', %s, %s)", [event_id, int(message.data)]
            )


asyncio.run({"relay": relay, "consumer": consumer}[sys.argv[1]]())
