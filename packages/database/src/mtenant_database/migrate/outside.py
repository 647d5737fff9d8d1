"""No-transaction files: one statement at a time, with a note in the ledger of how far it came.

CREATE INDEX CONCURRENTLY and its like cannot be inside a transaction, and so cannot be one with the row
of the ledger. The row says `running` (or `reverting`) before the first statement and counts what is
done; each statement that can be in a transaction is, with its count. If the process ends half way the
row stays, and `repair` decides. A session lock, which has the key of the transaction lock, keeps others
out meanwhile; it ends with the connection.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from psycopg import sql
from psycopg.pq.abc import PGresult

from mtenant_database.migrate import ledger as books
from mtenant_database.migrate import ownership, preamble, registry
from mtenant_database.migrate.errors import MigrationFailed, RuleBroken
from mtenant_database.migrate.ledger import LEDGER, Entry, lock_key
from mtenant_database.migrate.link import ScriptFailed, rows_of
from mtenant_database.migrate.ownership import Catalog, select_catalog
from mtenant_database.migrate.planner import Step
from mtenant_database.migrate.statement import Statement, Word

if TYPE_CHECKING:
    from mtenant_database.migrate.work import Opened, Work

# active_sql_transaction, invalid_transaction_termination: what only they may say is run alone.
_NOT_INSIDE: Final = ("25001", "2D000")
_NOISE: Final = frozenset({"IF", "EXISTS", "ONLY", "NOT", "CONCURRENTLY", "VERBOSE"})


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
        await _check_targets(work, opened, step)
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
    runner = _Runner(work, opened, step, entry)
    for number, statement in enumerate(script.statements, start=1):
        if number > entry.done:
            await runner.run(statement, number)
        elif statement.begins("SET"):  # it was said to a session that is gone
            await runner.say(statement, statement.text)
    return runner.entry


class _Runner:
    """Runs the statements of a file, and keeps its row of the ledger in step."""

    def __init__(self, work: Work, opened: Opened, step: Step, entry: Entry) -> None:
        self.entry = entry
        self._work = work
        self._opened = opened
        self._step = step
        self._catalog = opened.catalog
        self._controls = step.script.controls_transactions

    async def run(self, statement: Statement, number: int) -> None:
        """Run a statement and note that it is done: in one transaction if it can be in one."""
        if self._controls or not may_be_inside(statement):
            await self._bare(statement, number)
            return
        try:
            await self._inside(statement, number)
        except MigrationFailed as exc:
            if exc.sqlstate not in _NOT_INSIDE:
                raise
            await self._bare(statement, number)

    async def say(self, statement: Statement, text: str) -> list[PGresult]:
        """Send it.

        Raises:
            MigrationFailed: The server refused it; the message names its line.
        """
        try:
            return await self._work.link.run(text)
        except ScriptFailed as exc:
            where = f"{self._step.script.place_of(statement)}, in {self._work.place}"
            raise exc.explain(where) from exc.error

    async def _inside(self, statement: Statement, number: int) -> None:
        work, place, component = self._work, self._work.place, self.entry.component
        looking = "".join(part.as_string() for part in ownership.select_effect(place))
        try:
            results = await self.say(statement, f"BEGIN; {statement.text}\n; {looking}")
            before, ledger = self._catalog, self._opened.ledger
            locks, types = (rows_of(result) for result in results[-2:])
            effect = ownership.Effect.of(before, place, locks, types)
            where = f"{self._step.script.place_of(statement)}, in {place}"
            if place.tenant is not None:
                ownership.check_effect(before, effect, ledger, place, component, where=where)
            made = ownership.made(before, effect, ledger, place, component)
            self._note(number, made, effect.after)
            await work.link.run(f"{books.mark_done(place, self.entry).as_string()} COMMIT")
        except BaseException as exc:
            if isinstance(exc, Exception):
                await work.link.run("ROLLBACK")
            raise

    async def _bare(self, statement: Statement, number: int) -> None:
        work = self._work
        await self.say(statement, statement.text)
        looked = await work.link.run(select_catalog(work.place).as_string())
        after = Catalog.of(rows_of(looked[-1]))
        made = {*after.relations.values()} - {*self._catalog.relations.values()}
        self._note(number, made, after)
        await work.link.run(books.mark_done(work.place, self.entry).as_string())

    def _note(self, number: int, made: set[str], after: Catalog) -> None:
        relations = tuple(sorted({*self.entry.relations, *made} & {*after.relations.values()}))
        self.entry = replace(self.entry, done=number, relations=relations)
        self._catalog = after


def may_be_inside(statement: Statement) -> bool:
    """Tell whether a statement may be inside a transaction, as far as its words tell.

    Others are known by what the server says: this saves its log an error for the usual ones.
    """
    return not statement.begins("VACUUM") and all(
        word.glued or word.text != "CONCURRENTLY" for word in statement.words
    )


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


async def _check_targets(work: Work, opened: Opened, step: Step) -> None:
    # What has no transaction keeps no lock either, so the text has to tell what it is about.
    owners = {**opened.ledger.owners, LEDGER: registry.LIBRARY}
    for statement in step.script.statements:
        for schema, name in targets(statement):
            where = f"{step.script.place_of(statement)}, in {work.place}"
            if schema not in (None, work.place.schema):
                problem = f"it alters {schema}.{name}, which is outside of the schema"
                raise RuleBroken(where=where, problem=problem)
            table = name if name in owners else await _table_of(work, name)
            owner = owners.get(table, step.migration.component)
            if owner != step.migration.component:
                problem = f"it alters {table}, which belongs to the component {owner}"
                raise RuleBroken(where=where, problem=problem)


async def _table_of(work: Work, name: str) -> str:
    """Return the table of an index, or the name itself."""
    question = sql.SQL(
        "SELECT t.relname FROM pg_catalog.pg_index i"
        " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_catalog.pg_class t ON t.oid = i.indrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = {} AND c.relname = {}"
    ).format(sql.Literal(work.place.schema), sql.Literal(name))
    return await work.link.value(question.as_string()) or name


def targets(statement: Statement) -> list[tuple[str | None, str]]:
    """Return schema and name of the relations that a statement is about, as far as its words tell."""
    words = [word for word in statement.words if word.glued or word.text not in _NOISE]
    said = [word.text for word in words]
    if said[:1] == ["CREATE"] and "INDEX" in said[:3] and "ON" in said:
        return _name(words[said.index("ON") + 1 :])
    if said[:1] in (["REINDEX"], ["ALTER"], ["DROP"]) and said[1:2] in (["TABLE"], ["INDEX"]):
        return _name(words[2:])
    if said[:3] == ["REFRESH", "MATERIALIZED", "VIEW"]:
        return _name(words[3:])
    return []


def _name(words: list[Word]) -> list[tuple[str | None, str]]:
    if len(words) > 1 and words[1].glued:
        return [(words[0].name, words[1].name)]
    return [(None, word.name) for word in words[:1]]
