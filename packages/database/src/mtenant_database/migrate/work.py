"""One schema at work: a step is one transaction that locks, reads the ledger, runs a file, records it.

What comes of a step is decided under the lock by the planner, so two processes that migrate the same
schema take turns, and each file runs once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql
from psycopg.pq.abc import PGresult

from mtenant_database.migrate import ledger as books
from mtenant_database.migrate import ownership, preamble, registry
from mtenant_database.migrate.errors import (
    NotInstalled,
    OwnerUnsafe,
    SchemaBusy,
    UnknownTenant,
)
from mtenant_database.migrate.ledger import Entry, Ledger, Place
from mtenant_database.migrate.link import Link, ScriptFailed, rows_of, text_of
from mtenant_database.migrate.outside import run_outside
from mtenant_database.migrate.ownership import Catalog, Effect
from mtenant_database.migrate.patience import Again, Locked, patiently
from mtenant_database.migrate.planner import Step
from mtenant_database.migrate.rules import without_concurrently
from mtenant_database.migrate.settings import MigrateSettings

Choose = Callable[[Ledger], list[Step]]

LOCKED_OUT: Final = (
    "42501"  # insufficient_privilege: nobody may use the schema of a suspended tenant
)
ABSENT: Final = frozenset({"42P01", "3F000"})  # undefined_table, invalid_schema_name


@dataclass(frozen=True)
class Done:
    """A step that was made.

    Attributes:
        step: Which.
        left: How many were left to do after it.
        seconds: How long it took, without waiting for its turn.
    """

    step: Step
    left: int
    seconds: float


@dataclass
class Opened:
    """A transaction that has the schema's lock, and what it found.

    Attributes:
        ledger: What has been applied.
        catalog: What is in the schema.
        suspended: Whether the schema is closed, and was opened for this transaction.
        answers: What the questions that were sent with its beginning got for an answer.
    """

    ledger: Ledger
    catalog: Catalog
    suspended: bool
    answers: Sequence[PGresult] = ()


class Work:
    """One schema and a connection to work on it.

    Args:
        link: The connection.
        place: The schema.
        settings: Roles and patience.
        fresh: Whether the schema is being set up and nobody uses it yet: no-transaction files run
            inside a transaction, and a commit need not reach the disk.
    """

    def __init__(
        self, link: Link, place: Place, settings: MigrateSettings, *, fresh: bool = False
    ) -> None:
        self.link = link
        self.place = place
        self.settings = settings
        self.fresh = fresh
        self.retries = 0
        self._left: tuple[Ledger, Catalog] | None = None
        # What the beginning of a transaction that is open already was answered, and questions in it.
        self._ahead: tuple[Sequence[PGresult], Sequence[PGresult]] | None = None

    async def step(self, choose: Choose, *, then: Sequence[sql.Composable] = ()) -> Done | None:
        """Make the first of the steps that `choose` finds for the ledger; None if it finds none.

        Args:
            choose: Finds the steps.
            then: Questions that the transaction after the last step begins with, in a schema that is
                set up; see `Opened.answers`.

        Raises:
            SchemaBusy: The lock of the schema, or one that the file needs, was not to be had.
            MigrationFailed: The server refused a statement. The file was rolled back, unless it is
                a no-transaction file.
            RuleBroken: A tenant's file reached too far; it was rolled back.
            RepairNeeded: A no-transaction file stopped half way before.
            UnknownTenant: The tenant was dropped.
            AppError: Whatever `choose` raises.
        """
        return await patiently(
            lambda: self._step(choose, then), self.settings, str(self.place), self._count
        )

    async def read(self) -> Ledger:
        """Return the ledger as it is, without waiting for anybody unless the tenant is suspended.

        Raises:
            NotInstalled: There is none.
        """
        text = _text(sql.SQL("BEGIN READ ONLY;"), preamble.set_role(self.settings))
        try:
            results = await self.link.run(
                text + _text(books.select_ledger(self.place)) + preamble.COMMIT
            )
        except ScriptFailed as exc:
            await self.link.rollback()
            if exc.sqlstate == LOCKED_OUT and self.place.tenant is not None:
                return await self._read_suspended(exc)
            self._explain_absence(exc)
            raise exc.explain(str(self.place)) from exc.error
        return Ledger.of(rows_of(results[-4]))

    async def _read_suspended(self, denied: ScriptFailed) -> Ledger:
        async def attempt() -> Ledger:
            try:
                return (await self._open_suspended(denied)).ledger
            finally:
                await self.link.rollback()

        return await patiently(attempt, self.settings, str(self.place))

    def _count(self) -> None:
        self.retries += 1

    async def _step(self, choose: Choose, then: Sequence[sql.Composable]) -> Done | None:
        start = time.perf_counter()
        try:
            opened = await self.open()
            steps = choose(opened.ledger)
            if not steps:
                await self.commit(opened, self.recorded(opened.ledger))
                return None
            step = steps[0]
            script = step.script
            if script.directives.transactional or (self.fresh and not script.controls_transactions):
                await self._run(opened, step, start, then if len(steps) == 1 else ())
            else:
                await run_outside(self, opened, step)
        except BaseException as exc:
            await self._abandon(exc)
            raise
        return Done(step, len(steps) - 1, time.perf_counter() - start)

    def begin_with(self, catalog: Catalog, ahead: Sequence[PGresult] | None = None) -> None:
        """Take it that nothing has been applied yet, and this is in the schema that was just made.

        Args:
            catalog: What is there.
            ahead: What `opening` was answered, if it was sent already.
        """
        self._left = (Ledger(), catalog)
        self._ahead = None if ahead is None else (ahead, ())

    async def open(self) -> Opened:
        """Begin a transaction, take the schema's lock, and read ledger and catalog; all in one message."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            opened = await self._opened_now(ahead[0])
            opened.answers = ahead[1]
            return opened
        try:
            results = await self.link.run(_text(*self.opening()))
        except ScriptFailed as exc:
            await self.link.rollback()
            if exc.sqlstate == LOCKED_OUT and self.place.tenant is not None:
                return await self._open_suspended(exc)
            self._explain_absence(exc)
            raise self.error(exc) from exc.error
        return await self._opened_now(results)

    def opening(self) -> list[sql.Composable]:
        """Return the statements of `open`."""
        reading: list[sql.Composable] = [self._begin(), books.select_ledger(self.place)]
        if self._left is None:
            reading.append(ownership.select_catalog(self.place))
        return reading

    async def _opened_now(self, results: Sequence[PGresult]) -> Opened:
        check_role(self.link, self.settings)
        check_lock(results[-3 if self._left is None else -2])
        if self._left is None:
            return _opened(results, suspended=False)
        ledger, (known, catalog) = Ledger.of(rows_of(results[-1])), self._left
        if [entry.position for entry in ledger] != [entry.position for entry in known]:
            # Somebody else is setting it up, too.
            catalog = Catalog.of(await self._rows(ownership.select_catalog(self.place)))
        return Opened(ledger, catalog, suspended=False)

    async def commit(self, opened: Opened, *statements: sql.Composable) -> None:
        """Write what is to be recorded, and commit."""
        if opened.suspended:
            statements += (
                sql.SQL("REVOKE USAGE ON SCHEMA {} FROM CURRENT_USER;").format(self._schema),
            )
        try:
            await self.link.run(_text(*statements, sql.SQL(preamble.COMMIT)))
        except ScriptFailed as exc:
            raise self.error(exc) from exc.error

    def recorded(self, ledger: Ledger, components: Iterable[str] | None = None) -> sql.Composable:
        """Return the statements that bring the registry in step with what the ledger will say.

        Args:
            ledger: As it will be.
            components: Only these; None for all.
        """
        return registry.keep_in_step(self.place, ledger, components)

    def error(self, exc: ScriptFailed, where: str | None = None) -> Exception:
        """Return what a failed statement is to the caller of a step."""
        err = exc.explain(where or str(self.place))
        return Again(err) if exc.transient or exc.lost else err

    def entry(self, opened: Opened, step: Step, effect: Effect | None = None) -> Entry:
        """Return the row of the ledger for a step up."""
        one = step.migration
        relations = (
            ()
            if effect is None
            else ownership.made(opened.catalog, effect, opened.ledger, self.place, one.component)
        )
        position = 1 + max((entry.position for entry in opened.ledger), default=0)
        return Entry(
            one.component,
            one.version,
            one.name,
            one.checksum,
            one.contract,
            position=position,
            relations=tuple(sorted(relations)),
        )

    async def _run(
        self, opened: Opened, step: Step, start: float, then: Sequence[sql.Composable]
    ) -> None:
        effect = await self._run_script(opened, step)
        one = step.migration
        if step.direction == "down":
            record = books.delete_entry(self.place, one.component, one.version)
            ledger = opened.ledger.without(one.component, one.version)
        else:
            entry = self.entry(opened, step, effect)
            spent = round((time.perf_counter() - start) * 1000)
            record = books.insert_entry(self.place, entry, spent)
            ledger = opened.ledger.and_(entry)
        recorded = self.recorded(ledger, [one.component])
        if not self.fresh:
            await self.commit(opened, record, recorded)
            return
        # Nobody uses the schema: it stays as it was left, and the next step can begin at once.
        self._left = (ledger, effect.after)
        try:
            end = sql.SQL(preamble.COMMIT + ";")
            results = await self.link.run(_text(record, recorded, end, *self.opening(), *then))
            cut = len(results) - len(then)
            self._ahead = results[:cut], results[cut:]
        except ScriptFailed as exc:
            self._explain_absence(exc)
            raise self.error(exc) from exc.error

    async def _run_script(self, opened: Opened, step: Step) -> Effect:
        script = step.script
        outside = not script.directives.transactional
        body = without_concurrently(script) if outside else script.text
        before = preamble.limits(script.directives)
        after = ownership.select_effect(self.place)
        if self.place.tenant is not None and step.direction == "up":
            after.append(registry.select_checksum(step.migration))
        head = _text(*before)
        try:
            results = await self.link.run(f"{head}{body}\n;\n{_text(*after)}")
        except ScriptFailed as exc:
            where = script.source if outside else _where(step, exc, len(before), len(head))
            raise self.error(exc, f"{where}, in {self.place}") from exc.error
        check_role(self.link, self.settings)  # the file may have gone back to who connects
        locks, types = results[-len(after) :][:2]
        effect = Effect.of(opened.catalog, self.place, rows_of(locks), rows_of(types))
        if self.place.tenant is not None:
            place, one = self.place, step.migration
            ownership.check_effect(
                opened.catalog,
                effect,
                opened.ledger,
                place,
                one.component,
                where=f"{step}, in {place}",
            )
            if step.direction == "up" and text_of(results[-1]) != one.checksum.hex():
                raise SchemaBusy(where=str(place), problem=f"{one} was registered anew meanwhile")
        return effect

    async def _open_suspended(self, denied: ScriptFailed) -> Opened:
        assert self.place.tenant is not None  # noqa: S101 -- for mypy: the caller has looked
        question = registry.select_status(self.place.tenant)
        try:
            results = await self.link.run(_text(self._begin(), question))
        except ScriptFailed as exc:
            raise self.error(exc) from exc.error
        check_role(self.link, self.settings)
        check_lock(results[-2])
        status = text_of(results[-1])
        if status != "suspended":
            self._explain_absence(denied, status)
            raise self.error(denied) from denied.error
        # The owner may not use it either; for this transaction, which nobody sees, it may.
        grant = sql.SQL("GRANT USAGE ON SCHEMA {} TO CURRENT_USER;").format(self._schema)
        reading = [books.select_ledger(self.place), ownership.select_catalog(self.place)]
        try:
            results = await self.link.run(_text(grant, *reading))
        except ScriptFailed as exc:
            raise self.error(exc) from exc.error
        return _opened(results, suspended=True)

    def _explain_absence(self, exc: ScriptFailed, status: str | None = None) -> None:
        if status is None and exc.sqlstate not in ABSENT:
            return
        if status in (None, "dropping") and self.place.tenant is not None:
            raise UnknownTenant(tenant=self.place.tenant, wanted="there") from exc.error
        if exc.sqlstate in ABSENT:
            raise NotInstalled(where=str(self.place)) from exc.error

    async def _rows(self, question: sql.Composable) -> list[tuple[Any, ...]]:
        try:
            return rows_of((await self.link.run(question.as_string()))[-1])
        except ScriptFailed as exc:
            raise self.error(exc) from exc.error

    async def _abandon(self, exc: BaseException) -> None:
        self._ahead = None
        if isinstance(exc, Exception):
            await self.link.rollback()
        else:  # cancelled: no more words with the server
            await self.link.close()

    @property
    def _schema(self) -> sql.Identifier:
        return sql.Identifier(self.place.schema)

    def _begin(self) -> sql.Composable:
        begin = preamble.begin(self.settings, self.place.schema, durable=not self.fresh)
        lock = preamble.try_lock(self.place.schema)
        return sql.Composed([begin, lock])


def check_lock(result: PGresult) -> None:
    """Go on only with the schema's lock, given what `try_lock` answered.

    Raises:
        Locked: Somebody else has it.
    """
    if text_of(result) != "t":
        raise Locked


def check_role(link: Link, settings: MigrateSettings) -> None:
    """Refuse to go on as a superuser; the server reports by itself whether the role in force is one.

    Raises:
        OwnerUnsafe: It is.
    """
    if link.superuser:
        raise OwnerUnsafe(role=settings.owner or "that connects")


def _where(step: Step, exc: ScriptFailed, before: int, offset: int) -> str:
    """Return file and line: where the server points to, else where the failed statement begins."""
    script = step.script
    if exc.position is not None and offset <= exc.position < offset + len(script.text):
        return script.place(exc.position - offset)
    index = exc.index - before
    if 0 <= index < len(script.statements):
        return script.place_of(script.statements[index])
    return script.source


def _opened(results: Sequence[PGresult], *, suspended: bool) -> Opened:
    ledger, catalog = (rows_of(result) for result in results[-2:])
    return Opened(Ledger.of(ledger), Catalog.of(catalog), suspended)


def _text(*statements: sql.Composable) -> str:
    return "".join(statement.as_string() for statement in statements)
