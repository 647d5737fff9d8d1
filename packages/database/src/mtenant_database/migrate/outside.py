"""No-transaction files: one statement at a time, with a note in the ledger of how far it came.

CREATE INDEX CONCURRENTLY and its like cannot be inside a transaction, and so cannot be one with the row
of the ledger. The row says `running` (or `reverting`) before the first statement and counts what is
done. If the process ends half way the row stays, and `repair` decides. A session lock, which has the
key of the transaction lock, keeps others out meanwhile; it ends with the connection.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg import sql

from mtenant_database.migrate import ledger as books
from mtenant_database.migrate import preamble, registry
from mtenant_database.migrate.errors import MigrationFailed, RuleBroken
from mtenant_database.migrate.ledger import LEDGER, Entry, lock_key
from mtenant_database.migrate.link import ScriptFailed
from mtenant_database.migrate.ownership import Catalog, select_catalog
from mtenant_database.migrate.planner import Step
from mtenant_database.migrate.statement import Statement

if TYPE_CHECKING:
    from mtenant_database.migrate.work import Opened, Work


async def run_outside(work: Work, opened: Opened, step: Step) -> None:
    """Run a no-transaction file; `opened` is the transaction that holds the lock.

    Raises:
        MigrationFailed: The server refused a statement. Those before it stay done.
        RuleBroken: It names another component's relation; nothing was run.
    """
    if opened.suspended:
        raise MigrationFailed(
            where=str(work.place),
            problem=f"{step} has no transaction, and the tenant is suspended: resume it first",
        )
    if work.place.tenant is not None:
        _check_targets(work, opened, step)
    entry = _begun(work, opened, step)
    key = sql.Literal(lock_key(work.place.schema))
    await work.commit(
        opened,
        books.insert_entry(work.place, entry, None),
        sql.SQL("SELECT pg_advisory_lock({});").format(key),
    )
    try:
        entry = await _statements(work, opened, step, entry)
        await _finish(work, opened, step, entry)
        await work.link.run(f"{preamble.RESET}; SELECT pg_advisory_unlock({key.as_string()})")
    except BaseException:
        await work.link.close()  # which gives the lock back
        raise


def _begun(work: Work, opened: Opened, step: Step) -> Entry:
    one = step.migration
    found = opened.ledger.find(one.component, one.version)
    if found is None:
        return replace(work.entry(opened, step), state="running")
    if found.state == "applied":
        return replace(found, state="reverting", done=0)
    return found  # repair goes on where it stopped


async def _statements(work: Work, opened: Opened, step: Step, entry: Entry) -> Entry:
    script = step.script
    said = [
        preamble.session(work.settings, work.place.schema),
        *preamble.limits(script.directives, local=False),
    ]
    await work.link.run("".join(part.as_string() for part in said))
    for number, statement in enumerate(script.statements[entry.done :], start=entry.done + 1):
        try:
            await work.link.run(statement.text)
        except ScriptFailed as exc:
            where = f"{script.place_of(statement)}, in {work.place}"
            raise exc.explain(where) from exc.error
        entry = replace(entry, done=number, relations=await _made(work, opened, entry))
        await work.link.run(books.mark_done(work.place, entry).as_string())
    return entry


async def _made(work: Work, opened: Opened, entry: Entry) -> tuple[str, ...]:
    found = Catalog.parse(await work.link.value(select_catalog(work.place).as_string()) or "{}")
    new = {*found.relations.values()} - {*opened.catalog.relations.values()}
    return tuple(sorted({*entry.relations, *new}))


async def _finish(work: Work, opened: Opened, step: Step, entry: Entry) -> None:
    place, one = work.place, step.migration
    # Others of the same tenant are kept out by the session lock, so the ledger is as it was.
    if step.direction == "down":
        record = books.delete_entry(place, one.component, one.version)
        ledger = opened.ledger.without(one.component, one.version)
    else:
        entry = replace(entry, state="applied", done=0)
        record, ledger = books.insert_entry(place, entry, None), opened.ledger.and_(entry)
    recorded = work.recorded(ledger, [one.component])
    text = sql.SQL("BEGIN; {} {} COMMIT").format(record, recorded)
    await work.link.run(text.as_string())


def _check_targets(work: Work, opened: Opened, step: Step) -> None:
    # Locks do not last until the end here, so the text has to tell what a statement is about.
    owners = {**opened.ledger.owners, LEDGER: registry.LIBRARY}
    for statement in step.script.statements:
        for name in targets(statement):
            owner = owners.get(name, step.migration.component)
            if owner != step.migration.component:
                raise RuleBroken(
                    where=f"{step.script.place_of(statement)}, in {work.place}",
                    problem=f"it alters {name}, which belongs to the component {owner}",
                )


def targets(statement: Statement) -> list[str]:
    """Return the names of the tables that a statement is about, as far as its words tell."""
    words = [word for word in statement.words if word.text not in ("IF", "EXISTS", "ONLY", "NOT")]
    said = [word.text for word in words]
    if said[:1] == ["CREATE"] and "INDEX" in said[:3] and "ON" in said:
        return [words[said.index("ON") + 1].name]
    if said[:2] in (["ALTER", "TABLE"], ["REINDEX", "TABLE"]) and len(words) > 2:
        at = 3 if said[2] == "CONCURRENTLY" and len(words) > 3 else 2
        return [words[at].name]
    return []
