"""Repair: what to do about a no-transaction file that stopped half way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal

from psycopg import sql

from mtenant_database.migrate import ledger as books
from mtenant_database.migrate import preamble
from mtenant_database.migrate.errors import MigrationFailed, MigrationMissing
from mtenant_database.migrate.ledger import Entry, Ledger
from mtenant_database.migrate.link import Link
from mtenant_database.migrate.migration import History
from mtenant_database.migrate.planner import Step
from mtenant_database.migrate.transaction import first_value, in_transaction
from mtenant_database.migrate.work import Work

How = Literal["retry", "applied", "reverted"]


async def repair(work: Work, history: History, how: How) -> list[Entry]:
    """Mend the half-way files of a schema and return their rows as they were.

    `retry` and `reverted` drop the invalid indexes that a failed CREATE INDEX CONCURRENTLY leaves
    behind; `applied` refuses while there is one.

    Raises:
        MigrationMissing: The file is no longer there, so that it cannot be tried again.
        MigrationFailed: It failed again, or an index is invalid.
        SchemaBusy: A process is still at it.
    """
    components = history.components
    found = [
        entry
        for entry in await work.read()
        if entry.state != "applied" and entry.component in components
    ]
    for entry in found:
        if how == "applied":
            await _refuse_invalid(work)
        else:
            await _drop_invalid(work)
        if how == "retry":
            await _retry(work, history, entry)
        else:
            await _say(work, entry, how)
    return found


async def _retry(work: Work, history: History, entry: Entry) -> None:
    files = {(one.component, one.version): one for one in history}
    one = files.get((entry.component, entry.version))
    if one is None:
        raise MigrationMissing(migration=str(entry), where=str(work.place))
    up = entry.state == "running"
    script = one.up if up else one.way_down(str(work.place))
    step = Step(one, "up" if up else "down", script)

    def choose(ledger: Ledger) -> list[Step]:
        present = ledger.find(entry.component, entry.version)
        return [step] if present is not None and present.state == entry.state else []

    await work.step(choose)


async def _say(work: Work, entry: Entry, how: How) -> None:
    async def act(link: Link) -> None:
        # Read again: the lock is held now.
        ledger = Ledger.parse(await first_value(link, books.select_ledger(work.place)) or "[]")
        if how == "applied":
            applied = replace(entry, state="applied", done=0)
            record, ledger = books.insert_entry(work.place, applied, None), ledger.and_(applied)
        else:
            record = books.delete_entry(work.place, entry.component, entry.version)
            ledger = ledger.without(entry.component, entry.version)
        recorded = work.recorded(ledger, [entry.component])
        await link.run(record.as_string() + recorded.as_string())

    await in_transaction(work.link, work.settings, act, lock=work.place)


async def _invalid(work: Work) -> list[str]:
    question = sql.SQL(
        "SELECT coalesce(json_agg(format('%I.%I', n.nspname, c.relname)), '[]') FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname = {}"
    ).format(sql.Literal(work.place.schema))
    names: list[str] = json.loads(await work.link.value(question.as_string()) or "[]")
    return names


async def _refuse_invalid(work: Work) -> None:
    if names := await _invalid(work):
        raise MigrationFailed(
            where=str(work.place),
            problem=f"{', '.join(names)} is invalid: rebuild it before you say applied",
        )


async def _drop_invalid(work: Work) -> None:
    for name in await _invalid(work):
        # A role can be set for a session only: this DROP cannot be in a transaction.
        session = preamble.session(work.settings, work.place.schema)
        await work.link.run(session.as_string())
        try:
            await work.link.run(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        finally:
            await work.link.run(preamble.RESET)
