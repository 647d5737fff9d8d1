"""Repair: what to do about a no-transaction file that stopped half way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal

from psycopg import sql

from mtenant_database.migrate import ledger as books
from mtenant_database.migrate import preamble, registry
from mtenant_database.migrate.errors import MigrationFailed, MigrationMissing
from mtenant_database.migrate.ledger import Entry, Ledger
from mtenant_database.migrate.link import Link, ScriptFailed, rows_of
from mtenant_database.migrate.migration import History
from mtenant_database.migrate.patience import patiently
from mtenant_database.migrate.planner import Step
from mtenant_database.migrate.transaction import first_value, in_transaction
from mtenant_database.migrate.work import Work, check_lock

How = Literal["retry", "applied", "reverted"]


async def repair(work: Work, history: History, how: How) -> list[Entry]:
    """Mend the half-way files of a schema and return their rows as they were.

    `retry` and `reverted` drop the invalid indexes that a failed CREATE INDEX CONCURRENTLY has left
    on the component's tables; `applied` refuses while there is one.

    Raises:
        MigrationMissing: The file is no longer there, so that it cannot be tried again.
        MigrationFailed: It failed again, or an index is invalid, or the tenant is suspended.
        SchemaBusy: A process is still at it.
    """
    if not _half_way(await work.read(), history):
        return []
    await _refuse_suspended(work)
    try:
        # An index is invalid while somebody builds it, too.
        await _lock(work)
        ledger = await work.read()
        found = _half_way(ledger, history)
        for entry in found:
            if how == "applied":
                await _refuse_invalid(work, ledger, entry)
            else:
                await _drop_invalid(work, ledger, entry)
            if how == "retry":
                await _retry(work, history, entry)
            else:
                await _say(work, entry, how)
    except ScriptFailed as exc:
        raise exc.explain(str(work.place)) from exc.error
    finally:
        await work.link.close()  # which gives the lock back
    return found


def _half_way(ledger: Ledger, history: History) -> list[Entry]:
    components = history.components
    return [one for one in ledger if one.state != "applied" and one.component in components]


async def _refuse_suspended(work: Work) -> None:
    if work.place.tenant is None:
        return
    status = registry.select_status(work.place.tenant)
    if (
        await in_transaction(work.link, work.settings, lambda link: first_value(link, status))
        == "suspended"
    ):
        raise MigrationFailed(
            where=str(work.place), problem="it stopped half way, and is suspended: resume it first"
        )


async def _lock(work: Work) -> None:
    """Take the schema's lock for the session."""
    statement = preamble.try_session_lock(work.place.schema).as_string()

    async def attempt() -> None:
        try:
            check_lock((await work.link.run(statement))[-1])
        except ScriptFailed as exc:
            raise work.error(exc) from exc.error

    await patiently(attempt, work.settings, str(work.place))


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
        read = await link.run(books.select_ledger(work.place).as_string())
        ledger = Ledger.of(rows_of(read[-1]))
        if how == "applied":
            applied = replace(entry, state="applied", done=0)
            record, ledger = books.insert_entry(work.place, applied, None), ledger.and_(applied)
        else:
            record = books.delete_entry(work.place, entry.component, entry.version)
            ledger = ledger.without(entry.component, entry.version)
        recorded = work.recorded(ledger, [entry.component])
        await link.run(record.as_string() + recorded.as_string())

    await in_transaction(work.link, work.settings, act, lock=work.place)


async def _invalid(work: Work, ledger: Ledger, entry: Entry) -> list[str]:
    others = sorted(name for name, owner in ledger.owners.items() if owner != entry.component)
    question = sql.SQL(
        "SELECT coalesce(json_agg(format('%I.%I', n.nspname, c.relname)), '[]') FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_class t ON t.oid = i.indrelid WHERE NOT i.indisvalid AND c.relkind = 'i'"
        " AND n.nspname = {} AND t.relname <> ALL ({}::text[])"
    ).format(sql.Literal(work.place.schema), sql.Literal(others))
    names: list[str] = json.loads(await work.link.value(question.as_string()) or "[]")
    return names


async def _refuse_invalid(work: Work, ledger: Ledger, entry: Entry) -> None:
    if names := await _invalid(work, ledger, entry):
        raise MigrationFailed(
            where=str(work.place),
            problem=f"{', '.join(names)} is invalid: rebuild it before you say applied",
        )


async def _drop_invalid(work: Work, ledger: Ledger, entry: Entry) -> None:
    for name in await _invalid(work, ledger, entry):
        # A role can be set for a session only: this DROP cannot be in a transaction.
        session = preamble.session(work.settings, work.place.schema)
        await work.link.run(session.as_string())
        try:
            await work.link.run(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        finally:
            await work.link.run(preamble.RESET)
