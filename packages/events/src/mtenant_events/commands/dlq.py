"""`mtenant-events dlq`: look at dead letters, replay them, drop them."""

from __future__ import annotations

import base64
import json
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from mtenant_errors import AppError
from mtenant_events.bus import EventBus
from mtenant_events.commands.status import DONE, FAILED
from mtenant_events.config import EventsConfig
from mtenant_events.consumer.letter_stream import LetterStream
from mtenant_events.deadletter import DeadLetter, DeadLetters, LetterNotFound

_ROW = "{:>8}  {:<24}  {:<28}  {:<20}  {:<24}  {:>3}  {}"


async def list_(options: Namespace) -> int:
    """Print letters, the oldest first."""
    async with _letters() as letters:
        found = await _find(letters, options, options.limit)
    if options.json:
        print(json.dumps([_summary(letter) for letter in found]))
        return DONE
    if not found:
        print("no dead letters")
        return DONE
    print(_ROW.format("ID", "TIME", "CONSUMER", "TENANT", "TYPE", "TRY", "REASON"))
    for one in found:
        columns = (one.id, one.time, one.consumer, one.tenant, one.type, one.attempts, one.reason)
        print(_ROW.format(*columns))
    if len(found) == options.limit:
        print(f"there may be more: --after {found[-1].id}")
    return DONE


async def show(options: Namespace) -> int:
    """Print one letter with everything in it."""
    async with _letters() as letters:
        letter = await letters.show(options.id)
    body: dict[str, Any]
    try:
        body = {"body": letter.body.decode()}
    except UnicodeDecodeError:
        body = {"body_base64": base64.b64encode(letter.body).decode()}
    if options.json:
        whole = _summary(letter) | {"headers": letter.original_headers} | body
        print(json.dumps(whole))
        return DONE
    for name, value in _summary(letter).items():
        print(f"{name}: {_line(value)}")
    for name, value in letter.original_headers.items():
        print(f"header {_line(name)}: {_line(value)}")
    if letter.body_left:
        print("the body was too large for a letter: it is in the stream of events")
    ((name, text),) = body.items()
    print(f"{name}: {_line(text)}")
    return DONE


async def replay(options: Namespace) -> int:
    """Send letters to the consumer that had given them up."""
    return await _each(options, "replayed", lambda letters, id_: letters.replay(id_))


async def drop(options: Namespace) -> int:
    """Delete letters."""
    return await _each(options, "dropped", lambda letters, id_: letters.drop(id_))


@asynccontextmanager
async def _letters() -> AsyncIterator[DeadLetters]:
    config = EventsConfig.from_env()
    async with EventBus.connect(config) as bus:
        yield DeadLetters(LetterStream(bus.client, config), bus.transport, config)


async def _find(letters: DeadLetters, options: Namespace, limit: int | None) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    try:
        async for letter in letters.find(
            consumer=options.consumer, tenant=options.tenant, after=getattr(options, "after", 0)
        ):
            found.append(letter)
            if len(found) == limit:
                break
    except ValueError as exc:
        raise LetterNotFound(internal=str(exc)) from exc
    return found


async def _each(
    options: Namespace, done: str, act: Callable[[DeadLetters, int], Awaitable[object]]
) -> int:
    failed = False
    async with _letters() as letters:
        # All are named first: what fails again becomes a new letter, and must not be taken too.
        ids = options.id or [letter.id for letter in await _find(letters, options, None)]
        for id_ in ids:
            try:
                await act(letters, id_)
            except AppError as exc:
                failed = True
                print(f"{id_}: {exc.code}: {exc.internal or exc.message}", file=sys.stderr)
            else:
                print(f"{done} {id_}")
    if not ids:
        print("no dead letters")
    return FAILED if failed else DONE


def _summary(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "time": letter.time,
        "consumer": letter.consumer,
        "tenant": letter.tenant,
        "type": letter.type,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "error": letter.error,
        "subject": letter.subject,
        "sequence": letter.sequence,
    }


def _line(value: object) -> str:
    # What is in a letter was written by anybody: it must not move a terminal's cursor.
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(value))
